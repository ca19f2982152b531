"""Requests under a concurrency limit that adapts to the quota, retried after transient errors.

A 429 halves the limit; each round of responses raises it by one: additive increase, multiplicative decrease, as in TCP
(RFC 5681).
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from tenacity import RetryCallState, retry, retry_if_exception_type, stop_after_attempt, stop_after_delay

from gemini_tuning.core.exceptions import TransientServiceError
from gemini_tuning.core.model_response import ModelResponse
from gemini_tuning.core.retry import backoff

OVER_QUOTA = 429
MIN_ATTEMPTS = 5
RETRY_SECONDS = 300.0  # a prompt is retried at least this long

T = TypeVar("T")

log = logging.getLogger(__name__)


class AdaptiveLimit:
    """Limits the number of concurrent requests to ``most`` at first."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._allowed = float(most)
        self._active = 0
        self._round = 0
        self._changed = asyncio.Condition()
        self._last_response_at = -math.inf

    @property
    def allowed(self) -> int:
        """The current limit; at least one."""
        return max(1, int(self._allowed))

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[int]:
        """Wait for a slot and hold it; yields the current round, for :meth:`over_quota`."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._active < self.allowed)
            self._active += 1
        try:
            yield self._round
        finally:
            self._active -= 1
            async with self._changed:
                self._changed.notify(max(self.allowed - self._active, 1))

    def succeeded(self) -> None:
        """Record a response."""
        self._last_response_at = time.monotonic()
        self._allowed = min(self._allowed + 1 / self._allowed, float(self.most))

    def has_response_since(self, moment: float) -> bool:
        """Return whether any request has had a response since a moment of :func:`time.monotonic`."""
        return self._last_response_at > moment

    def over_quota(self, sent_in: int) -> None:
        """Record a 429; of the requests sent in one round, as :meth:`slot` yielded it, only the first counts."""
        if sent_in != self._round:
            return
        self._round += 1
        self._allowed = max(self._allowed / 2, 1.0)
        log.info("Over quota: concurrency limited to %d for now", self.allowed)


def _give_up(state: RetryCallState) -> bool:
    return stop_after_attempt(MIN_ATTEMPTS)(state) and stop_after_delay(RETRY_SECONDS)(state)


@retry(retry=retry_if_exception_type(TransientServiceError), wait=backoff, stop=_give_up, reraise=True)
async def request_with_retries(request: Callable[[], Awaitable[ModelResponse]], limit: AdaptiveLimit) -> ModelResponse:
    """Send a request until there is a response; a slot is held only while a request is in flight.

    :raises TransientServiceError: the last one, after :data:`MIN_ATTEMPTS` and :data:`RETRY_SECONDS`.
    """
    async with limit.slot() as sent_in:
        try:
            answer = await request()
        except TransientServiceError as error:
            if error.code == OVER_QUOTA:
                limit.over_quota(sent_in)
            raise
        limit.succeeded()
        return answer


async def run_all(*coroutines: Coroutine[Any, Any, T]) -> list[T]:
    """Run coroutines concurrently and return their results; when one raises, cancel the others and raise that."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in coroutines]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]
