"""The emulator's journal, kept across its deaths: it is in its memory alone."""

from __future__ import annotations

from typing import Any

from demo.stack import Stack

Json = dict[str, Any]


class Journal:
    """All requests of a round, but for those between a last look and a kill."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._earlier: list[Json] = []

    def entries(self) -> list[Json]:
        """Return all that is known."""
        now: list[Json] = self._stack.emulator("GET", "/requests")["requests"]
        return [*self._earlier, *now]

    def cut(self) -> None:
        """Keep what there is, because the emulator is about to end."""
        self._earlier = self.entries()
