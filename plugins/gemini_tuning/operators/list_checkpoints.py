"""List the checkpoints of a tuning job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from airflow.sdk import Context

from gemini_tuning.core.exceptions import CheckpointError
from gemini_tuning.core.resources import Checkpoint, Model, TuningJob
from gemini_tuning.links import gemini_tuning as links
from gemini_tuning.operators.cloud_base import GCP_FIELDS, GeminiBaseOperator


class GeminiListCheckpointsOperator(GeminiBaseOperator):
    """Push the checkpoints of a finished tuning job.

    Gets the job and its model
    (https://cloud.google.com/vertex-ai/docs/reference/rest/v1beta1/projects.locations.tuningJobs/get). If a job FAILED
    after its model was created, the checkpoints are read from the Model Registry, without endpoints. With
    ``export_last_checkpoint_only`` the list has one element.

    Airflow's lineage collector gets the datasets as inputs of this task, and the model as its output.

    XCom ``return_value``: a list of ``{"checkpoint_id", "epoch", "step", "endpoint"}`` for ``.expand``; ``endpoint`` is
    ``None`` for a checkpoint that is not deployed. XCom ``tuned_model``: full name of the model with its version. XCom
    ``default_checkpoint_id``: the model's default checkpoint. XCom ``billed``: ``{"billable_tokens", "dataset_tokens",
    "epoch_count"}`` from the service's response, ``None`` for what is missing in it.

    :param tuning_job: full name of the job. (templated)
    :raises CheckpointError: when the job has not finished, has no model, or the model has no checkpoint.
    """

    template_fields: Sequence[str] = (*GCP_FIELDS, "tuning_job")
    operator_extra_links = (links.TUNING_JOB, links.TUNED_MODEL, links.RUN_PAGE)

    def __init__(self, *, tuning_job: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tuning_job = tuning_job

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Get the job and its model, and push the list."""
        job = self.hook.get_tuning_job(self.tuning_job)
        if not job.has_ended:
            problem = f"Tuning job {job.name} has not finished: {job.state}."
            raise CheckpointError(problem, resource=job.name, code="job_not_finished")
        if not job.model:
            problem = f"{job.describe_failure()} No model was created, so it has no checkpoints."
            raise CheckpointError(problem, resource=job.name, code="no_model")
        model = self.hook.get_model(job.model)
        checkpoints = merge_checkpoints(job, model)
        if not checkpoints:
            problem = f"Neither tuning job {job.name} nor its model {job.model} has checkpoints."
            hint = "Check that the base model supports checkpoints."
            raise CheckpointError(problem, resource=job.model, code="no_checkpoints", hint=hint)
        ti = context["ti"]
        ti.xcom_push(key="tuned_model", value=job.model)
        ti.xcom_push(key="default_checkpoint_id", value=model.default_checkpoint_id)
        ti.xcom_push(key="billed", value=job.billed())
        for checkpoint in checkpoints:
            mark = " (default)" if checkpoint.checkpoint_id == model.default_checkpoint_id else ""
            self.log.info("%s%s", checkpoint, mark)
        try:
            self._collect_lineage(job, job.model)
        except Exception:  # lineage readers are plugins of others
            self.log.warning("Could not collect the lineage of %s", job.model, exc_info=True)
        return [checkpoint.as_dict() for checkpoint in checkpoints]

    def _collect_lineage(self, job: TuningJob, model: str) -> None:
        from airflow.sdk.lineage import get_hook_lineage_collector

        from gemini_tuning.registry.assets import model_uri

        collector = get_hook_lineage_collector()
        for uri in (job.training_dataset_uri, job.validation_dataset_uri):
            if uri and uri.startswith("gs://"):
                collector.add_input_asset(self.hook, uri=uri)
        extra: dict[str, Any] = {"version": model.rpartition("@")[2], "tuning_job": job.name}
        collector.add_output_asset(self.hook, uri=model_uri(model), asset_extra=extra)


def merge_checkpoints(job: TuningJob, model: Model) -> list[Checkpoint]:
    """Return the job's checkpoints; if its list is empty, the model's, with the endpoint of the default one.

    The API lists checkpoints in the job only if it saves intermediate ones.
    """
    if job.checkpoints:
        return list(job.checkpoints)
    default = model.default_checkpoint_id
    return [replace(c, endpoint=job.endpoint if c.checkpoint_id == default else None) for c in model.checkpoints]
