"""JSON Schema's keywords where jsonschema's own would not end for an odd schema or a hostile answer. Pure.

Its patterns are Python's, its ``uniqueItems`` compares each with each, and a ``$ref`` within ``anyOf`` can double the
work at every level.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import Any

import jsonschema

from gemini_tuning.core.text import short_repr
from gemini_tuning.smoke.checks import regex_timeout

MAX_REFERENCES = 100_000  # that one check follows; an honest one follows as many as the answer has values
_STANDARD = jsonschema.Draft202012Validator
_followed: ContextVar[int] = ContextVar("_followed", default=0)
_matching: ContextVar[float] = ContextVar("_matching", default=0.0)  # seconds


class TooMuchWorkError(Exception):
    """A schema asks for more work than an answer is worth."""


def start() -> None:
    """Forget what an earlier check has followed."""
    _followed.set(0)
    _matching.set(0.0)


def _found(pattern: str, text: str) -> bool:
    """Whether a pattern matches; all matches of a check together get the time that one may take."""
    started = time.perf_counter()
    match = regex_timeout.found(pattern, text)
    _matching.set(_matching.get() + time.perf_counter() - started)
    if _matching.get() > regex_timeout.MATCH_SECONDS:
        raise regex_timeout.MatchTimeoutError(f"the patterns took more than {regex_timeout.MATCH_SECONDS:g} s")
    return match is not None


def _reference(keyword: str) -> Any:
    standard = _STANDARD.VALIDATORS[keyword]

    def follow(validator: Any, target: str, value: Any, schema: Any) -> Iterator[jsonschema.ValidationError]:
        _followed.set(_followed.get() + 1)
        if _followed.get() > MAX_REFERENCES:
            raise TooMuchWorkError(f"more than {MAX_REFERENCES} references were followed")
        yield from standard(validator, target, value, schema) or ()

    return follow


def _pattern(_validator: Any, pattern: str, value: Any, _schema: Any) -> Iterator[jsonschema.ValidationError]:
    if isinstance(value, str) and not _found(pattern, value):
        yield jsonschema.ValidationError(f"{short_repr(value)} does not match {short_repr(pattern)}")


def _pattern_properties(
    validator: Any, by_pattern: Mapping[str, Any], value: Any, _schema: Any
) -> Iterator[jsonschema.ValidationError]:
    if not isinstance(value, Mapping):
        return
    for pattern, below in by_pattern.items():
        for key, child in value.items():
            if _found(pattern, key):
                yield from validator.descend(child, below, path=key, schema_path=pattern)


def _additional_properties(
    validator: Any, allowed: Any, value: Any, schema: Mapping[str, Any]
) -> Iterator[jsonschema.ValidationError]:
    if not isinstance(value, Mapping):
        return
    known, by_pattern = schema.get("properties", {}), schema.get("patternProperties", {})
    extra = [key for key in value if key not in known and not any(_found(p, key) for p in by_pattern)]
    if isinstance(allowed, Mapping):
        for key in extra:
            yield from validator.descend(value[key], allowed, path=key)
    elif extra and not allowed:
        yield jsonschema.ValidationError(f"the key {short_repr(extra[0])} is not allowed")


def _unique_items(_validator: Any, wanted: bool, value: Any, _schema: Any) -> Iterator[jsonschema.ValidationError]:
    if not wanted or not isinstance(value, list):
        return
    seen: set[str] = set()
    for item in value:
        form = json.dumps(_canonical(item), sort_keys=True)
        if form in seen:
            yield jsonschema.ValidationError(f"{short_repr(item)} is there twice")
            return
        seen.add(form)


def _canonical(value: Any) -> Any:
    """Write equal numbers alike: to JSON Schema 1 and 1.0 are one."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {key: _canonical(child) for key, child in value.items()}
    if isinstance(value, list):
        return [_canonical(child) for child in value]
    return value


Validator = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
    _STANDARD,
    {
        "$ref": _reference("$ref"),
        "$dynamicRef": _reference("$dynamicRef"),
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
        "uniqueItems": _unique_items,
    },
)
