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
import time
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import conf
from airflow.triggers.base import BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async

from gemini_tuning.exceptions import PermanentServiceError, TransientServiceError
from gemini_tuning.progress import ProgressKeeper
from gemini_tuning.resources import Operation, TuningJob
from gemini_tuning.task_states import TaskInstanceKey, ask_states, is_wanted, state_of
from gemini_tuning.watching.copies import CopyWatcher
from gemini_tuning.watching.shared import waiting_for
from gemini_tuning.watching.tuning_jobs import TuningJobWatcher
from gemini_tuning.watching.watcher import Watcher

if TYPE_CHECKING:
    from gemini_tuning.hook import GeminiTuningHook

# Airflow fails a task whose trigger fires before the scheduler has heard that the deferring process ended, which can
# take one such interval (https://github.com/apache/airflow/issues/72716). So no event before that, and some.
SETTLE_SECONDS = conf.getfloat("workers", "min_heartbeat_interval", fallback=5.0) + 2.0
KILL_PATIENCE = 25.0  # seconds; Airflow's own limit is [triggerer] on_kill_timeout = 30
EVENT_MESSAGE_LIMIT = 700  # bytes as JSON; Airflow keeps events in its database, ours stay below 1 KB

_KILLS_UNDER_WAY: set[asyncio.Task[None]] = set()  # the event loop itself keeps weak references only


def _shortened(text: str) -> str:
    while (size := len(json.dumps(text))) > EVENT_MESSAGE_LIMIT:
        text = text[: len(text) * EVENT_MESSAGE_LIMIT // size]
    return text


class _WaitingTrigger(BaseTrigger):
    """Wait until one resource is over or the deadline has passed; all that wait share one look-out.

    Events: ``{"status": "ended", "resource"}``, ``{"status": "deadline", "resource"}``, or ``{"status": "error",
    "resource", "message", "code"}`` when the service refuses for good. A service that does not answer, or asks for
    patience, is asked again until the deadline, less and less often.

    :param resource: full name of what is waited for.
    :param poll_interval: seconds between two looks while nothing is known of the pace; up to four times as long far
        from the end, down to a twelfth near it (:mod:`gemini_tuning.watching.cadence`).
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


class TuningJobTrigger(_WaitingTrigger):
    """Wait for a tuning job; the log shows its state, and its epoch and step where the service gives them.

    The same, with the losses, goes to the XCom ``progress`` of the task that waits: see
    :func:`gemini_tuning.progress.progress`.

    :param cancel_on_kill: cancel the job when the run gives it up while this trigger waits: the task or the run is
        marked failed, the run times out or is deleted. When the task is cleared its next try takes the same job, and
        when it is marked success nothing is cancelled either.
    """

    watcher = TuningJobWatcher

    def __init__(self, resource: str, *, cancel_on_kill: bool = True, **kwargs: Any) -> None:
        super().__init__(resource, **kwargs)
        self.cancel_on_kill = cancel_on_kill
        self._progress: ProgressKeeper | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments."""
        path, arguments = super().serialize()
        return path, {**arguments, "cancel_on_kill": self.cancel_on_kill}

    def seen(self, hook: GeminiTuningHook, resource: TuningJob) -> None:
        """Log and keep the job's progress."""
        if self._progress is None:
            self._progress = ProgressKeeper(self.task_instance)
        self._progress.keep(hook, resource)
        self._show(resource.progress())

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


class CopyModelTrigger(_WaitingTrigger):
    """Wait for the operation of a model copy."""

    watcher = CopyWatcher

    def seen(self, hook: GeminiTuningHook, resource: Operation) -> None:
        """Log whether the operation is done."""
        self._show("done" if resource.done else "copying")
