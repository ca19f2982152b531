"""How many requests per second all subscriptions of a process send to one project."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gemini_tuning.core.exceptions import ServiceError

# The quota is 600 reads and writes per minute and project (https://cloud.google.com/vertex-ai/docs/quotas). Tasks, the
# page and a second triggerer need a part of it.
MAX_RATE = 480 / 60
MIN_RATE = 120 / 60
SHARING_FACTOR = 20  # times fewer requests than independent pollers would send
BURST = 5  # requests that may be sent at once after a pause
MAX_HALVINGS = 4
RECOVERY_SECONDS = 60.0  # after a 429, until the rate doubles again


class RateLimit:
    """Spaces requests; the rate follows ``demand``, the requests per second that independent pollers would send."""

    def __init__(self) -> None:
        self.demand = 0.0
        self._free_at = float("-inf")
        self._halvings, self._refused_at = 0, 0.0
        self._lock = asyncio.Lock()

    def rate(self) -> float:
        """Return the requests per second."""
        return min(max(self.demand / SHARING_FACTOR, MIN_RATE), MAX_RATE) / float(2 ** self._halvings_left())

    def _halvings_left(self) -> int:
        elapsed = asyncio.get_running_loop().time() - self._refused_at
        return max(self._halvings - int(elapsed / RECOVERY_SECONDS), 0)

    def slow_down(self, error: ServiceError) -> None:
        """Halve the rate after a 429, and send nothing for as long as ``Retry-After`` asks."""
        now = asyncio.get_running_loop().time()
        if error.code == 429:
            self._halvings, self._refused_at = min(self._halvings_left() + 1, MAX_HALVINGS), now
        self._free_at = max(self._free_at, now + (error.retry_after or 0.0))

    async def acquire(self, is_needed: Callable[[], bool] = lambda: True) -> bool:
        """Wait until a request may be sent, and return whether it is still needed then."""
        loop = asyncio.get_running_loop()
        async with self._lock:
            while is_needed():
                if (left := self._free_at - loop.time()) <= 0:
                    self._free_at = max(self._free_at, loop.time() - BURST / self.rate()) + 1 / self.rate()
                    return True
                await asyncio.sleep(left)
        return False
