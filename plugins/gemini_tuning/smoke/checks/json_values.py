"""Assertions on JSON in the answer, and JSON Schemas: without network access and with bounded work.

jsonschema's own keywords would not finish for some schemas and answers: its patterns are Python's, and a ``$ref``
within ``anyOf`` can double the work at every level.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NoReturn

import jsonschema
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from gemini_tuning.core.text import short_repr
from gemini_tuning.smoke.checks import regex_timeout
from gemini_tuning.smoke.checks.result import CheckResult, Condition, UndecidedError

if TYPE_CHECKING:
    from gemini_tuning.core.model_response import ModelResponse

MAX_WORK = 10_000_000  # characters that the search for JSON reads, some of them many times
DEEP = 10_000  # the cost of a structure that is nested too deeply to be read
# Where an object or an array may begin; most brackets in prose and in LaTeX do not begin one.
_BEGINNING = re.compile(r'{\s*["}]|\[\s*[\]\[{"\d\-tfn]')
MAX_SECONDS = 10.0  # of one check; a reasonable one takes milliseconds
# Empty: jsonschema's own registry would fetch a $ref from the web, or read file:///etc/passwd.
_NO_REMOTE: Registry[Any] = Registry()
# Raised by jsonschema for odd schemas: a $ref to itself, a multipleOf of 1e-400, a key that is a number.
_BROKEN = (RecursionError, ArithmeticError, TypeError, ValueError, LookupError, AttributeError)
_STANDARD = jsonschema.Draft202012Validator

_Errors = Iterator[jsonschema.ValidationError]
_deadline: ContextVar[float] = ContextVar("_deadline")


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
    found = fault(schema, value) if schema else None
    return CheckResult(not found, found or f"the answer {verb} JSON{' that fits the schema' if schema else ''}")


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


def problem(schema: Mapping[str, Any]) -> str | None:
    """Return why a schema cannot be used, or ``None``."""
    try:
        json.dumps(schema, allow_nan=False)  # fails for dates and for NaN, which YAML has
        _STANDARD.check_schema(schema)  # patterns as well
        if {"patternProperties", "unevaluatedProperties"} <= {keyword for part in _parts(schema) for keyword in part}:
            # jsonschema would use Python's patterns
            return "patternProperties cannot be combined with unevaluatedProperties here; use additionalProperties"
        resolver = _NO_REMOTE.resolver_with_root(DRAFT202012.create_resource(schema))
        return next((found for part in _parts(schema) if (found := _reference_problem(part, resolver))), None)
    except jsonschema.SchemaError as error:
        # Of alternatives that all failed, the one that lists the allowed values is the most helpful.
        best = next((inner for inner in error.context or () if inner.validator == "enum"), error)
        return f"{error.json_path}: {best.message}"
    except _BROKEN as error:
        return f"{type(error).__name__}: {error}"


def fault(schema: Mapping[str, Any], value: Any) -> str | None:
    """Return why a value does not fit, or ``None``; raise when the schema cannot be applied, or takes too long."""
    _deadline.set(time.monotonic() + MAX_SECONDS)
    try:
        error = next(_Validator(schema, registry=_NO_REMOTE).iter_errors(value), None)
    except (*_BROKEN, Unresolvable) as broken:
        raise UndecidedError(f"{type(broken).__name__}: {broken}") from broken
    return f"{error.json_path}: {error.message}" if error else None


def _parts(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        yield value
    if isinstance(value, Mapping | list):
        for child in value.values() if isinstance(value, Mapping) else value:
            yield from _parts(child)


def _reference_problem(part: Mapping[str, Any], resolver: Any) -> str | None:
    for keyword in ("$ref", "$dynamicRef"):
        target = part.get(keyword)
        if isinstance(target, str) and not target.startswith("#"):
            return f"{keyword} {target!r} is outside of the suite"
        if isinstance(target, str):
            try:
                resolver.lookup(target)
            except Unresolvable:
                return f"{keyword} {target!r} does not exist"
    return None


def _check_time() -> None:
    if time.monotonic() > _deadline.get():
        raise UndecidedError(f"the schema took more than {MAX_SECONDS:g} s")


def _timed(check: Callable[..., _Errors | None]) -> Callable[..., _Errors]:
    def timed(*arguments: Any) -> _Errors:
        _check_time()
        yield from check(*arguments) or ()

    return timed


def _matches(pattern: str, text: str) -> bool:
    _check_time()
    return regex_timeout.search(pattern, text) is not None


def _pattern(_validator: Any, pattern: str, value: Any, _schema: Any) -> _Errors:
    if isinstance(value, str) and not _matches(pattern, value):
        yield jsonschema.ValidationError(f"{short_repr(value)} does not match {short_repr(pattern)}")


def _pattern_properties(validator: Any, by_pattern: Mapping[str, Any], value: Any, _schema: Any) -> _Errors:
    for pattern, below in by_pattern.items() if isinstance(value, Mapping) else ():
        for key, child in value.items():
            if _matches(pattern, key):
                yield from validator.descend(child, below, path=key, schema_path=pattern)


def _additional_properties(validator: Any, allowed: Any, value: Any, schema: Mapping[str, Any]) -> _Errors:
    """Leave to jsonschema the keys that match no pattern, without the patterns."""
    if isinstance(value, Mapping):
        patterns = schema.get("patternProperties", ())
        value = {key: child for key, child in value.items() if not any(_matches(p, key) for p in patterns)}
    known = {"properties": schema.get("properties", {})}
    yield from _STANDARD.VALIDATORS["additionalProperties"](validator, allowed, value, known)


def _unique_items(_validator: Any, unique: bool, value: Any, _schema: Any) -> _Errors:
    """Compare texts: jsonschema compares each item with each."""
    if unique and isinstance(value, list):
        forms = {json.dumps(_whole_numbers(item), sort_keys=True) for item in value}
        if len(forms) < len(value):
            yield jsonschema.ValidationError(f"{short_repr(value)} has non-unique elements")


def _whole_numbers(item: Any) -> Any:
    """Return a value in which 1.0 is 1, as JSON Schema has it."""
    return json.loads(json.dumps(item), parse_float=lambda text: int(n) if (n := float(text)).is_integer() else n)


_KEYWORDS = {
    **_STANDARD.VALIDATORS,
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "uniqueItems": _unique_items,
}
_Validator = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
    _STANDARD, {keyword: _timed(check) for keyword, check in _KEYWORDS.items()}
)
