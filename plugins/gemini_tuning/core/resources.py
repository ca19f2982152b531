"""Vertex AI resources as plain values: names, states, jobs, models, checkpoints.

Pure: no Airflow, no Google client, no clock, no network. Field names are the API's own in snake_case
(https://cloud.google.com/vertex-ai/docs/reference/rest/v1beta1/projects.locations.tuningJobs).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

from gemini_tuning.core.text import short_repr, shorten

# Ids of projects and locations become parts of an address, so nothing else may stand in them.
_PROJECT = r"[A-Za-z0-9][A-Za-z0-9.:_-]*"
_LOCATION = r"[a-z0-9-]+"
_NAME = re.compile(
    rf"projects/(?P<project>{_PROJECT})/locations/(?P<location>{_LOCATION})"
    r"/(?P<collection>[A-Za-z]+)/(?P<id>[A-Za-z0-9_-]+)(?:@(?P<version>[A-Za-z0-9_-]+))?"
)
_OPERATION = re.compile(
    rf"(?P<parent>projects/{_PROJECT}/locations/(?P<location>{_LOCATION}))"
    r"(?:/[A-Za-z]+/[A-Za-z0-9_-]+)?/operations/(?P<id>[A-Za-z0-9_-]+)"
)
_CONTEXT = re.compile(
    rf"(?P<store>projects/{_PROJECT}/locations/(?P<location>{_LOCATION})/metadataStores/[A-Za-z0-9_-]+)"
    r"/contexts/(?P<id>[A-Za-z0-9_-]+)"
)
MAX_NAME = 1_000  # characters
MAX_CHECKPOINT_ID = 100  # characters


class ResourceNameError(ValueError):
    """A string is not the full name of the expected kind of resource."""


@dataclass(frozen=True)
class ResourceName:
    """A full resource name: ``projects/P/locations/L/<collection>/ID``, for models also ``@VERSION``."""

    project: str
    location: str
    collection: str
    id: str
    version: str | None = None

    @classmethod
    def parse(cls, name: object, collection: str) -> Self:
        """Take a full name apart.

        Short names are refused: the clients expand them to another location or another kind of resource.

        :param name: for example ``projects/123/locations/us-central1/models/456@1``.
        :param collection: ``tuningJobs``, ``models`` or ``endpoints``.
        :raises ResourceNameError: when the string is anything else.
        """
        match = _NAME.fullmatch(name) if isinstance(name, str) and len(name) <= MAX_NAME else None
        if match is None or match["collection"] != collection:
            raise ResourceNameError(
                f"{short_repr(name)} is not a full resource name; expected "
                f"projects/PROJECT/locations/LOCATION/{collection}/ID"
                + ("[@VERSION]" if collection == "models" else "")
            )
        if match["version"] and collection != "models":
            raise ResourceNameError(f"{short_repr(name)}: only models have an @version")
        return cls(**match.groupdict())

    @property
    def parent(self) -> str:
        """``projects/P/locations/L``."""
        return f"projects/{self.project}/locations/{self.location}"

    @property
    def unversioned(self) -> str:
        """The name without ``@VERSION``."""
        return f"{self.parent}/{self.collection}/{self.id}"

    def is_same_model(self, other: ResourceName) -> bool:
        """Whether both name the same model, and the same version where both name one."""
        same_version = None in (self.version, other.version) or self.version == other.version
        same_model = (self.location, self.id) == (other.location, other.id)
        return same_model and same_version and may_be_same_project(self.project, other.project)

    def __str__(self) -> str:
        return self.unversioned + (f"@{self.version}" if self.version else "")


def serving_problem(name: str, value: object) -> str | None:
    """Return why a value names neither an endpoint nor a model, beginning with the field's name, or ``None``."""
    for collection in ("endpoints", "models"):
        try:
            ResourceName.parse(value, collection)
            return None
        except ResourceNameError:
            continue
    return (
        f"{name}: {short_repr(value)} is neither projects/PROJECT/locations/LOCATION/endpoints/ID nor "
        "projects/PROJECT/locations/LOCATION/models/ID[@VERSION]"
    )


@dataclass(frozen=True)
class ContextName:
    """Full name of an experiment, or of a run of one: a context of Vertex ML Metadata.

    :param store: ``projects/P/locations/L/metadataStores/STORE``.
    """

    store: str
    location: str
    id: str

    @classmethod
    def parse(cls, name: object) -> Self:
        """Take a full name apart.

        :param name: for example ``projects/1/locations/us-central1/metadataStores/default/contexts/experiment-2``.
        :raises ResourceNameError: when the string is anything else.
        """
        match = _CONTEXT.fullmatch(name) if isinstance(name, str) and len(name) <= MAX_NAME else None
        if match is None:
            raise ResourceNameError(
                f"{short_repr(name)} is not a full resource name; expected "
                "projects/PROJECT/locations/LOCATION/metadataStores/STORE/contexts/ID"
            )
        return cls(**match.groupdict())

    def __str__(self) -> str:
        return f"{self.store}/contexts/{self.id}"


def operation_location(name: object) -> str:
    """Return the location in the full name of a long-running operation, with or without a resource in between.

    :raises ResourceNameError: when the string is anything else.
    """
    match = _OPERATION.fullmatch(name) if isinstance(name, str) and len(name) <= MAX_NAME else None
    if match is None:
        raise ResourceNameError(
            f"{short_repr(name)} is not a full resource name; expected "
            "projects/PROJECT/locations/LOCATION[/models/ID]/operations/ID"
        )
    return match["location"]


def project_problem(field_name: str, project: object) -> str | None:
    """Return why a text cannot be a project id or number, beginning with the field's name, or ``None``."""
    if isinstance(project, str) and len(project) <= MAX_NAME and re.fullmatch(_PROJECT, project):
        return None
    return f"{field_name}: {short_repr(project)} is not a project id"


def location_problem(field_name: str, location: object) -> str | None:
    """Return why a text cannot be a location, beginning with the field's name, or ``None``.

    The location becomes part of the host that tokens are sent to.
    """
    if isinstance(location, str) and re.fullmatch(r"[a-z][a-z0-9-]{0,62}", location):
        return None
    return f"{field_name}: {short_repr(location)} is not a location such as us-central1"


def may_be_same_project(one: str, other: str) -> bool:
    """Whether two projects can be the same: the service may answer with the number where the id was asked for."""
    return one == other or one.isdigit() != other.isdigit()


# JobState of the API, without its prefix. A state that a later API adds counts as active: waiting on is safe.
ACTIVE_STATES = frozenset({"QUEUED", "PENDING", "RUNNING", "CANCELLING", "PAUSED", "UPDATING", "UNSPECIFIED"})
SUCCEEDED_STATES = frozenset({"SUCCEEDED", "PARTIALLY_SUCCEEDED"})
FAILED_STATES = frozenset({"FAILED", "CANCELLED", "EXPIRED"})


def short_state(state: str | None) -> str:
    """``JOB_STATE_RUNNING`` -> ``RUNNING``; nothing -> ``UNSPECIFIED``."""
    return (state or "UNSPECIFIED").removeprefix("JOB_STATE_")


@dataclass(frozen=True)
class Checkpoint:
    """A snapshot of the model on its way.

    :param checkpoint_id: the service's id, unique within the model.
    :param epoch: estimated, except for the final checkpoint; ``None`` where the service gives none.
    :param step: exact training step.
    :param endpoint: full name of the endpoint that serves this checkpoint; ``None`` while it is not deployed.
    """

    checkpoint_id: str
    epoch: int | None = None
    step: int | None = None
    endpoint: str | None = None

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any]) -> Self:
        """Read what :meth:`as_dict` wrote, or the API's own JSON with snake_case names."""
        if not isinstance(data, Mapping):
            raise ValueError(f"checkpoint: expected a mapping with checkpoint_id, not {short_repr(data)}")
        endpoint = data.get("endpoint") or None
        if not isinstance(endpoint, str | None):
            raise ValueError(f"checkpoint: endpoint: expected a text, not {short_repr(endpoint)}")
        return cls(
            checkpoint_id=checkpoint_id(data.get("checkpoint_id"), "checkpoint"),
            epoch=_optional_int(data.get("epoch"), "checkpoint: epoch"),
            step=_optional_int(data.get("step"), "checkpoint: step"),
            endpoint=endpoint,
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the form that goes to XCom."""
        return {
            "checkpoint_id": self.checkpoint_id,
            "epoch": self.epoch,
            "step": self.step,
            "endpoint": self.endpoint,
        }


@dataclass(frozen=True)
class JobError:
    """``google.rpc.Status`` of a job or an operation."""

    code: int = 0
    message: str = ""

    def __str__(self) -> str:
        return f"{self.message or 'no message'} (code {self.code})"


@dataclass(frozen=True)
class EvaluationRun:
    """What the service's own evaluation says of one checkpoint.

    :param name: full name of the run; ``None`` where the service gives none that can be used.
    :param checkpoint_id: ``None`` where the service does not tell, as for a job that saves its last checkpoint only.
    :param state: for example ``SUCCEEDED``; empty in a job's own list, which does not tell.
    :param metrics: by ``METRIC/AGGREGATION``, for example ``{"exact_match/AVERAGE": 0.8}``.
    """

    name: str | None = None
    checkpoint_id: str | None = None
    state: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    error: JobError | None = None


class Share(NamedTuple):
    """How much of a job is done.

    :param done: 0 to 1.
    :param is_exact: by the step; otherwise by the epochs that are complete, so that it rises in leaps.
    """

    done: float
    is_exact: bool


def share_done(
    epoch_count: int | None, epochs: int | None, steps: int | None, step_of_epoch: tuple[int, int] | None
) -> Share | None:
    """Return how much of a tuning job is done, ``None`` where the service does not tell.

    :param epoch_count: epochs to do.
    :param epochs: that are complete.
    :param steps: done so far.
    :param step_of_epoch: an epoch and the step it ended with, as a checkpoint tells: so many steps has an epoch.
    """
    if not epoch_count or epochs is None:
        return None
    if steps is None or step_of_epoch is None:
        return Share(min(epochs / epoch_count, 1.0), is_exact=False)
    epoch, step = step_of_epoch
    return Share(min(steps * epoch / step / epoch_count, 1.0), is_exact=True)


@dataclass(frozen=True)
class TuningJob:
    """A tuning job as one answer of the service shows it.

    :param state: JobState without prefix, see :data:`ACTIVE_STATES` and its neighbours.
    :param phase: what a RUNNING job is doing (``TUNING``, ``WAITING_FOR_CAPACITY`` …), v1beta1 only.
    :param completed_epochs: epochs done so far, v1beta1 only.
    :param completed_steps: steps done so far, v1beta1 only.
    :param epoch_count: epochs to do, as the service filled it in.
    :param model: full name of the tuned model with its version.
    :param endpoint: endpoint of the default checkpoint.
    :param training_dataset_uri: what the model learns from, as the service repeats it.
    :param validation_dataset_uri: what the eval metrics are measured on; ``None`` without a validation dataset.
    :param experiment: full name of the context that leads to the training metrics, not checked yet.
    :param evaluations: of the checkpoints, when the job was given an evaluation config.
    :param billable_tokens: that the service counts in the training file. Whether once or for each epoch no page says:
        compare it with ``dataset_tokens``.
    :param dataset_tokens: of the training file once, by the service's statistics of it.
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
        """Whether the state can't change any more."""
        return self.state in SUCCEEDED_STATES or self.state in FAILED_STATES

    @property
    def share(self) -> Share | None:
        """How much of the tuning is done."""
        step_of_epoch = next(((c.epoch, c.step) for c in self.checkpoints if c.epoch and c.step), None)
        return share_done(self.epoch_count, self.completed_epochs, self.completed_steps, step_of_epoch)

    @property
    def is_stopping(self) -> bool:
        """Whether it has ended, or has been told to."""
        return self.has_ended or self.state == "CANCELLING"

    @property
    def has_succeeded(self) -> bool:
        """Whether there is a model to go on with."""
        return self.state in SUCCEEDED_STATES

    def progress(self) -> str:
        """One line for the log: state, phase, epoch and step as far as the service tells."""
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
        """Return what the service says of the tokens that it bills, as it goes to XCom."""
        return {name: getattr(self, name) for name in ("billable_tokens", "dataset_tokens", "epoch_count")}

    def describe_failure(self) -> str:
        """Say why a job that ended without success did so, and what to do."""
        said = f": {self.error}" if self.error else "; the service gave no reason"
        left = ""
        if self.model:
            left = (
                f" The tuned model exists nevertheless: {self.model}. Look at it in the Model Registry before you "
                "tune again; its checkpoints can be listed and deployed."
            )
        return f"Tuning job {self.name} is {self.state}{said}.{left}"


@dataclass(frozen=True, slots=True)
class ListedJob:
    """A tuning job in a list, where reading the whole of each would take far longer than the list itself.

    :param id: the last part of its name.
    :param facts: state, phase and number of checkpoints, to compare with those of an earlier list.
    :param share: how much of it is done.
    :param start_time: when it began to run, as ISO 8601 with a time zone.
    :param read: reads the whole job, given the name that is asked for.
    """

    id: str
    facts: tuple[object, ...]
    share: Share | None
    start_time: str | None
    read: Callable[[str], TuningJob]


@dataclass(frozen=True)
class Model:
    """A model version of the Model Registry.

    :param name: full name with its version.
    :param checkpoints: as google-genai reads them they have no endpoints.
    :param etag: what changes with every change; ``None`` as google-genai reads a model.
    """

    name: str
    display_name: str = ""
    default_checkpoint_id: str | None = None
    checkpoints: tuple[Checkpoint, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    etag: str | None = None

    def require_checkpoint(self, checkpoint_id: str) -> Checkpoint:
        """Return the checkpoint of that id.

        :raises LookupError: when the model has none such; the message lists those it has.
        """
        for checkpoint in self.checkpoints:
            if checkpoint.checkpoint_id == checkpoint_id:
                return checkpoint
        there = ", ".join(c.checkpoint_id for c in self.checkpoints) or "none"
        raise LookupError(
            f"Model {self.name} has no checkpoint {short_repr(checkpoint_id)}; it has: {shorten(there, MAX_NAME)}."
        )


@dataclass(frozen=True)
class Operation:
    """A long-running operation.

    :param model: full name of the model that a finished copy made, with its version.
    """

    name: str
    done: bool = False
    error: JobError | None = None
    model: str | None = None
    create_time: str | None = None


@dataclass(frozen=True)
class ObjectVersion:
    """One object of Cloud Storage as it is now.

    :param generation: another one each time that the object is written.
    :param checksum: of the content, CRC32C in base64; the same for the same content.
    """

    generation: int
    size_bytes: int
    checksum: str


@dataclass(frozen=True)
class Answer:
    """A model's answer to one prompt.

    :param text: the answer; empty when it was blocked.
    :param latency: seconds from sending the request to the whole answer.
    :param finish_reason: for example ``STOP``, ``MAX_TOKENS``, ``SAFETY``.
    :param blocked: why the service held back the prompt or the answer, for example ``SAFETY``, ``PROHIBITED_CONTENT``;
        ``None`` when it did not.
    """

    text: str
    latency: float
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    blocked: str | None = None


def compare_checkpoints(source: Sequence[Checkpoint], copy: Sequence[Checkpoint]) -> list[str]:
    """Say in which checkpoints a copy differs from its source; an empty list means in none.

    Endpoints are left out: a copy has none until it is deployed.
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


def checkpoint_id(value: object, where: str) -> str:
    """Return a checkpoint's id as text.

    :param where: what the message begins with.
    :raises ValueError: when it is none.
    """
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63 else value
    if not isinstance(text, str) or not text.strip() or not text.isprintable() or len(text) > MAX_CHECKPOINT_ID:
        raise ValueError(f"{where}: checkpoint_id: {short_repr(value)} is not the id of a checkpoint")
    return text


def _optional_int(value: object, where: str) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    try:
        return int(str(value))
    except ValueError:
        raise ValueError(f"{where}: {short_repr(value)} is not a whole number") from None
