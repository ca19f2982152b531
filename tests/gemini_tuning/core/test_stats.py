"""Expected values are scipy's or numpy's, or were worked out by hand."""

import math
import random

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from gemini_tuning.core.stats import (
    MAX_GROUPS,
    mcnemar_exact,
    paired_bootstrap,
    percentile,
    score_interval,
    weighted_mean,
    wilson_interval,
)

shares = st.floats(0, 1)
weights = st.floats(1e-6, 1e6)


def pairs(n: int, ups: int, downs: int, size: float = 1.0) -> list[float]:
    """n differences: so many up, so many down, the rest none, mixed."""
    differences = [size] * ups + [-size] * downs + [0.0] * (n - ups - downs)
    random.Random(1).shuffle(differences)
    return differences


# ------------------------------------------------------------------------------------------- shares


@given(st.integers(1, 20_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.sampled_from([0.8, 0.95]))
def test_wilson_is_scipys(case, confidence):
    passed, n = case
    theirs = stats.binomtest(passed, n).proportion_ci(confidence, method="wilson")
    assert wilson_interval(passed, n, confidence) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_wilson_by_hand():
    # z = 1.959964: (0.8 + z²/20 ± z·√(0.16/10 + z²/400)) / (1 + z²/10)
    assert wilson_interval(8, 10) == pytest.approx((0.490162, 0.943318), abs=1e-6)


def test_wilson_at_the_ends():
    low, high = wilson_interval(10, 10)
    assert (low, high) == (pytest.approx(0.722467, abs=1e-6), 1.0)  # 10 / (10 + z²)
    assert wilson_interval(0, 10) == pytest.approx((0.0, 1 - low))
    assert wilson_interval(0, 0) == (0.0, 1.0)


# ------------------------------------------------------------------------------------------- scores


@given(st.lists(st.booleans(), min_size=1, max_size=50), weights)
def test_with_equal_weights_the_interval_of_pass_and_fail_is_wilsons(passed, weight):
    ours = score_interval([float(p) for p in passed], [weight] * len(passed))
    assert ours == pytest.approx(wilson_interval(sum(passed), len(passed)), abs=1e-9)


def test_a_heavy_case_leaves_less_to_go_by():
    # (3 + 1)² / (9 + 1) = 1.6 cases; mean 3/4
    assert score_interval([1.0, 0.0], [3.0, 1.0]) == pytest.approx(wilson_interval(1.2, 1.6))


@given(st.lists(st.tuples(shares, weights), min_size=1, max_size=30), st.randoms())
def test_the_interval_holds_the_mean_and_knows_no_order(cases, rng):
    low, high = score_interval(*zip(*cases, strict=True))
    mean = weighted_mean(*zip(*cases, strict=True))
    assert 0 <= low <= mean + 1e-9
    assert mean - 1e-9 <= high <= 1
    rng.shuffle(cases)
    assert score_interval(*zip(*cases, strict=True)) == (low, high)


def test_no_score_says_nothing():
    assert score_interval([], []) == (0.0, 1.0)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    """Scores of 0, 0.5 and 1 with weights: of 400 samples the interval of at least 95 % holds the true mean."""
    rng = random.Random(7)
    held = 0
    for _ in range(400):
        scores = rng.choices([0.0, 0.5, 1.0], [0.2, 0.2, 0.6], k=60)
        low, high = score_interval(scores, rng.choices([1.0, 2.0, 5.0], k=60))
        held += low <= 0.7 <= high
    assert 0.95 <= held / 400 < 1


# ------------------------------------------------------------------------------------------ McNemar


@given(st.integers(0, 3_000), st.integers(0, 3_000))
def test_mcnemar_is_scipys_sign_test(b, c):
    theirs = stats.binomtest(min(b, c), b + c).pvalue if b + c else 1.0
    assert mcnemar_exact(b, c) == pytest.approx(theirs, rel=1e-9, abs=1e-300)
    assert mcnemar_exact(b, c) == mcnemar_exact(c, b)


@pytest.mark.parametrize(
    ("b", "c", "p"),
    [
        (0, 0, 1.0),
        (1, 0, 1.0),  # 2 · 1/2
        (5, 0, 0.0625),  # 2 · 1/32: five of five are not enough
        (6, 0, 0.03125),  # 2 · 1/64
        (8, 1, 0.0390625),  # 2 · (1 + 9)/512
        (7, 1, 0.0703125),  # 2 · (1 + 8)/256
        (10, 10, 1.0),
        (11, 10, 1.0),
    ],
)
def test_mcnemar_by_hand(b, c, p):
    assert mcnemar_exact(b, c) == p


@pytest.mark.parametrize(("b", "c"), [(5_200, 4_800), (10_150, 9_850), (6_000, 4_000)])
def test_mcnemar_of_thousands(b, c):
    assert mcnemar_exact(b, c) == pytest.approx(stats.binomtest(c, b + c).pvalue, rel=1e-7)


def test_mcnemar_of_a_certain_thing_is_no_error():
    assert mcnemar_exact(5_000, 0) == 0.0


# ---------------------------------------------------------------------------------------- bootstrap


def scipys_p(differences: list[float]) -> float:
    """The smallest two-sided level at which scipy's percentile interval leaves 0 out."""
    found = stats.bootstrap(
        (numpy.array(differences),), numpy.mean, n_resamples=9_999, method="percentile", rng=numpy.random.default_rng(3)
    )
    means = found.bootstrap_distribution
    return 2 * min((means <= 1e-12).mean(), (means >= -1e-12).mean())


def parts(n: int, shift: float, seed: int) -> list[float]:
    rng = random.Random(seed)
    return [rng.choice([0.5, 1.0, 3.0]) * (rng.gauss(shift, 0.4) if rng.random() < 0.5 else 0.0) for _ in range(n)]


@pytest.mark.parametrize(
    "differences",
    [pairs(100, 20, 10), pairs(100, 15, 14), pairs(400, 60, 40, 0.25), parts(50, 0.15, 1), parts(200, 0.05, 2)],
    ids=["20 to 10", "15 to 14", "60 to 40", "parts of 50", "parts of 200"],
)
def test_the_bootstrap_agrees_with_scipys(differences):
    assert paired_bootstrap(differences) == pytest.approx(scipys_p(differences), abs=0.03)


@pytest.mark.parametrize(
    "differences",
    [pairs(10_000, 530, 470), pairs(10_000, 560, 440), parts(1_319, 0.03, 5), parts(4_000, 0.02, 6)],
    ids=["530 to 470", "560 to 440", "1,319 parts", "4,000 parts"],
)
def test_groups_agree_with_the_normal_distribution_of_so_many(differences):
    """The sum of n draws has the mean Σx and the variance Σ(x - mean)²; of thousands it is as good as normal."""
    assert len(differences) > MAX_GROUPS
    z = sum(differences) / math.sqrt(len(differences) * numpy.var(differences))
    assert paired_bootstrap(differences) == pytest.approx(2 * stats.norm.sf(abs(z)), abs=0.03)


@given(st.lists(st.floats(-1, 1), max_size=20))
def test_a_p_value_is_one_and_has_no_side(differences):
    p = paired_bootstrap(differences, resamples=200)
    assert 0 < p <= 1
    assert p == paired_bootstrap([-d for d in differences], resamples=200)


@pytest.mark.parametrize(
    ("differences", "least"), [([1.0] * 4, 2 / 2**4), ([1.0] * 4 + [0.0] * 96, 2 / 2**4), ([0.3, 0.9], 0.5)]
)
def test_a_few_cases_are_never_certain(differences, least):
    """Every resample of four differences of one sign has that sign, as a coin would in one of eight times."""
    assert paired_bootstrap(differences) == least


def test_nothing_differs():
    assert paired_bootstrap([]) == paired_bootstrap([0.0] * 10) == paired_bootstrap([5.0, 0.0]) == 1.0


def test_what_cancels_out_is_nothing_in_spite_of_rounding():
    assert sum([0.1] * 3 + [-0.3]) != 0  # which is why sums that are nearly 0 count as 0
    assert paired_bootstrap([0.1, 0.2, -0.3] * 20) > 0.8


def test_one_heavy_case_does_not_decide():
    light = [-1e-6] * 20
    assert paired_bootstrap([1e6, *light]) > 0.3


def test_a_bootstrap_finds_something_where_there_is_nothing_as_often_as_it_says():
    rng = random.Random(11)
    found = sum(paired_bootstrap([rng.gauss(0, 1) for _ in range(80)], resamples=400) < 0.05 for _ in range(300))
    assert 0.02 <= found / 300 <= 0.08


# -------------------------------------------------------------------------------------- percentiles


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=60), st.integers(1, 100))
def test_a_percentile_is_numpys_inverted_cdf(values, percent):
    exact = numpy.percentile(values, percent, method="inverted_cdf")
    ours = percentile(values, percent)
    assert ours in values
    assert sum(value <= ours for value in values) * 100 >= percent * len(values)
    assert sum(value < ours for value in values) * 100 < percent * len(values)
    assert ours == pytest.approx(exact) or percent * len(values) % 100 == 0  # where numpy's own product is rounded


@pytest.mark.parametrize(
    ("count", "percent", "expected"), [(20, 95, 19), (21, 95, 20), (6, 95, 6), (6, 50, 3), (5, 50, 3), (1, 95, 1)]
)
def test_a_percentile_by_hand(count, percent, expected):
    assert percentile(list(range(count, 0, -1)), percent) == expected


def test_no_values_have_no_percentile():
    assert percentile([], 95) is None
