"""Which number a text ends with: by hand."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemini_tuning.smoke.checks.numbers import allowed, expected_number, final_number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("18", 18),
        ("18.", 18),
        ("18.00", 18),
        ("$18", 18),
        ("€ 18,", 18),
        ("**18**", 18),
        ("__18__", 18),
        ("...18", 18),
        (r"$\boxed{18}$", 18),
        ("#### 18", 18),
        ("18km", 18),
        ("1,234.50", Fraction(2469, 2)),
        ("1,234,567", 1_234_567),
        (r"\$1{,}080", 1080),
        ("1,2,3", 3),
        ("1,234,5678", 5678),
        (".5", Fraction(1, 2)),
        ("-.5", Fraction(-1, 2)),
        ("-3", -3),
        ("\u22123", -3),
        ("\u20133", -3),
        ("-$3", -3),
        ("$-3", -3),
        ("(-3)", -3),
        ("x=-3", -3),
        ("10-3", 3),
        ("(10)-3", 3),
        ("10 - 3", 3),
        ("2026-11-05", 5),
        ("50%", 50),
        ("1e3", 1000),
        ("1.5E-2", Fraction(3, 200)),
        ("3/4", Fraction(3, 4)),
        ("-3/4", Fraction(-3, 4)),
        ("1 1/2", Fraction(3, 2)),
        ("12/4 = 3", 3),
        ("1/2/2026", 2026),
        ("1.2.3", Fraction(6, 5)),
        ("at 11:30.", 30),
        ("18 litres of CO2", 18),
        ("the answer is 18, as in v1.2", 18),
        ("", None),
        ("eighteen", None),
        ("CO2", None),
        ("6/0", None),
        ("9" * 101, None),
        ("1e9999", None),
    ],
)
def test_the_final_number(text, number):
    assert final_number(text) == number


@given(st.text(alphabet=st.sampled_from("0123456789.,-/ e$%ab{}\u2212"), max_size=40))
def test_any_text_has_a_number_or_none(text):
    number = final_number(text)
    assert number is None or isinstance(number, int | Fraction)


@given(st.integers(-(10**12), 10**12))
def test_a_number_is_found_as_it_is_written(number):
    for text in (f"{number}", f"{number:,}", f"1 + 1 = {number:,}.", f"so, ${number:,}!"):
        assert final_number(text) == number


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e15, max_value=1e15))
def test_a_float_means_what_it_says(number):
    assert expected_number(number) == Fraction(repr(number))
    assert final_number(f"{number!r}") == Fraction(repr(number))


@pytest.mark.parametrize("value", [None, True, [1], "none"])
def test_what_is_no_number(value):
    assert expected_number(value) is None


@pytest.mark.parametrize(
    ("tolerance", "expected"),
    [
        (None, 0),
        (0.1, Fraction(1, 10)),
        ({"absolute": 1}, 1),
        ({"relative": 0.01}, 2),
        ({"absolute": 3, "relative": 0.01}, 3),
        ({"absolute": 1, "relative": 0.01}, 2),
    ],
)
def test_how_far_off_200_may_be(tolerance, expected):
    assert allowed(Fraction(-200), tolerance) == expected
