"""The progress of a tuning job, pushed as an XCom of the deferred task for the run's page.

Nothing here may disturb the wait: what cannot be read or pushed is logged once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from threading import Semaphore
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async

from gemini_tuning.core.curves import SERIES, Curve
from gemini_tuning.core.exceptions import GeminiTuningError

if TYPE_CHECKING:
    from gemini_tuning.core.resources import TuningJob
    from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook
    from gemini_tuning.triggers.task_states import TaskInstanceKey

XCOM_KEY = "progress"
LOSSES = ("train_loss", "eval_loss")
_FROM_JOB = (
    "name", "display_name", "base_model", "state", "phase", "completed_epochs", "epoch_count", "completed_steps",
    "model", "experiment", "start_time",
)  # fmt: skip
MAX_POINTS = 50  # per curve
MAX_PUSHES = 4  # in flight; all share one connection to Airflow, which a cancellation needs too
MAX_READERS = 2  # threads that read losses, for all jobs of this process

Losses = Mapping[str, list[list[float]]]

_readers = ThreadPoolExecutor(MAX_READERS, thread_name_prefix="losses")
_push_slots = Semaphore(MAX_PUSHES)

log = logging.getLogger(__name__)


def progress(
    job: TuningJob, losses: Losses, gcp_conn_id: str, impersonation_chain: str | Sequence[str] | None
) -> dict[str, Any]:
    """Return the XCom's value.

    For example::

        {"name": "projects/…", "display_name": "ferry", "base_model": "gemini-2.5-flash", "state": "RUNNING",
         "phase": "TUNING", "completed_epochs": 3, "epoch_count": 6, "completed_steps": 31, "error": null,
         "model": "projects/…", "experiment": "projects/…", "start_time": "…",
         "checkpoints": [{"checkpoint_id", "epoch", "step", "endpoint"}, …],
         "train_loss": [[1, 2.1], …], "eval_loss": [[1, 2.2], …], "at": "2026-11-22T10:00:00+00:00",
         "gcp_conn_id": "google_cloud_default", "impersonation_chain": null}

    What the service does not report (yet) is ``None`` or empty. ``at`` is the time of the poll. The page's actions use
    the same connection.
    """
    return {
        **{field: getattr(job, field) for field in _FROM_JOB},
        "error": job.describe_failure() if job.has_ended and not job.has_succeeded else None,
        "checkpoints": [checkpoint.as_dict() for checkpoint in job.checkpoints],
        **{name: losses.get(name, []) for name in LOSSES},
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "gcp_conn_id": gcp_conn_id,
        "impersonation_chain": impersonation_chain,
    }


def losses_of(value: Any) -> Losses:
    """Return the losses of an earlier XCom, so that they are kept when the job has finished."""
    return {name: value[name] for name in LOSSES if name in value} if isinstance(value, Mapping) else {}


class ProgressKeeper:
    """Pushes the progress of one job while a trigger waits for it.

    All work is done in the background: the wait continues whatever happens to it, and the trigger's cancellation
    reaches the wait itself (asgiref would drop its message, by which Airflow tells why it cancels). The losses are read
    once per epoch, by few threads of our own: those of the event loop are needed to cancel jobs.
    """

    def __init__(self, task: TaskInstanceKey | None) -> None:
        self._task = task  # None in dag.test(): nothing is pushed
        self._pushed: dict[str, Any] = {}
        self._losses: Losses = {}
        self._read_at: tuple[int | None, int] | None = None
        self._pushing: asyncio.Task[None] | None = None
        self._reading: asyncio.Task[None] | None = None
        self._logged: set[str] = set()

    def keep(self, hook: GeminiTuningHook, job: TuningJob) -> None:
        """Start to push what has changed; while too much is in flight, the next poll does."""
        if self._task is None:
            return
        self._read_losses(hook, job)
        value = progress(job, self._losses, hook.gcp_conn_id, hook.impersonation_chain)
        has_changed = {**value, "at": None} != {**self._pushed, "at": None}
        if has_changed and _is_done(self._pushing) and _push_slots.acquire(blocking=False):
            self._pushing = asyncio.create_task(self._push(self._task, value))
            self._pushing.add_done_callback(lambda _: _push_slots.release())

    async def aclose(self) -> None:
        """Stop the background work."""
        tasks = [task for task in (self._pushing, self._reading) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _push(self, task: TaskInstanceKey, value: dict[str, Any]) -> None:
        try:
            await sync_to_async(_push)(task, value)
            self._pushed = value
        except Exception as error:
            self._log_once(f"Could not push the progress of {value['name']} for the run's page: {error}")

    def _read_losses(self, hook: GeminiTuningHook, job: TuningJob) -> None:
        now = (job.completed_epochs, len(job.checkpoints))
        if job.experiment and now != self._read_at and not job.has_ended and _is_done(self._reading):
            self._read_at = now
            self._reading = asyncio.create_task(self._read(hook, job.experiment))

    async def _read(self, hook: GeminiTuningHook, experiment: str) -> None:
        series = [SERIES[name] for name in LOSSES]
        try:
            loop = asyncio.get_running_loop()
            curves = await loop.run_in_executor(_readers, hook.read_curves, experiment, series, ())
            self._losses = {name: curves.get(SERIES[name], Curve()).pairs(MAX_POINTS) for name in LOSSES}
        except GeminiTuningError as error:
            self._log_once(f"Could not read the losses while the job runs: {error}")

    def _log_once(self, message: str) -> None:
        if message not in self._logged:
            self._logged.add(message)
            log.warning("%s", message)


def _is_done(task: asyncio.Task[None] | None) -> bool:
    return task is None or task.done()


def _push(task: TaskInstanceKey, value: Mapping[str, Any]) -> None:
    from airflow.sdk.execution_time.xcom import XCom

    key = {name: getattr(task, name) for name in ("dag_id", "task_id", "run_id", "map_index")}
    XCom.set(XCOM_KEY, dict(value), **key)
