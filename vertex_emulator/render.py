"""Resources as the API's JSON. Field names: discovery documents. Pure functions.

int64 fields are strings, absent fields are left out, as proto3's JSON mapping does.
"""

from typing import Any

from .clock import timestamp
from .records import Checkpoint, DeployedModel, Endpoint, EvaluationRun, Job, Model, ModelVersion, Operation

Json = dict[str, Any]

_DATA_STATS = {
    "supervisedTuningSpec": "supervisedTuningDataStats",
    "preferenceOptimizationSpec": "preferenceOptimizationDataStats",
}


def without_empty(values: Json) -> Json:
    """Leave out what proto3 JSON leaves out."""
    return {key: value for key, value in values.items() if value not in (None, "", [], {})}


def render_job(job: Job, endpoint: str | None, now: float, *, beta: bool) -> Json:
    """TuningJob.

    :param endpoint: endpoint of the default checkpoint.
    :param now: virtual time, for the progress.
    :param beta: whether the request came to v1beta1, which alone has tuningJobState and tuningJobMetadata.
    """
    spec = job.spec
    result = {
        "name": job.name,
        **job.request,
        job.method: {**spec, "hyperParameters": _hyper_parameters(spec["hyperParameters"])},
        "state": job.state,
        "createTime": timestamp(job.created),
        "startTime": job.started and timestamp(job.started),
        "endTime": job.ended and timestamp(job.ended),
        "updateTime": timestamp(job.updated),
        "error": job.error,
        "experiment": job.experiment,
        "tunedModel": _tuned_model(job, endpoint),
        "evaluateDatasetRuns": job.evaluations,
        "tuningDataStats": job.stats and {_DATA_STATS[job.method]: job.stats},
    }
    if beta:
        result["tuningJobState"] = job.phase and f"TUNING_JOB_STATE_{job.phase}"
        result["tuningJobMetadata"] = _progress(job, now)
    return without_empty(result)


def job_fields(job: Job) -> Json:
    """Collect the fields that a list filter may name: cheaper than the whole job."""
    return {"name": job.name, "state": job.state, "baseModel": job.base_model, **job.request}


def render_model(model: Model, version: ModelVersion, *, versioned_name: bool) -> Json:
    """Model.

    :param versioned_name: whether the name ends in ``@version``, as when the request's name did.
    """
    shown = version.checkpoints if version.shows_checkpoints else []
    return without_empty(
        {
            "name": f"{model.name}@{version.version_id}" if versioned_name else model.name,
            "versionId": version.version_id,
            "versionAliases": version.aliases,
            "versionCreateTime": timestamp(version.created),
            "versionUpdateTime": timestamp(version.updated),
            "displayName": version.display_name,
            "description": version.description,
            "versionDescription": version.version_description,
            "createTime": timestamp(model.versions[min(model.versions, key=int)].created),
            "updateTime": timestamp(version.updated),
            "labels": version.labels,
            "encryptionSpec": version.encryption,
            "deployedModels": [
                {
                    "endpoint": deployment.endpoint,
                    "deployedModelId": deployment.deployed_model_id,
                    "checkpointId": deployment.checkpoint_id,
                }
                for deployment in version.deployments
            ],
            "checkpoints": [render_checkpoint(checkpoint) for checkpoint in shown],
            "defaultCheckpointId": version.default_checkpoint if version.shows_checkpoints else None,
            "modelSourceInfo": {"sourceType": "MODEL_GARDEN", **({"copy": True} if version.copied_from else {})},
            "originalModelInfo": {"model": version.copied_from} if version.copied_from else None,
            "baseModelSource": {
                "modelGardenSource": {"publicModelName": f"publishers/google/models/{version.base_model}"}
            },
            "etag": version.etag,
        }
    )


def render_checkpoint(checkpoint: Checkpoint) -> Json:
    """Checkpoint of a model (it has no endpoint there)."""
    return {
        "checkpointId": checkpoint.checkpoint_id,
        "epoch": str(checkpoint.epoch),
        "step": str(checkpoint.step),
    }


def render_endpoint(endpoint: Endpoint) -> Json:
    """Endpoint."""
    return without_empty(
        {
            "name": endpoint.name,
            "displayName": endpoint.display_name,
            "description": endpoint.description,
            "deployedModels": [render_deployed_model(item) for item in endpoint.deployed],
            "trafficSplit": endpoint.traffic,
            "labels": endpoint.labels,
            "encryptionSpec": endpoint.encryption,
            "createTime": timestamp(endpoint.created),
            "updateTime": timestamp(endpoint.updated),
            "etag": f"{endpoint.updated:.6f}",
        }
    )


def render_deployed_model(deployed: DeployedModel) -> Json:
    """DeployedModel."""
    return without_empty(
        {
            "id": deployed.id,
            "model": deployed.model,
            "modelVersionId": deployed.version_id,
            "checkpointId": deployed.checkpoint_id,
            "displayName": deployed.display_name,
            "createTime": timestamp(deployed.created),
        }
    )


def render_evaluation_run(run: EvaluationRun) -> Json:
    """EvaluationRun. It has no dataSource: that would be an EvaluationSet or a table, and the data came from a file."""
    candidate = f"checkpoint-{run.checkpoint_id}"
    metrics = [
        {"metric": name, "metricConfig": metric}
        for name, metric in zip(run.metrics, run.config["metrics"], strict=True)
    ]
    summary = {f"{candidate}/{name}": value for name, value in run.summary.items()}
    return without_empty(
        {
            "name": run.name,
            "displayName": run.display_name,
            "labels": run.labels,
            "metadata": {"tuningJob": run.job, "checkpointId": run.checkpoint_id},
            "state": "FAILED" if run.error else "SUCCEEDED",
            "error": run.error,
            "createTime": timestamp(run.at),
            "completionTime": timestamp(run.at),
            "inferenceConfigs": {candidate: {"model": run.endpoint}},
            "evaluationConfig": {"metrics": metrics, "outputConfig": run.config["outputConfig"]},
            "evaluationResults": None
            if run.error
            else {"summaryMetrics": {"metrics": summary, "totalItems": run.cases}},
            "encryptionSpec": run.encryption,
        }
    )


def render_operation(operation: Operation, version: str = "") -> Json:
    """google.longrunning.Operation.

    :param version: of the API that the types belong to; by default the one that the operation was started with.
    """
    version = version or operation.version
    generic = {"createTime": timestamp(operation.created), "updateTime": timestamp(operation.updated)}
    return without_empty(
        {
            "name": operation.name,
            "metadata": {"@type": _type_url(operation.metadata_type, version), "genericMetadata": generic},
            "done": operation.done or None,
            "error": operation.error,
            "response": operation.response
            and {**operation.response, "@type": _type_url(operation.response["@type"], version)},
        }
    )


def _type_url(name: str, version: str) -> str:
    """Type of a google.protobuf.Any; names without a package are Vertex AI's own."""
    return f"type.googleapis.com/{name if '.' in name else f'google.cloud.aiplatform.{version}.{name}'}"


def _hyper_parameters(parameters: Json) -> Json:
    """EpochCount and batchSize are int64."""
    return {key: str(value) if key in ("epochCount", "batchSize") else value for key, value in parameters.items()}


def _tuned_model(job: Job, endpoint: str | None) -> Json:
    if job.model is None:
        return {}
    checkpoints = [
        without_empty({**render_checkpoint(checkpoint), "endpoint": checkpoint.endpoint})
        for checkpoint in job.checkpoints
        if job.shows_checkpoints
    ]
    return without_empty({"model": job.model, "endpoint": endpoint, "checkpoints": checkpoints})


def _progress(job: Job, now: float) -> Json | None:
    """tuningJobMetadata: what is completed."""
    tuning = job.tuning
    if tuning is None:
        return None
    steps = job.steps_done(now)
    return {
        "completedEpochCount": str(steps * tuning.epochs // tuning.steps),
        "completedStepCount": str(steps),
    }
