"""Sums up a results file for XCom."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gemini_tuning.core.case_outcomes import CaseOutcomes, outcomes_from_lines
from gemini_tuning.core.stats import percentile
from gemini_tuning.core.text import redact, shorten

if TYPE_CHECKING:
    from gemini_tuning.smoke.suite import Suite

# Ten summaries stay below 16 KB.
MAX_IDS, MAX_FAILURES = 5, 3
MAX_ID, MAX_REASON = 40, 100  # characters
MILLION = 1_000_000


def summarize(
    suite: Suite, checkpoint: Mapping[str, Any], lines: Sequence[bytes], uri: str | None, *, error: str | None = None
) -> dict[str, Any]:
    """Return the XCom of a checkpoint (``checkpoint_id``, ``epoch``, ``step``, ``endpoint``), or of the champion.

    :param lines: of the results file.
    :param error: why the endpoint has no answers; a score would be no evidence about the model, so it is left out.
    """
    outcomes = CaseOutcomes(outcomes={} if error else outcomes_from_lines(lines, uri or "results"))
    results = [json.loads(line) for line in lines]
    answered = [result for result in results if result["answer"] is not None]
    latencies = [result["latency_ms"] for result in answered if result["latency_ms"] is not None]
    return {
        **checkpoint,
        "suite": suite.name,
        "suite_fingerprint": suite.fingerprint,
        "results_uri": uri,
        "cases": len(suite.cases),
        "answered": len(answered),
        "unanswered": len(results) - len(answered),
        **_rates(outcomes),
        "critical_failed": [shorten(case_id, MAX_ID) for case_id in outcomes.failed_critical[:MAX_IDS]],
        "critical_failures": len(outcomes.failed_critical),
        "blocked": len(outcomes.blocked),
        "latency_ms": {f"p{percent}": percentile(latencies, percent) for percent in (50, 95)},
        **_tokens(suite, answered),
        "failures": [_failure(result) for result in results if not result["passed"]][:MAX_FAILURES],
        "error": redact(error, MAX_REASON * 3) if error else None,
    }


def _rates(outcomes: CaseOutcomes) -> dict[str, Any]:
    """Return pass rate and score, 0 to 1, with their 95 % intervals."""
    if not outcomes.outcomes:
        return dict.fromkeys(("passed", "pass_rate", "pass_rate_interval", "score", "score_interval"))
    return {
        "passed": sum(outcome.passed for outcome in outcomes.outcomes.values()),
        "pass_rate": round(outcomes.pass_rate, 6),
        "pass_rate_interval": [round(bound, 4) for bound in outcomes.pass_rate_interval],
        "score": round(outcomes.score, 6),
        "score_interval": [round(bound, 4) for bound in outcomes.score_interval],
    }


def _tokens(suite: Suite, answered: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the tokens, and their cost when the suite has prices and every response has token counts."""
    counts = {}
    for kind in ("prompt", "output"):
        given = [result[f"{kind}_tokens"] for result in answered]
        counts[kind] = sum(given) if given and None not in given else None
    cost = None
    if suite.prices and counts["prompt"] is not None and counts["output"] is not None:
        amount = (counts["prompt"] * suite.prices.input + counts["output"] * suite.prices.output) / MILLION
        cost = {"amount": round(amount, 6), "currency": suite.prices.currency}
    return {"tokens": counts, "cost": cost}


def _failure(result: Mapping[str, Any]) -> dict[str, str]:
    reason = result["error"] or "; ".join(each["reason"] for each in result["verdicts"] if not each["passed"])
    return {"id": shorten(result["case_id"], MAX_ID), "reason": shorten(reason, MAX_REASON)}
