"""Statistics of comparisons: intervals, paired tests, percentiles. All are deterministic.

Ten checkpoints over ten thousand cases are compared within seconds.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import itemgetter
from statistics import NormalDist

CONFIDENCE = 0.95
RESAMPLES = 2_000  # of a bootstrap: a p-value of 0.05 is known to about 0.01
MAX_GROUPS = 500  # more cases than these are drawn in groups
SEED = 5  # any number; a fixed one gives the same verdict for the same results


def weighted_mean(values: Sequence[float], weights: Sequence[float]) -> float:
    """Return the weighted mean of at least one value; it does not depend on the order of the values."""
    return math.fsum(v * w for v, w in zip(values, weights, strict=True)) / math.fsum(weights)


def wilson_interval(passed: float, n: float, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return Wilson's interval for a share (E. B. Wilson, 1927), without continuity correction; (0, 1) for 0 cases.

    Unlike mean ± 2 standard errors it stays within 0 and 1, and it does not shrink to a point when all pass.
    """
    if n <= 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = passed / n
    spread = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    middle = share + z * z / (2 * n)
    low = 0.0 if share <= 0 else max(0.0, (middle - spread) / scale)
    high = 1.0 if share >= 1 else min(1.0, (middle + spread) / scale)
    return low, high


def score_interval(scores: Sequence[float], weights: Sequence[float]) -> tuple[float, float]:
    """Return a 95 % interval for a weighted mean of scores between 0 and 1.

    Wilson's interval at that mean, with Kish's effective number of cases (Σw)²/Σw² in place of their number: with equal
    weights and scores of 0 and 1 it is Wilson's own. Partial credit varies less than zeros and ones of the same mean,
    so for it the interval is wider than necessary, never narrower.
    """
    if not scores:
        return 0.0, 1.0
    effective = math.fsum(weights) ** 2 / math.fsum(weight * weight for weight in weights)
    mean = min(1.0, weighted_mean(scores, weights))
    return wilson_interval(mean * effective, effective)


def mcnemar_exact(b: int, c: int) -> float:
    """Return the two-sided p-value of McNemar's exact test: the cases that differ, compared with a fair coin.

    Only the first passes ``b`` cases, only the second ``c``. It is computed with integers and exact for any number of
    cases; below 1e-308 it is 0.
    """
    n, fewer = b + c, min(b, c)
    if b == c:
        return 1.0
    ways = total = 1
    for k in range(fewer):
        ways = ways * (n - k) // (k + 1)
        total += ways
    return min(1.0, total / (1 << (n - 1)))


def paired_bootstrap(differences: Sequence[float], *, seed: int = SEED, resamples: int = RESAMPLES) -> float:
    """Return a two-sided p-value for the sum of paired differences being 0, by resampling the cases.

    It is twice the smaller share of the resamples whose sum is 0 or has the opposite sign: below 0.05 when the 95 %
    percentile interval excludes 0. The same differences give the same value, as do all signs inverted.

    - With few cases that differ, a bootstrap is too certain: 4 of 4 in favour give 0.04. The signs of m differences
      cannot be more significant than 2 in 2^m, so no smaller value is returned.
    - More than 500 cases are put at random into 500 groups, which are resampled instead. Neither the sum nor, to a few
      percent, its spread changes, and it takes milliseconds.

    A difference is a case's weight times that of its scores; their order must not depend on the results.
    """
    differing = sum(1 for difference in differences if difference)
    if differing < 2:
        return 1.0
    groups = _grouped(differences, seed)
    zero = 1e-9 * max(map(abs, groups))  # rounding errors of sums that cancel out
    sums = [sum(pick(groups)) for pick in _picks(len(groups), seed, resamples)]
    not_above = sum(1 for total in sums if total <= zero)
    not_below = sum(1 for total in sums if total >= -zero)
    share = (min(not_above, not_below) + 1) / (resamples + 1)  # + 1: the observed sum is one of the possible draws
    return min(1.0, max(2 * share, 2.0 ** (1 - differing)))


def _grouped(differences: Sequence[float], seed: int) -> tuple[float, ...]:
    if len(differences) <= MAX_GROUPS:
        return tuple(differences)
    mixed = _shuffle(len(differences), seed)(differences)
    return tuple(math.fsum(mixed[start::MAX_GROUPS]) for start in range(MAX_GROUPS))


@lru_cache(maxsize=1)  # all comparisons of a decision have the same number of cases
def _shuffle(count: int, seed: int) -> Callable[[Sequence[float]], tuple[float, ...]]:
    places = list(range(count))
    random.Random(seed).shuffle(places)  # noqa: S311 - statistics, no secret
    return itemgetter(*places)


@lru_cache(maxsize=1)
def _picks(count: int, seed: int, resamples: int) -> tuple[Callable[[Sequence[float]], tuple[float, ...]], ...]:
    places = list(range(count))
    draw = random.Random(seed)  # noqa: S311 - statistics, no secret
    return tuple(itemgetter(*draw.choices(places, k=count)) for _ in range(resamples))


def percentile(values: Sequence[float], percent: int) -> float | None:
    """Return the smallest value that at least ``percent`` % do not exceed, by nearest rank, without interpolation."""
    if not values:
        return None
    return sorted(values)[-(-percent * len(values) // 100) - 1]
