"""Defers until a tuning job has finished."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from functools import cached_property
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async

from gemini_tuning.core.exceptions import GeminiTuningError
from gemini_tuning.triggers.progress import ProgressKeeper
from gemini_tuning.triggers.shared_poller.tuning_jobs import TuningJobPoller
from gemini_tuning.triggers.task_states import TaskInstanceKey, get_task_states, keeps_job, task_state
from gemini_tuning.triggers.waiting import WaitingTrigger

if TYPE_CHECKING:
    from gemini_tuning.core.resources import TuningJob
    from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook

CANCEL_TIMEOUT = 25.0  # seconds; Airflow's own limit is [triggerer] on_kill_timeout = 30

_cancellations: set[asyncio.Task[None]] = set()  # the event loop keeps weak references only


class TuningJobTrigger(WaitingTrigger):
    """Fires when a tuning job has finished; logs its state, epoch and step when they change.

    Its progress, with the losses, goes to the XCom ``progress`` of the deferred task: see
    :func:`gemini_tuning.triggers.progress.progress`.

    :param cancel_on_kill: cancel the job when the deferred task or its run is marked failed, times out or is deleted.
        When the task is cleared, its next try reattaches to the job; when it is marked success, the job continues.
    """

    poller = TuningJobPoller

    def __init__(self, resource: str, *, cancel_on_kill: bool = True, **kwargs: Any) -> None:
        super().__init__(resource, **kwargs)
        self.cancel_on_kill = cancel_on_kill

    @cached_property
    def _progress(self) -> ProgressKeeper:
        return ProgressKeeper(self.task_instance)  # which Airflow sets after the trigger was created

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments."""
        path, arguments = super().serialize()
        return path, {**arguments, "cancel_on_kill": self.cancel_on_kill}

    def on_update(self, hook: GeminiTuningHook, resource: TuningJob) -> bool:
        """Log and push the job's progress."""
        self._progress.keep(hook, resource)
        self.log_change(resource.progress())
        return resource.has_ended

    async def cleanup(self) -> None:
        """Stop the background work; Airflow calls this when the trigger has ended, in whatever way."""
        await self._progress.aclose()

    async def on_kill(self) -> None:
        """Cancel the job if the task's state shows that no one waits for it any more.

        Airflow calls this also when a task is cleared or marked success, and when a triggerer that had stalled loses
        the trigger to another one. So the state of the task decides.
        """
        if not self.cancel_on_kill:
            self.log.info("%s is not cancelled: cancel_on_kill is off", self.resource)
            return
        # Until the trigger has ended, Airflow 3.3 cancels it again with each pass of its loop, about once a second,
        # which would interrupt this. So the work is a task of its own, and those cancellations are ignored.
        work = asyncio.create_task(self._cancel_unless_kept())
        _cancellations.add(work)
        work.add_done_callback(_cancellations.discard)
        while not work.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(work)

    async def _cancel_unless_kept(self) -> None:
        try:
            async with asyncio.timeout(CANCEL_TIMEOUT):
                state = await self._get_task_state()
                if keeps_job(state):
                    self.log.info("%s is not cancelled: the task's state is %s", self.resource, state or "no_status")
                else:
                    await self._cancel(state)
        except Exception:
            self.log.exception("Could not cancel %s; it may continue to run and cost money", self.resource)

    async def _get_task_state(self) -> str | None:
        task: TaskInstanceKey | None = self.task_instance
        if task is None:
            raise GeminiTuningError("The trigger has no task instance.", resource=self.resource, code="no_task")
        # In Airflow's triggerer, synchronous calls to Airflow work from this kind of thread only.
        return task_state(await sync_to_async(get_task_states)(task.dag_id, [task.task_id], task.run_id), task)

    async def _cancel(self, state: str | None) -> None:
        module = await asyncio.to_thread(importlib.import_module, "gemini_tuning.hooks.gemini_tuning")
        hook = await module.GeminiTuningHook.acreate(self.gcp_conn_id, self.impersonation_chain)
        try:
            job = await hook.aget_tuning_job(self.resource)
            if job.is_stopping:
                self.log.info("%s is already %s", self.resource, job.state)
                return
            await hook.acancel_tuning_job(self.resource)
            self.log.warning("Cancelled tuning job %s: the task's state is %s", self.resource, state or "no_status")
        finally:
            await hook.aclose()
