"""Cancel the tuning job of a run that no longer waits for it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from airflow.sdk import BaseOperator, Context
from airflow.sdk.exceptions import AirflowFailException

from gemini_tuning.core.exceptions import TuningJobError
from gemini_tuning.core.labels import run_labels
from gemini_tuning.core.resources import TuningJob
from gemini_tuning.operators.cloud_base import GCP_FIELDS, GeminiBaseOperator, optional_text
from gemini_tuning.operators.idempotent_create import SEARCH_TIMEOUT, SEND_TIMEOUT, SUBMISSION_XCOM
from gemini_tuning.triggers.task_states import MISSING, get_task_states, keeps_job

POLL_INTERVAL = 2.0  # seconds


class GeminiCancelTuningJobOperator(GeminiBaseOperator):
    """Cancel the run's tuning job if the run has ended without waiting for it. Use it as a teardown.

    The sensor cancels its job itself when it is marked failed. This operator covers what Airflow gives the sensor no
    chance to handle: the task and its trigger were killed, it was killed while the job was being created, or it failed
    for another reason. As a teardown it also runs when the whole run is marked failed. It does nothing if the sensor
    succeeded.

    When a user marks the run failed, only the teardown is left to run, and its success would make the run a success.
    So in that case this task fails after it has cancelled the job.

    The job is read from the XComs of ``create_task``. If that task was killed before it pushed the job's name, the job
    is searched for by the labels of its request, which are pushed before the request is sent
    (https://cloud.google.com/vertex-ai/docs/reference/rest/v1beta1/projects.locations.tuningJobs/cancel).

    XCom: ``{"tuning_job", "state", "cancelled"}``; ``state`` is the one before cancelling.

    Example::

        cancel = GeminiCancelTuningJobOperator(task_id="cancel_abandoned_job", create_task=create, wait_task=wait)
        create >> wait >> cancel.as_teardown(on_failure_fail_dagrun=True)

    :param create_task: the task that creates the job: a :class:`GeminiCreateTuningJobOperator`.
    :param wait_task: the task that waits for it: a :class:`~gemini_tuning.sensors.tuning_job.GeminiTuningJobSensor`.
    :param grace: seconds for the trigger to cancel the job, and for the job of an interrupted create to be listed.
    :raises AirflowFailException: when a user ended the run.
    :raises TuningJobError: when jobs with the run's labels are under way that may belong to another Airflow deployment.
    """

    template_fields: Sequence[str] = GCP_FIELDS

    def __init__(self, *, create_task: BaseOperator, wait_task: BaseOperator, grace: float = 20, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.create_task_id = create_task.task_id
        self.wait_task_id = wait_task.task_id
        self.grace = grace

    def execute(self, context: Context) -> dict[str, Any]:
        """Cancel the job unless the run still waits for it."""
        states, job = self._states(context), None
        if not keeps_job(states.get(self.wait_task_id, MISSING)):
            job = self._find_job(context, states.get(self.create_task_id))
            states = self._states(context)  # the tasks may have been cleared since
        if keeps_job(states.get(self.wait_task_id, MISSING)):
            self.log.info("Nothing to do: %s is %s", self.wait_task_id, states.get(self.wait_task_id) or "cleared")
            if self._failed_by_user_after_wait(context, states):
                outcome = "Its tuning job has finished; none is running."
                raise AirflowFailException(f"A user marked the run failed. {outcome}")
            return {"tuning_job": None, "state": None, "cancelled": False}
        cancelled = job is not None and not job.is_stopping
        if job is None:
            outcome = "It had no tuning job; none is running."
            self.log.info("The run has no tuning job")
        elif cancelled:
            outcome = f"Its tuning job {job.name} has been cancelled."
            self.hook.cancel_tuning_job(job.name)
            self.log.warning("Cancelled tuning job %s: no task waits for it", job.name)
        else:
            outcome = f"Its tuning job {job.name} is {job.state}."
            self.log.info("Tuning job %s is %s", job.name, job.state)
        if self._ended_by_user(context, states):
            raise AirflowFailException(f"A user ended the run. {outcome}")
        return {"tuning_job": job.name if job else None, "state": job.state if job else None, "cancelled": cancelled}

    def _states(self, context: Context) -> Mapping[str, Any]:
        ti = context["ti"]
        return get_task_states(ti.dag_id, list(context["dag"].task_dict), ti.run_id).get(ti.run_id, {})

    def _find_job(self, context: Context, create_state: str | None) -> TuningJob | None:
        """Return the run's job; poll until ``grace`` has passed: an interrupted create may be listed late."""
        end = time.time() + self.grace
        may_appear = create_state not in (None, "upstream_failed")
        while True:
            job, search_until = self._read_job(context)
            limit = max(end, search_until) if job is None else end
            settled = job.is_stopping if job else not may_appear
            if settled or time.time() >= limit:
                break
            time.sleep(POLL_INTERVAL)
        if job is None and may_appear:
            self._refuse_unknown_jobs(context)
        return job

    def _read_job(self, context: Context) -> tuple[TuningJob | None, float]:
        """Return the run's job: by the pushed name, else by the labels of its request; and until when to search."""
        if name := optional_text(self._pull(context)):
            return self.hook.get_tuning_job(name), 0.0
        submission: Mapping[str, Any] = self._pull(context, SUBMISSION_XCOM) or {}
        if not submission.get("labels"):
            return None, 0.0
        jobs = self.hook.find_tuning_jobs(submission["labels"], thorough=True, **self.project_and_location)
        job = next((job for job in jobs if not job.is_stopping), jobs[-1] if jobs else None)
        sent_at = submission.get("sent_at")
        return job, sent_at + SEND_TIMEOUT + SEARCH_TIMEOUT if sent_at else 0.0

    def _pull(self, context: Context, key: str = "return_value") -> Any:
        return context["ti"].xcom_pull(task_ids=self.create_task_id, key=key)

    def _refuse_unknown_jobs(self, context: Context) -> None:
        """Fail when jobs with the run's labels are under way although it has pushed no request.

        Either the task state store was emptied, or another Airflow deployment has a run of the same names; then the
        jobs are not ours to cancel.
        """
        if self._pull(context, SUBMISSION_XCOM):
            return
        labels = run_labels(context["ti"].dag_id, context["ti"].run_id, self.create_task_id)
        jobs = self.hook.find_tuning_jobs(labels, thorough=True, **self.project_and_location)
        if found := [job.name for job in jobs if not job.is_stopping]:
            problem = "The run has pushed no create request, but tuning jobs with its labels are under way: "
            problem += f"{', '.join(found[:5])}. They may belong to another Airflow deployment, so none was cancelled."
            hint = "Check them and cancel those that no run waits for."
            raise TuningJobError(problem, resource=found[0], code="unknown_jobs_running", hint=hint)

    def _ended_by_user(self, context: Context, states: Mapping[str, Any]) -> bool:
        """Return whether a user ended the run: that skips tasks which would otherwise run or fail.

        A run that was marked success while its job was being created has pushed no name. If no task was running,
        success and failure leave the same traces; this counts as a failure.
        """
        wait = context["dag"].get_task(self.wait_task_id)
        if states.get(self.wait_task_id) != "skipped":
            return any(states.get(task_id) == "skipped" for task_id in wait.downstream_task_ids)
        marked_success = states.get(self.create_task_id) == "success" and not optional_text(self._pull(context))
        return not getattr(wait, "soft_fail", False) and not marked_success

    def _failed_by_user_after_wait(self, context: Context, states: Mapping[str, Any]) -> bool:
        """Return whether a user marked the run failed before this teardown ran: no failure skips the tasks after it."""
        dag = context["dag"]
        failed = [t for t in dag.get_task(self.wait_task_id).downstream_task_ids if states.get(t) == "failed"]
        return any(states.get(after) == "skipped" for t in failed for after in dag.get_task(t).downstream_task_ids)
