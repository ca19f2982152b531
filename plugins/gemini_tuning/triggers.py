"""Triggers that wait without a worker: for a tuning job, for a copy operation.

Their arguments are kept in Airflow's database: names and numbers, never a secret. Their events say only that the
wait is over; the operator reads the resource again.
"""

from __future__ import annotations

import abc
import asyncio
import importlib
import json
import time
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from gemini_tuning.exceptions import PermanentServiceError, TransientServiceError

if TYPE_CHECKING:
    from gemini_tuning.hook import GeminiTuningHook

# Airflow fails a task whose trigger fires before the scheduler has heard that the deferring process ended, which can
# take [workers] min_heartbeat_interval = 5 s (https://github.com/apache/airflow/issues/72716). So no event before this.
SETTLE_SECONDS = 6.0
EVENT_MESSAGE_LIMIT = 700  # bytes as JSON; Airflow keeps events in its database, ours stay below 1 KB


def _shortened(text: str) -> str:
    while (size := len(json.dumps(text))) > EVENT_MESSAGE_LIMIT:
        text = text[: len(text) * EVENT_MESSAGE_LIMIT // size]
    return text


class _PollingTrigger(BaseTrigger):
    """Look at one resource every ``poll_interval`` seconds until it is over or the deadline has passed.

    Events: ``{"status": "ended", "resource"}``, ``{"status": "deadline", "resource"}``, or ``{"status": "error",
    "resource", "message", "code"}`` when the service refuses for good. A service that does not answer is asked again
    until the deadline.

    :param resource: full name of what is waited for.
    :param poll_interval: seconds between two looks.
    :param deadline: when to give up, in seconds since 1970 (UTC).
    """

    def __init__(
        self,
        resource: str,
        *,
        gcp_conn_id: str,
        impersonation_chain: str | Sequence[str] | None,
        poll_interval: float,
        deadline: float,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.resource = resource
        self.gcp_conn_id = gcp_conn_id
        self.impersonation_chain = impersonation_chain
        self.poll_interval = poll_interval
        self.deadline = deadline

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
            },
        )

    @abc.abstractmethod
    async def look(self, hook: GeminiTuningHook) -> tuple[bool, str]:
        """Return whether the wait is over, and one line for the log."""

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, logging what changes, and yield one event."""
        # Importing Google's clients takes seconds; in a thread it does not stop the other triggers.
        module = await asyncio.to_thread(importlib.import_module, "gemini_tuning.hook")
        hook = await module.GeminiTuningHook.acreate(self.gcp_conn_id, self.impersonation_chain)
        shown, settled = "", time.monotonic() + SETTLE_SECONDS
        self.log.info("Waiting for %s", self.resource)
        try:
            while True:
                ended, line = await self._look_patiently(hook)
                if line != shown:
                    self.log.info("%s", line)
                    shown = line
                remaining = self.deadline - time.time()
                if ended or remaining <= 0:
                    await asyncio.sleep(settled - time.monotonic())
                    yield self._event("ended" if ended else "deadline")
                    return
                await asyncio.sleep(min(self.poll_interval, remaining))
        except PermanentServiceError as error:
            await asyncio.sleep(settled - time.monotonic())
            yield self._event("error", message=_shortened(str(error)), code=error.code)
        finally:
            await hook.aclose()

    def _event(self, status: str, **more: Any) -> TriggerEvent:
        return TriggerEvent({"status": status, "resource": self.resource, **more})

    async def _look_patiently(self, hook: GeminiTuningHook) -> tuple[bool, str]:
        try:
            return await self.look(hook)
        except TransientServiceError as error:
            return False, f"the service does not answer, asking again: {error}"


class TuningJobTrigger(_PollingTrigger):
    """Wait for a tuning job; the log shows its state, and its epoch and step where the service gives them."""

    async def look(self, hook: GeminiTuningHook) -> tuple[bool, str]:
        """Return whether the job has ended, and its progress."""
        job = await hook.aget_tuning_job(self.resource)
        return job.has_ended, job.progress()


class CopyModelTrigger(_PollingTrigger):
    """Wait for the operation of a model copy."""

    async def look(self, hook: GeminiTuningHook) -> tuple[bool, str]:
        """Return whether the operation is done."""
        operation = await hook.aget_operation(self.resource)
        return operation.done, "done" if operation.done else "copying"
