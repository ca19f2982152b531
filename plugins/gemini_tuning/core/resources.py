"""Values of Vertex AI and Cloud Storage: states, tuning jobs, models, checkpoints, endpoints.

Field names are the API's own in snake_case, see
https://cloud.google.com/vertex-ai/docs/reference/rest/v1beta1/projects.locations.tuningJobs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any, Self

from pydantic import AfterValidator, AliasChoices, AliasPath, BeforeValidator, Field, StrictBool, ValidationError
from pydantic.alias_generators import to_camel, to_snake

from gemini_tuning.core import api_types as api
from gemini_tuning.core.api_types import ApiResource, ApiValue, Count, Enum, Text, at
from gemini_tuning.core.exceptions import CheckpointError, InvalidInputError
from gemini_tuning.core.names import ResourceName, ResourceNameError, operation_location
from gemini_tuning.core.text import redact, short_repr, shorten
from gemini_tuning.core.yaml_file import error_message

MAX_LISTED = 1_000  # characters of a list of ids in a message
MAX_METRICS = 100  # of an evaluation
# Fields of an aggregation result with a metric's score, and our names of these metrics.
AGGREGATED: Mapping[str, str] = {
    "bleuMetricValue": "bleu",
    "customCodeExecutionResult": "custom_code_execution",
    "exactMatchMetricValue": "exact_match",
    "pointwiseMetricResult": "pointwise_metric",
    "rougeMetricValue": "rouge",
}

# JobState of the API, without its prefix. A state that a later API adds counts as active.
ACTIVE_STATES = frozenset({"QUEUED", "PENDING", "RUNNING", "CANCELLING", "PAUSED", "UPDATING", "UNSPECIFIED"})
SUCCEEDED_STATES = frozenset({"SUCCEEDED", "PARTIALLY_SUCCEEDED"})
FAILED_STATES = frozenset({"FAILED", "CANCELLED", "EXPIRED"})
ENDED_STATES = SUCCEEDED_STATES | FAILED_STATES


def _short_phase(phase: str | None) -> str | None:
    return phase and phase.removeprefix("TUNING_JOB_STATE_")


def short_state(state: str | None) -> str:
    """``JOB_STATE_RUNNING`` -> ``RUNNING``; nothing -> ``UNSPECIFIED``."""
    return (state or "UNSPECIFIED").removeprefix("JOB_STATE_")


@dataclass(frozen=True)
class Checkpoint(ApiValue):
    """A snapshot that a tuning job saved of its model."""

    checkpoint_id: api.CheckpointId  # unique within the model
    epoch: Count | None = None  # estimated, except for the final checkpoint
    step: Count | None = None  # exact
    endpoint: api.EndpointName | None = None  # full name of the one that serves it

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any]) -> Self:
        """Read the output of :meth:`as_dict`, or the API's own JSON with snake_case names."""
        if not isinstance(data, Mapping):
            raise _invalid("checkpoint", f"expected a mapping with checkpoint_id, not {short_repr(data)}")
        try:
            return cls.from_json({to_camel(str(name)): value for name, value in data.items()})
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            raise _invalid(f"checkpoint: {to_snake(str(fault['loc'][0]))}", error_message(fault)) from None

    def as_dict(self) -> dict[str, Any]:
        """Return the form that goes to XCom."""
        return asdict(self)


def _short_names(metrics: Any) -> Any:
    """Remove the candidate, if there is only one, from ``CANDIDATE/METRIC/AGGREGATION``; keep finite numbers only."""
    if not isinstance(metrics, Mapping):
        return metrics
    scores = {name: score for name, value in metrics.items() if (score := api.number(value)) is not None}
    some = dict(list(scores.items())[:MAX_METRICS])
    short = {"/".join(str(name).split("/")[-2:]): value for name, value in some.items()}
    return {redact(name, api.MAX_ENUM): value for name, value in (short if len(short) == len(some) else some).items()}


def _aggregated(results: Any) -> dict[str, float]:
    """Return the scores of a job's own list by ``METRIC/AGGREGATION``; two metrics of a kind are numbered."""
    found: dict[str, float] = {}
    for result in results if isinstance(results, list) else ():
        kind = next((kind for kind in AGGREGATED if isinstance(result, Mapping) and result.get(kind)), "")
        score = api.number(AliasPath(kind, "score").search_dict_for_path(result)) if kind else None
        if score is None or len(found) == MAX_METRICS:
            continue
        aggregation = redact(result.get("aggregationMetric", ""), api.MAX_ENUM)
        same = sum(1 for name in found if name.startswith(AGGREGATED[kind]) and name.endswith(f"/{aggregation}"))
        found[f"{AGGREGATED[kind]}{f'_{same + 1}' if same else ''}/{aggregation}"] = score
    return found


def _evaluation_name(value: Any) -> str:
    try:
        return str(ResourceName.parse(value, "evaluationRuns"))
    except ResourceNameError:
        return ""


@dataclass(frozen=True)
class EvaluationRun(ApiResource):
    """The service's own evaluation of one checkpoint, which it does not name in a job that saves its last one only.

    The metrics are by ``METRIC/AGGREGATION``, for example ``{"exact_match/AVERAGE": 0.8}``. In a job's own list, name
    and state may be empty.
    """

    collection = "evaluationRuns"

    name: api.EvaluationRunName
    checkpoint_id: Enum | None = None
    state: Enum = ""
    metrics: Annotated[
        Mapping[str, float], at("evaluationResults", "summaryMetrics", "metrics"), BeforeValidator(_short_names)
    ] = field(default_factory=dict)
    error: api.JobError | None = None


@dataclass(frozen=True)
class JobEvaluation(EvaluationRun):
    """An evaluation in a job's own list; invalid parts are left out, because the job is usable without them."""

    name: Annotated[str, at("evaluationRun"), BeforeValidator(_evaluation_name)] = ""
    metrics: Annotated[
        Mapping[str, float],
        at("evaluateDatasetResponse", "aggregationOutput", "aggregationResults"),
        BeforeValidator(_aggregated),
    ] = field(default_factory=dict)


def _possible_count(value: Any) -> int | None:
    """Return a count of tokens; an impossible one is no reason to fail."""
    return int(value) if str(value).isdecimal() and 0 < int(value) < api.MAX_COUNT else None


def _dataset_tokens(statistics: Any) -> int | None:
    parts = [AliasPath(f"user{each}TokenDistribution").search_dict_for_path(statistics) for each in ("Input", "Output")]
    counts = [_possible_count(part.get("billableSum", part.get("sum"))) for part in parts if isinstance(part, Mapping)]
    return sum(count or 0 for count in counts) if counts and None not in counts else None


def _distinct(checkpoints: tuple[Checkpoint, ...]) -> tuple[Checkpoint, ...]:
    ids = [checkpoint.checkpoint_id for checkpoint in checkpoints]
    if twice := [each for each in ids if ids.count(each) > 1]:
        raise ValueError(f"checkpoint {twice[0]} is in the response twice")
    return checkpoints


Checkpoints = Annotated[tuple[Checkpoint, ...], AfterValidator(_distinct)]
_STATISTICS = ("tuningDataStats", "supervisedTuningDataStats")


def _dataset(name: str) -> Any:
    specs = ("supervisedTuningSpec", "preferenceOptimizationSpec")
    return Field(validation_alias=AliasChoices(*(AliasPath(spec, name) for spec in specs)))


@dataclass(frozen=True)
class TuningJob(ApiResource):
    """A tuning job as one response of the service shows it.

    Its ``state`` is one of :data:`ACTIVE_STATES` and its neighbours; a RUNNING job has a ``phase`` (``TUNING``,
    ``WAITING_FOR_CAPACITY`` …). ``endpoint`` is that of the default checkpoint. ``billable_tokens`` is the service's
    count for the training file: whether each epoch counts is not documented, so compare it with ``dataset_tokens``.
    """

    collection = "tuningJobs"

    name: api.TuningJobName
    state: Annotated[Enum, AfterValidator(short_state)] = "UNSPECIFIED"
    display_name: Annotated[Text, at("tunedModelDisplayName")] = ""
    base_model: Text = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    error: api.JobError | None = None
    phase: Annotated[Enum | None, at("tuningJobState"), AfterValidator(_short_phase)] = None
    completed_epochs: Annotated[Count | None, at("tuningJobMetadata", "completedEpochCount")] = None
    completed_steps: Annotated[Count | None, at("tuningJobMetadata", "completedStepCount")] = None
    epoch_count: Annotated[Count | None, at("supervisedTuningSpec", "hyperParameters", "epochCount")] = None  # to do
    model: Annotated[api.ModelName | None, at("tunedModel", "model")] = None
    endpoint: Annotated[api.EndpointName | None, at("tunedModel", "endpoint")] = None
    checkpoints: Annotated[Checkpoints, at("tunedModel", "checkpoints")] = ()
    validation_dataset_uri: Annotated[Text | None, _dataset("validationDatasetUri")] = None
    experiment: Text | None = None  # full name of the context that leads to the training metrics, not parsed yet
    evaluations: Annotated[tuple[JobEvaluation, ...], at("evaluateDatasetRuns")] = ()
    billable_tokens: Annotated[
        int | None, at(*_STATISTICS, "totalBillableTokenCount"), BeforeValidator(_possible_count)
    ] = None
    dataset_tokens: Annotated[int | None, at(*_STATISTICS), BeforeValidator(_dataset_tokens)] = None  # of one epoch
    create_time: api.Time = None
    start_time: api.Time = None
    end_time: api.Time = None
    training_dataset_uri: Annotated[Text | None, _dataset("trainingDatasetUri")] = None

    @property
    def has_ended(self) -> bool:
        """Whether the state is terminal."""
        return self.state in ENDED_STATES

    @property
    def share(self) -> float | None:
        """How much of the tuning is done, 0 to 1; by epochs until a checkpoint shows how many steps an epoch has."""
        if not self.epoch_count or self.completed_epochs is None:
            return None
        epochs = float(self.completed_epochs)
        steps_per_epoch = next((c.step / c.epoch for c in self.checkpoints if c.epoch and c.step), None)
        if self.completed_steps is not None and steps_per_epoch is not None:
            epochs = self.completed_steps / steps_per_epoch
        return min(epochs / self.epoch_count, 1.0)

    @property
    def is_stopping(self) -> bool:
        """Whether it has finished or is being cancelled."""
        return self.has_ended or self.state == "CANCELLING"

    @property
    def has_succeeded(self) -> bool:
        """Whether the job has finished with a usable model."""
        return self.state in SUCCEEDED_STATES

    def progress(self) -> str:
        """One line for the log: state and, where known, phase, epoch, step and number of checkpoints."""
        phase = self.phase.lower().replace("_", " ") if self.phase and not self.has_ended else None
        parts = [self.state, phase] if phase else [self.state]
        if self.completed_epochs is not None:
            parts.append(f"epoch {self.completed_epochs}" + (f" of {self.epoch_count}" if self.epoch_count else ""))
        if self.completed_steps is not None:
            parts.append(f"step {self.completed_steps}")
        if self.checkpoints:
            parts.append(f"{len(self.checkpoints)} checkpoint" + ("s" if len(self.checkpoints) != 1 else ""))
        return ", ".join(parts)

    def billed(self) -> dict[str, int | None]:
        """Return the token counts that the service bills, in the form that goes to XCom."""
        return {name: getattr(self, name) for name in ("billable_tokens", "dataset_tokens", "epoch_count")}

    def describe_failure(self) -> str:
        """Return why the job finished without success, and which model it created nevertheless."""
        reason = f": {self.error}" if self.error else "; the service returned no reason"
        failure = f"Tuning job {self.name} is {self.state}{reason}."
        if not self.model:
            return failure
        advice = "Check it in the Model Registry before you tune again; its checkpoints can be listed and deployed."
        return f"{failure} The tuned model exists nevertheless: {self.model}. {advice}"


@dataclass(frozen=True, slots=True)
class ListedJob:
    """A tuning job on a page of a list; parsing the whole of each takes far longer than the list itself."""

    id: str  # the last part of its name
    has_ended: bool
    read: Callable[[str], TuningJob]  # parses the whole job, given the name that the caller knows it by


@dataclass(frozen=True)
class Deployment(ApiValue):
    """An endpoint where a model version is deployed, in the version's own list."""

    endpoint: api.EndpointName
    checkpoint_id: api.CheckpointId | None = None


@dataclass(frozen=True)
class Model(ApiResource):
    """A model version of the Model Registry.

    https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.models
    """

    collection = "models"

    name: api.VersionName
    display_name: Text = ""
    default_checkpoint_id: api.CheckpointId | None = None
    checkpoints: Checkpoints = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    etag: Annotated[str | None, Field(max_length=api.MAX_TEXT)] = None
    aliases: Annotated[tuple[Enum, ...], at("versionAliases")] = ()  # one is "default" for the default version
    deployments: Annotated[tuple[Deployment, ...], at("deployedModels")] = ()
    original_model: Annotated[api.ModelName | None, at("originalModelInfo", "model")] = None  # that was copied
    is_copy: Annotated[bool, at("modelSourceInfo", "copy"), BeforeValidator(lambda value: value is True)] = False
    create_time: Annotated[api.Timestamp, at("versionCreateTime")] = None  # seconds since 1970 (UTC)

    @classmethod
    def _prepare(cls, data: Any) -> Any:
        return super()._prepare(api.with_version(data, "name", "versionId"))

    @classmethod
    def from_json(cls, raw: Any, requested: str | None = None) -> Self:
        """Validate the API's JSON, and give each checkpoint its endpoint, which the API lists apart."""
        found = super().from_json(raw, requested)
        checkpoints = (replace(c, endpoint=c.endpoint or found.endpoint_of(c.checkpoint_id)) for c in found.checkpoints)
        return replace(found, checkpoints=tuple(checkpoints))

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Full names of all endpoints where the version is deployed."""
        return tuple(dict.fromkeys(each.endpoint for each in self.deployments))

    def endpoint_of(self, checkpoint_id: str | None) -> str | None:
        """Return the first listed endpoint that serves a checkpoint; of a model without checkpoints, the model."""
        return next((each.endpoint for each in self.deployments if each.checkpoint_id == checkpoint_id), None)

    @property
    def default_endpoint(self) -> str | None:
        """The endpoint that serves the default checkpoint."""
        return self.endpoint_of(self.default_checkpoint_id)

    @property
    def resource_name(self) -> ResourceName:
        """The parsed name."""
        return ResourceName.parse(self.name, "models")

    def require_checkpoint(self, checkpoint_id: str) -> Checkpoint:
        """Return the checkpoint with this id."""
        if found := next((c for c in self.checkpoints if c.checkpoint_id == checkpoint_id), None):
            return found
        available = ", ".join(c.checkpoint_id for c in self.checkpoints) or "none"
        message = f"Model {self.name} has no checkpoint {short_repr(checkpoint_id)}; it has: "
        message += f"{shorten(available, MAX_LISTED)}. Nothing was changed."
        raise CheckpointError(message, field="checkpoint_id", resource=self.name, code="not_found_in_model")


@dataclass(frozen=True)
class DeployedModel(ApiValue):
    """A model version that an endpoint serves, with its id within the endpoint."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9]{1,200}$")]
    model: Annotated[ResourceName | None, BeforeValidator(lambda name: ResourceName.parse(name, "models"))] = None
    checkpoint_id: api.CheckpointId | None = None

    @classmethod
    def _prepare(cls, data: Any) -> Any:
        return super()._prepare(api.with_version(data, "model", "modelVersionId"))


@dataclass(frozen=True)
class Endpoint(ApiResource):
    """An endpoint and its deployed models.

    https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.endpoints
    """

    collection = "endpoints"

    name: api.EndpointName
    display_name: Text = ""
    deployed_models: tuple[DeployedModel, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Traffic:
    """The prompts of an endpoint as Cloud Monitoring counts them."""

    last_prompt: float | None = None  # seconds since 1970 (UTC), up to an hour late; None: none within six weeks
    problem: str = ""  # why the traffic is unknown


@dataclass(frozen=True)
class Operation(ApiResource):
    """A long-running operation, with the model version that a finished copy created."""

    name: api.OperationName
    done: StrictBool = False
    error: api.JobError | None = None
    model: Annotated[api.ModelName | None, at("response", "model")] = None
    create_time: Annotated[str | None, at("metadata", "genericMetadata", "createTime")] = None
    kind: Annotated[str, at("metadata", "@type")] = "CopyModel"

    @property
    def is_copy(self) -> bool:
        """Whether it copies a model, unless the service returns no type."""
        return "CopyModel" in self.kind

    @classmethod
    def _prepare(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and "response" in data:
            data = {**data, "response": api.with_version(data["response"], "model", "modelVersionId")}
        return super()._prepare(data)

    @classmethod
    def location_of(cls, name: str) -> str:
        """Return the location in the full name of an operation."""
        return operation_location(name)

    @classmethod
    def _is_same(cls, name: str, requested: str) -> bool:
        return name.rpartition("/")[2] == requested.rpartition("/")[2]


@dataclass(frozen=True)
class ObjectVersion(ApiValue):
    """One object of Cloud Storage as it is now."""

    generation: int  # changes each time that the object is written
    size_bytes: int
    checksum: Enum  # of the content, CRC32C in base64


def compare_checkpoints(source: Sequence[Checkpoint], copy: Sequence[Checkpoint]) -> list[str]:
    """Return the differences between the checkpoints of a copy and those of its source, one sentence each.

    Endpoints are not compared: a copy has none until it is deployed.
    """
    ours, theirs = ({c.checkpoint_id: (c.epoch, c.step) for c in each} for each in (source, copy))
    differences = [f"checkpoint {i} is missing in the copy" for i in ours if i not in theirs]
    differences += [f"checkpoint {i} is only in the copy" for i in theirs if i not in ours]
    return differences + [
        f"checkpoint {i}: epoch and step are {theirs[i]} in the copy, {ours[i]} in the source"
        for i in ours
        if i in theirs and ours[i] != theirs[i]
    ]


def checkpoint_id(value: object, field_name: str) -> str:
    """Return a checkpoint's id as text."""
    try:
        return api.checkpoint_id(value)
    except ValueError as error:
        raise _invalid(f"{field_name}: checkpoint_id", str(error)) from None


def _invalid(field_name: str, problem: str) -> InvalidInputError:
    return InvalidInputError(f"{field_name}: {problem}", field=field_name.replace(": ", "."), code="invalid_checkpoint")
