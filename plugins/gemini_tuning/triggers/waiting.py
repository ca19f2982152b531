"""Triggers that wait without a worker: for a tuning job, for a copy operation.

Their arguments are kept in Airflow's database: names and numbers, never a secret. Their events say only that the
wait is over; the operator reads the resource again.
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
from gemini_tuning.triggers.shared_poller.shared import waiting_for
from gemini_tuning.triggers.shared_poller.watcher import Watcher

if TYPE_CHECKING:
    from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook

# Airflow fails a task whose trigger fires before the scheduler has heard that the deferring process ended, which can
# take one such interval (https://github.com/apache/airflow/issues/72716). So no event before that, and some.
SETTLE_SECONDS = conf.getfloat("workers", "min_heartbeat_interval", fallback=5.0) + 2.0

EVENT_MESSAGE_LIMIT = 700  # bytes as JSON; Airflow keeps events in its database, ours stay below 1 KB


def _shortened(text: str) -> str:
    while (size := len(json.dumps(text))) > EVENT_MESSAGE_LIMIT:
        text = text[: len(text) * EVENT_MESSAGE_LIMIT // size]
    return text


class WaitingTrigger(BaseTrigger):
    """Wait until one resource is over or the deadline has passed; all that wait share one look-out.

    Events: ``{"status": "ended", "resource"}``, ``{"status": "deadline", "resource"}``, or ``{"status": "error",
    "resource", "message", "code"}`` when the service refuses for good. A service that does not answer, or asks for
    patience, is asked again until the deadline, less and less often.

    :param resource: full name of what is waited for.
    :param poll_interval: seconds between two looks while nothing is known of the pace; up to four times as long far
        from the end, down to a twelfth near it (:mod:`gemini_tuning.triggers.shared_poller.cadence`).
    :param deadline: when to give up, in seconds since 1970 (UTC).
    :param looked_at: when the task looked last and found it under way, in seconds since 1970 (UTC).
    """

    watcher: ClassVar[type[Watcher[Any]]]

    def __init__(
        self,
        resource: str,
        *,
        gcp_conn_id: str,
        impersonation_chain: str | Sequence[str] | None,
        poll_interval: float,
        deadline: float,
        looked_at: float | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.resource = resource
        self.gcp_conn_id = gcp_conn_id
        self.impersonation_chain = impersonation_chain
        self.poll_interval = poll_interval
        self.deadline = deadline
        self.looked_at = looked_at
        self._shown = ""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "resource": self.resource,
                "gcp_conn_id": self.gcp_conn_id,
                "impersonation_chain": self.impersonation_chain,
                "poll_interval": self.poll_interval,
                "deadline": self.deadline,
                "looked_at": self.looked_at,
            },
        )

    @abc.abstractmethod
    def seen(self, hook: GeminiTuningHook, resource: Any) -> None:
        """Take note of what was seen."""

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, logging what changes, and yield one event."""
        settled = time.monotonic() + SETTLE_SECONDS
        self.log.info("Waiting for %s", self.resource)
        event = await self._event()
        await asyncio.sleep(settled - time.monotonic())
        yield TriggerEvent({"resource": self.resource, **event})

    async def _event(self) -> dict[str, Any]:
        waiting = waiting_for(
            self.watcher,
            self.resource,
            gcp_conn_id=self.gcp_conn_id,
            impersonation_chain=self.impersonation_chain,
            poll_interval=self.poll_interval,
            looked_ago=None if self.looked_at is None else time.time() - self.looked_at,
            seen=self.seen,
            unanswered=self._unanswered,
        )
        try:
            async with waiting as end, asyncio.timeout(self.deadline - time.time()):
                await end
        except TimeoutError:
            return {"status": "deadline"}
        except PermanentServiceError as error:
            return {"status": "error", "message": _shortened(str(error)), "code": error.code}
        return {"status": "ended"}

    def _unanswered(self, error: TransientServiceError) -> None:
        self._show(f"the service does not answer, asking again: {error}")

    def _show(self, line: str) -> None:
        if line != self._shown:
            self.log.info("%s", line)
            self._shown = line
