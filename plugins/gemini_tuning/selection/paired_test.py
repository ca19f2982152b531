"""Significance tests of two checkpoints over the same cases.

The score decides, so the score is tested:

- Where all cases that differ count the same, as with pass and fail and equal weights, with McNemar's exact test.
- Otherwise, with partial credit or weights, by a paired bootstrap of the weighted differences. McNemar's test ignores
  weights and partial credit, so it could find a significant difference in the opposite direction of the score.

Passes are tested too, by McNemar, because a checkpoint may gain partial credit in many cases and lose whole ones. The
stricter result counts: *better* requires a significantly higher score without significantly fewer passes. Anything else
is a tie.
"""

from __future__ import annotations

from dataclasses import dataclass

from gemini_tuning.core.formatting import p_value
from gemini_tuning.core.stats import mcnemar_exact, paired_bootstrap
from gemini_tuning.selection.candidate import Candidate

MCNEMAR, BOOTSTRAP = "exact McNemar", "paired bootstrap"
_DIGITS = 9  # see core.case_outcomes


@dataclass(frozen=True)
class Comparison:
    """Two checkpoints over the same cases; p-values are two-sided."""

    difference: float  # score of the first less that of the second, -1 to 1
    p: float  # of that difference
    method: str  # how it was tested
    gained: int  # number of cases that only the first passes
    lost: int  # number of cases that only the second passes
    lost_critical: tuple[str, ...]  # ids of the critical ones among them
    passes_p: float  # of gained against lost

    def is_better(self, significance: float) -> bool:
        """Whether the first is significantly better."""
        return self.difference > 0 and self.p < significance and not self.passes_fewer(significance)

    def passes_fewer(self, significance: float) -> bool:
        """Whether the first passes significantly fewer cases, regardless of their weight."""
        return self.lost > self.gained and self.passes_p < significance

    @property
    def test(self) -> str:
        """The test of the score: ``p = 0.0123, exact McNemar``."""
        return f"{p_value(self.p)}, {self.method}"

    @property
    def passes_test(self) -> str:
        """The test of the passes: ``p = 0.0123, exact McNemar``."""
        return f"{p_value(self.passes_p)}, {MCNEMAR}"


def compare(one: Candidate, other: Candidate) -> Comparison:
    """Compare two candidates that were tested with the same cases."""
    pairs = [(one.outcomes[case], other.outcomes[case]) for case in one.cases]
    p, method = _test([round(a.score - b.score, _DIGITS) * a.weight for a, b in pairs])
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


def _test(differences: list[float]) -> tuple[float, str]:
    sizes = {abs(difference) for difference in differences if difference}
    if len(sizes) > 1:
        return paired_bootstrap(differences), BOOTSTRAP
    more = sum(difference > 0 for difference in differences)
    return mcnemar_exact(more, sum(difference < 0 for difference in differences)), MCNEMAR
