"""JSON of the API as the values of :mod:`gemini_tuning.core.resources`, and requests as google-genai's types.

A ValidationError or an :class:`UnexpectedResponseError` raised here becomes a ServiceError in
:func:`~gemini_tuning.hooks.errors.service_errors`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AwareDatetime, BeforeValidator, Field, TypeAdapter, ValidationError

from gemini_tuning.core.api_types import MAX_COUNT, ApiValue, Number, Page, at, not_bool, page
from gemini_tuning.core.curves import Curve
from gemini_tuning.core.exceptions import InvalidInputError, UnexpectedResponseError
from gemini_tuning.core.model_response import ModelResponse
from gemini_tuning.core.names import ResourceName, may_be_same_project
from gemini_tuning.core.resources import ENDED_STATES, ListedJob, ObjectVersion, Operation, TuningJob, short_state
from gemini_tuning.core.text import redact
from gemini_tuning.core.tuning_request import ADAPTER_SIZES, TuningRequest
from gemini_tuning.hooks.errors import service_errors, validation_fault

if TYPE_CHECKING:
    from google.genai import types

# Finish reasons of a response that a filter blocked.
BLOCKING_FINISH_REASONS = frozenset(
    {"SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT"}
)


@dataclass(frozen=True)
class Item(ApiValue):
    """An item of a list of anything that has names."""

    name: str = ""
    display_name: str = ""
    create_time: Any = None


def create_config(request: TuningRequest) -> types.CreateTuningJobConfig:
    """Return the typed config of a create; given a dict, google-genai silently drops the pre-tuned checkpoint."""
    from google.genai import types

    evaluation = None
    if request.evaluation_metrics:
        evaluation = types.EvaluationConfig(
            metrics=[_metric(number, metric) for number, metric in enumerate(request.evaluation_metrics)],
            output_config=types.OutputConfig(
                gcs_destination=types.GcsDestination(output_uri_prefix=request.evaluation_output_uri)
            ),
        )
    # The config has no field for the service account; extra_body is the client's own way to add one.
    account, key, validation = request.service_account, request.kms_key_name, request.validation_dataset_uri
    return types.CreateTuningJobConfig(
        validation_dataset=types.TuningValidationDataset(gcs_uri=validation) if validation else None,
        tuned_model_display_name=request.tuned_model_display_name,
        description=request.description,
        epoch_count=request.epoch_count,
        learning_rate_multiplier=request.learning_rate_multiplier,
        adapter_size=types.AdapterSize(ADAPTER_SIZES[request.adapter_size]) if request.adapter_size else None,
        export_last_checkpoint_only=request.export_last_checkpoint_only or None,
        pre_tuned_model_checkpoint_id=request.pre_tuned_model_checkpoint_id,
        evaluation_config=evaluation,
        labels=dict(request.labels) or None,
        encryption_spec=types.EncryptionSpec(kms_key_name=key) if key else None,
        http_options=types.HttpOptions(extra_body={"serviceAccount": account}) if account else None,
    )


def _metric(number: int, metric: Any) -> types.Metric:
    from google.genai import types

    try:
        return types.Metric.model_validate(dict(metric))
    except ValidationError as error:
        field = f"evaluation_metrics[{number}]"
        message = f"The tuning job was not created. {field}: {redact(validation_fault(error))}."
        raise InvalidInputError(message, field=field, code="invalid_metric") from None


def tuning_job(raw: Any, *, requested: str | None = None, project: str | None = None) -> TuningJob:
    """Return the JSON of a ``TuningJob``, or google-genai's type, as a plain value."""
    if not isinstance(raw, Mapping):
        raw = raw.model_dump(mode="json", by_alias=True, exclude_none=True)
    job = TuningJob.from_json(raw, requested)
    if project and not may_be_same_project(ResourceName.parse(job.name, "tuningJobs").project, project):
        raise UnexpectedResponseError(f"the response is about {job.name}", field="name")
    return job


def listed_jobs(raw: Any) -> tuple[list[ListedJob], str | None]:
    """Return the jobs of one page, read leniently and as far as a poller needs them, and the token of the next page."""
    found, token = page(raw, "tuningJobs", dict)
    return [
        ListedJob(
            id=job["name"].rpartition("/")[2],
            has_ended=short_state(str(job.get("state"))) in ENDED_STATES,
            read=functools.partial(_read_listed, job),
        )
        for job in found
        if isinstance(job.get("name"), str)
    ], token


def _read_listed(raw: Mapping[str, Any], requested: str) -> TuningJob:
    with service_errors("read", requested):
        return tuning_job(raw, requested=requested)


def copy_operation(raw: Any, requested: str | None = None) -> Operation:
    """Return the operation of a copy, which has created a model once it is done without an error."""
    found = Operation.from_json(raw, requested)
    if found.done and not found.error and not found.model:
        raise UnexpectedResponseError("the response names no copy", field="response.model")
    return found


@dataclass(frozen=True)
class _PromptPoint(ApiValue):
    end_time: Annotated[AwareDatetime, at("interval", "endTime")]
    int64_value: Annotated[Number, at("value", "int64Value")] = 0.0
    double_value: Annotated[Number, at("value", "doubleValue")] = 0.0


@dataclass(frozen=True)
class _PromptSeries(ApiValue):
    points: tuple[_PromptPoint, ...] = ()


@dataclass(frozen=True)
class _TimeSeriesPage(Page):
    time_series: tuple[_PromptSeries, ...] = ()
    execution_errors: Any = None
    unreachable: Any = None


def last_prompt(raw: Any) -> tuple[float | None, str | None]:
    """Return when the latest period with prompts in one page ended, and the token of the next page.

    A time is in seconds since 1970 (UTC); a page that the service marks as incomplete raises UnexpectedResponseError.
    """
    read = _TimeSeriesPage.from_json(raw)
    if read.execution_errors or read.unreachable:
        raise UnexpectedResponseError("the time series are incomplete", field="executionErrors")
    points = (point for series in read.time_series for point in series.points)
    ends = [each.end_time.timestamp() for each in points if each.int64_value or each.double_value]
    return max(ends, default=None), read.next_page_token


def model_response(raw: Any, latency: float) -> ModelResponse:
    """Return the JSON of a ``GenerateContentResponse`` as a plain value.

    Validating google-genai's own type takes longer than everything else that a prompt costs.
    """
    found = ModelResponse.from_json(raw)
    blocked = found.finish_reason if found.finish_reason in BLOCKING_FINISH_REASONS else None
    return replace(found, latency=latency, blocked=found.blocked or blocked)


def contents(turns: str | Sequence[Mapping[str, Any]]) -> types.Content | list[types.Content]:
    """Return a prompt for google-genai, which processes a list of one turn thirty times slower than the turn itself.

    :param turns: one text, or ``{"role", "parts": [{"text"} or {"file_uri", "mime_type"}]}``.
    """
    from google.genai import types

    if isinstance(turns, str):
        turns = [{"role": "user", "parts": [{"text": turns}]}]
    prompt = [
        types.Content(
            role=turn["role"],
            parts=[types.Part(file_data=part) if "file_uri" in part else types.Part(**part) for part in turn["parts"]],
        )
        for turn in turns
    ]
    return prompt[0] if len(prompt) == 1 else prompt


def content(turn: Mapping[str, Any]) -> types.Content:
    """Return one turn, in the API's JSON, as google-genai's type."""
    from google.genai import types

    try:
        return types.Content.model_validate(turn)
    except ValidationError as error:
        raise InvalidInputError(redact(validation_fault(error)), field="contents", code="invalid_content") from None


def token_count(response: types.CountTokensResponse) -> int:
    """Return the number of tokens."""
    total = response.total_tokens
    if total is None or not 0 <= total < MAX_COUNT:
        raise UnexpectedResponseError(f"{total} is no number of tokens", field="totalTokens")
    return total


def object_version(blob: Any) -> ObjectVersion:
    """Return the version of an object; Cloud Storage's client does not validate the fields of its response."""
    return ObjectVersion.from_json({"generation": blob.generation, "sizeBytes": blob.size, "checksum": blob.crc32c})


@dataclass(frozen=True)
class _Experiment(ApiValue):
    board: Annotated[
        ResourceName | None,
        at("metadata", "backing_tensorboard_resource"),
        BeforeValidator(lambda name: ResourceName.parse(name, "tensorboards")),
    ] = None


def tensorboard(experiment: Any) -> ResourceName | None:
    """Return the TensorBoard of an experiment in the API's JSON."""
    return _Experiment.from_json(experiment).board


def _scalar(value: Any) -> Any:
    if not isinstance(value, Mapping):
        raise ValueError("not a number: the series has tensors or blobs")
    return not_bool(value.get("value", 0.0))


@dataclass(frozen=True)
class _MetricPoint(ApiValue):
    scalar: Annotated[float, BeforeValidator(_scalar)]
    step: Annotated[int, BeforeValidator(not_bool), Field(ge=-MAX_COUNT, lt=MAX_COUNT)] = 0
    wall_time: Any = ""


@dataclass(frozen=True)
class _MetricSeries(ApiValue):
    tensorboard_time_series_id: str = ""
    values: tuple[_MetricPoint, ...] = ()

    def curve(self) -> Curve:
        written = sorted(self.values, key=lambda point: sortable_time(point.wall_time))
        return Curve.of((point.step, point.scalar) for point in written)


_BATCH = TypeAdapter(list[_MetricSeries])


def curves(batch: Any) -> dict[str, Curve]:
    """Return the curves of a batch read by the ids of their time series."""
    series = _BATCH.validate_python(batch.get("timeSeriesData") or [])
    return {each.tensorboard_time_series_id: each.curve() for each in series}


def curve(response: Any) -> Curve:
    """Return the curve of a read of one time series."""
    return _MetricSeries.from_json(response.get("timeSeriesData") or {}).curve()


def sortable_time(value: Any) -> str:
    """Return a time of the API so that times sort; their fractions of a second differ in length."""
    return str(value or "").rstrip("Z")
