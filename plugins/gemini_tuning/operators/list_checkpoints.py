"""The step that lists a job's checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gemini_tuning.core.exceptions import CheckpointError
from gemini_tuning.core.resources import Checkpoint, Model, TuningJob
from gemini_tuning.links import gemini_tuning as links
from gemini_tuning.operators.base import GCP_FIELDS, GeminiBaseOperator
from gemini_tuning.operators.lineage import Lineage, collect, for_openlineage

if TYPE_CHECKING:
    from airflow.sdk import Context


class GeminiListCheckpointsOperator(GeminiBaseOperator):
    """Push the checkpoints of a tuning job that is over.

    Also of a job that FAILED after it had made a model: its checkpoints then come from the Model Registry, without
    endpoints. With ``export_last_checkpoint_only`` the list has one element.

    It reads back what the job was made from and what it made, so this is the task that has the lineage: training and
    validation dataset are its inputs, the model is its output, for Airflow's lineage collector and for OpenLineage.

    XCom ``return_value``: a list of ``{"checkpoint_id", "epoch", "step", "endpoint"}``, ready for ``.expand``;
    ``endpoint`` is ``None`` where a checkpoint is not deployed. XCom ``tuned_model``: full name of the model with its
    version. XCom ``default_checkpoint_id``: the model's default checkpoint. XCom ``billed``: ``{"billable_tokens",
    "dataset_tokens", "epoch_count"}``, what the service says of the training, ``None`` where it does not.

    :param tuning_job: full name of the job. (templated)
    :raises CheckpointError: when the job is not over, has no model, or the model has no checkpoint.
    """

    template_fields: Sequence[str] = (*GCP_FIELDS, "tuning_job")
    operator_extra_links = (links.TUNING_JOB, links.TUNED_MODEL, links.RUN_PAGE)

    def __init__(self, *, tuning_job: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tuning_job = tuning_job
        self._lineage: Lineage | None = None

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Read the job and its model, push the list."""
        job = self.hook.get_tuning_job(self.tuning_job)
        if not job.has_ended:
            raise CheckpointError(f"Tuning job {job.name} is {job.state}; its checkpoints are final when it is over.")
        if not job.model:
            raise CheckpointError(f"{job.describe_failure()} It made no model, so there are no checkpoints.")
        model = self.hook.get_model(job.model)
        checkpoints = merge_checkpoints(job, model)
        if not checkpoints:
            raise CheckpointError(
                f"Tuning job {job.name} has no checkpoints, and neither has its model {job.model}. Was the base model "
                "one that supports checkpoints?"
            )
        ti = context["ti"]
        ti.xcom_push(key="tuned_model", value=job.model)
        ti.xcom_push(key="default_checkpoint_id", value=model.default_checkpoint_id)
        ti.xcom_push(key="billed", value=job.billed())
        for checkpoint in checkpoints:
            mark = " (default)" if checkpoint.checkpoint_id == model.default_checkpoint_id else ""
            self.log.info("%s%s", checkpoint, mark)
        self._lineage = Lineage.of(job)
        if self._lineage:
            collect(self._lineage, self.hook)
        return [checkpoint.as_dict() for checkpoint in checkpoints]

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """Return the lineage as the OpenLineage provider asks for it."""
        return for_openlineage(self._lineage)


def merge_checkpoints(job: TuningJob, model: Model) -> list[Checkpoint]:
    """Return the job's checkpoints; where the job lists none, the model's, with the endpoint of the default one.

    The API fills the job's list only for jobs that save intermediate checkpoints.
    """
    if job.checkpoints:
        return list(job.checkpoints)
    return [
        Checkpoint(
            c.checkpoint_id,
            c.epoch,
            c.step,
            job.endpoint if c.checkpoint_id == model.default_checkpoint_id else None,
        )
        for c in model.checkpoints
    ]
