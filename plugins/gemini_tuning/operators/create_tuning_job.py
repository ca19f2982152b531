"""The step that creates the tuning job: exactly one for each run, whatever dies meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gemini_tuning.core.exceptions import CreateOutcomeUnknownError, InvalidInputError
from gemini_tuning.core.labels import REQUEST, reserved, run_labels
from gemini_tuning.core.resources import FAILED_STATES, TuningJob
from gemini_tuning.core.tuning_spec import TuningJobSpec
from gemini_tuning.links import gemini_tuning as links
from gemini_tuning.operators.base import (
    GCP_FIELDS,
    flag,
    optional_float,
    optional_int,
    optional_json,
    optional_text,
)
from gemini_tuning.operators.idempotent_create import (
    IdempotentCreateMixin,
    Submission,
    SubmissionStore,
    generation,
)
from gemini_tuning.triggers.task_states import FINISHED_STATES, get_task_states

if TYPE_CHECKING:
    from airflow.sdk import Context

SUBMISSION_XCOM = "submission"
UNUSABLE_STATES = FAILED_STATES | {"CANCELLING"}


class GeminiCreateTuningJobOperator(IdempotentCreateMixin):
    """Create a supervised tuning job that saves checkpoints, and push its name. Does not wait for the job.

    A run has one job. Every try looks first for what the run has asked for before: in Airflow's task state store, then
    among the jobs at Google, by the labels that each job gets (``airflow_dag``, ``airflow_run``, ``airflow_task``,
    ``airflow_map_index``, ``airflow_request``). A job that is under way or has succeeded is taken; in place of one that
    failed, expired or was cancelled a new one is made. When Google has no room for another job (429), the task is
    deferred and tries again.

    XCom ``return_value``: the job's full name, ``projects/P/locations/L/tuningJobs/ID``. XCom ``submission``:
    ``{"labels", "sent_at"}``, what the job can be found by, pushed before the request leaves.

    Parameters are those of :class:`~gemini_tuning.core.tuning_spec.TuningJobSpec`; all are templated.

    :param base_model: model to tune, for example ``gemini-2.5-flash``; or give ``pre_tuned_model``.
    :param training_dataset_uri: ``gs://`` address of the JSONL training file.
    :param validation_dataset_uri: ``gs://`` address of the JSONL validation file.
    :param epoch_count: passes over the training file.
    :param adapter_size: 1, 2, 4, 8, 16 or 32.
    :param learning_rate_multiplier: factor on the service's learning rate.
    :param tuned_model_display_name: at most 128 characters.
    :param description: free text.
    :param labels: mapping; carried over to the model and its endpoints.
    :param export_last_checkpoint_only: keep the final checkpoint only.
    :param evaluation_metrics: list of mappings with the fields of google-genai's ``Metric``.
    :param evaluation_output_uri: ``gs://`` prefix for the service's evaluation results.
    :param pre_tuned_model: full name of a tuned model to go on from (continuous tuning).
    :param pre_tuned_model_checkpoint_id: which of its checkpoints; ``None`` is its default.
    :param kms_key_name: customer-managed key for job and model.
    :param service_account: account the job runs as.
    :param force_new_job: make a new job when the task is cleared, also when the run has a good one; a job that is under
        way is cancelled then. Automatic retries still take the job that is there. (templated)
    :param max_attempts: jobs that a run makes in all, each in place of one that ended badly.
    :raises InvalidInputError: when the service would refuse the values; nothing was sent.
    :raises CreateOutcomeUnknownError: when the answer was lost and no job was found; the next try looks again.
    :raises RetryLimitExceededError: when ``max_attempts`` or ``quota_timeout`` is reached.
    """

    submission_key = "tuning_job"
    kind = "tuning job"
    SPEC_FIELDS = (
        "base_model",
        "training_dataset_uri",
        "validation_dataset_uri",
        "epoch_count",
        "adapter_size",
        "learning_rate_multiplier",
        "tuned_model_display_name",
        "description",
        "labels",
        "export_last_checkpoint_only",
        "evaluation_metrics",
        "evaluation_output_uri",
        "pre_tuned_model",
        "pre_tuned_model_checkpoint_id",
        "kms_key_name",
        "service_account",
    )
    template_fields: Sequence[str] = (*GCP_FIELDS, *SPEC_FIELDS, "force_new_job")
    operator_extra_links = (links.TUNING_JOB, links.RUN_PAGE)

    def __init__(
        self,
        *,
        training_dataset_uri: str,
        base_model: str | None = None,
        validation_dataset_uri: str | None = None,
        epoch_count: int | str | None = None,
        adapter_size: int | str | None = None,
        learning_rate_multiplier: float | str | None = None,
        tuned_model_display_name: str | None = None,
        description: str | None = None,
        labels: Mapping[str, str] | None = None,
        export_last_checkpoint_only: bool | str = False,
        evaluation_metrics: Sequence[Mapping[str, Any]] | None = None,
        evaluation_output_uri: str | None = None,
        pre_tuned_model: str | None = None,
        pre_tuned_model_checkpoint_id: str | None = None,
        kms_key_name: str | None = None,
        service_account: str | None = None,
        force_new_job: bool | str = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.base_model = base_model
        self.training_dataset_uri = training_dataset_uri
        self.validation_dataset_uri = validation_dataset_uri
        self.epoch_count = epoch_count
        self.adapter_size = adapter_size
        self.learning_rate_multiplier = learning_rate_multiplier
        self.tuned_model_display_name = tuned_model_display_name
        self.description = description
        self.labels = labels
        self.export_last_checkpoint_only = export_last_checkpoint_only
        self.evaluation_metrics = evaluation_metrics
        self.evaluation_output_uri = evaluation_output_uri
        self.pre_tuned_model = pre_tuned_model
        self.pre_tuned_model_checkpoint_id = pre_tuned_model_checkpoint_id
        self.kms_key_name = kms_key_name
        self.service_account = service_account
        self.force_new_job = force_new_job
        self._run: dict[str, str] = {}  # the run's labels

    def execute(self, context: Context) -> str:
        """Find the run's job or create it, and push its name."""
        self._checked_spec(context)
        return str(self.find_or_create(context).name)

    def _checked_spec(self, context: Context, request_id: str = "0") -> TuningJobSpec:
        spec = self.spec()
        problems = [f"labels: {key} is set by this operator" for key in reserved(spec.labels)]
        spec = replace(spec, labels={**spec.labels, **_labels(context), REQUEST: request_id})
        if problems := problems + spec.problems():
            raise InvalidInputError("The tuning job was not created. " + "; ".join(problems) + ".")
        return spec

    def load_or_start(self, context: Context, store: SubmissionStore) -> Submission:
        """Return this run's submission, or a new one: also when the task was cleared with ``force_new_job``."""
        self._run = _labels(context)
        stored, forced = store.load(), flag(self.force_new_job, "force_new_job")
        if stored is None:
            return self._first(context, store, first_try=forced or context["ti"].try_number == 1)
        if not forced or stored.generation == generation(context):
            return self.resume(context, store, stored) or stored
        self.publish_request(context, stored)
        self._cancel_superseded(self.find_existing(stored))
        return store.save(Submission.new(generation=generation(context)))

    def _first(self, context: Context, store: SubmissionStore, *, first_try: bool) -> Submission:
        submission = Submission.new(generation=generation(context))
        if first_try:
            store.save(submission)  # if the search fails, the next try must not conclude that its submission was lost
        self._search_for_lost_jobs(first_try=first_try)
        return store.save(submission)

    def _search_for_lost_jobs(self, *, first_try: bool) -> None:
        """Search for jobs with this run's labels although the task state store holds no submission.

        At the first try they belong to another Airflow deployment or to a deleted run. Later they may be this run's.
        """
        found = [job.name for job in self._jobs(self._run, thorough=not first_try)]
        if found and not first_try:
            raise CreateOutcomeUnknownError(
                "The task state store no longer holds this run's submission (is [state_store] clear_on_success set?), "
                f"and these jobs may belong to the run: {', '.join(found[:5])}. No job was created.",
                field="force_new_job",
                resource=found[0],
                hint="To create a new job, start a new run or set force_new_job.",
            )
        for name in found:
            self.log.warning("%s has this run's labels but is not its job; it is left unchanged", name)

    def get_resource(self, name: str) -> TuningJob:
        """Return the job."""
        return self.hook.get_tuning_job(name)

    def find_submitted(self, submission: Submission, *, last: bool) -> TuningJob | None:
        """Search for the job of a request. If the request created several, the oldest is kept, the rest cancelled."""
        jobs = self._jobs({**self._run, REQUEST: submission.request_id}, thorough=last)
        kept = next((job for job in jobs if job.state not in UNUSABLE_STATES), jobs[-1] if jobs else None)
        for job in jobs:
            if job is not kept:
                self._cancel_superseded(job)
        return kept

    def check_needed(self, context: Context) -> None:
        """Refuse to create a job when the sensor downstream has already finished, since no one would wait for it."""
        downstream = [self.dag.get_task(task_id) for task_id in self.downstream_task_ids]
        waiting = [task.task_id for task in downstream if getattr(task, "waits_for_tuning_job", False)]
        if not waiting:
            return
        ti = context["ti"]
        states = get_task_states(ti.dag_id, waiting, ti.run_id).get(ti.run_id, {})
        for task_id in waiting:
            if (state := states.get(task_id)) in FINISHED_STATES:
                raise InvalidInputError(
                    f"{task_id} has already finished ({state}), so no job was created.",
                    resource=task_id,
                    code="waiting_task_finished",
                    hint=f"Clear {ti.task_id} together with its downstream tasks.",
                )

    def publish_request(self, context: Context, submission: Submission) -> None:
        """Push the labels by which :mod:`gemini_tuning.operators.cancel_tuning_job` finds the job."""
        labels = {**self._run, REQUEST: submission.request_id}
        context["ti"].xcom_push(key=SUBMISSION_XCOM, value={"labels": labels, "sent_at": submission.sent_at})

    def send(self, context: Context, submission: Submission) -> TuningJob:
        """Create the job."""
        spec = self._checked_spec(context, submission.request_id)
        return self.hook.create_tuning_job(
            spec,
            project_id=optional_text(self.project_id),
            location=self.location,
            not_after=submission.send_before,
        )

    def unusable_reason(self, resource: TuningJob) -> str | None:
        """Return how a job failed; ``None`` for one that is under way or has succeeded."""
        return resource.describe_failure() if resource.state in UNUSABLE_STATES else None

    def _jobs(self, labels: Mapping[str, str], *, thorough: bool) -> list[TuningJob]:
        return self.hook.find_tuning_jobs(
            labels, project_id=optional_text(self.project_id), location=self.location, thorough=thorough
        )

    def _cancel_superseded(self, job: TuningJob | None) -> None:
        if job is not None and not job.is_stopping:
            self.log.warning("Cancelling tuning job %s: this run uses another one", job.name)
            self.hook.cancel_tuning_job(job.name)

    def spec(self) -> TuningJobSpec:
        """Return the rendered parameters as one value.

        :raises ValueError: when a number is none.
        """
        pre_tuned_model = optional_text(self.pre_tuned_model)
        return TuningJobSpec(
            base_model=None if pre_tuned_model else optional_text(self.base_model),
            pre_tuned_model=pre_tuned_model,
            pre_tuned_model_checkpoint_id=optional_text(self.pre_tuned_model_checkpoint_id),
            training_dataset_uri=optional_text(self.training_dataset_uri) or "",
            validation_dataset_uri=optional_text(self.validation_dataset_uri),
            epoch_count=optional_int(self.epoch_count, "epoch_count"),
            adapter_size=optional_int(self.adapter_size, "adapter_size"),
            learning_rate_multiplier=optional_float(self.learning_rate_multiplier, "learning_rate_multiplier"),
            tuned_model_display_name=optional_text(self.tuned_model_display_name),
            description=optional_text(self.description),
            labels=optional_json(self.labels, dict, "labels"),
            export_last_checkpoint_only=flag(self.export_last_checkpoint_only, "export_last_checkpoint_only"),
            evaluation_metrics=optional_json(self.evaluation_metrics, list, "evaluation_metrics"),
            evaluation_output_uri=optional_text(self.evaluation_output_uri),
            kms_key_name=optional_text(self.kms_key_name),
            service_account=optional_text(self.service_account),
        )


def _labels(context: Context) -> dict[str, str]:
    ti = context["ti"]
    return run_labels(ti.dag_id, ti.run_id, ti.task_id, ti.map_index)
