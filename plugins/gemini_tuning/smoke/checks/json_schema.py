"""JSON Schemas in a suite: checked when the suite is read, applied without network access and with bounded work.

jsonschema's own keywords would not finish for some schemas and answers: its patterns are Python's, ``uniqueItems``
compares each item with each, and a ``$ref`` within ``anyOf`` can double the work at every level.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import jsonschema
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from gemini_tuning.core.text import short_repr
from gemini_tuning.smoke.checks import regex_timeout
from gemini_tuning.smoke.checks.result import UndecidedError

MAX_REFERENCES = 100_000  # that one check follows; a reasonable schema follows one for each value of the answer
_REFERENCES = ("$ref", "$dynamicRef")
# Empty: jsonschema's own registry would fetch a $ref from the web, or read file:///etc/passwd.
_NO_REMOTE: Registry[Any] = Registry()
# Raised by jsonschema for odd schemas: a $ref to itself, a multipleOf of 1e-400, a key that is a number.
_BROKEN = (RecursionError, ArithmeticError, TypeError, ValueError, LookupError, AttributeError)
_STANDARD = jsonschema.Draft202012Validator


@dataclass
class _Work:
    """Work done by one check."""

    references: int = 0
    seconds: float = 0.0  # spent in patterns


_work: ContextVar[_Work] = ContextVar("_work")


def problem(schema: Mapping[str, Any]) -> str | None:
    """Return why a schema cannot be used, or ``None``."""
    try:
        if any(not isinstance(key, str) for part in _parts(schema) for key in part):
            return "a key is not a text"
        _STANDARD.check_schema(schema)
        return _reference_problem(schema) or _pattern_problem(schema)
    except jsonschema.SchemaError as error:
        # Of alternatives that all failed, the one that lists the allowed values is the most helpful.
        best = next((inner for inner in error.context or () if inner.validator == "enum"), error)
        return f"{error.json_path}: {best.message}"
    except _BROKEN as error:
        return f"{type(error).__name__}: {error}"


def fault(schema: Mapping[str, Any], value: Any) -> str | None:
    """Return why a value does not fit, or ``None``.

    :raises UndecidedError: when the schema cannot be applied, or takes too much work.
    """
    _work.set(_Work())
    try:
        for error in _Validator(schema, registry=_NO_REMOTE).iter_errors(value):
            return f"{error.json_path}: {error.message}"
    except regex_timeout.MatchTimeoutError as error:
        raise UndecidedError(str(error)) from error
    except (*_BROKEN, Unresolvable) as error:
        raise UndecidedError(f"{type(error).__name__}: {error}") from error
    return None


def _parts(value: Any) -> Iterator[Mapping[Any, Any]]:
    """Yield every mapping in a schema."""
    if isinstance(value, Mapping):
        yield value
    if isinstance(value, Mapping | list):
        for child in value.values() if isinstance(value, Mapping) else value:
            yield from _parts(child)


def _reference_problem(schema: Mapping[str, Any]) -> str | None:
    resolver = _NO_REMOTE.resolver_with_root(DRAFT202012.create_resource(schema))
    for part in _parts(schema):
        for keyword in _REFERENCES:
            target = part.get(keyword)
            if not isinstance(target, str):
                continue
            if not target.startswith("#"):
                return f"{keyword} {target!r} is outside of the suite"
            try:
                resolver.lookup(target)
            except Unresolvable:
                return f"{keyword} {target!r} does not exist"
    return None


def _pattern_problem(schema: Mapping[str, Any]) -> str | None:
    keywords = {keyword for part in _parts(schema) for keyword in part}
    if {"patternProperties", "unevaluatedProperties"} <= keywords:  # jsonschema would use Python's patterns
        return "patternProperties cannot be combined with unevaluatedProperties here; use additionalProperties"
    for part in _parts(schema):
        named = part.get("patternProperties")
        for pattern in (part.get("pattern"), *(named if isinstance(named, Mapping) else ())):
            if isinstance(pattern, str) and (wrong := regex_timeout.problem(pattern)):
                return f"pattern {pattern!r}: {wrong}"
    return None


def _matches(pattern: str, text: str) -> bool:
    """Whether a pattern matches; all matches of a check together get the time that one may take."""
    work, started = _work.get(), time.perf_counter()
    match = regex_timeout.search(pattern, text)
    work.seconds += time.perf_counter() - started
    if work.seconds > regex_timeout.MATCH_SECONDS:
        raise regex_timeout.MatchTimeoutError(f"the patterns took more than {regex_timeout.MATCH_SECONDS:g} s")
    return match is not None


def _reference(keyword: str) -> Any:
    standard = _STANDARD.VALIDATORS[keyword]

    def follow(validator: Any, target: str, value: Any, schema: Any) -> Iterator[jsonschema.ValidationError]:
        work = _work.get()
        work.references += 1
        if work.references > MAX_REFERENCES:
            raise UndecidedError(f"more than {MAX_REFERENCES} references were followed")
        yield from standard(validator, target, value, schema) or ()

    return follow


def _pattern(_validator: Any, pattern: str, value: Any, _schema: Any) -> Iterator[jsonschema.ValidationError]:
    if isinstance(value, str) and not _matches(pattern, value):
        yield jsonschema.ValidationError(f"{short_repr(value)} does not match {short_repr(pattern)}")


def _pattern_properties(
    validator: Any, by_pattern: Mapping[str, Any], value: Any, _schema: Any
) -> Iterator[jsonschema.ValidationError]:
    if not isinstance(value, Mapping):
        return
    for pattern, below in by_pattern.items():
        for key, child in value.items():
            if _matches(pattern, key):
                yield from validator.descend(child, below, path=key, schema_path=pattern)


def _additional_properties(
    validator: Any, allowed: Any, value: Any, schema: Mapping[str, Any]
) -> Iterator[jsonschema.ValidationError]:
    if not isinstance(value, Mapping):
        return
    known, by_pattern = schema.get("properties", {}), schema.get("patternProperties", {})
    extra = [key for key in value if key not in known and not any(_matches(p, key) for p in by_pattern)]
    if isinstance(allowed, Mapping):
        for key in extra:
            yield from validator.descend(value[key], allowed, path=key)
    elif extra and not allowed:
        yield jsonschema.ValidationError(f"the key {short_repr(extra[0])} is not allowed")


def _unique_items(_validator: Any, unique: bool, value: Any, _schema: Any) -> Iterator[jsonschema.ValidationError]:
    if not unique or not isinstance(value, list):
        return
    seen: set[str] = set()
    for item in value:
        form = json.dumps(_canonical(item), sort_keys=True)
        if form in seen:
            yield jsonschema.ValidationError(f"{short_repr(item)} is not unique")
            return
        seen.add(form)


def _canonical(value: Any) -> Any:
    """Write equal numbers alike: in JSON Schema 1 and 1.0 are equal."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {key: _canonical(child) for key, child in value.items()}
    if isinstance(value, list):
        return [_canonical(child) for child in value]
    return value


_Validator = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
    _STANDARD,
    {
        **{keyword: _reference(keyword) for keyword in _REFERENCES},
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
        "uniqueItems": _unique_items,
    },
)
