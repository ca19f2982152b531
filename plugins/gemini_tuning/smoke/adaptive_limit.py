"""How many prompts may be under way at once, and how patiently each is repeated.

The service says with 429 that there are too many. The limit then halves, and grows by one with each round of answers:
additive increase, multiplicative decrease, as TCP does (RFC 5681).
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    stop_after_attempt,
    stop_after_delay,
)

from gemini_tuning.core.exceptions import TransientServiceError
from gemini_tuning.core.resources import ModelResponse
from gemini_tuning.core.retry import backoff

OVER_QUOTA = 429
LEAST_ATTEMPTS = 5
PATIENCE = 300.0  # seconds that a prompt is repeated

log = logging.getLogger(__name__)


class AdaptiveLimit:
    """Lets so many requests out at once as the service takes.

    :param most: upper limit, above 0.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._allowed = float(most)
        self._under_way = 0
        self._round = 0
        self._changed = asyncio.Condition()
        self._answered_at = -math.inf

    @property
    def allowed(self) -> int:
        """How many may be under way at the moment; at least one."""
        return max(1, int(self._allowed))

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[int]:
        """Wait for a slot and hold it; gives the round in which it was got, for :meth:`over_quota`."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._under_way < self.allowed)
            self._under_way += 1
        try:
            yield self._round
        finally:
            self._under_way -= 1
            async with self._changed:
                self._changed.notify(max(self.allowed - self._under_way, 1))

    def answered(self) -> None:
        """Say that the service has taken a request."""
        self._answered_at = time.monotonic()
        self._allowed = min(self._allowed + 1 / self._allowed, float(self.most))

    def has_answered_since(self, moment: float) -> bool:
        """Return whether the service has taken a request since then.

        :param moment: of :func:`time.monotonic`.
        """
        return self._answered_at > moment

    def over_quota(self, sent_in: int) -> None:
        """Say that the service has refused a request; of those sent in one round only the first counts.

        :param sent_in: the round that :meth:`slot` gave.
        """
        if sent_in != self._round:
            return
        self._round += 1
        self._allowed = max(self._allowed / 2, 1.0)
        log.info("Over quota: at most %d prompts at once for now", self.allowed)


async def patiently(ask: Callable[[], Awaitable[ModelResponse]], limit: AdaptiveLimit) -> ModelResponse:
    """Ask until there is an answer; a slot is held only while a request is under way.

    :raises TransientServiceError: the last one, after :data:`LEAST_ATTEMPTS` and :data:`PATIENCE`.
    """
    async for attempt in AsyncRetrying(
        retry=retry_if_exception_type(TransientServiceError),
        wait=backoff,
        stop=lambda state: stop_after_attempt(LEAST_ATTEMPTS)(state) and stop_after_delay(PATIENCE)(state),
        sleep=lambda seconds: _sleep(seconds),  # noqa: PLW0108 - looked up late, for the tests
        reraise=True,
    ):
        with attempt:
            return await _once(ask, limit)
    raise AssertionError("unreachable: the last attempt raises")


async def _once(ask: Callable[[], Awaitable[ModelResponse]], limit: AdaptiveLimit) -> ModelResponse:
    async with limit.slot() as sent_in:
        try:
            answer = await ask()
        except TransientServiceError as error:
            if error.code == OVER_QUOTA:
                limit.over_quota(sent_in)
            raise
        limit.answered()
        return answer


async def _sleep(seconds: float) -> None:
    await asyncio.sleep(seconds)
