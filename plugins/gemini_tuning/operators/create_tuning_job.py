"""Create the tuning job of a run, exactly one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from airflow.sdk import Context

from gemini_tuning.core.exceptions import CreateOutcomeUnknownError, InvalidInputError
from gemini_tuning.core.labels import REQUEST, run_labels
from gemini_tuning.core.resources import FAILED_STATES, TuningJob
from gemini_tuning.core.tuning_request import TuningRequest
from gemini_tuning.links import gemini_tuning as links
from gemini_tuning.operators.cloud_base import GCP_FIELDS, flag
from gemini_tuning.operators.idempotent_create import SUBMISSION_XCOM, IdempotentCreateMixin, Submission, generation
from gemini_tuning.triggers.task_states import FINISHED_STATES, get_task_states

UNUSABLE_STATES = FAILED_STATES | {"CANCELLING"}


class GeminiCreateTuningJobOperator(IdempotentCreateMixin):
    """Create a supervised tuning job that saves checkpoints, and push its name. Does not wait for the job.

    Calls https://cloud.google.com/vertex-ai/docs/reference/rest/v1beta1/projects.locations.tuningJobs/create. A run has
    one job. Every try first searches for the job of an earlier one: in Airflow's task state store, then among the
    service's jobs, by their labels (``airflow_dag``, ``airflow_run``, ``airflow_task``, ``airflow_map_index``,
    ``airflow_request``). It reattaches to a job that is under way or has succeeded; a job that failed, expired or was
    cancelled is replaced by a new one. If the project has no quota for another job (429), the task is deferred and
    retries. If a :class:`~gemini_tuning.sensors.tuning_job.GeminiTuningJobSensor` directly downstream has already
    finished, no job is created.

    XCom ``return_value``: the job's full name, ``projects/P/locations/L/tuningJobs/ID``. XCom ``submission``:
    ``{"labels", "sent_at"}``, by which the job can be found, pushed before the request is sent.

    :param tuning_request: the fields of a :class:`~gemini_tuning.core.tuning_request.TuningRequest`, for example
        ``{"base_model": "gemini-2.5-flash", "training_dataset_uri": "gs://bucket/train.jsonl"}``. (templated)
    :param force_new_job: create a new job when the task is cleared, even if the run has a usable one; a job that is
        under way is then cancelled. Automatic retries still reattach to the existing job. (templated)
    :param max_attempts: how many jobs a run creates at most, each in place of one that failed.
    :raises InvalidInputError: when the service would refuse the request, or the sensor has finished; nothing was sent.
    :raises CreateOutcomeUnknownError: when the response was lost and no job was found; the next try searches again.
    :raises RetryLimitExceededError: when ``max_attempts`` or ``quota_timeout`` is reached.
    """

    submission_key = "tuning_job"
    kind = "tuning job"
    template_fields: Sequence[str] = (*GCP_FIELDS, "tuning_request", "force_new_job")
    template_fields_renderers: ClassVar[dict[str, str]] = {"tuning_request": "json"}
    operator_extra_links = (links.TUNING_JOB, links.RUN_PAGE)

    def __init__(self, *, tuning_request: Mapping[str, Any], force_new_job: bool | str = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tuning_request = tuning_request
        self.force_new_job = force_new_job
        self._run: dict[str, str] = {}  # the run's labels

    def execute(self, context: Context) -> str:
        """Find the run's job or create it, and push its name."""
        TuningRequest.parse(self.tuning_request)
        return str(self.find_or_create(context).name)

    def load_or_start(self, context: Context) -> Submission:
        """Return this run's submission, or a new one: also when the task was cleared with ``force_new_job``."""
        ti = context["ti"]
        self._run = run_labels(ti.dag_id, ti.run_id, ti.task_id, ti.map_index)
        stored, forced = self.load(context), flag(self.force_new_job, "force_new_job")
        if stored is None:
            return self._first(context, first_try=forced or ti.try_number == 1)
        if not forced or stored.generation == generation(context):
            return self.resume(context, stored)
        self.publish_request(context, stored)
        self._cancel_superseded(self.find_existing(stored))
        return self.save(context, Submission(generation=generation(context)))

    def _first(self, context: Context, *, first_try: bool) -> Submission:
        """Search for jobs with the run's labels; at the first try they are another deployment's or a deleted run's."""
        submission = Submission(generation=generation(context))
        if first_try:
            self.save(context, submission)  # if the search fails, the next try must not conclude that it was lost
        jobs = self.hook.find_tuning_jobs(self._run, thorough=not first_try, **self.project_and_location)
        found = [job.name for job in jobs]
        if found and not first_try:
            problem = "The task state store no longer holds this run's submission (is [state_store] clear_on_success "
            problem += f"set?), and these jobs may belong to the run: {', '.join(found[:5])}. No job was created."
            hint = "To create a new job, start a new run or set force_new_job."
            raise CreateOutcomeUnknownError(problem, field="force_new_job", resource=found[0], hint=hint)
        for name in found:
            self.log.warning("%s has this run's labels but is not its job; it is left unchanged", name)
        return self.save(context, submission)

    def get_resource(self, name: str) -> TuningJob:
        """Return the job."""
        return self.hook.get_tuning_job(name)

    def find_submitted(self, submission: Submission, *, last: bool) -> TuningJob | None:
        """Search for the job of a request. If the request created several, the oldest is kept, the rest cancelled."""
        labels = {**self._run, REQUEST: submission.request_id}
        jobs = self.hook.find_tuning_jobs(labels, thorough=last, **self.project_and_location)
        kept = next((job for job in jobs if job.state not in UNUSABLE_STATES), jobs[-1] if jobs else None)
        for job in jobs:
            if job is not kept:
                self._cancel_superseded(job)
        return kept

    def check_needed(self, context: Context) -> None:
        """Refuse to create a job when the sensor downstream has already finished, since no one would wait for it."""
        downstream = [self.dag.get_task(task_id) for task_id in self.downstream_task_ids]
        waiting = [task.task_id for task in downstream if getattr(task, "waits_for_tuning_job", False)]
        ti = context["ti"]
        states = get_task_states(ti.dag_id, waiting, ti.run_id).get(ti.run_id, {}) if waiting else {}
        for task_id in waiting:
            if (state := states.get(task_id)) in FINISHED_STATES:
                problem = f"{task_id} has already finished ({state}), so no job was created."
                hint = f"Clear {ti.task_id} together with its downstream tasks."
                raise InvalidInputError(problem, resource=task_id, code="waiting_task_finished", hint=hint)

    def publish_request(self, context: Context, submission: Submission) -> None:
        """Push the labels by which :mod:`gemini_tuning.operators.cancel_tuning_job` finds the job."""
        labels = {**self._run, REQUEST: submission.request_id}
        context["ti"].xcom_push(key=SUBMISSION_XCOM, value={"labels": labels, "sent_at": submission.sent_at})

    def send(self, context: Context, submission: Submission) -> TuningJob:
        """Create the job, with the labels by which later tries and the teardown find it."""
        request = TuningRequest.parse(self.tuning_request)
        labels = {**request.labels, **self._run, REQUEST: submission.request_id}
        request = request.model_copy(update={"labels": labels})
        return self.hook.create_tuning_job(request, not_after=submission.send_before, **self.project_and_location)

    def unusable_reason(self, resource: TuningJob) -> str | None:
        """Return how a job failed; ``None`` for one that is under way or has succeeded."""
        return resource.describe_failure() if resource.state in UNUSABLE_STATES else None

    def _cancel_superseded(self, job: TuningJob | None) -> None:
        if job is not None and not job.is_stopping:
            self.log.warning("Cancelling tuning job %s: this run uses another one", job.name)
            self.hook.cancel_tuning_job(job.name)
