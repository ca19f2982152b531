"""One poller for all deferred tasks of a triggerer that wait in one project over one connection.

They share a client, a token and a rate limit; a thousand separate pollers would send a thousand requests a minute.
Airflow's shared trigger streams do not fit: every event goes to every subscriber, and the stream does not know its
subscribers, so it could neither end a list early nor poll more often what is about to finish.
"""

from __future__ import annotations

import abc
import asyncio
import contextvars
import importlib
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakKeyDictionary

from gemini_tuning.core.exceptions import PermanentServiceError, ServiceError
from gemini_tuning.triggers.shared_poller.adaptive_interval import AdaptiveInterval

if TYPE_CHECKING:
    from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook

EARLY_FRACTION = 0.5  # of its pause by which a poll may come early to share a list
RECONNECT_AFTER = 60.0  # seconds; an older client may hold credentials that were replaced since

# The quota is 600 reads and writes per minute and project (https://cloud.google.com/vertex-ai/docs/quotas). Tasks, the
# page and a second triggerer need a part of it.
MAX_RATE = 480 / 60
MIN_RATE = 120 / 60
SHARING_FACTOR = 20  # times fewer requests than independent pollers would send
BURST = 5  # requests that may be sent at once after a pause
MAX_HALVINGS = 4
RECOVERY_SECONDS = 60.0  # after a 429, until the rate doubles again

Connection = tuple[str, str | Sequence[str] | None]  # gcp_conn_id and impersonation_chain

# By event loop: these come and go in tests and in dag.test(); a triggerer has one.
_pollers: dict[tuple[Any, ...], Poller] = {}
_rate_limits: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, RateLimit]] = WeakKeyDictionary()
_tasks: set[asyncio.Task[None]] = set()  # event loops keep weak references only


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
        return max(self._halvings - int((now() - self._refused_at) / RECOVERY_SECONDS), 0)

    def slow_down(self, error: ServiceError) -> None:
        """Halve the rate after a 429, and send nothing for as long as ``Retry-After`` asks."""
        if error.code == 429:
            self._halvings, self._refused_at = min(self._halvings_left() + 1, MAX_HALVINGS), now()
        self._free_at = max(self._free_at, now() + (error.retry_after or 0.0))

    async def acquire(self, is_needed: Callable[[], bool] = lambda: True) -> bool:
        """Wait until a request may be sent, and return whether it is still needed then."""
        async with self._lock:
            while is_needed():
                if (left := self._free_at - now()) <= 0:
                    self._free_at = max(self._free_at, now() - BURST / self.rate()) + 1 / self.rate()
                    return True
                await asyncio.sleep(left)
        return False


class Subscription:
    """One deferred task's wait for a resource, while the ``async with`` block runs.

    The first subscription creates the poller, the last one closes it. ``polled_ago``: seconds since the task itself
    read the resource.
    """

    def __init__(
        self, kind: type[Poller], name: str, connection: Connection, *, poll_interval: float, polled_ago: float
    ) -> None:
        loop, (project, location, key) = asyncio.get_running_loop(), kind.identify(name)
        self.place = (loop, kind, str(connection), project, location)
        if self.place not in _pollers:
            rate_limits = _rate_limits.setdefault(loop, {})
            _pollers[self.place] = kind(connection, rate_limits.setdefault(project, RateLimit()))
        self.poller, self.name = _pollers[self.place], name
        self.interval = AdaptiveInterval(poll_interval, now())
        self.is_listed = key not in self.poller.subscriptions  # a second subscription to a job has its own requests
        self.key = key if self.is_listed else object()
        self.wake = asyncio.Event()  # set when there is a result, or is_due() may have changed
        self._result: Any = None
        self._schedule(self.interval.first(polled_ago), early=0.0)

    def _schedule(self, pause: float, early: float) -> None:
        """Set when to poll, by the event loop's clock.

        By a timer of the loop and not asyncio.timeout(), which cancels the task: a cancellation by Airflow in the same
        moment would lose its message, and Airflow would not call on_kill.
        """
        self.due, self.earliest = now() + pause, now() + pause * (1 - early)
        self._timer = asyncio.get_running_loop().call_at(self.due, self.wake.set)

    async def __aenter__(self) -> Self:
        self.poller.subscriptions[self.key] = self
        self.poller.rate_limit.demand += 1 / self.interval.poll_interval
        return self

    async def __aexit__(self, *_: object) -> None:
        self._timer.cancel()
        del self.poller.subscriptions[self.key]
        self.poller.rate_limit.demand -= 1 / self.interval.poll_interval
        if not self.poller.subscriptions:
            del _pollers[self.place]
            # A task of its own: Airflow may cancel the subscriber again, and the clients are closed all the same.
            await asyncio.shield(start_task(self.poller.aclose()))

    async def next_update(self) -> Any:
        """Return the resource as soon as it was read, by this subscription or in a list.

        :raises TransientServiceError: when a request got no usable response; call again to continue.
        :raises PermanentServiceError: when the service refuses the request.
        """
        while self._result is None:
            if self.is_due():
                if await self.poller.rate_limit.acquire(self.is_due):
                    await self.poller.poll(self)
            else:
                await self.wake.wait()
                self.wake.clear()
        result, self._result = self._result, None
        if isinstance(result, ServiceError):
            raise result
        return result

    def is_due(self) -> bool:
        """Return whether a request is needed: the pause has passed, and no list in flight will serve it."""
        is_being_listed = self.poller.is_listing and self.is_listed
        return self._result is None and self.due <= now() and not is_being_listed

    def receive(self, result: Any) -> None:
        """Take a resource or a :class:`ServiceError`, and schedule the next poll."""
        is_error = isinstance(result, ServiceError)
        pause = self.interval.backoff(result) if is_error else self.poller.next_pause(self.interval, result)
        self._timer.cancel()
        self._schedule(pause, EARLY_FRACTION)
        self._result = result
        self.wake.set()


class Poller(abc.ABC):
    """Polls for all subscriptions of one event loop, connection, project and location."""

    def __init__(self, connection: Connection, rate_limit: RateLimit) -> None:
        self.rate_limit = rate_limit
        self.subscriptions: dict[object, Subscription] = {}
        self.is_listing = False
        self._connection = connection
        self._connected_at = float("-inf")
        self._connecting = asyncio.Lock()
        self._hooks: list[GeminiTuningHook] = []  # the last one is current; earlier ones may have requests in flight

    @staticmethod
    @abc.abstractmethod
    def identify(name: str) -> tuple[str, str, str]:
        """Return project, location and id of a resource; names may have the project's id or number."""

    @abc.abstractmethod
    async def get(self, hook: GeminiTuningHook, name: str) -> Any:
        """Read one resource, with a single request."""

    def next_pause(self, interval: AdaptiveInterval, resource: Any) -> float:
        """Return the pause after a resource was read."""
        return interval.next_pause(None, now())

    async def poll(self, subscription: Subscription) -> None:
        """Read the resource of a subscription that is due."""
        hook = await self.hook()
        try:
            try:
                result = await self.get(hook, subscription.name)
            except PermanentServiceError as error:
                # A wait may outlive a key: what was refused is retried once with the connection's current value.
                if error.code not in (401, 403) or (renewed := await self.hook(refused=hook)) is hook:
                    raise
                result = await self.get(renewed, subscription.name)
        except ServiceError as error:
            self.rate_limit.slow_down(error)
            result = error
        subscription.receive(result)

    async def hook(self, refused: GeminiTuningHook | None = None) -> GeminiTuningHook:
        """Return the hook that all share; a new one when the current one was refused and is not new itself."""
        async with self._connecting:
            is_old = now() - self._connected_at >= RECONNECT_AFTER
            if not self._hooks or (refused is self._hooks[-1] and is_old):
                # Importing Google's clients takes seconds; in a thread this does not block other triggers.
                module = await asyncio.to_thread(importlib.import_module, "gemini_tuning.hooks.gemini_tuning")
                self._hooks.append(await module.GeminiTuningHook.acreate(*self._connection))
                self._connected_at = now()
            return self._hooks[-1]

    async def aclose(self) -> None:
        """Close the clients."""
        for hook in self._hooks:
            await hook.aclose()


def start_task(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Start a task outside the context of a subscriber, whose log may be closed before the task ends."""
    task = asyncio.create_task(work, context=contextvars.Context())
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
    return task


def now() -> float:
    """Return the event loop's time, in seconds."""
    return asyncio.get_running_loop().time()
