"""The step that leaves nothing running: cancels the job of a run that does not wait for it any more."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException

from gemini_tuning.operators.base import GCP_FIELDS, GoogleCloudFields, optional_text
from gemini_tuning.operators.tuning_job import LABELS_XCOM
from gemini_tuning.resources import TuningJob
from gemini_tuning.watching import GONE, ask_states, is_wanted

if TYPE_CHECKING:
    from airflow.sdk import Context

LOOK_INTERVAL = 2.0  # seconds


class GeminiCancelTuningJobOperator(GoogleCloudFields):
    """Cancel the run's tuning job when the run has ended without waiting for it; use it as a teardown.

    The waiting task cancels its job itself when it is marked failed. This covers what Airflow gives that task no chance
    to do: it died together with its trigger, was killed while it created the job, or failed for another reason. As a
    teardown it also runs when the whole run is marked failed. It does nothing when the waiting task succeeded.

    When somebody marked the run failed, Airflow leaves the rest of it to the teardown, whose success would make the run
    a success; so this task then fails, after it has done its work.

    XCom: ``{"tuning_job", "state", "cancelled"}``; the state is that before cancelling.

    Example::

        cancel = GeminiCancelTuningJobOperator(task_id="cancel_abandoned_job").as_teardown(on_failure_fail_dagrun=True)
        create_tuning_job >> wait_for_tuning_job >> cancel

    :param create_task_id: task that creates the job.
    :param wait_task_id: task that waits for it.
    :param grace: seconds that the job's own watchers have to cancel it, and a create that was interrupted to show what
        it made.
    :raises AirflowFailException: when the run was ended by hand.
    """

    template_fields: Sequence[str] = GCP_FIELDS

    def __init__(
        self,
        *,
        create_task_id: str = "create_tuning_job",
        wait_task_id: str = "wait_for_tuning_job",
        grace: float = 20,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.create_task_id = create_task_id
        self.wait_task_id = wait_task_id
        self.grace = grace

    def execute(self, context: Context) -> dict[str, Any]:
        """Cancel the job unless it is wanted."""
        states = ask_states(context["ti"], list(context["dag"].task_dict)).get(context["ti"].run_id, {})
        if is_wanted(states.get(self.wait_task_id, GONE)):
            self.log.info("Nothing to do: %s is %s", self.wait_task_id, states[self.wait_task_id])
            return {"tuning_job": None, "state": None, "cancelled": False}
        job = self._watch(context, may_appear=states.get(self.create_task_id) == "failed")
        cancelled = self._cancel(job)
        if self._ended_by_hand(context, states):
            left = (
                f"Its tuning job {job.name} {'has been cancelled' if cancelled else f'is {job.state}'}"
                if job
                else ("It had no tuning job")
            )
            raise AirflowFailException(f"The run was marked failed. {left}; nothing is left running.")
        return {"tuning_job": job.name if job else None, "state": job.state if job else None, "cancelled": cancelled}

    def _cancel(self, job: TuningJob | None) -> bool:
        if job is None:
            self.log.info("The run has no tuning job")
            return False
        if job.is_stopping:
            self.log.info("Tuning job %s is %s", job.name, job.state)
            return False
        self.hook.cancel_tuning_job(job.name)
        self.log.warning("Cancelled tuning job %s, which nobody waits for", job.name)
        return True

    def _watch(self, context: Context, *, may_appear: bool) -> TuningJob | None:
        """Return the run's job, when it has one; wait for it to stop by itself for a while."""
        end = time.monotonic() + self.grace
        while True:
            job = self._job(context)
            settled = job.is_stopping if job else not may_appear
            if settled or time.monotonic() >= end:
                return job
            time.sleep(LOOK_INTERVAL)

    def _job(self, context: Context) -> TuningJob | None:
        """Return the run's job: by the name that was pushed, else by the labels that it was asked for with."""
        ti = context["ti"]
        if name := optional_text(ti.xcom_pull(task_ids=self.create_task_id)):
            return self.hook.get_tuning_job(name)
        labels: Mapping[str, str] | None = ti.xcom_pull(task_ids=self.create_task_id, key=LABELS_XCOM)
        if not labels:
            return None
        jobs = self.hook.find_tuning_jobs(labels, project_id=optional_text(self.project_id), location=self.location)
        return next((job for job in jobs if not job.is_stopping), jobs[-1] if jobs else None)

    def _ended_by_hand(self, context: Context, states: Mapping[str, str | None]) -> bool:
        """Return whether somebody marked the run failed: that skips tasks which would otherwise run or fail."""
        wait = context["dag"].get_task(self.wait_task_id)
        if states.get(self.wait_task_id) == "skipped":
            return not getattr(wait, "soft_fail", False)
        return any(states.get(task_id) == "skipped" for task_id in wait.downstream_task_ids)
