"""Reads what a smoke test left: its summary on XCom, and its results file. Pure: lines come in, no file is opened.

Both come from another task, maybe from another version of this code, so every field is looked at before it counts.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gemini_tuning.core.resources import checkpoint_id
from gemini_tuning.core.text import redact, short_repr
from gemini_tuning.selection.candidate import Candidate, CaseOutcome, ResultError

MAX_ERROR = 500  # characters of why a checkpoint could not be asked
MAX_CASE_ID = 1_000  # characters


def candidate_from(
    summary: Mapping[str, Any], outcomes: Mapping[str, CaseOutcome], losses: Mapping[str, Any] | None = None
) -> Candidate:
    """Read a smoke test's summary.

    :param summary: ``checkpoint_id``, ``epoch``, ``step``, ``cases``, ``latency_ms``, ``suite_fingerprint``, ``error``.
    :param outcomes: of its results file; when the summary has an error they count for nothing.
    :param losses: ``train_loss`` and ``eval_loss`` at its step, as far as they are known. One that is not finite, as of
        a tuning that diverged, counts as not known: it can't be compared.
    :raises ResultError: naming the field.
    """
    if not isinstance(summary, Mapping):
        raise ResultError(f"expected what the smoke test pushed, not {short_repr(summary)}")
    if not isinstance(losses, Mapping | None):
        raise ResultError(f"losses: expected train_loss and eval_loss, not {short_repr(losses)}")
    try:
        identifier = checkpoint_id(summary.get("checkpoint_id"), "result")
    except ValueError as error:
        raise ResultError(str(error)) from None
    why = summary.get("error")
    if why is None:
        _require_all(summary, outcomes)
    return Candidate(
        checkpoint_id=identifier,
        epoch=_whole(summary, "epoch"),
        step=_whole(summary, "step"),
        outcomes=dict(outcomes) if why is None else {},
        latency_p95_ms=_latency(summary),
        train_loss=_loss(losses or {}, "train_loss"),
        eval_loss=_loss(losses or {}, "eval_loss"),
        error=None if why is None else redact(why, MAX_ERROR),
        suite_fingerprint=_fingerprint(summary),
    )


def outcomes_from_lines(lines: Iterable[bytes], source: str) -> dict[str, CaseOutcome]:
    """Read a results file: one JSON object a line, one for each case and repeat.

    Of each: ``case_id``, ``repeat``, ``passed``, ``score``, ``weight``, ``critical``, ``blocked`` (whether, or why) and
    ``error``; an answer that never came has not passed and scores 0. Repeats of a case are joined: it passes when more
    than half of its answers pass, a critical one only when all do; its score is their mean; it counts as blocked when
    one of them was.

    :param source: the file's address, for messages.
    :raises ResultError: naming file and line.
    """
    answers: dict[str, dict[int, _Line]] = {}
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        try:
            line = _Line.read(text, number)
            _add(answers.setdefault(line.case_id, {}), line)
        except ResultError as error:
            raise ResultError(f"{source}, line {number}: {error}") from None
    return {case_id: _joined(list(repeats.values())) for case_id, repeats in answers.items()}


@dataclass(frozen=True)
class _Line:
    """What counts of one line of a results file."""

    number: int
    case_id: str
    repeat: int
    outcome: CaseOutcome

    @classmethod
    def read(cls, text: bytes, number: int) -> _Line:
        try:
            data = json.loads(text)
        except (ValueError, RecursionError):
            raise ResultError(f"expected a JSON object, not {short_repr(text)}") from None
        if not isinstance(data, dict):
            raise ResultError(f"expected a JSON object, not {short_repr(data)}")
        case_id = data.get("case_id")
        if not isinstance(case_id, str) or not case_id.strip() or len(case_id) > MAX_CASE_ID:
            raise ResultError(f"case_id: {short_repr(case_id)} is not the id of a case")
        repeat = _whole(data, "repeat")
        if repeat is None:
            raise ResultError("repeat: expected the number of the repeat, such as 0")
        return cls(number, case_id, repeat, _outcome(data))


def _outcome(data: Mapping[str, Any]) -> CaseOutcome:
    blocked = data.get("blocked")
    if not isinstance(blocked, str | bool | None):
        raise ResultError(f"blocked: {short_repr(blocked)} is neither a reason nor true, false or null")
    passed, critical, answered = _flag(data, "passed"), _flag(data, "critical"), data.get("error") is None
    return CaseOutcome(
        passed=passed and answered,
        score=_number(data, "score") if answered else 0.0,
        weight=_number(data, "weight"),
        critical=critical,
        blocked=bool(blocked),
    )


def _add(repeats: dict[int, _Line], line: _Line) -> None:
    """Keep a line.

    :raises ResultError: when its repeat is there already, or the case was something else before: which would count?
    """
    if (twin := repeats.get(line.repeat)) is not None:
        raise ResultError(f"case {short_repr(line.case_id)}, repeat {line.repeat}: already in line {twin.number}")
    for first in repeats.values():
        if (first.outcome.weight, first.outcome.critical) != (line.outcome.weight, line.outcome.critical):
            raise ResultError(f"case {short_repr(line.case_id)}: weight or critical is not as in line {first.number}")
        break
    repeats[line.repeat] = line


def _joined(lines: list[_Line]) -> CaseOutcome:
    outcomes = [line.outcome for line in lines]
    passes, critical = sum(o.passed for o in outcomes), outcomes[0].critical
    return CaseOutcome(
        passed=passes == len(outcomes) if critical else 2 * passes > len(outcomes),
        score=min(1.0, math.fsum(o.score for o in outcomes) / len(outcomes)),
        weight=outcomes[0].weight,
        critical=critical,
        blocked=any(o.blocked for o in outcomes),
    )


def _require_all(summary: Mapping[str, Any], outcomes: Mapping[str, CaseOutcome]) -> None:
    """Refuse a results file that was cut off, or is another's."""
    cases = _whole(summary, "cases")
    if cases is None or cases < 1:
        raise ResultError(f"cases: {short_repr(cases)} is not the number of cases, though there is no error")
    if cases != len(outcomes):
        raise ResultError(f"cases: {cases} by the summary, {len(outcomes)} by the results file")


def _whole(data: Mapping[str, Any], name: str) -> int | None:
    value = data.get(name)
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63):
        return value
    raise ResultError(f"{name}: {short_repr(value)} is not a whole number")


def _flag(data: Mapping[str, Any], name: str) -> bool:
    value = data.get(name)
    if isinstance(value, bool):
        return value
    raise ResultError(f"{name}: {short_repr(value)} is neither true nor false")


def _number(data: Mapping[str, Any], name: str) -> float:
    """Return a number; one that no float can hold becomes infinite."""
    value = data.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ResultError(f"{name}: {short_repr(value)} is not a number")
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _latency(summary: Mapping[str, Any]) -> float | None:
    latency = summary.get("latency_ms")
    if not isinstance(latency, Mapping | None):
        raise ResultError(f"latency_ms: expected p50 and p95, not {short_repr(latency)}")
    if latency is None or latency.get("p95") is None:
        return None
    value = _number(latency, "p95")
    if not 0 <= value < math.inf:
        raise ResultError(f"latency_ms: p95: {short_repr(value)} is not a time in milliseconds")
    return value


def _loss(losses: Mapping[str, Any], name: str) -> float | None:
    if losses.get(name) is None:
        return None
    value = _number(losses, name)
    return value if math.isfinite(value) else None


def _fingerprint(summary: Mapping[str, Any]) -> str | None:
    value = summary.get("suite_fingerprint")
    if isinstance(value, str | None):
        return value
    raise ResultError(f"suite_fingerprint: {short_repr(value)} is not a text")
