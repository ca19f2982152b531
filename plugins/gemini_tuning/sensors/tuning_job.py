"""The sensor that waits for a tuning job."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NoReturn

from airflow.sdk import BaseSensorOperator, Context, PokeReturnValue, conf
from airflow.sdk.exceptions import AirflowSkipException

from gemini_tuning.core.exceptions import GeminiTuningError, ServiceError, TransientServiceError, TuningJobError
from gemini_tuning.core.resources import TuningJob
from gemini_tuning.links import gemini_tuning as links
from gemini_tuning.operators.cloud_base import DEFERRAL_TIMEOUT_MARGIN, GCP_FIELDS, DeferrableMixin, optional_seconds
from gemini_tuning.triggers import progress
from gemini_tuning.triggers.task_states import TaskInstanceKey, get_task_states, keeps_job, task_state

CANCEL_TIMEOUT = 4.0  # seconds; a second later Airflow kills the process


class GeminiTuningJobSensor(DeferrableMixin, BaseSensorOperator):
    """Wait until a tuning job has finished; when deferrable, without a worker slot.

    Waits in every state that is not terminal, CANCELLING and PAUSED included. The task log shows state, epoch and step
    when they change. While the service is unavailable the sensor retries until the deadline.

    When the task or its run is marked failed, times out or is deleted, the job is cancelled. When the task is cleared,
    its next try reattaches to the job; when it is marked success, the job continues. If Airflow ends the task without
    ``on_kill``, :class:`GeminiCancelTuningJobOperator` cancels the job.

    XCom: ``{"name", "state", "model", "endpoint", "experiment", "create_time", "start_time", "end_time"}``. XCom
    ``progress``, from the first poll on: see :func:`gemini_tuning.triggers.progress.progress`.

    States of a job: https://cloud.google.com/vertex-ai/docs/reference/rest/v1beta1/projects.locations.tuningJobs

    :param tuning_job: full name of the job. (templated)
    :param poll_interval: seconds between two polls; ``None`` takes ``poke_interval``. (templated) In the triggerer
        pauses are up to five times as long while the job has long to run, and a quarter of it near the end; all
        deferred sensors share client and requests.
    :param deadline: seconds after the job's creation at which the job is cancelled and the task fails; ``None`` takes
        ``timeout``. (templated)
    :param cancel_on_kill: cancel the job when no one is waiting for it any more.
    :param deferrable: wait in the triggerer; the default is ``[operators] default_deferrable``. Otherwise the sensor's
        ``mode`` applies.
    :raises TuningJobError: when the job failed, was cancelled or expired, with the service's error message; or when it
        had not finished at the deadline.
    """

    template_fields: Sequence[str] = (*GCP_FIELDS, "tuning_job", "poll_interval", "deadline")
    operator_extra_links = (links.TUNING_JOB, links.MODEL_OF_JOB, links.RUN_PAGE)
    waits_for_tuning_job = True  # create_tuning_job upstream creates no job once this task has finished

    def __init__(
        self,
        *,
        tuning_job: str,
        poll_interval: float | str | None = None,
        deadline: float | str | None = None,
        cancel_on_kill: bool = True,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.tuning_job = tuning_job
        self.poll_interval = poll_interval
        self.deadline = deadline
        self.cancel_on_kill = cancel_on_kill
        self.deferrable = deferrable
        self._task: Any = None  # while it runs on a worker
        self.deadline_seconds = self.timeout  # until the deadline is rendered
        self._logged = ""

    def execute(self, context: Context) -> dict[str, Any]:
        """Wait for the job and push its result."""
        self._start(context)
        # poke() checks the deadline, and cancels.
        self.timeout = self.deadline_seconds + DEFERRAL_TIMEOUT_MARGIN.total_seconds()
        try:
            result: dict[str, Any] = self._poll_or_defer() if self.deferrable else super().execute(context)
            return result
        except GeminiTuningError as error:
            if self.soft_fail:  # BaseSensorOperator applies it only after a deferral
                raise AirflowSkipException(str(error)) from error
            raise

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Resume with the event of the trigger."""
        self._start(context)
        if self.event_matches(self.tuning_job, event) and event["status"] == "deadline":
            return self._cancel_and_fail(self.tuning_job)
        return self._poll_or_defer()  # the list that the trigger read may be ahead of the job itself

    def _start(self, context: Context) -> None:
        self._task = context["ti"]
        self.poke_interval = optional_seconds(self.poll_interval, "poll_interval") or self.poke_interval
        self.deadline_seconds = optional_seconds(self.deadline, "deadline") or self.timeout

    def _poll_or_defer(self) -> dict[str, Any]:
        try:
            job = self.hook.get_tuning_job(self.tuning_job)
        except TransientServiceError as error:
            self.log.warning("Could not read the tuning job, deferring: %s", error)
            self._defer(time.time() + self.deadline_seconds)
        if not job.has_ended:
            self._push_progress(job)
            self._defer(self._deadline_of(job), last_polled_at=time.time())
        return self._result(job)

    def _defer(self, deadline: float, *, last_polled_at: float | None = None) -> NoReturn:
        from gemini_tuning.triggers.tuning_job import TuningJobTrigger

        self.defer_to_trigger(
            TuningJobTrigger,
            self.tuning_job,
            poll_interval=self.poke_interval,
            deadline=deadline,
            last_polled_at=last_polled_at,
            cancel_on_kill=self.cancel_on_kill,
        )

    def _deadline_of(self, job: TuningJob) -> float:
        """Return the deadline, counted from the job's creation, so that it is the same in each try."""
        created = datetime.fromisoformat(job.create_time).timestamp() if job.create_time else time.time()
        return created + self.deadline_seconds

    def poke(self, context: Context) -> PokeReturnValue:
        """Poll once, for a sensor that is not deferrable."""
        try:
            job = self.hook.get_tuning_job(self.tuning_job)
        except TransientServiceError as error:
            self.log.warning("Could not read the tuning job, retrying: %s", error)
            return PokeReturnValue(is_done=False)
        if job.progress() != self._logged:
            self._logged = job.progress()
            self.log.info("%s", self._logged)
            self._push_progress(job)
        if job.has_ended:
            return PokeReturnValue(is_done=True, xcom_value=self._result(job))
        if time.time() > self._deadline_of(job):
            return PokeReturnValue(is_done=True, xcom_value=self._cancel_and_fail(job.name))
        return PokeReturnValue(is_done=False)

    def _push_progress(self, job: TuningJob) -> None:
        if self._task is None:
            return
        try:
            losses = progress.losses_of(self._task.xcom_pull(key=progress.XCOM_KEY))
            value = progress.progress(job, losses, self.gcp_conn_id, self.impersonation_chain)
            self._task.xcom_push(progress.XCOM_KEY, value)
        except Exception as error:
            self.log.warning("Could not push the progress of %s for the run's page: %s", job.name, error)

    def on_kill(self) -> None:
        """Cancel the job if the task is killed on a worker and no one is waiting for the job any more.

        Airflow calls this in a signal handler and kills the process a few seconds later. The requests run in a thread,
        because the interrupted call may hold a lock that they need.
        """
        if self.cancel_on_kill and self._task is not None:
            thread = threading.Thread(target=self._cancel_unless_kept, args=(self._task,), daemon=True)
            thread.start()
            thread.join(CANCEL_TIMEOUT)

    def _cancel_unless_kept(self, task: TaskInstanceKey) -> None:
        try:
            state = task_state(get_task_states(task.dag_id, [task.task_id], task.run_id), task)
            if keeps_job(state):
                self.log.info("%s is not cancelled: the task's state is %s", self.tuning_job, state or "no_status")
            elif not self.hook.get_tuning_job(self.tuning_job).is_stopping:
                self.hook.cancel_tuning_job(self.tuning_job)
                self.log.warning("Cancelled tuning job %s: the task's state is %s", self.tuning_job, state)
        except Exception:
            self.log.exception("Could not cancel %s; it may continue to run and cost money", self.tuning_job)

    def _cancel_and_fail(self, name: str) -> dict[str, Any]:
        """Cancel the job at its deadline and fail, unless it has just finished."""
        outcome, code, hint = "Its cancellation was requested.", "deadline_exceeded", ""
        try:
            self.hook.cancel_tuning_job(name)
        except ServiceError as error:
            outcome, code = f"It could not be cancelled: {error}", "cancel_failed"
            hint = "It may continue to run and cost money: cancel it in the Google Cloud console."
        job = self.hook.get_tuning_job(name)
        if job.has_ended and job.state != "CANCELLED":
            return self._result(job)
        message = f"Tuning job {name} had not finished at its deadline; its state is {job.state}. {outcome}"
        raise TuningJobError(message, resource=name, code=code, hint=hint)

    def _result(self, job: TuningJob) -> dict[str, Any]:
        self._push_progress(job)
        if not job.has_succeeded:
            raise TuningJobError(job.describe_failure(), resource=job.name, code=f"job_{job.state.lower()}")
        self.log.info("Tuning job %s: %s; tuned model %s", job.name, job.progress(), job.model)
        times = ("create_time", "start_time", "end_time")
        return {name: getattr(job, name) for name in ("name", "state", "model", "endpoint", "experiment", *times)}
