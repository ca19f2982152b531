"""Wait for a tuning job without a worker slot."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async

from gemini_tuning.core.resources import TuningJob
from gemini_tuning.triggers.progress import ProgressKeeper
from gemini_tuning.triggers.shared_poller.tuning_jobs import TuningJobWatcher
from gemini_tuning.triggers.task_states import TaskInstanceKey, get_task_states, keeps_job, task_state
from gemini_tuning.triggers.waiting import WaitingTrigger

if TYPE_CHECKING:
    from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook

KILL_PATIENCE = 25.0  # seconds; Airflow's own limit is [triggerer] on_kill_timeout = 30

_KILLS_UNDER_WAY: set[asyncio.Task[None]] = set()  # the event loop itself keeps weak references only


class TuningJobTrigger(WaitingTrigger):
    """Wait for a tuning job; the log shows its state, and its epoch and step where the service gives them.

    The same, with the losses, goes to the XCom ``progress`` of the task that waits: see
    :func:`gemini_tuning.triggers.progress.progress`.

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
                if keeps_job(state):
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
        return task_state(await sync_to_async(get_task_states)(task.dag_id, [task.task_id], task.run_id), task)

    async def _cancel(self, why: str) -> None:
        module = await asyncio.to_thread(importlib.import_module, "gemini_tuning.hooks.gemini_tuning")
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
