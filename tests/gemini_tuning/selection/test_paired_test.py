"""Two checkpoints over the same cases, by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemini_tuning.selection.paired_test import BOOTSTRAP, MCNEMAR, Comparison, compare
from tests.gemini_tuning.selection.policy_examples import checkpoint


def of(one: str, other: str, **more) -> Comparison:
    return compare(checkpoint("1", one, **more), checkpoint("2", other, **more))


def test_pass_and_fail():
    """3 gained, 1 lost of 8: p = 2 · (1 + 4)/16 = 0.625."""
    assert of("11101100", "00011100", critical=(0, 3)) == Comparison(0.25, 0.625, MCNEMAR, 3, 1, ("c3",), 0.625)


def test_the_same_answers():
    assert of("1100", "1100") == Comparison(0.0, 1.0, MCNEMAR, 0, 0, (), 1.0)


def test_equal_weights_are_no_weights():
    assert of("111111", "000000", weights=(7,) * 6).p == of("111111", "000000").p == 0.03125


@pytest.mark.parametrize(
    ("one", "other", "weights", "method"),
    [
        ("1111", "0000", (1, 1, 1, 2), BOOTSTRAP),  # by weight
        ("1111", "0001", (1, 1, 1, 2), MCNEMAR),  # those that differ weigh the same
        ("11h0", "0000", None, BOOTSTRAP),  # by part marks
        ("hhh0", "0000", None, MCNEMAR),  # part marks, but all that differ differ by as much
        ("1h", "h0", None, MCNEMAR),
    ],
)
def test_the_method(one, other, weights, method):
    assert of(one, other, weights=weights).method == method


def test_part_marks_that_pass_nothing_have_no_say_in_passes():
    """6 of 6 by score, p = 1/32; no case passed more, p = 1."""
    found = of("hhhhhh", "000000")
    assert (found.difference, found.p, found.gained, found.passes_p) == (0.5, 0.03125, 0, 1.0)
    assert found.is_better(0.05)


def test_the_careful_side():
    """A significantly higher score (50 half marks more, 6 whole ones less) with 6 passes lost (p = 1/32)."""
    found = of("h" * 50 + "0" * 6, "0" * 50 + "1" * 6)
    assert found.difference > 0
    assert found.p < 0.01
    assert (found.passes_p, found.lost) == (0.03125, 6)
    assert not found.is_better(0.05)
    assert found.passes_fewer(0.05)
    assert found.is_better(0.03125)
    assert not found.passes_fewer(0.03125)


def test_weights_decide_over_numbers():
    """Two cases of 100 against six of 1: for McNemar it is six to two, by weight two hundred to six."""
    found = of("11000000", "00111111", weights=(100, 100, 1, 1, 1, 1, 1, 1))
    assert (found.gained, found.lost) == (2, 6)
    assert found.difference == pytest.approx(194 / 206, abs=1e-9)
    assert not found.passes_fewer(0.05)


@given(
    st.integers(1, 40).flatmap(lambda n: st.tuples(*[st.text("01hH", min_size=n, max_size=n)] * 2)),
    st.floats(0.01, 0.5),
)
def test_the_other_way_round(pair, significance):
    there, back = of(*pair), of(*reversed(pair))
    assert (there.difference, there.p, there.method) == (-back.difference, back.p, back.method)
    assert (there.gained, there.lost, there.passes_p) == (back.lost, back.gained, back.passes_p)
    assert not (there.is_better(significance) and back.is_better(significance))
    assert not (there.is_better(significance) and there.passes_fewer(significance))
