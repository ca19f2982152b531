"""What a checkpoint must have shown to be chosen at all. Pure.

Each gate is a function that says what it found, in words with figures. A checkpoint that one of them bars cannot win,
whatever its score, and a person can't pick it either.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from gemini_tuning.core.text import short_repr
from gemini_tuning.selection.candidate import Candidate
from gemini_tuning.selection.figures import (
    apart,
    counted,
    milliseconds,
    names,
    p_value,
    percent,
    points,
    tested,
    why_not_asked,
)
from gemini_tuning.selection.paired_test import Comparison


@dataclass(frozen=True)
class Policy:
    """What ops ask of a checkpoint.

    :param min_pass_rate: 0 to 1, share of the cases by weight.
    :param max_latency_p95_ms: milliseconds; ``None`` for no limit.
    :param allow_blocked: whether an answer that the service held back is no reason against a checkpoint.
    :param significance: 0 to 1, both exclusive; a difference with a smaller two-sided p-value counts as one. It is not
        corrected for the number of checkpoints, whose answers are much alike; who wants to be surer sets it lower.
    :param require_improvement: whether a checkpoint must be significantly better than the champion.
    :raises ValueError: naming the field.
    """

    min_pass_rate: float = 0.8
    max_latency_p95_ms: float | None = None
    allow_blocked: bool = False
    significance: float = 0.05
    require_improvement: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.min_pass_rate <= 1:
            raise ValueError(f"min_pass_rate: {short_repr(self.min_pass_rate)} is not between 0 and 1")
        if not 0 < self.significance < 1:
            raise ValueError(f"significance: {short_repr(self.significance)} is not between 0 and 1, such as 0.05")
        if self.max_latency_p95_ms is not None and not 0 < self.max_latency_p95_ms < math.inf:
            raise ValueError(f"max_latency_p95_ms: {short_repr(self.max_latency_p95_ms)} is not above 0")


@dataclass(frozen=True)
class Finding:
    """Something that was found about a checkpoint.

    :param text: a short sentence without its subject: ``passes 91.2% …``.
    :param good: whether it speaks for the checkpoint.
    :param bars: whether it keeps the checkpoint from being chosen.
    """

    text: str
    good: bool
    bars: bool = False


def own_gates(contender: Candidate, policy: Policy) -> list[Finding]:
    """Hold a checkpoint, or the champion, against the policy."""
    if not contender.asked:
        return [Finding(f"could not be asked: {why_not_asked(contender)}", good=False, bars=True)]
    found = (
        _pass_rate(contender, policy),
        _critical(contender),
        _latency(contender, policy),
        _blocked(contender, policy),
    )
    return [finding for finding in found if finding is not None]


def champion_gates(champion: Candidate, policy: Policy, versus: Comparison | None) -> list[Finding]:
    """Hold a checkpoint against the champion: better than it, or not at all.

    :param versus: the checkpoint compared with the champion; ``None`` when one of them could not be asked.
    """
    if not champion.asked:
        text = "cannot be shown to be better than the champion, which could not be asked"
        return [Finding(text, good=False, bars=True)]
    if versus is None:
        return []  # the checkpoint could not be asked, which bars it already
    found = [_score_against(versus, policy)]
    if versus.lost_critical:
        text = f"fails critical {_cases(versus.lost_critical)} that the champion passes: {names(versus.lost_critical)}"
        found.append(Finding(text, good=False, bars=True))
    if versus.difference > 0 and versus.passes_fewer(policy.significance):
        text = (
            f"passes significantly fewer cases than the champion: loses {versus.lost:,}, gains {versus.gained:,} "
            f"({p_value(versus.passes_p)}, exact McNemar)"
        )
        found.append(Finding(text, good=False, bars=True))
    return found


def _pass_rate(contender: Candidate, policy: Policy) -> Finding:
    low, high = contender.pass_rate_interval
    rate, minimum = apart(contender.pass_rate, policy.min_pass_rate, percent, 1)
    score = "" if contender.score == contender.pass_rate else f", score {contender.score:.3f}"
    enough = contender.pass_rate >= policy.min_pass_rate
    limit = f"minimum {minimum}" if enough else f"below the minimum {minimum}"
    text = f"passes {rate} (95%: {percent(low)} to {percent(high)}){score}; {limit}"
    return Finding(text, good=enough, bars=not enough)


def _critical(contender: Candidate) -> Finding | None:
    failed = contender.failed_critical
    if failed:
        return Finding(f"fails critical {_cases(failed)}: {names(failed)}", good=False, bars=True)
    critical = sum(outcome.critical for outcome in contender.outcomes.values())
    return Finding(f"passes all critical cases ({critical:,})", good=True) if critical else None


def _latency(contender: Candidate, policy: Policy) -> Finding | None:
    latency, limit = contender.latency_p95_ms, policy.max_latency_p95_ms
    if limit is None:
        return None if latency is None else Finding(f"p95 latency {milliseconds(latency)}", good=True)
    if latency is None:
        return Finding(f"p95 latency not known; the limit is {milliseconds(limit)}", good=False, bars=True)
    ours, theirs = apart(latency, limit, milliseconds, 0)
    if latency > limit:
        return Finding(f"p95 latency {ours}, above the limit {theirs}", good=False, bars=True)
    return Finding(f"p95 latency {ours}, limit {theirs}", good=True)


def _blocked(contender: Candidate, policy: Policy) -> Finding | None:
    if not contender.blocked:
        return None
    allowed = " (allowed)" if policy.allow_blocked else ""
    text = f"{counted(len(contender.blocked), 'answer')} blocked by the service{allowed}: {names(contender.blocked)}"
    return Finding(text, good=False, bars=not policy.allow_blocked)


def _score_against(versus: Comparison, policy: Policy) -> Finding:
    by, how = points(versus.difference), tested(versus)
    if versus.difference == 0:
        return Finding("scores the same as the champion, which wins ties", good=False, bars=True)
    if versus.difference < 0:
        significantly = "significantly " if versus.p < policy.significance else ""
        return Finding(f"scores {significantly}less than the champion, by {by} ({how})", good=False, bars=True)
    if versus.p < policy.significance:
        return Finding(f"beats the champion significantly, by {by} ({how})", good=True)
    text = f"beats the champion by {by}, but not significantly ({how})"
    if policy.require_improvement:
        return Finding(f"{text}, as is required", good=False, bars=True)
    return Finding(text, good=True)


def _cases(ids: tuple[str, ...]) -> str:
    return "case" if len(ids) == 1 else f"cases ({len(ids):,})"
