"""Assertions on JSON in the answer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from gemini_tuning.core.resources import ModelResponse
from gemini_tuning.smoke.checks import json_schema
from gemini_tuning.smoke.checks.result import CheckResult, Condition, UndecidedError

MAX_WORK = 10_000_000  # characters that the search for JSON reads, some of them many times
DEEP = 10_000  # the cost of a structure that is nested too deeply to be read
# Where an object or an array may begin; most brackets in prose and in LaTeX do not begin one.
_BEGINNING = re.compile(r'{\s*["}]|\[\s*[\]\[{"\d\-tfn]')


def is_json(assertion: Condition, answer: ModelResponse, _: object) -> CheckResult:
    """Whether the answer is JSON, and fits the schema when there is one."""
    try:
        parsed = json.loads(answer.text, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        return CheckResult(False, f"not JSON: {error}")
    return _checked(assertion.value, parsed, "is")


def contains_json(assertion: Condition, answer: ModelResponse, _: object) -> CheckResult:
    """Whether the answer contains JSON that fits the schema, or without one an object: ``[1]`` may be a footnote."""
    first_fault = None
    for value in _values(answer.text):
        if assertion.value or isinstance(value, dict):
            result = _checked(assertion.value, value, "contains")
            if result.holds:
                return result
            first_fault = first_fault or result
    return first_fault or CheckResult(False, "the answer contains no JSON")


def _checked(schema: Mapping[str, Any] | None, value: Any, verb: str) -> CheckResult:
    fault = json_schema.fault(schema, value) if schema else None
    return CheckResult(not fault, fault or f"the answer {verb} JSON{' that fits the schema' if schema else ''}")


def _values(text: str) -> Iterator[Any]:
    """Yield the objects and arrays in a text; not those within one."""
    decoder = json.JSONDecoder(parse_constant=refuse_constant)
    end, work = 0, 0
    while beginning := _BEGINNING.search(text, end):
        start = beginning.start()
        try:
            value, end = decoder.raw_decode(text, start)
        except json.JSONDecodeError as error:
            # The error counts the lines before it, which is work as well.
            work, end = work + error.pos - start + error.pos // 20, start + 1
        except (ValueError, RecursionError):  # NaN, or a number of 5,000 digits
            work, end = work + DEEP, start + 1
        else:
            yield value
        if work > MAX_WORK:
            raise UndecidedError("the answer has too many brackets that lead nowhere")


def refuse_constant(name: str) -> NoReturn:
    """Refuse NaN and Infinity, as ``parse_constant`` of :func:`json.loads`, which accepts them."""
    raise ValueError(f"{name} is not JSON")
