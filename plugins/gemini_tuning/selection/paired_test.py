"""Is the one better than the other? Paired over the same cases. Pure.

The score decides, so the score is tested:

- Where all cases that differ count the same, as with pass and fail and equal weights, with McNemar's exact test.
- Otherwise, with part marks or weights, by a paired bootstrap of the weighted differences. McNemar's test would not do:
  it knows no weights and no part marks, so it could call significant what the score has the other way round.

Passes are tested besides, by McNemar, as the two can differ: a checkpoint may gain part marks in many cases and lose
whole ones. The careful side wins. To be *better* takes a significantly higher score without significantly fewer passes;
to be *worse* either is enough. What is neither is a tie.
"""

from __future__ import annotations

from dataclasses import dataclass

from gemini_tuning.core.stats import mcnemar_exact, paired_bootstrap
from gemini_tuning.selection.candidate import Candidate, CaseOutcome

MCNEMAR, BOOTSTRAP = "exact McNemar", "paired bootstrap"
_DIGITS = 9  # see evidence


@dataclass(frozen=True)
class Comparison:
    """The one against the other over the same cases.

    :param difference: the one's score less the other's, -1 to 1.
    :param p: two-sided p-value of that difference.
    :param method: how it was tested.
    :param gained: cases that only the one passes.
    :param lost: cases that only the other passes.
    :param lost_critical: ids of the critical ones among them.
    :param passes_p: two-sided p-value of gained against lost.
    """

    difference: float
    p: float
    method: str
    gained: int
    lost: int
    lost_critical: tuple[str, ...]
    passes_p: float

    def is_better(self, significance: float) -> bool:
        """Whether the one is significantly better."""
        return self.difference > 0 and self.p < significance and not self.passes_fewer(significance)

    def is_worse(self, significance: float) -> bool:
        """Whether the one is significantly worse, by score or by passes."""
        return (self.difference < 0 and self.p < significance) or self.passes_fewer(significance)

    def passes_fewer(self, significance: float) -> bool:
        """Whether the one passes significantly fewer cases, whatever they weigh."""
        return self.lost > self.gained and self.passes_p < significance


def compare(one: Candidate, other: Candidate) -> Comparison:
    """Compare two that answered the same cases."""
    pairs = [(one.outcomes[case], other.outcomes[case]) for case in one.cases]
    p, method = _test([_difference(*pair) for pair in pairs])
    gained = sum(a.passed and not b.passed for a, b in pairs)
    lost = [case for case in one.cases if other.outcomes[case].passed and not one.outcomes[case].passed]
    return Comparison(
        difference=round(one.score - other.score, _DIGITS),
        p=p,
        method=method,
        gained=gained,
        lost=len(lost),
        lost_critical=tuple(case for case in lost if one.outcomes[case].critical),
        passes_p=mcnemar_exact(gained, len(lost)),
    )


def _difference(one: CaseOutcome, other: CaseOutcome) -> float:
    return round(one.score - other.score, _DIGITS) * one.weight


def _test(differences: list[float]) -> tuple[float, str]:
    sizes = {abs(difference) for difference in differences if difference}
    if len(sizes) > 1:
        return paired_bootstrap(differences), BOOTSTRAP
    more = sum(difference > 0 for difference in differences)
    return mcnemar_exact(more, sum(difference < 0 for difference in differences)), MCNEMAR
