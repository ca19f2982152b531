"""What a check compares an answer with, its result, and the short form of values in the reason."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gemini_tuning.core.text import short_repr

if TYPE_CHECKING:
    from gemini_tuning.core.model_response import ModelResponse

    Check = Callable[["Condition", ModelResponse, Mapping[str, str]], "CheckResult"]

MAX_SHOWN = 80  # characters of a value

Function = Callable[[str, dict[str, Any]], Any]  # of the user's own: the answer's text and the context


@dataclass(frozen=True)
class Condition:
    """What an answer is compared with."""

    type: str  # one of assertions.TYPES, or not- and one of them
    value: Any = None  # its kind depends on the type
    threshold: float | None = None  # edits for levenshtein, else a score from 0 to 1
    weight: float = 1.0  # of this assertion in the case's score
    tolerance: float | Mapping[str, float] | None = None  # of number-equals, see numbers.allowed
    function: Function | None = field(default=None, compare=False, repr=False)  # of python: the one that value names


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
