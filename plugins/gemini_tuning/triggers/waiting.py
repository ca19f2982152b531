"""The base class of the triggers that wait for a resource.

Trigger arguments are stored in Airflow's database: they are names and numbers, never a secret. Events say only how the
wait ended; the operator reads the resource again.
"""

from __future__ import annotations

import abc
import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import conf
from airflow.triggers.base import BaseTrigger, TriggerEvent

from gemini_tuning.core.exceptions import PermanentServiceError, TransientServiceError
from gemini_tuning.triggers.shared_poller.poller import Poller, Subscription

if TYPE_CHECKING:
    from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook

# Airflow fails a task whose trigger fires before the scheduler knows that the deferring process has ended, which can
# take one heartbeat (https://github.com/apache/airflow/issues/72716). So no event is sent before that.
MIN_SECONDS_TO_EVENT = conf.getfloat("workers", "min_heartbeat_interval", fallback=5.0) + 2.0

EVENT_MESSAGE_LIMIT = 700  # bytes as JSON; events are stored in Airflow's database and stay below 1 KB


class WaitingTrigger(BaseTrigger):
    """Fires when a resource has finished, or when the deadline has passed.

    Events: ``{"status": "ended", "resource"}``; ``{"status": "deadline", "resource"}``; ``{"status": "error",
    "resource", "message", "code"}`` when the service refuses the request. While the service is unavailable the trigger
    polls at growing intervals until the deadline.

    :param resource: full name of the resource.
    :param poll_interval: seconds; up to five times as long far from the end, down to a twelfth near it
        (:mod:`gemini_tuning.triggers.shared_poller.adaptive_interval`).
    :param deadline: in seconds since 1970 (UTC).
    :param last_polled_at: when the task itself read the resource, in seconds since 1970 (UTC).
    """

    poller: ClassVar[type[Poller]]

    def __init__(
        self,
        resource: str,
        *,
        gcp_conn_id: str,
        impersonation_chain: str | Sequence[str] | None,
        poll_interval: float,
        deadline: float,
        last_polled_at: float | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.resource = resource
        self.gcp_conn_id = gcp_conn_id
        self.impersonation_chain = impersonation_chain
        self.poll_interval = poll_interval
        self.deadline = deadline
        self.last_polled_at = last_polled_at
        self._logged = ""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments."""
        names = ("resource", "gcp_conn_id", "impersonation_chain", "poll_interval", "deadline", "last_polled_at")
        return f"{type(self).__module__}.{type(self).__qualname__}", {name: getattr(self, name) for name in names}

    @abc.abstractmethod
    def on_update(self, hook: GeminiTuningHook, resource: Any) -> bool:
        """Process a resource that was read, and return whether it has finished; must not block."""

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, log what changes, and yield one event."""
        earliest = time.monotonic() + MIN_SECONDS_TO_EVENT
        self.log.info("Waiting for %s", self.resource)
        event = await self._wait()
        await asyncio.sleep(earliest - time.monotonic())
        yield TriggerEvent({"resource": self.resource, **event})

    async def _wait(self) -> dict[str, Any]:
        subscription = Subscription(
            self.poller,
            self.resource,
            (self.gcp_conn_id, self.impersonation_chain),
            poll_interval=self.poll_interval,
            polled_ago=time.time() - (self.last_polled_at or 0.0),
        )
        try:
            async with subscription, asyncio.timeout(self.deadline - time.time()):
                while not await self._poll(subscription):
                    pass
        except TimeoutError:
            return {"status": "deadline"}
        except PermanentServiceError as error:
            return {"status": "error", "message": _shortened(str(error)), "code": error.code}
        return {"status": "ended"}

    async def _poll(self, subscription: Subscription) -> bool:
        try:
            resource = await subscription.next_update()
        except TransientServiceError as error:
            self.log_change(f"No usable response, retrying: {error}")
            return False
        return self.on_update(await subscription.poller.hook(), resource)

    def log_change(self, line: str) -> None:
        """Log a line unless it was the last one logged."""
        if line != self._logged:
            self.log.info("%s", line)
            self._logged = line


def _shortened(text: str) -> str:
    while (size := len(json.dumps(text))) > EVENT_MESSAGE_LIMIT:
        text = text[: len(text) * EVENT_MESSAGE_LIMIT // size]
    return text
