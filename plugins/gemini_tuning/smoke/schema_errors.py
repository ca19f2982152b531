"""Is this YAML shaped like a suite? ``suite.schema.json`` says so; here its answers become words. Pure."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import jsonschema

from gemini_tuning.core.text import short_repr, shorten
from gemini_tuning.smoke.assertions import NOT

SCHEMA_FILE = Path(__file__).with_name("suite.schema.json")
MAX_WHOLE = 2**63  # more is a slip of the hand, and Python may refuse to write it down
MAX_NAMED = 200  # characters of names that somebody else chose
MAX_PLACE = 1_000  # characters
MAX_ERRORS = 50  # that are looked at to find the first
LIKE = 75  # of 100: how near an unknown word comes to a known one before it is suggested
_NAME = re.compile(r"[\w.$-]+(?: [\w.$-]+)*")
_OBJECT_WIDE = frozenset({"anyOf", "oneOf", "not"})  # keywords whose instance is too big to be shown

Steps = tuple[str | int, ...]


class UnacceptableError(ValueError):
    """Something in a suite is wrong.

    :param what: was expected.
    :param path: keys and indexes that lead to it.
    """

    def __init__(self, what: str, path: Sequence[str | int] = ()) -> None:
        super().__init__(what)
        self.what, self.path = what, tuple(path)


@cache
def schema() -> Mapping[str, Any]:
    """Return the JSON Schema of suites."""
    loaded: Mapping[str, Any] = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    return loaded


@cache
def _validator() -> jsonschema.Draft7Validator:
    return jsonschema.Draft7Validator(schema())


def check(data: Any) -> None:
    """Refuse what is not shaped like a suite.

    :param data: what the YAML holds.
    :raises UnacceptableError: for the first thing that is wrong.
    """
    _only_json(data, ())
    errors = [_worded(error) for error in islice(_validator().iter_errors(data), MAX_ERRORS)]
    if errors:
        raise min(errors, key=lambda error: _position(error.path, data))


def _position(path: Sequence[str | int], data: Any) -> tuple[int, ...]:
    """Return something that sorts paths as their values stand in the file."""
    order = []
    for step in path:
        if isinstance(data, Mapping):
            order.append(list(data).index(step) if step in data else len(data))
            data = data.get(step)
        elif isinstance(data, list) and isinstance(step, int):
            order.append(step)
            data = data[step]
    return tuple(order)


def _only_json(value: Any, path: Steps) -> None:
    """Refuse what YAML has and JSON has not, and numbers that no comparison can be trusted with."""
    if isinstance(value, Mapping):
        for key, child in value.items():
            if not isinstance(key, str):
                raise UnacceptableError(f"the key {short_repr(key)} is not a text; put it in quotes", path)
            _only_json(child, (*path, key))
    elif isinstance(value, list):
        for index, child in enumerate(value):
            _only_json(child, (*path, index))
    elif isinstance(value, float) and not math.isfinite(value):
        raise UnacceptableError(f"expected a finite number, not {value}", path)
    elif isinstance(value, int) and abs(value) > MAX_WHOLE:
        raise UnacceptableError("expected a number of at most 64 bits", path)
    elif value is not None and not isinstance(value, str | int | float):
        kind = type(value).__name__
        raise UnacceptableError(f"expected a text, a number, a list or a mapping, not a {kind}; put it in quotes", path)


def _worded(error: jsonschema.ValidationError) -> UnacceptableError:
    path, keyword = tuple(error.absolute_path), error.validator
    instance: Any = error.instance
    there: Any = error.schema
    if keyword == "additionalProperties":
        return _unknown_key(instance, sorted(there["properties"]), path)
    expected = there.get("x-expected", error.message)
    if keyword in ("required", "dependencies"):
        return UnacceptableError(_missing(there[keyword], instance, there.get("x-expected")), path)
    if keyword == "enum" and path[-1:] == ("type",):
        return UnacceptableError(_unknown_type(instance), path)
    if keyword in _OBJECT_WIDE:
        return UnacceptableError(f"expected {expected}", path)
    return UnacceptableError(f"expected {expected}, not {_shown(instance)}", path)


def _shown(value: object) -> str:
    return "nothing" if value is None else short_repr(value)


def _unknown_key(given: Mapping[str, Any], known: Sequence[str], path: Steps) -> UnacceptableError:
    unknown = next(key for key in given if key not in known)
    suggestion = _suggestion(unknown[:MAX_NAMED], known)
    return UnacceptableError(f"unknown key{suggestion}; expected one of {', '.join(known)}", (*path, unknown))


def _missing(rule: Sequence[str] | Mapping[str, Sequence[str]], given: Mapping[str, Any], expected: str | None) -> str:
    """Name the first key that is not there, and what it should hold."""
    if isinstance(rule, Mapping):  # a key that needs another beside it
        rule = [needed for key, others in rule.items() if key in given for needed in others]
    missing = next(key for key in rule if key not in given)
    return f"the key {missing} is missing" + (f"; expected {expected}" if expected else "")


def _unknown_type(given: object) -> str:
    if not isinstance(given, str):
        return f"expected a type of assertion, not {_shown(given)}"
    known = [name for name in types() if not name.startswith(NOT)]
    suggestion = _suggestion(given[:MAX_NAMED], types())
    return (
        f"unknown type {short_repr(given)}{suggestion}; known are {', '.join(known)}, each also with the prefix {NOT}"
    )


def types() -> list[str]:
    """Return the types of assertions that the schema has."""
    return list(schema()["definitions"]["assertion"]["properties"]["type"]["enum"])


def _suggestion(word: str, known: Sequence[str]) -> str:
    from rapidfuzz import fuzz, process

    best = process.extractOne(word, known, scorer=fuzz.WRatio, score_cutoff=LIKE)
    return f" (did you mean {best[0]}?)" if best else ""


def place(path: Sequence[str | int], data: Any) -> str:
    """Return a path in words: ``case 3 (late-fog): assert 2: value``."""
    return shorten(": ".join(_words(path, data)), MAX_PLACE)


def _words(path: Sequence[str | int], data: Any) -> Iterator[str]:
    for index, step in enumerate(path):
        data = _below(data, step)
        if isinstance(step, int):
            continue
        number = path[index + 1] if index + 1 < len(path) else None
        if not isinstance(number, int):
            yield _named(step)
            continue
        below = _below(data, number)
        case_id = below.get("id") if step == "cases" and isinstance(below, Mapping) else None
        name = f"{'case' if step == 'cases' else _named(step)} {number + 1}"
        yield f"{name} ({_named(case_id)})" if isinstance(case_id, str) and case_id else name


def _named(name: str) -> str:
    """Return a name that somebody else chose: as it is when it is one, else in quotes and cut."""
    return name if len(name) <= MAX_NAMED and _NAME.fullmatch(name) else short_repr(name)


def _below(data: Any, step: str | int) -> Any:
    if isinstance(data, Mapping):
        return data.get(step) if isinstance(step, str) else None
    if isinstance(data, list) and isinstance(step, int) and step < len(data):
        return data[step]
    return None
