"""Checks JSON against the schemas of a discovery document."""

import base64
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from vertex_emulator.protojson import camel

_TYPE_URL = "type.googleapis.com/"
_PACKAGE = re.compile(r"google\.cloud\.aiplatform\.(v1|v1beta1)\.(\w+)")


def check(
    value: Any, schema: dict[str, Any], document: dict[str, Any], *, lenient: bool, at: str = ""
) -> Iterator[str]:
    """Compare a JSON value with a schema.

    :param lenient: whether this is a request: proto JSON reads more than it writes, which is told apart.
    :return: a line for each difference: where, and what.
    """
    place = at or "."
    if "$ref" in schema:
        schema = document["schemas"][schema["$ref"]]
    kind = schema["type"]
    if kind == "any":
        yield from _check_any(value, document, lenient, place)
    elif kind == "array":
        if not isinstance(value, list):
            yield f"{place}: not a list"
            return
        for index, item in enumerate(value):
            yield from check(item, schema["items"], document, lenient=lenient, at=f"{at}[{index}]")
    elif kind == "object":
        yield from _check_object(value, schema, document, lenient, at)
    else:
        problem = _check_scalar(value, schema, lenient)
        if problem:
            yield f"{place}: {problem}"


def _check_object(
    value: Any, schema: dict[str, Any], document: dict[str, Any], lenient: bool, at: str
) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{at or '.'}: not an object"
        return
    if "@type" in value:
        yield from _check_any(value, document, lenient, at)
        return
    known, others = schema.get("properties", {}), schema.get("additionalProperties")
    for key, item in value.items():
        name = key if others or not lenient else camel(key)
        if name != key:
            yield f"{at}.{key}: snake_case"
        field = known.get(name, others)
        if field is None:
            yield f"{at}.{key}: unknown field"
        else:
            yield from check(item, field, document, lenient=lenient, at=f"{at}.{key}")


def _check_any(value: Any, document: dict[str, Any], lenient: bool, at: str) -> Iterator[str]:
    """A message that names its own type; anything else goes."""
    type_url = value.get("@type") if isinstance(value, dict) else None
    if type_url is None:
        return
    fields = {key: item for key, item in value.items() if key != "@type"}
    match = _PACKAGE.fullmatch(type_url.removeprefix(_TYPE_URL))
    name = match and f"GoogleCloudAiplatform{match[1].capitalize()}{match[2]}"
    if type_url == f"{_TYPE_URL}google.protobuf.Empty":
        if fields:
            yield f"{at}: Empty has no fields"
    elif type_url.startswith(f"{_TYPE_URL}google.rpc."):
        return
    elif name not in document["schemas"]:
        yield f"{at}: the type {type_url} is unknown"
    else:
        yield from check(fields, {"$ref": name}, document, lenient=lenient, at=at)


def _check_scalar(value: Any, schema: dict[str, Any], lenient: bool) -> str | None:
    if "enum" in schema:
        if isinstance(value, int) and not isinstance(value, bool):
            return "enum as number"
        return None if value in schema["enum"] else f"{value!r} is not among the values"
    kind, form = schema["type"], schema.get("format", "")
    if lenient and form == "int64" and isinstance(value, int) and not isinstance(value, bool):
        return "int64 as number"
    right = _FORMATS.get(form) or _TYPES[kind]
    return None if right(value) else f"{value!r} is not a {kind} ({form})"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_time(value: Any) -> bool:
    if not isinstance(value, str) or not value.endswith("Z"):
        return False
    datetime.fromisoformat(value)
    return True


def _is_bytes(value: Any) -> bool:
    return isinstance(value, str) and base64.b64encode(base64.b64decode(value)).decode() == value


_TYPES: dict[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": _is_number,
}
_FORMATS: dict[str, Callable[[Any], bool]] = {
    "int64": lambda value: isinstance(value, str) and re.fullmatch(r"-?\d+", value) is not None,
    "google-datetime": _is_time,
    "byte": _is_bytes,
}
