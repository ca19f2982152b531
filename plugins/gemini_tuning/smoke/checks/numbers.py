"""The number that a text ends with, as people and models write numbers. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction

MAX_LENGTH = 100  # characters of a number that is read
MAX_POWER = 999  # of ten
# Not within a word (CO2) and not the second half of 1.2.3. 1/2 and 1 1/2 are fractions, 1/2/2026 is none.
_NUMBER = re.compile(
    r"(?<![^\W_])(?<![^\W_]\.)(?:"
    r"(?<!/)(?:(?P<whole>[0-9]{1,9}) )?(?P<top>[0-9]{1,9})/(?P<bottom>[0-9]{1,9})(?![/0-9]|\.[0-9])"
    r"|(?P<decimal>(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|(?<!\.)\.[0-9]+)"
    r"(?P<power>[eE][-+]?[0-9]+(?![^\W_]))?)"
)
# A minus belongs to the number unless something stands right before it: 10-3 ends with 3.
_MINUS = re.compile(r"(?<![^\W_])(?<![)\]])[-\u2212\u2013][$€£¥]?\Z")


def final_number(text: str) -> Fraction | None:
    """Return the last number of a text exactly, or ``None`` when there is none that can be read.

    Read are ``1,234.50``, ``$18``, ``-3``, ``50%`` (as 50), ``1.5e3``, ``3/4`` and ``1 1/2``; the point is the decimal
    sign. Not read are words and ``1.234,50``.
    """
    plain = text.replace("{,}", ",")  # as LaTeX writes thousands
    last = None
    for last in _NUMBER.finditer(plain):  # noqa: B007 - the last one is wanted
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
    """Return the number that an assertion's value means: itself, or the last one of a text."""
    if isinstance(value, str):
        return final_number(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return Fraction(repr(value))  # 0.1 is a tenth, as it was written
        except (ValueError, OverflowError):  # not finite, or an int of 5,000 digits
            return None
    return None


def allowed(expected: Fraction, tolerance: float | Mapping[str, float] | None) -> Fraction:
    """Return how far off a number may be.

    :param tolerance: absolute, or ``{"absolute", "relative"}``, of which the wider one counts; ``relative`` is a share
        of the expected number.
    """
    given = tolerance if isinstance(tolerance, Mapping) else {"absolute": tolerance or 0}
    absolute, relative = (Fraction(repr(given.get(name, 0))) for name in ("absolute", "relative"))
    return max(absolute, relative * abs(expected))
