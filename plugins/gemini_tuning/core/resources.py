"""Values of Vertex AI and Cloud Storage: states, tuning jobs, models, checkpoints, endpoints.

Field names are the API's own in snake_case, see
https://cloud.google.com/vertex-ai/docs/reference/rest/v1beta1/projects.locations.tuningJobs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple, Self

from gemini_tuning.core.exceptions import CheckpointError, InvalidInputError
from gemini_tuning.core.names import ResourceName
from gemini_tuning.core.text import short_repr, shorten

MAX_CHECKPOINT_ID = 100  # characters
MAX_LISTED = 1_000  # characters of a list of ids in a message

# JobState of the API, without its prefix. A state that a later API adds counts as active.
ACTIVE_STATES = frozenset({"QUEUED", "PENDING", "RUNNING", "CANCELLING", "PAUSED", "UPDATING", "UNSPECIFIED"})
SUCCEEDED_STATES = frozenset({"SUCCEEDED", "PARTIALLY_SUCCEEDED"})
FAILED_STATES = frozenset({"FAILED", "CANCELLED", "EXPIRED"})


def short_state(state: str | None) -> str:
    """``JOB_STATE_RUNNING`` -> ``RUNNING``; nothing -> ``UNSPECIFIED``."""
    return (state or "UNSPECIFIED").removeprefix("JOB_STATE_")


@dataclass(frozen=True)
class Checkpoint:
    """A snapshot that a tuning job saved of its model.

    :param checkpoint_id: the service's id, unique within the model.
    :param epoch: estimated, except for the final checkpoint; ``None`` where the service returns none.
    :param step: exact training step.
    :param endpoint: full name of the endpoint that serves this checkpoint; ``None`` while it is not deployed.
    """

    checkpoint_id: str
    epoch: int | None = None
    step: int | None = None
    endpoint: str | None = None

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any]) -> Self:
        """Read the output of :meth:`as_dict`, or the API's own JSON with snake_case names.

        :raises InvalidInputError: naming the field that is not acceptable.
        """
        if not isinstance(data, Mapping):
            raise _invalid("checkpoint", f"expected a mapping with checkpoint_id, not {short_repr(data)}")
        endpoint = data.get("endpoint") or None
        if not isinstance(endpoint, str | None):
            raise _invalid("checkpoint: endpoint", f"expected a text, not {short_repr(endpoint)}")
        return cls(
            checkpoint_id=checkpoint_id(data.get("checkpoint_id"), "checkpoint"),
            epoch=_optional_int(data.get("epoch"), "checkpoint: epoch"),
            step=_optional_int(data.get("step"), "checkpoint: step"),
            endpoint=endpoint,
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the form that goes to XCom."""
        return asdict(self)


@dataclass(frozen=True)
class JobError:
    """``google.rpc.Status`` of a job or an operation."""

    code: int = 0
    message: str = ""

    def __str__(self) -> str:
        return f"{self.message or 'no message'} (code {self.code})"


@dataclass(frozen=True)
class EvaluationRun:
    """The service's own evaluation of one checkpoint.

    :param name: full name of the run; ``None`` where the service returns no usable one.
    :param checkpoint_id: ``None`` where the service returns none, as for a job that saves its last checkpoint only.
    :param state: for example ``SUCCEEDED``; empty in a job's own list, which has no states.
    :param metrics: by ``METRIC/AGGREGATION``, for example ``{"exact_match/AVERAGE": 0.8}``.
    """

    name: str | None = None
    checkpoint_id: str | None = None
    state: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    error: JobError | None = None


@dataclass(frozen=True)
class TuningJob:
    """A tuning job as one response of the service shows it.

    :param state: JobState without prefix, see :data:`ACTIVE_STATES` and its neighbours.
    :param phase: of a RUNNING job (``TUNING``, ``WAITING_FOR_CAPACITY`` …), v1beta1 only.
    :param completed_epochs: epochs done so far, v1beta1 only.
    :param completed_steps: steps done so far, v1beta1 only.
    :param epoch_count: epochs to do; the service's own choice where the request had none.
    :param model: full name of the tuned model with its version.
    :param endpoint: endpoint of the default checkpoint.
    :param validation_dataset_uri: data of the eval metrics; ``None`` without a validation dataset.
    :param experiment: full name of the context that leads to the training metrics, not parsed yet.
    :param evaluations: of the checkpoints, for a job with an evaluation config.
    :param billable_tokens: the service's count for the training file. It is not documented whether each epoch counts:
        compare it with ``dataset_tokens``.
    :param dataset_tokens: of one pass over the training file, from the service's statistics.
    """

    name: str
    state: str
    display_name: str = ""
    base_model: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    error: JobError | None = None
    phase: str | None = None
    completed_epochs: int | None = None
    completed_steps: int | None = None
    epoch_count: int | None = None
    model: str | None = None
    endpoint: str | None = None
    checkpoints: tuple[Checkpoint, ...] = ()
    validation_dataset_uri: str | None = None
    experiment: str | None = None
    evaluations: tuple[EvaluationRun, ...] = ()
    billable_tokens: int | None = None
    dataset_tokens: int | None = None
    create_time: str | None = None
    start_time: str | None = None
    end_time: str | None = None
    training_dataset_uri: str | None = None

    @property
    def has_ended(self) -> bool:
        """Whether the state is terminal."""
        return self.state in SUCCEEDED_STATES or self.state in FAILED_STATES

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
        parts = [self.state]
        if self.phase and not self.has_ended:
            parts.append(self.phase.lower().replace("_", " "))
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
        model = ""
        if self.model:
            model = (
                f" The tuned model exists nevertheless: {self.model}. Check it in the Model Registry before you tune "
                "again; its checkpoints can be listed and deployed."
            )
        return f"Tuning job {self.name} is {self.state}{reason}.{model}"


@dataclass(frozen=True, slots=True)
class ListedJob:
    """A tuning job on a page of a list; parsing the whole of each takes far longer than the list itself.

    :param id: the last part of its name.
    :param has_ended: whether its state is terminal.
    :param read: parses the whole job, given the name that the caller knows it by.
    """

    id: str
    has_ended: bool
    read: Callable[[str], TuningJob]


@dataclass(frozen=True)
class Model:
    """A model version of the Model Registry.

    :param name: full name with its version.
    :param checkpoints: with the endpoints that serve them.
    :param etag: changes with every update of the model.
    :param aliases: of the version; ``default`` is the alias of the default version.
    :param original_model: full name of the model version that this one is a copy of; ``None`` where the service returns
        none.
    :param is_copy: whether the service marks it as a copy.
    :param endpoints: full names of all endpoints where the version is deployed.
    :param default_endpoint: the one that serves the default checkpoint; of a model without checkpoints, the model.
    :param create_time: of the version, in seconds since 1970 (UTC).
    """

    name: str
    display_name: str = ""
    default_checkpoint_id: str | None = None
    checkpoints: tuple[Checkpoint, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    etag: str | None = None
    aliases: tuple[str, ...] = ()
    original_model: str | None = None
    is_copy: bool = False
    endpoints: tuple[str, ...] = ()
    default_endpoint: str | None = None
    create_time: float | None = None

    @property
    def resource_name(self) -> ResourceName:
        """The parsed name."""
        return ResourceName.parse(self.name, "models")

    def require_checkpoint(self, checkpoint_id: str) -> Checkpoint:
        """Return the checkpoint with this id.

        :raises CheckpointError: when the model does not have it; the message lists those it has.
        """
        for checkpoint in self.checkpoints:
            if checkpoint.checkpoint_id == checkpoint_id:
                return checkpoint
        available = ", ".join(c.checkpoint_id for c in self.checkpoints) or "none"
        raise CheckpointError(
            f"Model {self.name} has no checkpoint {short_repr(checkpoint_id)}; it has: "
            f"{shorten(available, MAX_LISTED)}.",
            field="checkpoint_id",
            resource=self.name,
            code="not_found_in_model",
        )


class DeployedModel(NamedTuple):
    """A model version that an endpoint serves.

    :param id: within the endpoint.
    :param model: with its version where the service returns it; ``None`` where it returns no model.
    :param checkpoint_id: ``None`` where the service returns none.
    """

    id: str
    model: ResourceName | None
    checkpoint_id: str | None = None


@dataclass(frozen=True)
class Endpoint:
    """An endpoint and its deployed models.

    :param name: full name.
    """

    name: str
    display_name: str = ""
    deployed_models: tuple[DeployedModel, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Traffic:
    """The prompts of an endpoint as Cloud Monitoring counts them.

    :param last_prompt: seconds since 1970 (UTC), up to an hour late; ``None``: no prompt within the six weeks that
        Cloud Monitoring keeps.
    :param problem: why the traffic is unknown; empty when it is known.
    """

    last_prompt: float | None = None
    problem: str = ""


@dataclass(frozen=True)
class Operation:
    """A long-running operation.

    :param model: full name of the model that a finished copy created, with its version.
    """

    name: str
    done: bool = False
    error: JobError | None = None
    model: str | None = None
    create_time: str | None = None


@dataclass(frozen=True)
class ObjectVersion:
    """One object of Cloud Storage as it is now.

    :param generation: changes each time that the object is written.
    :param checksum: of the content, CRC32C in base64; the same for the same content.
    """

    generation: int
    size_bytes: int
    checksum: str


@dataclass(frozen=True)
class ModelResponse:
    """A model's response to one prompt.

    :param text: empty when it was blocked.
    :param latency: seconds from sending the request to the complete response.
    :param finish_reason: for example ``STOP``, ``MAX_TOKENS``, ``SAFETY``.
    :param blocked: why the service blocked the prompt or the response, for example ``SAFETY``, ``PROHIBITED_CONTENT``;
        ``None`` when it did not.
    """

    text: str
    latency: float
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    blocked: str | None = None


def compare_checkpoints(source: Sequence[Checkpoint], copy: Sequence[Checkpoint]) -> list[str]:
    """Return the differences between the checkpoints of a copy and those of its source, one sentence each.

    Endpoints are not compared: a copy has none until it is deployed.
    """

    def facts(checkpoints: Sequence[Checkpoint]) -> dict[str, tuple[int | None, int | None]]:
        return {c.checkpoint_id: (c.epoch, c.step) for c in checkpoints}

    ours, theirs = facts(source), facts(copy)
    differences = [f"checkpoint {i} is missing in the copy" for i in ours if i not in theirs]
    differences += [f"checkpoint {i} is only in the copy" for i in theirs if i not in ours]
    differences += [
        f"checkpoint {i}: epoch and step are {theirs[i]} in the copy, {ours[i]} in the source"
        for i in ours
        if i in theirs and ours[i] != theirs[i]
    ]
    return differences


def checkpoint_id(value: object, field_name: str) -> str:
    """Return a checkpoint's id as text.

    :param field_name: first words of the error message.
    :raises InvalidInputError: when it is not an id.
    """
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63 else value
    if not isinstance(text, str) or not text.strip() or not text.isprintable() or len(text) > MAX_CHECKPOINT_ID:
        raise _invalid(f"{field_name}: checkpoint_id", f"{short_repr(value)} is not the id of a checkpoint")
    return text


def _optional_int(value: object, field_name: str) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    try:
        return int(str(value))
    except ValueError:
        raise _invalid(field_name, f"{short_repr(value)} is not a whole number") from None


def _invalid(field_name: str, problem: str) -> InvalidInputError:
    return InvalidInputError(f"{field_name}: {problem}", field=field_name.replace(": ", "."), code="invalid_checkpoint")
