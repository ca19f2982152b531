"""The sensor that waits for a tuning job."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import BaseSensorOperator, PokeReturnValue, conf
from airflow.sdk.exceptions import AirflowSkipException

from gemini_tuning.core.exceptions import GeminiTuningError, ServiceError, TransientServiceError, TuningJobError
from gemini_tuning.core.resources import TuningJob
from gemini_tuning.links import gemini_tuning as links
from gemini_tuning.operators.base import GCP_FIELDS, optional_seconds
from gemini_tuning.operators.deferrable import DEFERRAL_TIMEOUT_MARGIN, DeferrableMixin
from gemini_tuning.triggers import progress
from gemini_tuning.triggers.task_states import TaskInstanceKey, get_task_states, keeps_job, task_state

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.types import RuntimeTaskInstanceProtocol


KILL_PATIENCE = 4.0  # seconds; a second later Airflow kills the process


class GeminiTuningJobSensor(DeferrableMixin, BaseSensorOperator):
    """Wait until a tuning job is over; without a worker slot when deferrable.

    Waits on in every state that is not final, also in those that a job passes on the way out (CANCELLING) or rests in
    (PAUSED). State, epoch and step go to the task log when they change. A service that does not answer is asked again.

    When the task or its run is marked failed, times out or is deleted, the job is cancelled. When the task is cleared
    its next try waits for the same job; when it is marked success, nothing is cancelled. What Airflow ends without
    telling us, :class:`~gemini_tuning.operators.GeminiCancelTuningJobOperator` cleans up.

    XCom: ``{"name", "state", "model", "endpoint", "experiment", "create_time", "start_time", "end_time"}``. XCom
    ``progress``, from the first look on: see :func:`gemini_tuning.triggers.progress.progress`.

    :param tuning_job: full name of the job. (templated)
    :param poll_interval: seconds between two looks at the job; ``None`` takes ``poke_interval``. (templated) In the
        triggerer a pause is up to five times as long while the end is far, and a quarter of it near the end; all jobs
        that wait there share client and requests.
    :param deadline: seconds from the job's creation after which it is cancelled and the task fails; ``None`` takes
        ``timeout``. (templated)
    :param cancel_on_kill: cancel the job when the run gives it up.
    :param deferrable: wait in the triggerer; the default is ``[operators] default_deferrable``. Otherwise ``mode``
        says how the sensor waits.
    :raises TuningJobError: when the job failed, was cancelled or expired, with the service's own error; or when it
        was not over at the deadline.
    """

    waits_for_tuning_job = True  # create_tuning_job upstream creates no job once this task has finished
    template_fields: Sequence[str] = (*GCP_FIELDS, "tuning_job", "poll_interval", "deadline")
    operator_extra_links = (links.TUNING_JOB, links.MODEL_OF_JOB, links.RUN_PAGE)

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
        self._task: RuntimeTaskInstanceProtocol | None = None  # while it runs on a worker
        self.deadline_seconds = self.timeout  # until execute() has read the rendered deadline
        self._shown = ""

    def execute(self, context: Context) -> dict[str, Any]:
        """Wait for the job and push what it is then."""
        self._task = context["ti"]
        self.poke_interval = optional_seconds(self.poll_interval, "poll_interval") or self.poke_interval
        self.deadline_seconds = optional_seconds(self.deadline, "deadline") or self.timeout
        self.timeout = (
            self.deadline_seconds + DEFERRAL_TIMEOUT_MARGIN.total_seconds()
        )  # poke() keeps the deadline and cancels
        try:
            if self.deferrable:
                return self._look_then_defer()
            result: dict[str, Any] = super().execute(context)
            return result
        except GeminiTuningError as error:
            if self.soft_fail:  # BaseSensorOperator does it for what comes back from the trigger only
                raise AirflowSkipException(str(error)) from error
            raise

    def _look_then_defer(self) -> dict[str, Any]:
        try:
            job = self.hook.get_tuning_job(self.tuning_job)
        except TransientServiceError as error:
            self.log.warning("The service does not answer, waiting all the same: %s", error)
            self._defer(self.tuning_job, time.time() + self.deadline_seconds)
        if not job.has_ended:
            self._keep_progress(job)
            self._defer(self.tuning_job, self._deadline_of(job), looked_at=time.time())
        return self._result(job)

    def _defer(self, name: str, deadline: float, *, looked_at: float | None = None) -> NoReturn:
        from gemini_tuning.triggers.tuning_job import TuningJobTrigger

        self.defer_to_trigger(
            TuningJobTrigger,
            name,
            poll_interval=optional_seconds(self.poll_interval, "poll_interval") or self.poke_interval,
            deadline=deadline,
            looked_at=looked_at,
            cancel_on_kill=self.cancel_on_kill,
        )

    def _deadline_of(self, job: TuningJob) -> float:
        """Return when the job is given up: counted from its creation, so that another try does not start anew."""
        created = datetime.fromisoformat(job.create_time).timestamp() if job.create_time else time.time()
        return created + self.deadline_seconds

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Take over from the trigger."""
        self._task = context["ti"]
        self.deadline_seconds = optional_seconds(self.deadline, "deadline") or self.timeout
        if not self.event_matches(self.tuning_job, event):
            return self._look_then_defer()
        name = self.resource_from_event(event)
        if event["status"] == "deadline":
            return self._give_up(name)
        try:
            job = self.hook.get_tuning_job(name)
        except TransientServiceError as error:
            self.log.warning("The service does not answer any more, waiting on: %s", error)
            self._defer(name, time.time() + self.deadline_seconds)
        if not job.has_ended:  # the list that the trigger saw was ahead of the job itself
            self._defer(name, self._deadline_of(job), looked_at=time.time())
        return self._result(job)

    def poke(self, context: Context) -> PokeReturnValue:
        """Look once, for a sensor that is not deferrable."""
        try:
            job = self.hook.get_tuning_job(self.tuning_job)
        except TransientServiceError as error:
            self.log.warning("The service does not answer, asking again: %s", error)
            return PokeReturnValue(is_done=False)
        if job.progress() != self._shown:
            self._shown = job.progress()
            self.log.info("%s", self._shown)
            self._keep_progress(job)
        if job.has_ended:
            return PokeReturnValue(is_done=True, xcom_value=self._result(job))
        if time.time() > self._deadline_of(job):
            return PokeReturnValue(is_done=True, xcom_value=self._give_up(job.name))
        return PokeReturnValue(is_done=False)

    def _keep_progress(self, job: TuningJob) -> None:
        """Push how far the job is; that this fails must not fail the wait."""
        if self._task is None:
            return
        try:
            losses = progress.losses_of(self._task.xcom_pull(key=progress.XCOM_KEY))
            found = progress.progress(job, losses, self.gcp_conn_id, self.impersonation_chain)
            self._task.xcom_push(progress.XCOM_KEY, found)
        except Exception as error:
            self.log.warning("The progress of %s is not shown on the run's page: %s", job.name, error)

    def on_kill(self) -> None:
        """Cancel the job when the run gives it up while the task is on a worker.

        Airflow calls this in a signal handler and kills the process a few seconds later; asking from a thread keeps
        that from blocking on a lock that the interrupted call holds.
        """
        if self.cancel_on_kill and self._task is not None:
            thread = threading.Thread(target=self._cancel_if_unwanted, args=(self._task,), daemon=True)
            thread.start()
            thread.join(KILL_PATIENCE)

    def _cancel_if_unwanted(self, task: TaskInstanceKey) -> None:
        try:
            state = task_state(get_task_states(task.dag_id, [task.task_id], task.run_id), task)
            if keeps_job(state):
                self.log.info("%s is left alone: its task is %s", self.tuning_job, state or "to run again")
            elif not self.hook.get_tuning_job(self.tuning_job).is_stopping:
                self.hook.cancel_tuning_job(self.tuning_job)
                self.log.warning("Cancelled tuning job %s: its task is %s", self.tuning_job, state)
        except Exception:
            self.log.exception("%s may go on costing money: it could not be cancelled", self.tuning_job)

    def _give_up(self, name: str) -> dict[str, Any]:
        """Cancel a job that nobody waits for any longer, then fail; unless it has ended just now."""
        done = self._cancel(name)
        job = self.hook.get_tuning_job(name)
        if job.has_ended and job.state != "CANCELLED":
            return self._result(job)
        raise TuningJobError(f"Tuning job {name} was not over at its deadline. {done} It is {job.state} now.")

    def _cancel(self, name: str) -> str:
        try:
            self.hook.cancel_tuning_job(name)
        except ServiceError as error:
            return f"It could not be cancelled and may go on costing money: cancel it by hand. {error}"
        return "It was asked to cancel."

    def _result(self, job: TuningJob) -> dict[str, Any]:
        self._keep_progress(job)
        if not job.has_succeeded:
            raise TuningJobError(job.describe_failure())
        self.log.info("Tuning job %s: %s; tuned model %s", job.name, job.progress(), job.model)
        return {
            "name": job.name,
            "state": job.state,
            "model": job.model,
            "endpoint": job.endpoint,
            "experiment": job.experiment,
            "create_time": job.create_time,
            "start_time": job.start_time,
            "end_time": job.end_time,
        }
