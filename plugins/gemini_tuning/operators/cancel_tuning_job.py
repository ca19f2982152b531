"""The step that leaves nothing running: cancels the job of a run that does not wait for it any more."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException

from gemini_tuning.core.exceptions import TuningJobError
from gemini_tuning.core.labels import run_labels
from gemini_tuning.core.resources import TuningJob
from gemini_tuning.operators.base import GCP_FIELDS, GeminiBaseOperator, optional_text
from gemini_tuning.operators.create_tuning_job import SUBMISSION_XCOM
from gemini_tuning.operators.submission import LOOK_FOR, SEND_WITHIN
from gemini_tuning.triggers.task_states import MISSING, get_task_states, keeps_job

if TYPE_CHECKING:
    from airflow.sdk import Context

LOOK_INTERVAL = 2.0  # seconds


class GeminiCancelTuningJobOperator(GeminiBaseOperator):
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
        states = self._states(context)
        if keeps_job(states.get(self.wait_task_id, MISSING)):
            return self._leave_alone(context, states)
        job = self._watch(context, states.get(self.create_task_id))
        states = self._states(context)  # it may have been cleared meanwhile
        if keeps_job(states.get(self.wait_task_id, MISSING)):
            return self._leave_alone(context, states)
        cancelled = self._cancel(job)
        if self._ended_by_hand(context, states):
            raise AirflowFailException(f"The run was ended by hand. {self._left(job, cancelled)}")
        return {"tuning_job": job.name if job else None, "state": job.state if job else None, "cancelled": cancelled}

    def _states(self, context: Context) -> Mapping[str, Any]:
        ti = context["ti"]
        return get_task_states(ti.dag_id, list(context["dag"].task_dict), ti.run_id).get(ti.run_id, {})

    def _leave_alone(self, context: Context, states: Mapping[str, Any]) -> dict[str, Any]:
        self.log.info("Nothing to do: %s is %s", self.wait_task_id, states.get(self.wait_task_id) or "to run again")
        if self._failed_by_hand_after_the_wait(context, states):
            raise AirflowFailException("The run was marked failed. Its tuning job was over; nothing is left running.")
        return {"tuning_job": None, "state": None, "cancelled": False}

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

    @staticmethod
    def _left(job: TuningJob | None, cancelled: bool) -> str:
        if job is None:
            return "It had no tuning job; nothing is left running."
        return f"Its tuning job {job.name} {'has been cancelled' if cancelled else f'is {job.state}'}."

    def _watch(self, context: Context, create_state: str | None) -> TuningJob | None:
        """Return the run's job, when it has one; wait a while for it to appear, and to stop by itself.

        A create that was interrupted may go on for some seconds, and what it asked for may show late.
        """
        end = time.time() + self.grace
        may_appear = create_state not in (None, "upstream_failed")
        while True:
            job, looked_for_until = self._job(context)
            limit = max(end, looked_for_until) if job is None else end
            settled = job.is_stopping if job else not may_appear
            if settled or time.time() >= limit:
                break
            time.sleep(LOOK_INTERVAL)
        if job is None and may_appear:
            self._refuse_to_guess(context)
        return job

    def _job(self, context: Context) -> tuple[TuningJob | None, float]:
        """Return the run's job: by the name that was pushed, else by what its request was announced with.

        The second value says until when such a request may show what it made, in seconds since 1970 (UTC).
        """
        ti = context["ti"]
        if name := optional_text(ti.xcom_pull(task_ids=self.create_task_id)):
            return self.hook.get_tuning_job(name), 0.0
        announced: Mapping[str, Any] = ti.xcom_pull(task_ids=self.create_task_id, key=SUBMISSION_XCOM) or {}
        if not announced.get("labels"):
            return None, 0.0
        sent_at = announced.get("sent_at")
        jobs = self._jobs(announced["labels"])
        job = next((job for job in jobs if not job.is_stopping), jobs[-1] if jobs else None)
        return job, sent_at + SEND_WITHIN + LOOK_FOR if sent_at else 0.0

    def _jobs(self, labels: Mapping[str, str]) -> list[TuningJob]:
        return self.hook.find_tuning_jobs(
            labels, project_id=optional_text(self.project_id), location=self.location, thorough=True
        )

    def _refuse_to_guess(self, context: Context) -> None:
        """Fail when jobs are under way that may be the run's although it has announced none.

        So it is when the task state store was emptied, or another Airflow has a run of the same names: then they are
        not ours to cancel.
        """
        ti = context["ti"]
        if ti.xcom_pull(task_ids=self.create_task_id, key=SUBMISSION_XCOM):
            return
        labels = run_labels(ti.dag_id, ti.run_id, self.create_task_id)
        if there := [job.name for job in self._jobs(labels) if not job.is_stopping]:
            raise TuningJobError(
                "The run has announced no tuning job, but there are jobs under way with its names: "
                f"{', '.join(there[:5])}. They may be another Airflow's: look at them, and cancel by hand what nobody "
                "waits for."
            )

    def _ended_by_hand(self, context: Context, states: Mapping[str, Any]) -> bool:
        """Return whether somebody ended the run: that skips tasks which would otherwise run or fail."""
        wait = context["dag"].get_task(self.wait_task_id)
        if states.get(self.wait_task_id) == "skipped":
            return not getattr(wait, "soft_fail", False) and not self._marked_success(context, states)
        return any(states.get(task_id) == "skipped" for task_id in wait.downstream_task_ids)

    def _marked_success(self, context: Context, states: Mapping[str, Any]) -> bool:
        """Return whether the run was marked success while the job was being created: that left no name.

        Marked while nothing ran, success and failure leave the same traces; then it counts as failed.
        """
        named = optional_text(context["ti"].xcom_pull(task_ids=self.create_task_id))
        return states.get(self.create_task_id) == "success" and not named

    def _failed_by_hand_after_the_wait(self, context: Context, states: Mapping[str, Any]) -> bool:
        """Return whether somebody marked the run failed before this teardown ran: a failure skips nobody else."""
        dag = context["dag"]
        failed = [t for t in dag.get_task(self.wait_task_id).downstream_task_ids if states.get(t) == "failed"]
        return any(states.get(after) == "skipped" for t in failed for after in dag.get_task(t).downstream_task_ids)
