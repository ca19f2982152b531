"""The gates: what a checkpoint must have shown to be eligible.

Each gate returns a finding with its figures. A checkpoint with a disqualifying finding cannot win, regardless of its
score, and an approver cannot choose it either.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

from gemini_tuning.core.exceptions import InvalidInputError
from gemini_tuning.core.formatting import counted, distinct, milliseconds, names, percent, points
from gemini_tuning.core.text import short_repr
from gemini_tuning.selection.candidate import Candidate
from gemini_tuning.selection.paired_test import Comparison


@dataclass(frozen=True)
class Policy:
    """Requirements for a checkpoint; raises InvalidInputError, which names the field.

    The significance is not corrected for the number of checkpoints, whose responses are much alike; for more certainty
    set it lower.
    """

    min_pass_rate: float = 0.8  # 0 to 1, weighted share of the cases
    max_latency_p95_ms: float | None = None  # milliseconds; None: no limit
    allow_blocked: bool = False  # whether responses that the service blocked are acceptable
    significance: float = 0.05  # 0 to 1, both exclusive; a difference with a smaller two-sided p-value is significant
    require_improvement: bool = False  # whether a checkpoint must be significantly better than the champion

    def __post_init__(self) -> None:
        if not 0 <= self.min_pass_rate <= 1:
            raise self._out_of_range("min_pass_rate", "between 0 and 1")
        if not 0 < self.significance < 1:
            raise self._out_of_range("significance", "between 0 and 1, for example 0.05")
        if self.max_latency_p95_ms is not None and not 0 < self.max_latency_p95_ms < math.inf:
            raise self._out_of_range("max_latency_p95_ms", "above 0")

    def _out_of_range(self, field: str, allowed: str) -> InvalidInputError:
        value = short_repr(getattr(self, field))
        return InvalidInputError(f"{field} must be {allowed}, not {value}.", field=field, code="out_of_range")


@dataclass(frozen=True)
class GateFinding:
    """A finding about a checkpoint."""

    text: str  # a short sentence without its subject: "passes 91.2% …"
    is_favorable: bool
    is_disqualifying: bool = False  # whether the checkpoint is rejected because of it


favorable = partial(GateFinding, is_favorable=True)
unfavorable = partial(GateFinding, is_favorable=False)
disqualifying = partial(GateFinding, is_favorable=False, is_disqualifying=True)


def own_gates(candidate: Candidate, policy: Policy) -> list[GateFinding]:
    """Check a checkpoint, or the champion, against the policy."""
    if not candidate.was_tested:
        return [disqualifying(f"could not be tested: {candidate.failure}")]
    figures = _critical(candidate), _latency(candidate, policy), _blocked(candidate, policy)
    found = (_pass_rate(candidate, policy), *figures)
    return [finding for finding in found if finding is not None]


def champion_gates(champion: Candidate, policy: Policy, versus: Comparison | None) -> list[GateFinding]:
    """Check that a checkpoint is better than the champion; ``versus`` is ``None`` when one was not tested."""
    if not champion.was_tested:
        return [disqualifying("cannot be shown to be better than the champion, which could not be tested")]
    if versus is None:
        return []  # the checkpoint could not be tested and is rejected already
    found = [_score(versus, policy)]
    if versus.lost_critical:
        cases = names(versus.lost_critical)
        found.append(disqualifying(f"fails critical {_cases(versus.lost_critical)} that the champion passes: {cases}"))
    if versus.difference > 0 and versus.passes_fewer(policy.significance):
        figures = f"loses {versus.lost:,}, gains {versus.gained:,} ({versus.passes_test})"
        found.append(disqualifying(f"passes significantly fewer cases than the champion: {figures}"))
    return found


def _pass_rate(candidate: Candidate, policy: Policy) -> GateFinding:
    low, high = candidate.pass_rate_interval
    rate, minimum = distinct(candidate.pass_rate, policy.min_pass_rate, percent, 1)
    score = "" if candidate.score == candidate.pass_rate else f", score {candidate.score:.3f}"
    text = f"passes {rate} (95%: {percent(low)} to {percent(high)}){score}; "
    if candidate.pass_rate >= policy.min_pass_rate:
        return favorable(f"{text}minimum {minimum}")
    return disqualifying(f"{text}below the minimum {minimum}")


def _critical(candidate: Candidate) -> GateFinding | None:
    failed = candidate.failed_critical
    if failed:
        return disqualifying(f"fails critical {_cases(failed)}: {names(failed)}")
    critical = sum(outcome.critical for outcome in candidate.outcomes.values())
    return favorable(f"passes all critical cases ({critical:,})") if critical else None


def _latency(candidate: Candidate, policy: Policy) -> GateFinding | None:
    latency, limit = candidate.latency_p95_ms, policy.max_latency_p95_ms
    if limit is None:
        return None if latency is None else favorable(f"p95 latency {milliseconds(latency)}")
    if latency is None:
        return disqualifying(f"p95 latency unknown; the limit is {milliseconds(limit)}")
    measured, allowed = distinct(latency, limit, milliseconds, 0)
    if latency > limit:
        return disqualifying(f"p95 latency {measured}, above the limit {allowed}")
    return favorable(f"p95 latency {measured}, limit {allowed}")


def _blocked(candidate: Candidate, policy: Policy) -> GateFinding | None:
    if not candidate.blocked:
        return None
    allowed = " (allowed)" if policy.allow_blocked else ""
    responses = counted(len(candidate.blocked), "response")
    text = f"{responses} blocked by the service{allowed}: {names(candidate.blocked)}"
    return unfavorable(text, is_disqualifying=not policy.allow_blocked)


def _score(versus: Comparison, policy: Policy) -> GateFinding:
    difference, test = points(versus.difference), versus.test
    if versus.difference == 0:
        return disqualifying("scores the same as the champion, which wins ties")
    if versus.difference < 0:
        significantly = "significantly " if versus.p < policy.significance else ""
        return disqualifying(f"scores {significantly}less than the champion, by {difference} ({test})")
    if versus.p < policy.significance:
        return favorable(f"beats the champion significantly, by {difference} ({test})")
    text = f"beats the champion by {difference}, but not significantly ({test})"
    if policy.require_improvement:
        return disqualifying(f"{text}, as is required")
    return favorable(text)


def _cases(ids: tuple[str, ...]) -> str:
    return "case" if len(ids) == 1 else f"cases ({len(ids):,})"
