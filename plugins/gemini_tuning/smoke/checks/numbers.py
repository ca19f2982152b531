"""The assertion on the last number of an answer, as people and models write numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import TYPE_CHECKING

from gemini_tuning.smoke.checks.result import CheckResult, Condition, UndecidedError, short

if TYPE_CHECKING:
    from gemini_tuning.core.model_response import ModelResponse

MAX_LENGTH = 100  # characters of a number that is read
MAX_POWER = 999  # of ten
# Not within a word (CO2) and not the second half of 1.2.3. 1/2 and 1 1/2 are fractions, 1/2/2026 is none.
_NUMBER = re.compile(
    r"(?<![^\W_])(?<![^\W_]\.)(?:"
    r"(?<!/)(?:(?P<whole>[0-9]{1,9}) )?(?P<top>[0-9]{1,9})/(?P<bottom>[0-9]{1,9})(?![/0-9]|\.[0-9])"
    r"|(?P<decimal>(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|(?<!\.)\.[0-9]+)"
    r"(?P<power>[eE][-+]?[0-9]+(?![^\W_]))?)"
)
# A minus belongs to the number unless a word or bracket comes right before it: 10-3 ends with 3.
_MINUS = re.compile(r"(?<![^\W_])(?<![)\]])[-\u2212\u2013][$€£¥]?\Z")


def number_equals(assertion: Condition, answer: ModelResponse, _: object) -> CheckResult:
    """Whether the answer's last number is the value's, within the tolerance."""
    if (expected := expected_number(assertion.value)) is None:
        raise UndecidedError(f"there is no number in {short(assertion.value)}")
    if (found := final_number(answer.text)) is None:
        return CheckResult(False, "there is no number in the answer")
    tolerance = allowed(expected, assertion.tolerance)
    holds = abs(found - expected) <= tolerance
    within = f" within {_format(tolerance)}" if tolerance else ""
    verb = "is" if holds else "is not"
    return CheckResult(holds, f"the final number {_format(found)} {verb} {_format(expected)}{within}")


def number_problem(value: object) -> str | None:
    """Return why a value is not a number to compare with, or ``None``."""
    return f"expected a number, not {short(value)}" if expected_number(value) is None else None


def final_number(text: str) -> Fraction | None:
    """Return the last number of a text exactly, or ``None`` without one that can be read.

    Read are ``1,234.50``, ``$18``, ``-3``, ``50%`` (as 50), ``1.5e3``, ``3/4`` and ``1 1/2``; the point is the decimal
    sign. Not read are numbers in words and ``1.234,50``.
    """
    plain = text.replace("{,}", ",")  # as LaTeX writes thousands
    last = None
    for last in _NUMBER.finditer(plain):  # noqa: B007 - only the last one counts
        pass
    if last is None or len(last[0]) > MAX_LENGTH:
        return None
    value = _value(last)
    minus = _MINUS.search(plain[max(0, last.start() - 3) : last.start()])
    return -value if value is not None and minus else value


def _value(match: re.Match[str]) -> Fraction | None:
    if match["decimal"]:
        power = match["power"] or ""
        if abs(int(power[1:] or 0)) > MAX_POWER:  # short enough to be read: the whole number is
            return None
        return Fraction(match["decimal"].replace(",", "") + power)
    if int(match["bottom"]) == 0:
        return None
    return int(match["whole"] or 0) + Fraction(int(match["top"]), int(match["bottom"]))


def expected_number(value: object) -> Fraction | None:
    """Return an assertion's value as a number: the value itself, or the last number of a text."""
    if isinstance(value, str):
        return final_number(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return Fraction(repr(value))  # 0.1 is a tenth, as it was written
        except ValueError:  # a number of 5,000 digits
            return None
    return None


def allowed(expected: Fraction, tolerance: float | Mapping[str, float] | None) -> Fraction:
    """Return how far off a number may be: of an absolute tolerance and a share of the number the wider one."""
    given = tolerance if isinstance(tolerance, Mapping) else {"absolute": tolerance or 0}
    absolute, relative = (Fraction(repr(given.get(name, 0))) for name in ("absolute", "relative"))
    return max(absolute, relative * abs(expected))


def _format(number: Fraction) -> str:
    return str(number.numerator) if number.denominator == 1 else f"{float(number):.12g}"
