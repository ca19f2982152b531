"""The step that creates the tuning job: exactly one for each run, whatever dies meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowRescheduleException

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
from gemini_tuning.operators.idempotent_create import IdempotentCreateMixin, SubmissionMemory, generation
from gemini_tuning.operators.submission import Submission
from gemini_tuning.triggers.task_states import FINISHED_STATES, get_task_states, runs_without_a_slot

if TYPE_CHECKING:
    from airflow.sdk import Context

SUBMISSION_XCOM = "submission"
GIVE_WAY = timedelta(seconds=10)
MAX_GIVE_WAY = 30
LOST_STATES = FAILED_STATES | {"CANCELLING"}


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
    :param wait_task_id: task that waits for the job, where a pool holds both back: see :meth:`give_way`.
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
        wait_task_id: str | None = None,
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
        self.wait_task_id = wait_task_id
        self._run: dict[str, str] = {}  # the run's labels

    def execute(self, context: Context) -> str:
        """Find the run's job or create it, and push its name."""
        self._checked_spec(context)
        return str(self.submit(context).name)

    def _checked_spec(self, context: Context, request_id: str = "0") -> TuningJobSpec:
        spec = self.spec()
        problems = [f"labels: {key} is set by this operator" for key in reserved(spec.labels)]
        spec = replace(spec, labels={**spec.labels, **_labels(context), REQUEST: request_id})
        if problems := problems + spec.problems():
            raise InvalidInputError("The tuning job was not created. " + "; ".join(problems) + ".")
        return spec

    def begin(self, context: Context, memory: SubmissionMemory) -> Submission:
        """Return what this run has asked for, or begin anew."""
        self._run = _labels(context)
        stored, forced = memory.recall(), flag(self.force_new_job, "force_new_job")
        if stored is None:
            return self._first(context, memory, harmless=forced or context["ti"].try_number == 1)
        if not forced or stored.generation == generation(context):
            return self.go_on(context, memory, stored) or stored
        self.announce(context, stored)
        self._cancel_superseded(self.find(stored))
        return memory.keep(Submission.new(generation=generation(context)))

    def _first(self, context: Context, memory: SubmissionMemory, *, harmless: bool) -> Submission:
        submission = Submission.new(generation=generation(context))
        if harmless:
            memory.keep(submission)  # before anything can go wrong: the next try must not think that it has forgotten
        self._look_around(harmless=harmless)
        return memory.keep(submission)

    def _look_around(self, *, harmless: bool) -> None:
        """Look for jobs with this run's names although the run remembers no request.

        On the first try they are those of another Airflow, or of a run that was deleted. Later they may be ours.
        """
        there = [job.name for job in self._jobs(self._run, thorough=not harmless)]
        if there and not harmless:
            raise CreateOutcomeUnknownError(
                "Airflow has forgotten what this run asked for (is [state_store] clear_on_success set?), and there are "
                f"jobs that may be the run's: {', '.join(there[:5])}. Nothing was created. For a new job start a new "
                "run, or set force_new_job.",
                resource=there[0],
            )
        for name in there:
            self.log.warning("%s has this run's names, but is not its job: it is left alone", name)

    def read(self, name: str) -> TuningJob:
        """Read the job."""
        return self.hook.get_tuning_job(name)

    def look(self, submission: Submission, *, last: bool) -> TuningJob | None:
        """Look for the job that a request made. Had it made several, the oldest is kept, the others are cancelled."""
        jobs = self._jobs({**self._run, REQUEST: submission.request_id}, thorough=last)
        kept = next((job for job in jobs if job.state not in LOST_STATES), jobs[-1] if jobs else None)
        for job in jobs:
            if job is not kept:
                self._cancel_superseded(job)
        return kept

    def give_way(self, context: Context, memory: SubmissionMemory, submission: Submission) -> None:
        """Leave the slot to a run whose job is under way, and whose waiting task has no slot of the pool yet.

        Airflow frees the slot of one task before it gives one to the next, and would let us in between: then there
        would be more jobs in flight than slots. A run that never gets on can't hold us up for ever.
        """
        if self.wait_task_id is None:
            return
        ti = context["ti"]
        states = get_task_states(ti.dag_id, [ti.task_id, self.wait_task_id])
        if (state := states.get(ti.run_id, {}).get(self.wait_task_id)) in FINISHED_STATES:
            raise InvalidInputError(
                f"{self.wait_task_id} is {state}: nobody would wait for a new job, and none was created. Clear "
                f"{ti.task_id} together with its downstream tasks."
            )
        if submission.gave_way >= MAX_GIVE_WAY:
            return
        if before_us := runs_without_a_slot(states, ti.task_id, self.wait_task_id, ti.run_id):
            memory.keep(replace(submission, gave_way=submission.gave_way + 1))
            self.log.info("Letting %s go first: its job is under way, and nobody watches it yet", before_us[0])
            raise AirflowRescheduleException(datetime.now(UTC) + GIVE_WAY)

    def announce(self, context: Context, submission: Submission) -> None:
        """Push the labels that :mod:`gemini_tuning.operators.cancel_tuning_job` finds the job by."""
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

    def why_lost(self, made: TuningJob) -> str | None:
        """Say why a job can't be waited for."""
        return made.describe_failure() if made.state in LOST_STATES else None

    def _jobs(self, labels: Mapping[str, str], *, thorough: bool) -> list[TuningJob]:
        return self.hook.find_tuning_jobs(
            labels, project_id=optional_text(self.project_id), location=self.location, thorough=thorough
        )

    def _cancel_superseded(self, job: TuningJob | None) -> None:
        if job is not None and not job.is_stopping:
            self.log.warning("Cancelling tuning job %s: this run goes on with another one", job.name)
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
