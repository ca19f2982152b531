"""What a request to create a tuning job must look like. Pure functions."""

import re
from collections.abc import Mapping
from typing import Any

from .errors import GoogleError, invalid_argument
from .evaluation import EVALUATION_CONFIG, check_config
from .protojson import ADAPTER_SIZES, TUNING_MODES, Type, check_labels, read_message, snake
from .records import METHODS

MAX_EPOCHS = 100
MAX_DISPLAY_NAME = 128
_BASE_MODEL = re.compile(r"(?:publishers/google/models/)?(gemini-[a-z0-9][a-z0-9.-]*)")
_OUTPUT_ONLY = (
    "name", "state", "createTime", "startTime", "endTime", "updateTime", "error", "experiment", "gcsMetricsUri",
    "tunedModel", "tuningDataStats", "evaluateDatasetRuns", "tuningJobState", "tuningJobMetadata", "pipelineJob",
    "satisfiesPzi", "satisfiesPzs",
)  # fmt: skip
_OTHER_METHODS = (
    "distillationSpec", "fullFineTuningSpec", "partnerModelTuningSpec",
    "reinforcementTuningSpec", "veoTuningSpec", "veoLoraTuningSpec",
)  # fmt: skip
_SUPERVISED: Mapping[str, Type] = {
    "trainingDatasetUri": "string",
    "validationDatasetUri": "string",
    "hyperParameters": {
        "epochCount": "int",
        "learningRateMultiplier": "double",
        "learningRate": "double",
        "adapterSize": ADAPTER_SIZES,
        "batchSize": "int",
    },
    "exportLastCheckpointOnly": "bool",
    "evaluationConfig": EVALUATION_CONFIG,
    "tuningMode": TUNING_MODES,
}
_PREFERENCE: Mapping[str, Type] = {
    "trainingDatasetUri": "string",
    "validationDatasetUri": "string",
    "hyperParameters": {
        "epochCount": "int",
        "learningRateMultiplier": "double",
        "adapterSize": ADAPTER_SIZES,
        "beta": "double",
    },
    "exportLastCheckpointOnly": "bool",
}
TUNING_JOB: Mapping[str, Type] = {
    "baseModel": "string",
    "preTunedModel": {"tunedModelName": "string", "checkpointId": "string", "baseModel": "string"},
    "supervisedTuningSpec": _SUPERVISED,
    "preferenceOptimizationSpec": _PREFERENCE,
    "tunedModelDisplayName": "string",
    "description": "string",
    "customBaseModel": "string",
    "outputUri": "string",
    "labels": "labels",
    "encryptionSpec": {"kmsKeyName": "string"},
    "serviceAccount": "string",
    **dict.fromkeys((*_OUTPUT_ONLY, *_OTHER_METHODS), "any"),
}
"""Fields of TuningJob (discovery document, v1beta1). Output fields are read and dropped, as Google does."""


BETA_ONLY = frozenset(
    ("customBaseModel", "outputUri", "tuningMode", "batchSize", "learningRate", "tuningJobState", "tuningJobMetadata")
)
"""Fields of a TuningJob and its parts that v1 lacks (discovery documents)."""


def without_beta(message: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out of a TuningJob, or of the description of one, what v1 lacks."""
    inner = (*METHODS, "hyperParameters")
    return {
        key: without_beta(value) if key in inner else value for key, value in message.items() if key not in BETA_ONLY
    }


def read_tuning_job(body: Any, *, beta: bool = True) -> dict[str, Any]:
    """Read and check a request.

    :param body: parsed JSON.
    :param beta: whether it came to v1beta1, which knows more fields than v1.
    :return: the TuningJob with camelCase keys, without output fields; hyperParameters and labels always there.
    :raises GoogleError: 400 with the first thing that is wrong.
    """
    job = read_message(body, TUNING_JOB if beta else without_beta(TUNING_JOB))
    for field in _OUTPUT_ONLY:
        job.pop(field, None)
    method = _check_method(job)
    _check_source(job)
    _check_spec(snake(method), job[method])
    if len(job.get("tunedModelDisplayName", "")) > MAX_DISPLAY_NAME:
        raise invalid_argument(f"tuned_model_display_name can be up to {MAX_DISPLAY_NAME} characters long.")
    check_labels(job.setdefault("labels", {}))
    return job


def base_model_id(base_model: str) -> str:
    """``gemini-…`` of a base model's name, with or without its publisher; 400 for anything else."""
    match = _BASE_MODEL.fullmatch(base_model)
    if match is None:
        raise invalid_argument(f"Base model {base_model} is not supported.")
    return match[1]


def _check_method(job: dict[str, Any]) -> str:
    """Return the field that holds the one specification."""
    for field in _OTHER_METHODS:
        if field in job:
            raise GoogleError(501, f"The emulator does not do {field}; it knows {' and '.join(METHODS)}.")
    methods = [method for method in METHODS if method in job]
    if not methods:
        raise invalid_argument("One of the tuning specs must be set: supervised_tuning_spec is missing.")
    if len(methods) > 1:
        raise invalid_argument("Only one of the tuning specs can be set.")
    return methods[0]


def _check_source(job: dict[str, Any]) -> None:
    if "preTunedModel" in job:
        if "baseModel" in job:
            raise invalid_argument("Only one of base_model and pre_tuned_model can be set.")
        if not job["preTunedModel"].get("tunedModelName"):
            raise invalid_argument("pre_tuned_model.tuned_model_name is required.")
    elif not job.get("baseModel"):
        raise invalid_argument("base_model is required.")
    else:
        base_model_id(job["baseModel"])


def _check_spec(name: str, spec: dict[str, Any]) -> None:
    if not spec.get("trainingDatasetUri"):
        raise invalid_argument(f"{name}.training_dataset_uri is required.")
    for field in ("trainingDatasetUri", "validationDatasetUri"):
        _check_uri(field, spec.get(field))
    _check_hyper_parameters(spec.setdefault("hyperParameters", {}))
    if "evaluationConfig" in spec:
        check_config(spec["evaluationConfig"])


def _check_uri(field: str, uri: str | None) -> None:
    """Accept gs:// objects only: Vertex AI datasets, which the real service also takes, are not emulated."""
    if uri and not re.fullmatch(r"gs://[^/]+/.+", uri):
        raise invalid_argument(f"{field} must be a Cloud Storage URI of a JSONL file (gs://bucket/object), got: {uri}")


def _check_hyper_parameters(parameters: dict[str, Any]) -> None:
    epochs = parameters.get("epochCount")
    if epochs is not None and not 1 <= epochs <= MAX_EPOCHS:
        raise invalid_argument(f"hyper_parameters.epoch_count must be between 1 and {MAX_EPOCHS}, got: {epochs}")
    if "learningRate" in parameters and "learningRateMultiplier" in parameters:
        raise invalid_argument("Only one of learning_rate and learning_rate_multiplier can be set.")
    for field in ("learningRateMultiplier", "learningRate", "batchSize", "beta"):
        if field in parameters and not parameters[field] > 0:
            raise invalid_argument(f"hyper_parameters.{field} must be greater than 0, got: {parameters[field]}")
    if parameters.get("adapterSize") == "ADAPTER_SIZE_UNSPECIFIED":
        del parameters["adapterSize"]
