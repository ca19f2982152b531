"""What a results file says about a checkpoint, small enough for XCom. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gemini_tuning.core.case_outcomes import CaseOutcomes, outcomes_from_lines
from gemini_tuning.core.stats import percentile
from gemini_tuning.core.text import redact, shorten
from gemini_tuning.smoke.suite import Suite

# So much that ten summaries stay below 16 KB.
MAX_IDS, MAX_FAILURES = 5, 3
MAX_ID, MAX_REASON = 40, 100  # characters
MILLION = 1_000_000


def summarize(
    suite: Suite,
    contender: Mapping[str, Any],
    lines: Sequence[bytes],
    results_uri: str | None,
    *,
    error: str | None = None,
) -> dict[str, Any]:
    """Return the result of a checkpoint, or of the champion, as it goes to XCom.

    :param contender: ``{"checkpoint_id", "epoch", "step", "endpoint"}``.
    :param lines: of the results file.
    :param error: why it could not be asked; then there is no score, because that says nothing about the model.
    """
    outcomes = {} if error else outcomes_from_lines(lines, results_uri or "results")
    evidence = CaseOutcomes(outcomes=outcomes)
    results = [json.loads(line) for line in lines]
    answered = [result for result in results if result["answer"] is not None]
    return {
        **contender,
        "suite": suite.name,
        "suite_fingerprint": suite.fingerprint,
        "results_uri": results_uri,
        "cases": len(suite.cases),
        "answered": len(answered),
        "unanswered": len(results) - len(answered),
        **_rates(evidence),
        "critical_failed": [shorten(case_id, MAX_ID) for case_id in evidence.failed_critical[:MAX_IDS]],
        "critical_failures": len(evidence.failed_critical),
        "blocked": len(evidence.blocked),
        "latency_ms": _latency([r["latency_ms"] for r in answered if r["latency_ms"] is not None]),
        **_tokens(suite, answered),
        "failures": _failures(results),
        "error": redact(error, MAX_REASON * 3) if error else None,
    }


def _rates(evidence: CaseOutcomes) -> dict[str, Any]:
    """Return pass rate and score as the choice sees them."""
    if not evidence.outcomes:
        return dict.fromkeys(("passed", "pass_rate", "pass_rate_interval", "score", "score_interval"))
    return {
        "passed": sum(outcome.passed for outcome in evidence.outcomes.values()),
        "pass_rate": round(evidence.pass_rate, 6),
        "pass_rate_interval": [round(bound, 4) for bound in evidence.pass_rate_interval],
        "score": round(evidence.score, 6),
        "score_interval": [round(bound, 4) for bound in evidence.score_interval],
    }


def _latency(milliseconds: Sequence[float]) -> dict[str, float | None]:
    return {f"p{percent}": percentile(milliseconds, percent) for percent in (50, 95)}


def _tokens(suite: Suite, answered: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the tokens, and what they cost where the suite gives prices and the service has counted."""
    counts = {}
    for kind, key in (("prompt", "prompt_tokens"), ("output", "output_tokens")):
        given = [result[key] for result in answered]
        counts[kind] = sum(given) if given and None not in given else None
    cost = None
    if suite.prices and counts["prompt"] is not None and counts["output"] is not None:
        amount = (counts["prompt"] * suite.prices.input + counts["output"] * suite.prices.output) / MILLION
        cost = {"amount": round(amount, 6), "currency": suite.prices.currency}
    return {"tokens": counts, "cost": cost}


def _failures(results: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    for result in results:
        if not result["passed"] and len(found) < MAX_FAILURES:
            reasons = [verdict["reason"] for verdict in result["verdicts"] if not verdict["passed"]]
            why = result["error"] or "; ".join(reasons)
            found.append({"id": shorten(result["case_id"], MAX_ID), "reason": shorten(why, MAX_REASON)})
    return found
