"""A list as most collections give it: filter, orderBy, readMask, pages."""

from collections.abc import Callable, Collection, Iterable, Mapping
from types import MappingProxyType
from typing import TypeVar

from vertex_emulator.call import Call
from vertex_emulator.filters import parse_filter
from vertex_emulator.masks import parse_mask, select
from vertex_emulator.ordering import in_order, parse_order
from vertex_emulator.paging import Numbered, page, part
from vertex_emulator.render import Json, without_empty

T = TypeVar("T", bound=Numbered)
NO_ORDER: Mapping[str, str] = MappingProxyType({})
"""Of a list whose method has no orderBy."""
USUAL_ORDER = {"displayName": "displayName", "createTime": "createTime", "updateTime": "updateTime"}


def listed(
    call: Call,
    field: str,
    newest_first: Iterable[T],
    render: Callable[[T], Json],
    *,
    order: Mapping[str, str] = NO_ORDER,
    mask: Collection[str] = (),
) -> Json:
    """Answer a list request. Without orderBy the newest come first.

    :param field: of the reply that holds the list.
    :param newest_first: what belongs to the collection, falling sequence numbers.
    :param order: fields that orderBy may name (:func:`~vertex_emulator.ordering.parse_order`).
    :param mask: fields that readMask may name.
    """
    matches = parse_filter(call.filter())
    keys = parse_order(call.query("orderBy"), order)
    paths = parse_mask(call.query("readMask"), mask) if mask else []
    size, token = call.query("pageSize"), call.query("pageToken")
    found: list[Json]
    if keys:
        everything = (render(item) for item in newest_first)
        rows = in_order((row for row in everything if matches(row)), keys)
        found, following = part(rows, size, token)
    else:
        items, following = page(newest_first, lambda item: matches(render(item)), size, token)
        found = [render(item) for item in items]
    return without_empty({field: [select(row, paths) if paths else row for row in found], "nextPageToken": following})
