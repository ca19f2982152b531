"""How far a tuning job is, kept as an XCom of the task that waits for it: the run's page reads it there.

Nothing here may disturb the wait: what can't be read or kept is said once in the log.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async

from gemini_tuning.core.curves import SERIES, Curve
from gemini_tuning.core.exceptions import GeminiTuningError
from gemini_tuning.core.names import ResourceNameError
from gemini_tuning.core.resources import TuningJob

if TYPE_CHECKING:
    from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook
    from gemini_tuning.triggers.task_states import TaskInstanceKey

XCOM_KEY = "progress"
LOSSES = ("train_loss", "eval_loss")
MAX_POINTS = 50  # of each curve

PUSHES = 4  # under way at once: they queue for one connection to Airflow, as does the question whether to cancel
READERS = 2  # threads that read losses, of all jobs that this process waits for

Losses = Mapping[str, list[list[float]]]

_READERS = ThreadPoolExecutor(READERS, thread_name_prefix="losses")
_readers_busy = 0
_pushes_under_way = 0

log = logging.getLogger(__name__)


def progress(
    job: TuningJob, losses: Losses, gcp_conn_id: str, impersonation_chain: str | Sequence[str] | None
) -> dict[str, Any]:
    """Return what is kept, as plain JSON.

    For example::

        {"name": "projects/…", "display_name": "ferry", "base_model": "gemini-2.5-flash", "state": "RUNNING",
         "phase": "TUNING", "completed_epochs": 3, "epoch_count": 6, "completed_steps": 31, "error": null,
         "model": "projects/…", "experiment": "projects/…", "start_time": "…",
         "checkpoints": [{"checkpoint_id", "epoch", "step", "endpoint"}, …],
         "train_loss": [[1, 2.1], …], "eval_loss": [[1, 2.2], …], "at": "2026-11-22T10:00:00+00:00",
         "gcp_conn_id": "google_cloud_default", "impersonation_chain": null}

    What the service does not tell (yet) is ``None`` or empty. ``at`` is the time of the look.

    :param losses: ``[[step, value], …]`` by the names in :data:`LOSSES`.
    :param gcp_conn_id: the connection that the job is asked for with: the page's actions use the same.
    :param impersonation_chain: as whom.
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
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "gcp_conn_id": gcp_conn_id,
        "impersonation_chain": impersonation_chain,
    }


def losses_of(kept: Any) -> Losses:
    """Return the losses that were kept before, so that they stay when the job has ended."""
    return {name: kept[name] for name in LOSSES if name in kept} if isinstance(kept, Mapping) else {}


class ProgressKeeper:
    """Keeps the progress of one job while a trigger waits for it.

    Everything is done in the background: the wait goes on whatever becomes of it, and a cancellation of the trigger
    reaches the wait itself (what Airflow says with it gets lost in asgiref). The losses are read anew with every
    epoch, by few threads of our own: those of the event loop are needed to ask for jobs and to cancel them.

    :param task: that the trigger waits for; ``None``, as in ``dag.test()``: nothing is kept.
    """

    def __init__(self, task: TaskInstanceKey | None) -> None:
        self._task = task
        self._kept: dict[str, Any] = {}
        self._losses: Losses = {}
        self._read_at: tuple[int | None, int] | None = None
        self._pushing: asyncio.Task[None] | None = None
        self._reading: asyncio.Task[None] | None = None
        self._complained: set[str] = set()

    def keep(self, hook: GeminiTuningHook, job: TuningJob) -> None:
        """Begin to keep what has changed; what comes while much is under way waits for the next look."""
        if self._task is None:
            return
        self._read_losses(hook, job)
        found = progress(job, self._losses, hook.gcp_conn_id, hook.impersonation_chain)
        is_new = {**found, "at": None} != {**self._kept, "at": None}
        if is_new and _is_over(self._pushing) and _pushes_under_way < PUSHES:
            self._pushing = asyncio.create_task(self._push(self._task, found))

    async def aclose(self) -> None:
        """Stop what is under way."""
        under_way = [task for task in (self._pushing, self._reading) if task is not None]
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)

    async def _push(self, task: TaskInstanceKey, found: dict[str, Any]) -> None:
        global _pushes_under_way  # noqa: PLW0603
        _pushes_under_way += 1
        try:
            await sync_to_async(_push)(task, found)
            self._kept = found
        except Exception as error:
            self._complain(f"The progress of {found['name']} is not shown on the run's page: {error}")
        finally:
            _pushes_under_way -= 1

    def _read_losses(self, hook: GeminiTuningHook, job: TuningJob) -> None:
        global _readers_busy  # noqa: PLW0603 - the event loop is the only one to change it
        now = (job.completed_epochs, len(job.checkpoints))
        if not job.experiment or now == self._read_at or job.has_ended:
            return
        if _is_over(self._reading) and _readers_busy < READERS:
            self._read_at = now
            _readers_busy += 1
            reading = asyncio.get_running_loop().run_in_executor(
                _READERS, hook.read_curves, job.experiment, [SERIES[name] for name in LOSSES], ()
            )
            reading.add_done_callback(_reader_is_free)
            self._reading = asyncio.create_task(self._read(reading))

    async def _read(self, reading: asyncio.Future[dict[str, Curve]]) -> None:
        try:
            found = await asyncio.shield(reading)  # the thread can't be stopped, and is busy until it is done
            self._losses = {name: found.get(SERIES[name], Curve()).pairs(MAX_POINTS) for name in LOSSES}
        except (GeminiTuningError, ResourceNameError) as error:
            self._complain(f"The losses are not shown while the job runs: {error}")

    def _complain(self, message: str) -> None:
        if message not in self._complained:
            self._complained.add(message)
            log.warning("%s", message)


def _is_over(task: asyncio.Task[None] | None) -> bool:
    return task is None or task.done()


def _reader_is_free(reading: asyncio.Future[Any]) -> None:
    global _readers_busy  # noqa: PLW0603
    _readers_busy -= 1
    if not reading.cancelled():
        reading.exception()  # seen, also when nobody waits for it any more


def _push(task: TaskInstanceKey, found: Mapping[str, Any]) -> None:
    from airflow.sdk.execution_time.xcom import XCom

    XCom.set(
        XCOM_KEY, dict(found), dag_id=task.dag_id, task_id=task.task_id, run_id=task.run_id, map_index=task.map_index
    )
