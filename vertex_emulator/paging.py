"""Pages of a list, newest first, stable while new resources appear. Pure functions."""

import base64
import binascii
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

from .errors import invalid_argument

MAX_PAGE_SIZE = 1000


class Numbered(Protocol):
    """Something with a sequence number that grows with every resource made."""

    @property
    def seq(self) -> int:
        """The number."""


T = TypeVar("T", bound=Numbered)


def page(
    newest_first: Iterable[T], wanted: Callable[[T], bool], page_size: str | None, token: str | None
) -> tuple[list[T], str | None]:
    """Cut one page.

    :param newest_first: all resources, falling sequence numbers.
    :param wanted: which of them the list holds.
    :param page_size: the query parameter; none, empty or 0 means 100.
    :param token: the query parameter ``pageToken``.
    :return: the page, and the token of the next one if there is one.
    """
    size = _size(page_size)
    before = _read_token(token, "before") if token else None
    found: list[T] = []
    for item in newest_first:
        if (before is not None and item.seq >= before) or not wanted(item):
            continue
        if len(found) == size:
            return found, _token("before", found[-1].seq)
        found.append(item)
    return found, None


V = TypeVar("V")


def part(items: Sequence[V], page_size: str | None, token: str | None) -> tuple[list[V], str | None]:
    """Cut one page of a list that grows at its end only.

    :return: the page, and the token of the next one if there is one.
    """
    size = _size(page_size)
    start = _read_token(token, "from") if token else 0
    end = start + size
    return list(items[start:end]), _token("from", end) if end < len(items) else None


def _token(kind: str, number: int) -> str:
    return base64.urlsafe_b64encode(f"{kind}:{number}".encode()).decode()


def _size(text: str | None) -> int:
    if not text:
        return 100
    if not text.isdigit():
        raise invalid_argument(f"Invalid value for page_size: {text}")
    return min(int(text), MAX_PAGE_SIZE) or 100


def _read_token(token: str, wanted: str) -> int:
    try:
        kind, _, seq = base64.urlsafe_b64decode(token.encode()).decode().partition(":")
        if kind == wanted and seq.isdigit():
            return int(seq)
    except (ValueError, binascii.Error):
        pass
    raise invalid_argument(f"Invalid page_token: {token}")
