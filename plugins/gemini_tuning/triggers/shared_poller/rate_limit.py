"""How many requests a second all waits of a process may send to one project."""

from __future__ import annotations

import asyncio

# The service allows 600 reads and writes a minute and project, which the tasks, the page and a second triggerer need
# a part of (https://cloud.google.com/vertex-ai/docs/quotas).
MOST = 480 / 60
LEAST = 120 / 60  # however few wait: a wait asks for no more than it needs
SAVING = 20  # times fewer requests than as many waits that look every poll_interval, each for itself
BURST = 5  # requests that may leave at once after a pause
MOST_HALVINGS = 4
FORGIVEN = 60.0  # seconds after which a refusal for quota is forgotten, and the rate doubles again


class RequestBudget:
    """Lets requests through one after the other, at a rate that follows the number of waits."""

    def __init__(self) -> None:
        self._fixed = 0.0  # requests a second that as many waits of their own would send
        self._free_at = float("-inf")
        self._turn = asyncio.Lock()
        self._halvings, self._refused_at = 0, float("-inf")

    def join(self, poll_interval: float) -> None:
        """Count one more wait."""
        self._fixed += 1 / poll_interval

    def leave(self, poll_interval: float) -> None:
        """Count one wait less."""
        self._fixed -= 1 / poll_interval

    @property
    def rate(self) -> float:
        """Requests a second."""
        return min(max(self._fixed / SAVING, LEAST), MOST) / float(2 ** self._halvings_left())

    def refused(self) -> None:
        """Halve the rate: the project's quota is used up, by us or by others."""
        self._halvings = min(self._halvings_left() + 1, MOST_HALVINGS)
        self._refused_at = asyncio.get_running_loop().time()

    def _halvings_left(self) -> int:
        if not self._halvings:
            return 0
        return max(self._halvings - int((asyncio.get_running_loop().time() - self._refused_at) / FORGIVEN), 0)

    def pause(self, seconds: float) -> None:
        """Let nothing through for a while: the service asked for it."""
        self._free_at = max(self._free_at, asyncio.get_running_loop().time() + seconds)

    async def take(self) -> None:
        """Wait until the next request may leave."""
        loop = asyncio.get_running_loop()
        async with self._turn:
            while (left := self._free_at - loop.time()) > 0:  # noqa: ASYNC110 - a pause may be asked for meanwhile
                await asyncio.sleep(left)
            self._free_at = max(self._free_at, loop.time() - BURST / self.rate) + 1 / self.rate
