"""The ``readMask`` of list requests: which fields a caller wants (google.protobuf.FieldMask). Pure functions."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from .errors import invalid_argument
from .protojson import camel


def parse_mask(text: str | None, fields: Collection[str]) -> list[str]:
    """Read ``name,labels.team``.

    :param fields: of the message, in camelCase.
    :return: paths; none means all fields.
    """
    paths = [path.strip() for path in (text or "").split(",") if path.strip()]
    for path in paths:
        if path != "*" and camel(path.partition(".")[0]) not in fields:
            raise invalid_argument(f"Invalid read_mask: there is no field {path}.")
    return [] if "*" in paths else paths


def select(message: Mapping[str, Any], paths: Iterable[str]) -> dict[str, Any]:
    """Keep what the paths name."""
    inner: dict[str, list[str]] = {}
    for path in paths:
        head, _, rest = path.partition(".")
        inner.setdefault(head if head in message else camel(head), []).append(rest)
    return {key: _part(message[key], rests) for key, rests in inner.items() if key in message}


def _part(value: Any, paths: list[str]) -> Any:
    return select(value, paths) if isinstance(value, Mapping) and "" not in paths else value
