"""Google's values into ours and back: the translating half of the hook, without any request.

Google's clients are imported inside functions, as in :mod:`gemini_tuning.hook`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gemini_tuning.resources import Answer, Checkpoint, JobError, Model, Operation, TuningJob, short_state
from gemini_tuning.tuning_spec import ADAPTER_SIZES, TuningJobSpec

if TYPE_CHECKING:
    from google.genai import types


def create_config(spec: TuningJobSpec) -> types.CreateTuningJobConfig:
    """Build the typed config: with a dict, google-genai drops the checkpoint to go on from without a word."""
    from google.genai import types

    evaluation = None
    if spec.evaluation_metrics:
        evaluation = types.EvaluationConfig(
            metrics=[types.Metric.model_validate(dict(metric)) for metric in spec.evaluation_metrics],
            output_config=types.OutputConfig(
                gcs_destination=types.GcsDestination(output_uri_prefix=spec.evaluation_output_uri)
            ),
        )
    # The config has no field for the service account; extra_body is the client's own way to add one.
    extra = types.HttpOptions(extra_body={"serviceAccount": spec.service_account}) if spec.service_account else None
    return types.CreateTuningJobConfig(
        validation_dataset=(
            types.TuningValidationDataset(gcs_uri=spec.validation_dataset_uri) if spec.validation_dataset_uri else None
        ),
        tuned_model_display_name=spec.tuned_model_display_name,
        description=spec.description,
        epoch_count=spec.epoch_count,
        learning_rate_multiplier=spec.learning_rate_multiplier,
        adapter_size=types.AdapterSize(ADAPTER_SIZES[spec.adapter_size]) if spec.adapter_size else None,
        export_last_checkpoint_only=spec.export_last_checkpoint_only or None,
        pre_tuned_model_checkpoint_id=spec.pre_tuned_model_checkpoint_id,
        evaluation_config=evaluation,
        labels=dict(spec.labels) or None,
        encryption_spec=types.EncryptionSpec(kms_key_name=spec.kms_key_name) if spec.kms_key_name else None,
        http_options=extra,
    )


def _text(value: Any) -> str:
    """Return the wire's word of an enum, or the string itself."""
    return str(getattr(value, "value", value) or "")


def _time(value: Any) -> str | None:
    return value.isoformat() if value else None


def _checkpoints(values: Sequence[Any] | None) -> tuple[Checkpoint, ...]:
    return tuple(
        Checkpoint(str(c.checkpoint_id), c.epoch, c.step, getattr(c, "endpoint", None) or None) for c in values or ()
    )


def tuning_job(job: types.TuningJob) -> TuningJob:
    """Return a tuning job of google-genai as our plain value."""
    tuned, done, spec = job.tuned_model, job.tuning_job_metadata, job.supervised_tuning_spec
    parameters = spec.hyper_parameters if spec else None
    return TuningJob(
        name=job.name or "",
        state=short_state(_text(job.state)),
        display_name=job.tuned_model_display_name or "",
        base_model=job.base_model or "",
        labels=job.labels or {},
        error=JobError(job.error.code or 0, job.error.message or "") if job.error else None,
        phase=_text(job.tuning_job_state).removeprefix("TUNING_JOB_STATE_") or None,
        completed_epochs=done.completed_epoch_count if done else None,
        completed_steps=done.completed_step_count if done else None,
        epoch_count=parameters.epoch_count if parameters else None,
        model=(tuned.model or None) if tuned else None,
        endpoint=(tuned.endpoint or None) if tuned else None,
        checkpoints=_checkpoints(tuned.checkpoints if tuned else None),
        experiment=job.experiment,
        create_time=_time(job.create_time),
        start_time=_time(job.start_time),
        end_time=_time(job.end_time),
    )


def model(model: types.Model) -> Model:
    """Return a model of google-genai as our plain value, its name with its version."""
    name = model.name or ""
    if model.version and "@" not in name:
        name = f"{name}@{model.version}"
    return Model(
        name=name,
        display_name=model.display_name or "",
        default_checkpoint_id=model.default_checkpoint_id or None,
        checkpoints=_checkpoints(model.checkpoints),
        labels=model.labels or {},
    )


def operation(raw: Mapping[str, Any]) -> Operation:
    """Return the JSON of a copy's ``google.longrunning.Operation`` as our plain value, the model with its version."""
    error, response = raw.get("error") or {}, raw.get("response") or {}
    model, version = response.get("model") or None, response.get("modelVersionId")
    if model and version and "@" not in model:
        model = f"{model}@{version}"
    return Operation(
        str(raw.get("name") or ""),
        done=raw.get("done") is True,
        error=JobError(error.get("code") or 0, error.get("message") or "") if error else None,
        model=model,
        create_time=((raw.get("metadata") or {}).get("genericMetadata") or {}).get("createTime"),
    )


def answer(response: types.GenerateContentResponse, latency: float) -> Answer:
    """Return a response of google-genai as our plain value.

    :param latency: seconds the whole answer took.
    """
    candidates, usage = response.candidates or [], response.usage_metadata
    return Answer(
        text=response.text or "",
        latency=latency,
        finish_reason=_text(candidates[0].finish_reason) or None if candidates else None,
        prompt_tokens=usage.prompt_token_count if usage else None,
        output_tokens=usage.candidates_token_count if usage else None,
    )
