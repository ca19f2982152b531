"""What a case's verdicts come to, and what its fingerprint sees: by hand."""

from dataclasses import replace

import pytest

from gemini_tuning.core.model_response import ModelResponse
from gemini_tuning.smoke.assertions import Assertion, Verdict
from gemini_tuning.smoke.cases import Case, Grade, single_turn

A = Assertion("contains", "x")
CASE = Case("a", single_turn("Hi"), (A, replace(A, weight=3.0)))


def verdicts(*pairs: tuple[bool, float]) -> list[Verdict]:
    return [Verdict("t", passed, score, "") for passed, score in pairs]


@pytest.mark.parametrize(
    ("threshold", "given", "passed", "score"),
    [
        (None, [(True, 1), (True, 1)], True, 1),
        (None, [(False, 0), (True, 1)], False, 0),
        (None, [(True, 0.8), (False, 0.4)], False, 0),
        (0.75, [(False, 0), (True, 1)], True, 0.75),
        (0.76, [(False, 0), (True, 1)], False, 0.75),
        (0.0, [(False, 0), (False, 0)], True, 0),
        (1.0, [(True, 1), (True, 0.9)], False, 0.925),
    ],
)
def test_the_grade(threshold, given, passed, score):
    grade = replace(CASE, threshold=threshold).grade(verdicts(*given))
    assert (grade.passed, grade.score) == (passed, pytest.approx(score))


def test_a_threshold_is_reached_in_spite_of_how_floats_add_up():
    case = Case(
        "a", single_turn("Hi"), (A,) * 10, threshold=0.3
    )  # 0.1 * 3 is a bit more than 0.3, and 3 / 10 a bit less
    assert case.grade(verdicts(*[(True, 1.0)] * 3, *[(False, 0.0)] * 7)) == Grade(True, 0.3)
    weighted = Case("a", single_turn("Hi"), (replace(A, weight=0.1), replace(A, weight=0.2), A), threshold=0.3 / 1.3)
    assert weighted.grade(verdicts((True, 1.0), (True, 1.0), (False, 0.0))).passed


def test_a_verdict_is_missing():
    with pytest.raises(ValueError, match="shorter"):
        CASE.grade(verdicts((True, 1)))


def test_verdicts_of_real_checks():
    case = Case("a", single_turn("Hi"), (A, Assertion("rouge-l", "police killed the gunman")), threshold=0.7)
    answer = ModelResponse("police kill the gunman, x", 0.1)  # LCS 3 of 4 and 5 words: 6/9
    grade = case.grade([assertion.check(answer) for assertion in case.assertions])
    assert grade == Grade(True, pytest.approx((1 + 2 / 3) / 2))


SEEN = {
    "contents": single_turn("Ho"),
    "assertions": (A,),
    "system_instruction": "Be kind.",
    "temperature": None,
    "max_output_tokens": 5,
    "threshold": 0.5,
}
UNSEEN = {"id": "b", "weight": 2.0, "critical": True, "repeat": 5, "vars": {"a": "b"}}


@pytest.mark.parametrize("key", SEEN)
def test_a_fingerprint_sees_what_is_asked_and_how_it_is_judged(key):
    assert replace(CASE, **{key: SEEN[key]}).fingerprint != CASE.fingerprint


@pytest.mark.parametrize("key", UNSEEN)
def test_a_fingerprint_does_not_see_how_much_the_case_counts(key):
    assert replace(CASE, **{key: UNSEEN[key]}).fingerprint == CASE.fingerprint


@pytest.mark.parametrize(
    "other", [Assertion("icontains", "x"), Assertion("contains", "y"), replace(A, weight=2), replace(A, threshold=0.1)]
)
def test_a_fingerprint_sees_every_field_of_an_assertion(other):
    assert replace(CASE, assertions=(other,)).fingerprint != replace(CASE, assertions=(A,)).fingerprint


def test_a_function_of_the_users_own_sees_all_vars_and_so_does_the_fingerprint():
    case = replace(CASE, assertions=(Assertion("python", "a.b"),), vars={"a": "1"})
    assert replace(case, vars={"a": "2"}).fingerprint != case.fingerprint


def test_a_fingerprint_stays_the_same_between_releases():
    assert CASE.fingerprint == "1323d8433c875b91"  # or no answer of a run that is going on would be found again
