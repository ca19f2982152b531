"""JSON and google-genai's types as the values of :mod:`gemini_tuning.core.resources`, and requests as google-genai's.

google-genai's own types read tuning jobs. What it has no type for, or drops (etags, aliases, deployments), the messages
below validate. A ValidationError or an :class:`UnexpectedResponseError` raised here becomes a ServiceError in
:func:`~gemini_tuning.hooks.errors.service_errors`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import (
    AfterValidator,
    AliasPath,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_camel

from gemini_tuning.core.curves import Curve
from gemini_tuning.core.exceptions import InvalidInputError
from gemini_tuning.core.names import ResourceName, may_be_same_project, operation_location
from gemini_tuning.core.resources import (
    FAILED_STATES,
    SUCCEEDED_STATES,
    Checkpoint,
    DeployedModel,
    Endpoint,
    EvaluationRun,
    JobError,
    ListedJob,
    Model,
    ModelResponse,
    ObjectVersion,
    Operation,
    TuningJob,
    checkpoint_id,
    short_state,
)
from gemini_tuning.core.text import redact, short_repr
from gemini_tuning.core.tuning_request import ADAPTER_SIZES, TuningRequest
from gemini_tuning.hooks.errors import UnexpectedResponseError, service_errors, validation_fault

if TYPE_CHECKING:
    from google.genai import types

MAX_ENUM = 100  # characters of a state, a phase, a finish reason
MAX_TEXT = 1_000  # characters of a display name or the name of an experiment
MAX_COUNT = 2**63
MAX_METRICS = 100  # of an evaluation
# Finish reasons of a response that a filter blocked.
BLOCKING_FINISH_REASONS = frozenset(
    {"SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT"}
)
# Fields of google.genai.types.AggregationResult with a metric's score, and our names of these metrics.
AGGREGATED: Mapping[str, str] = {
    "bleu_metric_value": "bleu",
    "custom_code_execution_result": "custom_code_execution",
    "exact_match_metric_value": "exact_match",
    "pointwise_metric_result": "pointwise_metric",
    "rouge_metric_value": "rouge",
}
EARLIEST_YEAR = 2000  # a zero time, 1970 or year 1, is a time that is not set

# -------------------------------------------------------------------------------------------------- messages


class ApiMessage(BaseModel):
    """A message of the REST API's JSON. Fields that are not listed are ignored; null or empty means not set."""

    model_config = ConfigDict(alias_generator=to_camel, arbitrary_types_allowed=True)

    @model_validator(mode="before")
    @classmethod
    def _drop_unset(cls, data: Any) -> Any:
        return {k: v for k, v in data.items() if v not in (None, "")} if isinstance(data, Mapping) else data


def _not_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(f"{value} is not a number")
    return value


def _is_text(value: Any) -> str:
    if not isinstance(value, str):  # pydantic's own str refuses half a surrogate pair
        raise ValueError(f"{short_repr(value)} is not a text")
    return value


def _checkpoint_id(value: Any) -> str:
    return checkpoint_id(value, "the response")


def _inner(default: Any, *path: str) -> Any:
    """Declare a field that is the value at a path; anything else than messages on the way there counts as not set."""
    return Field(default, validation_alias=AliasPath(*path))


def _parse(collection: str) -> Any:
    return BeforeValidator(lambda value: ResourceName.parse(value, collection))


EndpointName = Annotated[ResourceName, _parse("endpoints")]
ModelName = Annotated[ResourceName, _parse("models")]
EvaluationRunName = Annotated[ResourceName, _parse("evaluationRuns")]
OperationName = Annotated[str, AfterValidator(lambda value: operation_location(value) and value)]
CheckpointId = Annotated[str, BeforeValidator(_checkpoint_id)]
Count = Annotated[int, BeforeValidator(_not_bool), Field(ge=0, lt=MAX_COUNT)]
Step = Annotated[int, BeforeValidator(_not_bool), Field(ge=-MAX_COUNT, lt=MAX_COUNT)]
Text = Annotated[str, BeforeValidator(_is_text), AfterValidator(lambda value: redact(value, MAX_TEXT))]
Enum = Annotated[str, AfterValidator(lambda value: redact(value, MAX_ENUM))]


class _Status(ApiMessage):
    code: int = 0
    message: Any = ""

    def as_error(self) -> JobError:
        return JobError(self.code, redact(self.message))


class _Checkpoint(ApiMessage):
    checkpoint_id: CheckpointId
    epoch: Count | None = None
    step: Count | None = None
    endpoint: EndpointName | None = None


class _TunedModel(ApiMessage):
    model: ModelName | None = None
    endpoint: EndpointName | None = None
    checkpoints: list[_Checkpoint] = []


class _Deployment(ApiMessage):
    endpoint: EndpointName
    checkpoint_id: CheckpointId | None = None


class _Model(ApiMessage):
    """https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.models."""

    name: ModelName
    version_id: str = ""
    display_name: Text = ""
    default_checkpoint_id: CheckpointId | None = None
    checkpoints: list[_Checkpoint] = []
    labels: dict[str, str] = {}
    etag: str | None = Field(None, max_length=MAX_TEXT)
    version_aliases: list[Enum] = []
    deployed_models: list[_Deployment] = []
    is_copy: Any = _inner(None, "modelSourceInfo", "copy")
    original_model: ModelName | None = _inner(None, "originalModelInfo", "model")
    version_create_time: Any = None


class _DeployedModel(ApiMessage):
    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9]{1,200}$")]
    model: ModelName | None = None
    model_version_id: str = ""
    checkpoint_id: CheckpointId | None = None


class _Endpoint(ApiMessage):
    """https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.endpoints."""

    name: EndpointName
    display_name: Text = ""
    deployed_models: list[_DeployedModel] = []
    labels: dict[str, str] = {}


class _Operation(ApiMessage):
    name: OperationName
    done: StrictBool = False
    error: _Status | None = None
    create_time: str | None = _inner(None, "metadata", "genericMetadata", "createTime")
    model: ModelName | None = _inner(None, "response", "model")
    model_version_id: str | None = _inner(None, "response", "modelVersionId")


class _EvaluationRun(ApiMessage):
    name: EvaluationRunName
    state: Enum = ""
    error: _Status | None = None
    metrics: dict[str, Any] = _inner({}, "evaluationResults", "summaryMetrics", "metrics")


class _ResponsePart(ApiMessage):
    text: Annotated[str, BeforeValidator(_is_text)] = ""
    thought: Any = None


class _Candidate(ApiMessage):
    parts: list[_ResponsePart] | None = _inner(None, "content", "parts")
    finish_reason: Enum | None = None


class _GenerateContentResponse(ApiMessage):
    """Validating google-genai's own type takes longer than everything else that a prompt costs."""

    candidates: list[_Candidate] = []
    prompt_tokens: Count | None = _inner(None, "usageMetadata", "promptTokenCount")
    output_tokens: Count | None = _inner(None, "usageMetadata", "candidatesTokenCount")
    block_reason: Enum | None = _inner(None, "promptFeedback", "blockReason")


class _Scalar(ApiMessage):
    value: Annotated[float, BeforeValidator(_not_bool)] = 0.0


class _MetricPoint(ApiMessage):
    wall_time: Any = ""
    step: Step = 0
    scalar: _Scalar  # a series without scalars has tensors or blobs, not numbers


class _MetricSeries(ApiMessage):
    tensorboard_time_series_id: str = ""
    values: list[_MetricPoint] = []


class _PromptCount(ApiMessage):
    int64_value: Annotated[float, BeforeValidator(_not_bool)] = 0.0
    double_value: Annotated[float, BeforeValidator(_not_bool)] = 0.0


class _PromptPoint(ApiMessage):
    end_time: AwareDatetime = Field(validation_alias=AliasPath("interval", "endTime"))
    value: _PromptCount = _PromptCount()


class _PromptSeries(ApiMessage):
    points: list[_PromptPoint] = []


class _Page(ApiMessage):
    """A page of any list; of Cloud Monitoring's time series also their points."""

    next_page_token: str | None = None
    time_series: list[_PromptSeries] = []
    execution_errors: Any = None
    unreachable: Any = None


_ITEMS = TypeAdapter(list[dict[str, Any]])
_BATCH = TypeAdapter(list[_MetricSeries])


def page(raw: Any, field: str) -> tuple[list[dict[str, Any]], str | None]:
    """Return the items of one page of a list, and the token of the next page."""
    token = _Page.model_validate(raw).next_page_token
    return _ITEMS.validate_python(raw.get(field) or []), token


def _check_identity(name: ResourceName, requested: str | None) -> None:
    """Refuse a response about another resource. A requested version that is no number is an alias."""
    if requested is None:
        return
    expected = ResourceName.parse(requested, name.collection)
    other_version = name.version and (expected.version or "").isdigit() and name.version != expected.version
    if other_version or not name.is_same_resource(expected):
        raise UnexpectedResponseError(f"the response is about {name}", field="name")


def _name(value: Any, collection: str, field: str) -> ResourceName:
    try:
        return ResourceName.parse(value, collection)
    except ValueError as error:
        raise UnexpectedResponseError(f"unexpected value for {field}: {error}", field=field) from None


def _text(name: ResourceName | None) -> str | None:
    return str(name) if name else None


def _versioned(name: ResourceName | None, version: str | None) -> ResourceName | None:
    if name is None or name.version or not version:
        return name
    return _name(f"{name}@{version}", "models", "versionId")


def _checkpoints(
    values: Iterable[_Checkpoint], endpoints: Mapping[str | None, str] | None = None
) -> tuple[Checkpoint, ...]:
    found: dict[str, Checkpoint] = {}
    for value in values:
        identifier = value.checkpoint_id
        if identifier in found:
            raise UnexpectedResponseError(f"checkpoint {identifier} is in the response twice", field="checkpoints")
        endpoint = str(value.endpoint) if value.endpoint else (endpoints or {}).get(identifier)
        found[identifier] = Checkpoint(identifier, value.epoch, value.step, endpoint)
    return tuple(found.values())


# ----------------------------------------------------------------------------------------------- tuning jobs


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
    extra = (
        types.HttpOptions(extra_body={"serviceAccount": request.service_account}) if request.service_account else None
    )
    return types.CreateTuningJobConfig(
        validation_dataset=(
            types.TuningValidationDataset(gcs_uri=request.validation_dataset_uri)
            if request.validation_dataset_uri
            else None
        ),
        tuned_model_display_name=request.tuned_model_display_name,
        description=request.description,
        epoch_count=request.epoch_count,
        learning_rate_multiplier=request.learning_rate_multiplier,
        adapter_size=types.AdapterSize(ADAPTER_SIZES[request.adapter_size]) if request.adapter_size else None,
        export_last_checkpoint_only=request.export_last_checkpoint_only or None,
        pre_tuned_model_checkpoint_id=request.pre_tuned_model_checkpoint_id,
        evaluation_config=evaluation,
        labels=dict(request.labels) or None,
        encryption_spec=types.EncryptionSpec(kms_key_name=request.kms_key_name) if request.kms_key_name else None,
        http_options=extra,
    )


def _metric(number: int, metric: Any) -> types.Metric:
    from google.genai import types

    try:
        return types.Metric.model_validate(dict(metric))
    except ValidationError as error:
        field = f"evaluation_metrics[{number}]"
        raise InvalidInputError(
            f"The tuning job was not created. {field}: {redact(validation_fault(error))}.",
            field=field,
            code="invalid_metric",
        ) from None


def tuning_job(job: types.TuningJob, *, requested: str | None = None, project: str | None = None) -> TuningJob:
    """Return google-genai's tuning job as a plain value.

    :param requested: full name of the requested job.
    :param project: where a new job was to be created.
    :raises UnexpectedResponseError: when it is another one, or a name in it is not a full name of the right kind.
    """
    name = _name(job.name, "tuningJobs", "name")
    _check_identity(name, requested)
    if project and not may_be_same_project(name.project, project):
        raise UnexpectedResponseError(f"the response is about {name}", field="name")
    tuned = _TunedModel.model_validate(job.tuned_model.model_dump(by_alias=True) if job.tuned_model else {})
    done, spec = job.tuning_job_metadata, job.supervised_tuning_spec
    parameters = spec.hyper_parameters if spec else None
    return TuningJob(
        name=str(name),
        state=short_state(_enum(job.state)),
        display_name=redact(job.tuned_model_display_name or "", MAX_TEXT),
        base_model=redact(job.base_model or "", MAX_TEXT),
        labels=job.labels or {},
        error=_job_error(job.error),
        phase=_enum(job.tuning_job_state).removeprefix("TUNING_JOB_STATE_") or None,
        completed_epochs=_count(done.completed_epoch_count, "completedEpochCount") if done else None,
        completed_steps=_count(done.completed_step_count, "completedStepCount") if done else None,
        epoch_count=_count(parameters.epoch_count, "epochCount") if parameters else None,
        model=_text(tuned.model),
        endpoint=_text(tuned.endpoint),
        checkpoints=_checkpoints(tuned.checkpoints),
        training_dataset_uri=_dataset(job, "training_dataset_uri"),
        validation_dataset_uri=_dataset(job, "validation_dataset_uri"),
        experiment=redact(job.experiment, MAX_TEXT) if job.experiment else None,
        evaluations=tuple(_evaluation(run) for run in job.evaluate_dataset_runs or ()),
        **_training_tokens(job),
        create_time=_time(job.create_time),
        start_time=_time(job.start_time),
        end_time=_time(job.end_time),
    )


def _enum(value: Any) -> str:
    return redact(getattr(value, "value", value) or "", MAX_ENUM)


def _time(value: datetime | None) -> str | None:
    if value is None or value.year < EARLIEST_YEAR:
        return None
    return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()


def _count(value: int | None, field: str) -> int | None:
    if value is not None and not 0 <= value < MAX_COUNT:
        raise UnexpectedResponseError(f"unexpected value for {field}: {short_repr(value)}", field=field)
    return value


def _job_error(status: Any) -> JobError | None:
    return JobError(status.code or 0, redact(status.message or "")) if status else None


def _dataset(job: types.TuningJob, field: str) -> str | None:
    uri = getattr(job.supervised_tuning_spec or job.preference_optimization_spec, field, None)
    return redact(uri, MAX_TEXT) if uri else None


def _training_tokens(job: types.TuningJob) -> dict[str, int | None]:
    """Return the service's token counts of the training file; impossible ones are left out instead of failing."""
    stats = job.tuning_data_stats.supervised_tuning_data_stats if job.tuning_data_stats else None
    if stats is None:
        return {}
    parts = [stats.user_input_token_distribution, stats.user_output_token_distribution]
    sums = [_possible(part.billable_sum if part.billable_sum is not None else part.sum) for part in parts if part]
    counted = [number for number in sums if number is not None]
    return {
        "billable_tokens": _possible(stats.total_billable_token_count),
        "dataset_tokens": sum(counted) if len(counted) == len(parts) else None,
    }


def _possible(value: int | None) -> int | None:
    return value if value is not None and 0 < value < MAX_COUNT else None


def _evaluation(run: types.EvaluateDatasetRun) -> EvaluationRun:
    """Return an evaluation of a job's own list; invalid parts are left out, because the job is usable without them."""
    output = run.evaluate_dataset_response.aggregation_output if run.evaluate_dataset_response else None
    try:
        name = str(ResourceName.parse(run.evaluation_run, "evaluationRuns"))
    except ValueError:
        name = None
    return EvaluationRun(
        name=name,
        checkpoint_id=redact(run.checkpoint_id, MAX_ENUM) if run.checkpoint_id else None,
        metrics=_aggregated(output.aggregation_results or () if output else ()),
        error=_job_error(run.error),
    )


def _aggregated(results: Iterable[types.AggregationResult]) -> dict[str, float]:
    """Return the scores of a job's own list by ``METRIC/AGGREGATION``; two metrics of a kind are numbered."""
    found: dict[str, float] = {}
    for result in results:
        scores = {kind: getattr(getattr(result, field, None), "score", None) for field, kind in AGGREGATED.items()}
        kind, score = next(((kind, score) for kind, score in scores.items() if score is not None), ("", None))
        number = _finite(score)
        if number is None or len(found) == MAX_METRICS:
            continue
        aggregation = _enum(result.aggregation_metric)
        same = sum(1 for name in found if name.startswith(kind) and name.endswith(f"/{aggregation}"))
        found[f"{kind}_{same + 1}/{aggregation}" if same else f"{kind}/{aggregation}"] = number
    return found


def _finite(value: Any) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def evaluation_run(raw: Any, *, requested: str) -> EvaluationRun:
    """Return the JSON of an ``EvaluationRun`` as a plain value.

    :param requested: full name of the requested run.
    :raises UnexpectedResponseError: when it is another one.
    """
    run = _EvaluationRun.model_validate(raw)
    _check_identity(run.name, requested)
    scores = ((name, _finite(value)) for name, value in run.metrics.items())
    return EvaluationRun(
        name=str(run.name),
        state=run.state,
        metrics=_short_names({name: score for name, score in scores if score is not None}),
        error=run.error.as_error() if run.error else None,
    )


def _short_names(metrics: Mapping[str, float]) -> dict[str, float]:
    """Remove the candidate, if there is only one, from ``CANDIDATE/METRIC/AGGREGATION``."""
    some = dict(list(metrics.items())[:MAX_METRICS])
    short = {"/".join(name.split("/")[-2:]): value for name, value in some.items()}
    return {redact(name, MAX_ENUM): value for name, value in (short if len(short) == len(some) else some).items()}


def listed_jobs(raw: Any) -> tuple[list[ListedJob], str | None]:
    """Return the tuning jobs of one page of a list, and the token of the next page.

    Each job is read only as far as a poller needs it, and leniently. Jobs without a name are left out.
    """
    found, token = page(raw, "tuningJobs")
    return [_listed_job(job) for job in found if isinstance(job.get("name"), str)], token


def _listed_job(raw: Mapping[str, Any]) -> ListedJob:
    has_ended = short_state(str(raw.get("state"))) in SUCCEEDED_STATES | FAILED_STATES
    return ListedJob(raw["name"].rpartition("/")[2], has_ended, functools.partial(_read_listed, raw))


def _inside(raw: Mapping[str, Any], field: str) -> Mapping[str, Any]:
    value = raw.get(field)
    return value if isinstance(value, Mapping) else {}


def _read_listed(raw: Mapping[str, Any], requested: str) -> TuningJob:
    from google.genai import types

    with service_errors("read", requested):
        return tuning_job(types.TuningJob.model_validate(raw), requested=requested)


# ------------------------------------------------------------------------------ models, endpoints, operations


def model(raw: Any, *, requested: str | None = None) -> Model:
    """Return the JSON of a ``Model`` as a plain value, its name with its version.

    :param requested: full name of the requested model.
    :raises UnexpectedResponseError: when it is another one or has no version.
    """
    read = _Model.model_validate(raw)
    name = _versioned(read.name, read.version_id) or read.name
    if not name.version:
        raise UnexpectedResponseError(f"the response has no version of {name}", field="versionId")
    _check_identity(name, requested)
    # Of a checkpoint that is deployed more than once, the endpoint listed first.
    endpoints = {each.checkpoint_id: str(each.endpoint) for each in reversed(read.deployed_models)}
    return Model(
        name=str(name),
        display_name=read.display_name,
        default_checkpoint_id=read.default_checkpoint_id,
        checkpoints=_checkpoints(read.checkpoints, endpoints),
        labels=read.labels,
        etag=read.etag,
        aliases=tuple(read.version_aliases),
        original_model=_text(read.original_model),
        is_copy=read.is_copy is True,
        endpoints=tuple(dict.fromkeys(str(each.endpoint) for each in read.deployed_models)),
        default_endpoint=endpoints.get(read.default_checkpoint_id),
        create_time=_seconds(read.version_create_time),
    )


def _seconds(value: Any) -> float | None:
    try:
        moment = datetime.fromisoformat(value)
        return moment.timestamp() if moment.tzinfo else None
    except (TypeError, ValueError, OverflowError):
        return None


def models(raw: Any) -> tuple[list[Model], str | None]:
    """Return the models of one page of a list, and the token of the next page."""
    found, token = page(raw, "models")
    return [model(each) for each in found], token


def endpoint(raw: Any, *, requested: str) -> Endpoint:
    """Return the JSON of an ``Endpoint`` as a plain value.

    :param requested: full name of the requested endpoint.
    :raises UnexpectedResponseError: when it is another one.
    """
    read = _Endpoint.model_validate(raw)
    _check_identity(read.name, requested)
    deployed = (
        DeployedModel(each.id, _versioned(each.model, each.model_version_id), each.checkpoint_id)
        for each in read.deployed_models
    )
    return Endpoint(str(read.name), read.display_name, tuple(deployed), read.labels)


def operation(raw: Any, *, requested: str | None = None) -> Operation:
    """Return the JSON of a long-running operation as a plain value, its model with the version.

    :param requested: full name of the requested operation.
    :raises UnexpectedResponseError: when it is another one.
    """
    read = _Operation.model_validate(raw)
    if requested and read.name.rpartition("/")[2] != requested.rpartition("/")[2]:
        raise UnexpectedResponseError(f"the response is about {read.name}", field="name")
    error = read.error.as_error() if read.done and read.error else None
    created = _versioned(read.model, read.model_version_id) if read.done and not error else None
    return Operation(read.name, read.done, error, _text(created), read.create_time)


def copy_operation(raw: Any, *, requested: str | None = None) -> Operation:
    """Like :func:`operation` for a copy, which has created a model once it is done without an error."""
    found = operation(raw, requested=requested)
    if found.done and not found.error and not found.model:
        raise UnexpectedResponseError("the response names no copy", field="response.model")
    return found


def copy_operations(raw: Any) -> tuple[list[Operation], str | None]:
    """Return the copies of one page of operations, and the token of the next page."""
    found, token = page(raw, "operations")
    kinds = [str(_inside(each, "metadata").get("@type", "CopyModel")) for each in found]
    return [copy_operation(each) for each, kind in zip(found, kinds, strict=True) if "CopyModel" in kind], token


def last_prompt(raw: Any) -> tuple[float | None, str | None]:
    """Return the end of the latest period with prompts in one page of time series, and the token of the next page.

    :returns: seconds since 1970 (UTC); ``None`` without a prompt.
    :raises UnexpectedResponseError: also when the service marks the page as incomplete.
    """
    read = _Page.model_validate(raw)
    if read.execution_errors or read.unreachable:
        raise UnexpectedResponseError("the time series are incomplete", field="executionErrors")
    points = (point for series in read.time_series for point in series.points)
    ends = [each.end_time.timestamp() for each in points if each.value.int64_value or each.value.double_value]
    return max(ends, default=None), read.next_page_token


# --------------------------------------------------------------------------------------------------- prompts


def model_response(raw: Any, latency: float) -> ModelResponse:
    """Return the JSON of a ``GenerateContentResponse`` as a plain value; thoughts are not part of its text.

    :param latency: seconds until the response was complete.
    """
    read = _GenerateContentResponse.model_validate(raw)
    candidate = read.candidates[0] if read.candidates else _Candidate()
    blocked = candidate.finish_reason if candidate.finish_reason in BLOCKING_FINISH_REASONS else None
    return ModelResponse(
        text="".join(part.text for part in candidate.parts or () if part.thought is not True),
        latency=latency,
        finish_reason=candidate.finish_reason,
        prompt_tokens=read.prompt_tokens,
        output_tokens=read.output_tokens,
        blocked=read.block_reason or blocked,
    )


def has_continuation(raw: Any) -> bool:
    """Whether the JSON of a ``GenerateContentResponse`` is only one part of a long response."""
    candidates = raw.get("candidates") if isinstance(raw, Mapping) else None
    first = candidates[0] if isinstance(candidates, list) and candidates else None
    return isinstance(first, Mapping) and bool(first.get("continuationToken"))


def contents(turns: str | Sequence[Mapping[str, Any]]) -> types.Content | list[types.Content]:
    """Return a prompt for google-genai, which processes a list of one turn thirty times slower than the turn itself.

    :param turns: one text, or ``{"role", "parts": [{"text"} or {"file_uri", "mime_type"}]}``.
    """
    from google.genai import types

    if isinstance(turns, str):
        turns = [{"role": "user", "parts": [{"text": turns}]}]
    prompt = [types.Content(role=turn["role"], parts=[_part(part) for part in turn["parts"]]) for turn in turns]
    return prompt[0] if len(prompt) == 1 else prompt


def _part(part: Mapping[str, Any]) -> types.Part:
    from google.genai import types

    if "file_uri" in part:
        return types.Part.from_uri(file_uri=part["file_uri"], mime_type=part["mime_type"])
    return types.Part(text=part["text"])


def content(turn: Mapping[str, Any]) -> types.Content:
    """Return one turn, in the API's JSON, as google-genai's type.

    :raises InvalidInputError: when it has an unknown field or value.
    """
    from google.genai import types

    try:
        return types.Content.model_validate(turn)
    except ValidationError as error:
        raise InvalidInputError(redact(validation_fault(error)), field="contents", code="invalid_content") from None


def token_count(response: types.CountTokensResponse) -> int:
    """Return the number of tokens.

    :raises UnexpectedResponseError: when the response has none.
    """
    if response.total_tokens is None:
        raise UnexpectedResponseError("the response has no totalTokens", field="totalTokens")
    return _count(response.total_tokens, "totalTokens") or 0


# --------------------------------------------------------------------------------------- objects and metrics


def object_version(blob: Any) -> ObjectVersion:
    """Return the version of an object; Cloud Storage's client does not validate the fields of its response."""
    generation, size, checksum = blob.generation, blob.size, blob.crc32c
    if not isinstance(generation, int) or not isinstance(size, int) or not isinstance(checksum, str):
        raise UnexpectedResponseError(
            f"an object with the generation {short_repr(generation)} and the CRC32C {short_repr(checksum)}"
        )
    return ObjectVersion(generation, size, checksum[:MAX_ENUM])


def tensorboard_of(experiment: Any) -> ResourceName | None:
    """Return the TensorBoard of an experiment in the API's JSON."""
    board = _inside(experiment, "metadata").get("backing_tensorboard_resource")
    return _name(board, "tensorboards", "metadata.backing_tensorboard_resource") if board else None


def curves(batch: Any) -> dict[str, Curve]:
    """Return the curves of a batch read by the ids of their time series."""
    series = _BATCH.validate_python(batch.get("timeSeriesData") or [])
    return {each.tensorboard_time_series_id: _curve(each) for each in series}


def curve(response: Any) -> Curve:
    """Return the curve of a read of one time series."""
    return _curve(_MetricSeries.model_validate(response.get("timeSeriesData") or {}))


def _curve(data: _MetricSeries) -> Curve:
    written = sorted(data.values, key=lambda point: sortable_time(point.wall_time))
    return Curve.of((point.step, point.scalar.value) for point in written)


def sortable_time(value: Any) -> str:
    """Return a time of the API so that times sort; their fractions of a second differ in length."""
    return str(value or "").rstrip("Z")
