"""JSON Schemas of a suite: read before anything is paid, applied without the network. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from gemini_tuning.smoke.checks import regex_timeout, schema_keywords

_REFERENCES = ("$ref", "$dynamicRef")
# An empty registry: jsonschema's own would fetch a $ref from the web, or read file:///etc/passwd.
_NOTHING_ELSE: Registry[Any] = Registry()
# What jsonschema lets through for odd schemas: a $ref to itself, a multipleOf of 1e-400, a key that is a number.
_BROKEN = (RecursionError, ArithmeticError, TypeError, ValueError, LookupError, AttributeError)


class SchemaUnusableError(Exception):
    """A schema cannot be applied to this answer."""


def problem(schema: Mapping[str, Any]) -> str | None:
    """Return what is wrong with a schema, or ``None``."""
    try:
        if any(not isinstance(key, str) for part in _parts(schema) for key in part):
            return "a key is not a text"
        jsonschema.Draft202012Validator.check_schema(schema)
        return _reference_problem(schema) or _pattern_problem(schema)
    except jsonschema.SchemaError as error:
        # Of alternatives that all failed, the one that lists what may stand there says most.
        said = next((inner for inner in error.context or () if inner.validator == "enum"), error)
        return f"{error.json_path}: {said.message}"
    except _BROKEN as error:
        return f"{type(error).__name__}: {error}"


def fault(schema: Mapping[str, Any], value: Any) -> str | None:
    """Return why a value does not fit, or ``None``.

    :raises SchemaUnusableError: when the schema cannot be applied.
    """
    try:
        schema_keywords.start()
        for error in schema_keywords.Validator(schema, registry=_NOTHING_ELSE).iter_errors(value):
            return f"{error.json_path}: {error.message}"
    except (regex_timeout.MatchTimeoutError, schema_keywords.TooMuchWorkError) as error:
        raise SchemaUnusableError(str(error)) from error
    except (*_BROKEN, Unresolvable) as error:
        raise SchemaUnusableError(f"{type(error).__name__}: {error}") from error
    return None


def _parts(value: Any) -> Iterator[Mapping[Any, Any]]:
    """Yield every mapping in a schema."""
    if isinstance(value, Mapping):
        yield value
    if isinstance(value, Mapping | list):
        for child in value.values() if isinstance(value, Mapping) else value:
            yield from _parts(child)


def _reference_problem(schema: Mapping[str, Any]) -> str | None:
    resolver = _NOTHING_ELSE.resolver_with_root(DRAFT202012.create_resource(schema))
    for part in _parts(schema):
        for keyword in _REFERENCES:
            target = part.get(keyword)
            if not isinstance(target, str):
                continue
            if not target.startswith("#"):
                return f"{keyword} {target!r} leads out of the suite"
            try:
                resolver.lookup(target)
            except Unresolvable:
                return f"{keyword} {target!r} leads nowhere"
    return None


def _pattern_problem(schema: Mapping[str, Any]) -> str | None:
    keywords = {keyword for part in _parts(schema) for keyword in part}
    if {"patternProperties", "unevaluatedProperties"} <= keywords:  # jsonschema would use Python's patterns
        return "patternProperties and unevaluatedProperties do not go together here; use additionalProperties"
    for part in _parts(schema):
        named = part.get("patternProperties")
        for pattern in (part.get("pattern"), *(named if isinstance(named, Mapping) else ())):
            if isinstance(pattern, str) and (wrong := regex_timeout.problem(pattern)):
                return f"pattern {pattern!r}: {wrong}"
    return None
