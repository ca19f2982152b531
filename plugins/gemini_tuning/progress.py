"""How far a tuning job is, kept as an XCom of the task that waits for it: the run's page reads it there.

Nothing here may disturb the wait: what can't be read or kept is said once in the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async

from gemini_tuning.exceptions import GeminiTuningError
from gemini_tuning.resources import ResourceNameError, TuningJob
from gemini_tuning.tuning_metrics import SERIES, Curve

if TYPE_CHECKING:
    from gemini_tuning.hook import GeminiTuningHook
    from gemini_tuning.watching import TaskInstanceKey

XCOM = "progress"
LOSSES = ("train_loss", "eval_loss")
MAX_POINTS = 50  # of each curve

Losses = Mapping[str, list[list[float]]]

log = logging.getLogger(__name__)


def progress(job: TuningJob, losses: Losses, now: datetime | None = None) -> dict[str, Any]:
    """Return what is kept, as plain JSON.

    For example::

        {"name": "projects/…", "display_name": "ferry", "base_model": "gemini-2.5-flash", "state": "RUNNING",
         "phase": "TUNING", "completed_epochs": 3, "epoch_count": 6, "completed_steps": 31, "error": null,
         "model": "projects/…", "experiment": "projects/…", "start_time": "…",
         "checkpoints": [{"checkpoint_id", "epoch", "step", "endpoint"}, …],
         "train_loss": [[1, 2.1], …], "eval_loss": [[1, 2.2], …], "at": "2026-11-22T10:00:00+00:00"}

    What the service does not tell (yet) is ``None`` or empty. ``at`` is the time of the look.

    :param losses: ``[[step, value], …]`` by the names in :data:`LOSSES`.
    """
    return {
        "name": job.name,
        "display_name": job.display_name,
        "base_model": job.base_model,
        "state": job.state,
        "phase": job.phase,
        "completed_epochs": job.completed_epochs,
        "epoch_count": job.epoch_count,
        "completed_steps": job.completed_steps,
        "error": job.describe_failure() if job.has_ended and not job.has_succeeded else None,
        "model": job.model,
        "experiment": job.experiment,
        "start_time": job.start_time,
        "checkpoints": [checkpoint.as_dict() for checkpoint in job.checkpoints],
        **{name: losses.get(name, []) for name in LOSSES},
        "at": (now or datetime.now(UTC)).isoformat(timespec="seconds"),
    }


def losses_of(kept: Any) -> Losses:
    """Return the losses that were kept before, so that they stay when the job has ended."""
    return {name: kept[name] for name in LOSSES if name in kept} if isinstance(kept, Mapping) else {}


class ProgressKeeper:
    """Keeps the progress of one job while a trigger waits for it.

    The losses are read anew with every epoch, in the background: the wait goes on whatever becomes of that.

    :param task: that the trigger waits for; ``None``, as in ``dag.test()``: nothing is kept.
    """

    def __init__(self, task: TaskInstanceKey | None) -> None:
        self._task = task
        self._kept: dict[str, Any] = {}
        self._losses: Losses = {}
        self._read_at: tuple[int | None, int] | None = None
        self._reading: asyncio.Task[None] | None = None
        self._complained: set[str] = set()

    async def keep(self, hook: GeminiTuningHook, job: TuningJob) -> None:
        """Keep what has changed."""
        if self._task is None:
            return
        self._read_losses(hook, job)
        found = progress(job, self._losses)
        if {**found, "at": None} == {**self._kept, "at": None}:
            return
        try:
            await sync_to_async(_push)(self._task, found)
            self._kept = found
        except Exception as error:
            self._complain(f"The progress of {job.name} is not shown on the run's page: {error}")

    async def aclose(self) -> None:
        """Stop reading."""
        if self._reading is not None:
            self._reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reading

    def _read_losses(self, hook: GeminiTuningHook, job: TuningJob) -> None:
        now = (job.completed_epochs, len(job.checkpoints))
        if not job.experiment or now == self._read_at or job.has_ended:
            return
        if self._reading is None or self._reading.done():
            self._read_at = now
            self._reading = asyncio.create_task(self._read(hook, job.experiment))

    async def _read(self, hook: GeminiTuningHook, experiment: str) -> None:
        try:
            found = await asyncio.to_thread(hook.read_curves, experiment, [SERIES[name] for name in LOSSES], ())
            self._losses = {name: found.get(SERIES[name], Curve()).pairs(MAX_POINTS) for name in LOSSES}
        except (GeminiTuningError, ResourceNameError) as error:
            self._complain(f"The losses are not shown while the job runs: {error}")

    def _complain(self, message: str) -> None:
        if message not in self._complained:
            self._complained.add(message)
            log.warning("%s", message)


def _push(task: TaskInstanceKey, found: Mapping[str, Any]) -> None:
    from airflow.sdk.execution_time.xcom import XCom

    XCom.set(XCOM, dict(found), dag_id=task.dag_id, task_id=task.task_id, run_id=task.run_id, map_index=task.map_index)
