"""Reads the XCom of a smoke test as a candidate.

Another task pushed it, possibly with another version of this package, so every field is checked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from gemini_tuning.core.case_outcomes import CaseOutcome, ResultError, read_float, read_int, wrong_type
from gemini_tuning.core.resources import checkpoint_id
from gemini_tuning.core.text import redact, short_repr
from gemini_tuning.selection.candidate import Candidate

MAX_ERROR = 500  # characters


def candidate_from(
    summary: Mapping[str, Any], outcomes: Mapping[str, CaseOutcome], losses: Mapping[str, Any] | None = None
) -> Candidate:
    """Return a candidate.

    :param summary: XCom of the smoke test: ``checkpoint_id``, ``epoch``, ``step``, ``cases``, ``latency_ms``,
        ``suite_fingerprint``, ``error``.
    :param outcomes: of its results file; ignored when the summary has an error.
    :param losses: ``train_loss`` and ``eval_loss`` at its step, where known. One that is not finite, as after a tuning
        that diverged, counts as unknown, because it cannot be compared.
    :raises ResultError: naming the field.
    """
    if not isinstance(summary, Mapping):
        raise wrong_type("result", summary, "the XCom of a smoke test")
    if not isinstance(losses, Mapping | None):
        raise wrong_type("losses", losses, "train_loss and eval_loss")
    try:
        identifier = checkpoint_id(summary.get("checkpoint_id"), "result")
    except ValueError as problem:
        raise ResultError(str(problem), field="checkpoint_id", code="wrong_type") from None
    error, fingerprint = summary.get("error"), summary.get("suite_fingerprint")
    if error is None:
        _require_all(read_int(summary, "cases"), outcomes)
    if not isinstance(fingerprint, str | None):
        raise wrong_type("suite_fingerprint", fingerprint, "a text")
    return Candidate(
        checkpoint_id=identifier,
        epoch=read_int(summary, "epoch"),
        step=read_int(summary, "step"),
        outcomes=dict(outcomes) if error is None else {},
        latency_p95_ms=_latency(summary.get("latency_ms")),
        train_loss=_loss(losses or {}, "train_loss"),
        eval_loss=_loss(losses or {}, "eval_loss"),
        error=None if error is None else redact(error, MAX_ERROR),
        suite_fingerprint=fingerprint,
    )


def _require_all(cases: int | None, outcomes: Mapping[str, CaseOutcome]) -> None:
    """Refuse a results file that was truncated or belongs to another smoke test."""
    if cases is None or cases < 1:
        problem = f"expected the number of cases, as there is no error, not {short_repr(cases)}"
    elif cases != len(outcomes):
        problem = f"{cases} in the XCom, but {len(outcomes)} in the results file"
    else:
        return
    raise ResultError(f"cases: {problem}", field="cases", code="incomplete_results")


def _latency(latency: object) -> float | None:
    if not isinstance(latency, Mapping | None):
        raise wrong_type("latency_ms", latency, "p50 and p95")
    if latency is None or latency.get("p95") is None:
        return None
    value = read_float(latency, "p95", "latency_ms.p95")
    if not 0 <= value < math.inf:
        raise ResultError(
            f"latency_ms.p95: expected milliseconds, not {short_repr(value)}",
            field="latency_ms.p95",
            code="out_of_range",
        )
    return value


def _loss(losses: Mapping[str, Any], name: str) -> float | None:
    if losses.get(name) is None:
        return None
    value = read_float(losses, name)
    return value if math.isfinite(value) else None
