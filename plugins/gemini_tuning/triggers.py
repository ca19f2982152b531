"""Triggers that wait without a worker: for a tuning job, for a copy operation.

Their arguments are kept in Airflow's database: names and numbers, never a secret. Their events say only that the
wait is over; the operator reads the resource again.
"""

from __future__ import annotations

import abc
import asyncio
import contextlib
import importlib
import json
import random
import time
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async

from gemini_tuning.exceptions import PermanentServiceError, TransientServiceError
from gemini_tuning.progress import ProgressKeeper
from gemini_tuning.watching import TaskInstanceKey, ask_states, is_wanted, state_of

if TYPE_CHECKING:
    from gemini_tuning.hook import GeminiTuningHook

# Airflow fails a task whose trigger fires before the scheduler has heard that the deferring process ended, which can
# take [workers] min_heartbeat_interval = 5 s (https://github.com/apache/airflow/issues/72716). So no event before this.
SETTLE_SECONDS = 6.0
KILL_PATIENCE = 25.0  # seconds; Airflow's own limit is [triggerer] on_kill_timeout = 30
MAX_BACKOFF = 60.0  # seconds between two looks at a service that does not answer; more only where it asks for it
EVENT_MESSAGE_LIMIT = 700  # bytes as JSON; Airflow keeps events in its database, ours stay below 1 KB

_KILLS_UNDER_WAY: set[asyncio.Task[None]] = set()  # the event loop itself keeps weak references only


def _shortened(text: str) -> str:
    while (size := len(json.dumps(text))) > EVENT_MESSAGE_LIMIT:
        text = text[: len(text) * EVENT_MESSAGE_LIMIT // size]
    return text


class _PollingTrigger(BaseTrigger):
    """Look at one resource every ``poll_interval`` seconds until it is over or the deadline has passed.

    Events: ``{"status": "ended", "resource"}``, ``{"status": "deadline", "resource"}``, or ``{"status": "error",
    "resource", "message", "code"}`` when the service refuses for good. A service that does not answer, or asks for
    patience, is asked again until the deadline, less and less often.

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
        self._failures = 0  # looks in a row that brought no answer
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
        settled = time.monotonic() + SETTLE_SECONDS
        self.log.info("Waiting for %s", self.resource)
        try:
            while True:
                ended, pause = await self._look_patiently(hook)
                remaining = self.deadline - time.time()
                if ended or remaining <= 0:
                    await asyncio.sleep(settled - time.monotonic())
                    yield self._event("ended" if ended else "deadline")
                    return
                await asyncio.sleep(min(pause, remaining))
        except PermanentServiceError as error:
            await asyncio.sleep(settled - time.monotonic())
            yield self._event("error", message=_shortened(str(error)), code=error.code)
        finally:
            await hook.aclose()

    def _event(self, status: str, **more: Any) -> TriggerEvent:
        return TriggerEvent({"status": status, "resource": self.resource, **more})

    async def _look_patiently(self, hook: GeminiTuningHook) -> tuple[bool, float]:
        """Look once; return whether the wait is over, and the seconds until the next look."""
        try:
            ended, line = await self.look(hook)
            self._failures, pause = 0, self.poll_interval
        except TransientServiceError as error:
            self._failures += 1
            ended, line = False, f"the service does not answer, asking again: {error}"
            pause = self._backoff(error.retry_after)
        if line != self._shown:
            self.log.info("%s", line)
            self._shown = line
        return ended, pause

    def _backoff(self, asked: float | None) -> float:
        """Return how long to leave the service alone, in seconds: as it asks, else ever longer, with jitter."""
        longest = max(self.poll_interval, MAX_BACKOFF)
        pause = min(self.poll_interval * 2.0 ** min(self._failures, 20), longest)
        return max(pause * random.uniform(0.5, 1.0), asked or 0.0)  # noqa: S311 - jitter


class TuningJobTrigger(_PollingTrigger):
    """Wait for a tuning job; the log shows its state, and its epoch and step where the service gives them.

    The same, with the losses, goes to the XCom ``progress`` of the task that waits: see
    :func:`gemini_tuning.progress.progress`.

    :param cancel_on_kill: cancel the job when the run gives it up while this trigger waits: the task or the run is
        marked failed, the run times out or is deleted. When the task is cleared its next try takes the same job, and
        when it is marked success nothing is cancelled either.
    """

    def __init__(self, resource: str, *, cancel_on_kill: bool = True, **kwargs: Any) -> None:
        super().__init__(resource, **kwargs)
        self.cancel_on_kill = cancel_on_kill
        self._progress: ProgressKeeper | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments."""
        path, arguments = super().serialize()
        return path, {**arguments, "cancel_on_kill": self.cancel_on_kill}

    async def look(self, hook: GeminiTuningHook) -> tuple[bool, str]:
        """Return whether the job has ended, and its progress."""
        job = await hook.aget_tuning_job(self.resource)
        if self._progress is None:
            self._progress = ProgressKeeper(self.task_instance)
        self._progress.keep(hook, job)
        return job.has_ended, job.progress()

    async def cleanup(self) -> None:
        """Stop what runs beside the wait; Airflow calls this when the trigger is done, however it ended."""
        if self._progress is not None:
            await self._progress.aclose()

    async def on_kill(self) -> None:
        """Cancel the job, unless somebody still waits for it.

        Airflow calls this also when a task is cleared, marked success, or was handed to another triggerer because this
        one had stalled; so the task's state decides, not the call.
        """
        if not self.cancel_on_kill:
            self.log.info("%s is left alone: cancel_on_kill is off", self.resource)
            return
        # Until the trigger has ended, Airflow 3.3 cancels it again with each pass of its loop, about once a second, and
        # would interrupt this: so it is a task of its own, and those further cancellations are swallowed.
        work = asyncio.create_task(self._cancel_unless_wanted())
        _KILLS_UNDER_WAY.add(work)
        work.add_done_callback(_KILLS_UNDER_WAY.discard)
        while not work.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(work)

    async def _cancel_unless_wanted(self) -> None:
        try:
            async with asyncio.timeout(KILL_PATIENCE):
                state = await self._state_of_task()
                if is_wanted(state):
                    self.log.info("%s is left alone: its task is %s", self.resource, state or "to run again")
                else:
                    await self._cancel(f"its task is {state}")
        except Exception:
            self.log.exception("%s may go on costing money: it could not be cancelled", self.resource)

    async def _state_of_task(self) -> str | None:
        task: TaskInstanceKey | None = self.task_instance
        if task is None:
            raise RuntimeError("the trigger knows no task")
        # In Airflow's triggerer, synchronous calls to Airflow work from this kind of thread only.
        return state_of(await sync_to_async(ask_states)(task.dag_id, [task.task_id], task.run_id), task)

    async def _cancel(self, why: str) -> None:
        module = await asyncio.to_thread(importlib.import_module, "gemini_tuning.hook")
        hook = await module.GeminiTuningHook.acreate(self.gcp_conn_id, self.impersonation_chain)
        try:
            job = await hook.aget_tuning_job(self.resource)
            if job.is_stopping:
                self.log.info("%s is %s already", self.resource, job.state)
                return
            await hook.acancel_tuning_job(self.resource)
            self.log.warning("Cancelled tuning job %s, which nobody waits for: %s", self.resource, why)
        finally:
            await hook.aclose()


class CopyModelTrigger(_PollingTrigger):
    """Wait for the operation of a model copy."""

    async def look(self, hook: GeminiTuningHook) -> tuple[bool, str]:
        """Return whether the operation is done."""
        operation = await hook.aget_operation(self.resource)
        return operation.done, "done" if operation.done else "copying"
