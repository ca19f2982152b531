"""The last requests, for people who want to see what a client really sent."""

import json
from collections import deque
from typing import Any

from .clock import timestamp

_MAX_BODY = 64 * 1024
"""Bytes of a body that are kept; a longer one is cut, and then shown as text."""


class Journal:
    """A bounded list of requests. Headers are not kept, so that no token is.

    :param size: how many requests are remembered.
    """

    def __init__(self, size: int) -> None:
        self._entries: deque[dict[str, Any]] = deque(maxlen=size)
        self.total = 0
        """Requests so far, also those that are not remembered any more."""

    def add(
        self,
        at: float,
        method: str,
        path: str,
        *,
        query: str,
        status: int,
        body: bytes,
        reply: bytes,
        caller: dict[str, str | None],
        fault: str = "",
    ) -> None:
        """Note a request.

        :param at: real time in seconds since the epoch.
        :param status: of the reply; 0 when there was none.
        :param body: of the request; empty for those whose body is not kept.
        :param reply: the reply's body, likewise.
        :param caller: account of the token, none without a valid one; and userAgent.
        :param fault: what a fault rule did to it.
        """
        entry: dict[str, Any] = {"time": timestamp(at), "method": method, "path": path}
        if query:
            entry["query"] = query
        entry["status"] = status
        entry["caller"] = caller
        if fault:
            entry["fault"] = fault
        if body:
            entry["body"] = body[:_MAX_BODY]
        if reply:
            entry["reply"] = reply[:_MAX_BODY]
        self._entries.append(entry)
        self.total += 1

    def entries(self) -> list[dict[str, Any]]:
        """All that is remembered, oldest first."""
        return [
            {**entry, **{key: _readable(entry[key]) for key in ("body", "reply") if key in entry}}
            for entry in self._entries
        ]

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self.total = 0


def _readable(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode(errors="replace")
