"""Assertions on how near the answer comes to a text or a number. Pure."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING

from gemini_tuning.core.resources import ModelResponse
from gemini_tuning.smoke.checks import numbers, similarity
from gemini_tuning.smoke.checks.findings import Finding, UndecidedError, short

if TYPE_CHECKING:
    from gemini_tuning.smoke.assertions import Assertion

MAX_DISTANCE = 5  # edits, when a suite does not say; promptfoo's default
MIN_MEASURE = 0.75  # when a suite does not say; promptfoo's default for rouge-n


def number_equals(assertion: Assertion, answer: ModelResponse, _: object) -> Finding:
    """Whether the answer's final number is the value's, within the tolerance."""
    expected = numbers.expected_number(assertion.value)
    if expected is None:
        raise UndecidedError(f"there is no number in {short(assertion.value)}")
    found = numbers.final_number(answer.text)
    if found is None:
        return Finding(False, "there is no number in the answer")
    off = abs(found - expected)
    wanted = f"{_written(expected)}{_within(numbers.allowed(expected, assertion.tolerance))}"
    holds = off <= numbers.allowed(expected, assertion.tolerance)
    return Finding(holds, f"the final number {_written(found)} is {'' if holds else 'not '}{wanted}")


def levenshtein(assertion: Assertion, answer: ModelResponse, _: object) -> Finding:
    """Whether at most so many characters have to be changed to make the value of the answer."""
    most = MAX_DISTANCE if assertion.threshold is None else int(assertion.threshold)
    distance = similarity.edit_distance(answer.text.strip(), str(assertion.value).strip(), most)
    if distance > most:
        return Finding(False, f"more than {most} edits away from {short(assertion.value)}")
    return Finding(True, f"{distance} edits away from {short(assertion.value)}, at most {most}")


def measured(measure: Callable[[str, str], float]) -> Callable[[Assertion, ModelResponse, object], Finding]:
    """Return a check that a measure of value and answer reaches the threshold; the measure is the score."""

    def check(assertion: Assertion, answer: ModelResponse, _: object) -> Finding:
        least = MIN_MEASURE if assertion.threshold is None else assertion.threshold
        try:
            got = measure(str(assertion.value), answer.text)
        except similarity.TooLongError as error:
            raise UndecidedError(str(error)) from error
        return Finding(got >= least, f"{got:.3f}, {'at least' if got >= least else 'less than'} {least:g}", got)

    return check


def number_problem(value: object) -> str | None:
    """Return why a value is no number to compare with, or ``None``."""
    return f"expected a number, not {short(value)}" if numbers.expected_number(value) is None else None


def words_problem(value: object) -> str | None:
    """Return why a value cannot be measured against, or ``None``."""
    if isinstance(value, str) and similarity.has_words(value):
        return None
    return f"expected a text with words, not {short(value)}"


def _written(number: Fraction) -> str:
    return str(number.numerator) if number.denominator == 1 else f"{float(number):.12g}"


def _within(tolerance: Fraction) -> str:
    return f" within {_written(tolerance)}" if tolerance else ""
