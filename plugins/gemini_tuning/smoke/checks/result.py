"""The result of a check, before ``not-`` is applied, and the short form of values in its reason."""

from __future__ import annotations

import json
from dataclasses import dataclass

from gemini_tuning.core.text import short_repr

MAX_SHOWN = 80  # characters of a value


class UndecidedError(Exception):
    """It cannot be decided whether the assertion holds, so neither it nor its ``not-`` form passes."""


@dataclass(frozen=True)
class CheckResult:
    """The result of a check."""

    holds: bool  # whether the assertion holds, without its not-
    reason: str  # what was found in the answer; true for both forms
    score: float | None = None  # 0 to 1; None: 1 when it holds, else 0


def short(value: object) -> str:
    """Return a value as JSON, cut to :data:`MAX_SHOWN`."""
    if isinstance(value, str):
        value = value[: 2 * MAX_SHOWN]  # a huge answer need not be encoded to be cut
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError):  # keys that are not texts, ints of 5,000 digits
        return short_repr(value)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."
