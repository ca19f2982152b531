"""The ``orderBy`` of list requests (https://google.aip.dev/132#ordering). Pure functions."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

from .errors import bad_field, invalid_argument
from .protojson import camel


class Key(NamedTuple):
    """A field to order by."""

    field: str
    descending: bool


def parse_order(text: str | None, fields: Mapping[str, str]) -> list[Key]:
    """Read ``display_name, create_time desc``.

    :param fields: that may be named, in camelCase, and for each the field of the resource that it means; none at all
        when the method has no ``orderBy``.
    :return: nothing when nothing is asked for.
    """
    if not text:
        return []
    if not fields:
        raise bad_field("", 'Invalid JSON payload received. Unknown name "orderBy": Cannot bind query parameter.')
    return [_key(part, fields) for part in text.split(",")]


def in_order(resources: Iterable[dict[str, Any]], order: list[Key]) -> list[dict[str, Any]]:
    """Sort resources as JSON; what is equal stays as it was."""
    result = list(resources)
    for key in reversed(order):
        result.sort(key=partial(_value, key.field), reverse=key.descending)
    return result


def _value(field: str, resource: Mapping[str, Any]) -> str:
    return str(resource.get(field, ""))


def _key(part: str, fields: Mapping[str, str]) -> Key:
    name, *direction = part.split() or [""]
    known = fields.get(camel(name))
    if known is None or [item.lower() for item in direction] not in ([], ["asc"], ["desc"]):
        raise invalid_argument(f'Invalid order_by "{part.strip()}". Fields: {", ".join(fields)}.')
    return Key(known, descending=[item.lower() for item in direction] == ["desc"])
