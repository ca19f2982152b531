"""Assertions on one answer. Pure: no Airflow, no Google client, no clock, no network.

The words are promptfoo's (https://www.promptfoo.dev/docs/configuration/expected-outputs/), so that people who know
it can read a suite. Each type has a form with the prefix ``not-``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from gemini_tuning.smoke import patterns, schemas
from gemini_tuning.wording import shortened, shown

NOT = "not-"
MAX_FAULT = 500  # characters
MAX_SHOWN = 80  # characters of a value
# A check that cannot be done is a failure also of its not- form: nobody knows whether it holds.
_UNDECIDED = (patterns.MatchTimeoutError, schemas.SchemaUnusableError)


@dataclass(frozen=True)
class Assertion:
    """What an answer has to fulfil.

    :param type: one of :data:`TYPES`, or ``not-`` and one of them.
    :param value: what to compare with; its kind depends on the type.
    """

    type: str
    value: Any = None

    def check(self, text: str, latency_ms: float) -> str | None:
        """Return why the answer fails, or ``None`` when it passes.

        :param text: the model's answer.
        :param latency_ms: milliseconds it took.
        """
        negated = self.type.startswith(NOT)
        try:
            fault = TYPES[self.type.removeprefix(NOT)].check(self.value, text, latency_ms)
        except _UNDECIDED as error:
            return shortened(f"{self.type}: cannot be decided: {error}", MAX_FAULT)
        if not negated:
            return None if fault is None else shortened(fault, MAX_FAULT)
        return None if fault else f"{self.type}: {_short(self.value)} does hold"

    def problem(self) -> str | None:
        """Return what is wrong with the assertion itself, or ``None``."""
        kind = TYPES.get(self.type.removeprefix(NOT))
        if kind is None:
            names = ", ".join(TYPES)
            return f"unknown assertion type {shown(self.type)}; known are {names}, each also with the prefix not-"
        return kind.problem(self.value)


@dataclass(frozen=True)
class _Type:
    check: Callable[[Any, str, float], str | None]
    problem: Callable[[Any], str | None]


def _short(value: object) -> str:
    if isinstance(value, str):
        value = value[: 2 * MAX_SHOWN]  # a huge answer need not be encoded to be cut
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError):  # keys that JSON has not, ints of 5,000 digits
        return shown(value)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."


def _equals(value: str, text: str, _: float) -> str | None:
    return None if text.strip() == value.strip() else f"equals: {_short(text)} is not {_short(value)}"


def _contains(value: str, text: str, _: float) -> str | None:
    return None if value in text else f"contains: {_short(value)} is not in the answer"


def _regex(value: str, text: str, _: float) -> str | None:
    return None if patterns.found(value, text) else f"regex: {_short(value)} does not match"


def _is_json(schema: Mapping[str, Any] | None, text: str, _: float) -> str | None:
    try:
        parsed = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        return f"is-json: {error}"
    fault = schemas.fault(schema, parsed) if schema else None
    return f"is-json: {fault}" if fault else None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _max_latency(value: float, _: str, latency_ms: float) -> str | None:
    return None if latency_ms <= value else f"max-latency: {latency_ms:.0f} ms is more than {value} ms"


def _needs_text(value: object) -> str | None:
    return None if isinstance(value, str) and value else f"value must be a text, not {_short(value)}"


def _needs_regex(value: object) -> str | None:
    if not isinstance(value, str):
        return _needs_text(value)
    fault = patterns.problem(value)
    return f"value {_short(value)} is not a regular expression: {fault}" if fault else None


def _needs_schema(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        return f"value must be a JSON Schema, not {_short(value)}"
    fault = schemas.problem(value)
    return f"value is not a JSON Schema: {shortened(fault, MAX_FAULT)}" if fault else None


def _needs_milliseconds(value: object) -> str | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf:
        return None
    return f"value must be milliseconds above 0, not {_short(value)}"


TYPES: Mapping[str, _Type] = {
    "equals": _Type(_equals, _needs_text),
    "contains": _Type(_contains, _needs_text),
    "regex": _Type(_regex, _needs_regex),
    "is-json": _Type(_is_json, _needs_schema),
    "max-latency": _Type(_max_latency, _needs_milliseconds),
}
