"""The state: plain records and the store that holds them. No rule lives here."""

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .ids import Ids
from .learner import Corpus
from .lifecycle import AT_WORK, CheckpointPlan, Event, Fate, Outcome
from .names import Parent

METHODS = ("supervisedTuningSpec", "preferenceOptimizationSpec")
"""Fields of a TuningJob of which it has one."""


class Exposure(NamedTuple):
    """That a checkpoint saw a training file: digests of the files, epochs, learning-rate multiplier."""

    training: str
    validation: str | None
    epochs: float
    rate: float


@dataclass(slots=True)
class Checkpoint:
    """A saved checkpoint.

    ``endpoint`` is the one that tuning made for it; ``exposures`` what it has seen, the latest first.
    """

    checkpoint_id: str
    epoch: int
    step: int
    exposures: tuple[Exposure, ...]
    endpoint: str | None = None


@dataclass(slots=True)
class Tuning:
    """What a running job works on: known once its dataset has been processed."""

    start: float
    end: float
    epochs: int
    steps: int
    checkpoints: tuple[CheckpointPlan, ...]
    training: str
    validation: str | None

    def steps_at(self, now: float) -> int:
        """Count the steps completed at a (virtual) time."""
        share = (now - self.start) / (self.end - self.start)
        return int(self.steps * min(max(share, 0.0), 1.0) + 1e-6)


@dataclass(slots=True)
class Job:
    """A tuning job.

    ``request`` is the TuningJob as it was sent, with the server's defaults filled in; ``events`` are those to come.
    ``phase`` is tuningJobState without its prefix. ``waiting`` marks a job that waits for quota.
    """

    seq: int
    parent: Parent
    id: str
    created: float
    updated: float
    request: dict[str, Any]
    experiment: str
    fate: Fate
    base_model: str
    base_exposures: tuple[Exposure, ...] = ()
    model_id: str = ""
    state: str = "JOB_STATE_QUEUED"
    phase: str | None = None
    started: float | None = None
    ended: float | None = None
    error: dict[str, Any] | None = None
    events: list[Event] = field(default_factory=list)
    waiting: bool = False
    stalled: bool = False
    tuning: Tuning | None = None
    stats: dict[str, Any] | None = None
    model: str | None = None
    checkpoints: list[Checkpoint] = field(default_factory=list)
    evaluations: list[dict[str, Any]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Resource name."""
        return self.parent.child("tuningJobs", self.id)

    @property
    def method(self) -> str:
        """How it tunes: the field of the request that holds the specification."""
        return next(method for method in METHODS if method in self.request)

    @property
    def spec(self) -> dict[str, Any]:
        """What to tune with: dataset files, hyperParameters and so on."""
        spec: dict[str, Any] = self.request[self.method]
        return spec

    @property
    def shows_checkpoints(self) -> bool:
        """Off for jobs that are to look like those from before there were checkpoints."""
        return self.fate.outcome is not Outcome.NO_CHECKPOINTS

    @property
    def rate(self) -> float:
        """Learning-rate multiplier; an absolute learning rate counts as the usual one."""
        return float(self.spec["hyperParameters"].get("learningRateMultiplier", 1.0))

    def steps_done(self, now: float) -> int:
        """Count the steps completed at a (virtual) time; no more once the job has stopped."""
        if self.tuning is None:
            return 0
        return self.tuning.steps_at(min(now, self.updated) if self.stopped else now)

    @property
    def takes_quota(self) -> bool:
        """Whether it counts against the limit: at work, or preempted, when it is to go on in the place it has."""
        return self.state in AT_WORK or (self.state == "JOB_STATE_PENDING" and self.started is not None)

    @property
    def stopped(self) -> bool:
        """Whether tuning gets no further now: ended, stalled, paused, preempted, or being cancelled."""
        states = ("JOB_STATE_PAUSED", "JOB_STATE_PENDING", "JOB_STATE_CANCELLING")
        return self.ended is not None or self.stalled or self.state in states


class Deployment(NamedTuple):
    """A model version's checkpoint on an endpoint, as the model lists it."""

    endpoint: str
    deployed_model_id: str
    checkpoint_id: str


@dataclass(slots=True)
class ModelVersion:
    """One version of a model.

    ``copied_from`` is the name, with version, of what it is a copy of. ``shows_checkpoints`` is off for models of jobs
    without checkpoints.
    """

    version_id: str
    created: float
    updated: float
    display_name: str
    description: str
    labels: dict[str, str]
    base_model: str
    aliases: list[str] = field(default_factory=list)
    version_description: str = ""
    checkpoints: list[Checkpoint] = field(default_factory=list)
    default_checkpoint: str | None = None
    deployments: list[Deployment] = field(default_factory=list)
    encryption: dict[str, Any] | None = None
    copied_from: str = ""
    shows_checkpoints: bool = True
    revision: int = 0

    @property
    def etag(self) -> str:
        """What changes with every change, also while the clock stands still."""
        return f"{self.updated:.6f}-{self.revision}"

    def touch(self, now: float) -> None:
        """Note a change."""
        self.updated = now
        self.revision += 1

    @property
    def seq(self) -> int:
        """Number that grows with every version of a model."""
        return int(self.version_id)

    def checkpoint(self, checkpoint_id: str | None) -> Checkpoint | None:
        """Return the checkpoint with this id."""
        return next((item for item in self.checkpoints if item.checkpoint_id == checkpoint_id), None)


@dataclass(slots=True)
class Model:
    """A model of the registry; ``last_version`` counts all there ever were."""

    seq: int
    parent: Parent
    id: str
    versions: dict[str, ModelVersion] = field(default_factory=dict)
    last_version: int = 0

    @property
    def name(self) -> str:
        """Resource name without version."""
        return self.parent.child("models", self.id)

    def version(self, version: str | None) -> ModelVersion | None:
        """Return the version with this id or alias; none given means the default version."""
        wanted = version or "default"
        if wanted in self.versions:
            return self.versions[wanted]
        return next((item for item in self.versions.values() if wanted in item.aliases), None)


@dataclass(slots=True)
class DeployedModel:
    """A checkpoint that an endpoint serves."""

    id: str
    model: str
    version_id: str
    checkpoint_id: str
    display_name: str
    created: float


@dataclass(slots=True)
class Endpoint:
    """An endpoint. ``traffic`` is the share of prompts, in percent, that each deployed model gets."""

    seq: int
    parent: Parent
    id: str
    created: float
    updated: float
    display_name: str
    labels: dict[str, str]
    deployed: list[DeployedModel] = field(default_factory=list)
    description: str = ""
    traffic: dict[str, int] = field(default_factory=dict)
    encryption: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        """Resource name."""
        return self.parent.child("endpoints", self.id)


@dataclass(frozen=True, slots=True)
class EvaluationRun:
    """The evaluation of a checkpoint.

    ``config`` is the job's EvaluationConfig, ``metrics`` the names of its metrics; ``summary`` the values by metric and
    aggregation, of ``cases`` examples; ``error`` says why the results could not be written.
    """

    seq: int
    parent: Parent
    id: str
    at: float
    display_name: str
    labels: dict[str, str]
    job: str
    checkpoint_id: str
    endpoint: str | None
    config: dict[str, Any]
    metrics: list[str]
    summary: dict[str, float]
    cases: int
    error: dict[str, Any] | None = None
    encryption: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        """Resource name."""
        return self.parent.child("evaluationRuns", self.id)


@dataclass(slots=True)
class Operation:
    """A long-running operation.

    ``work`` names what is done at ``due`` (virtual time) with ``arguments``; then ``response`` or ``error`` is set.
    Types stand without package and version; ``version`` is the one of the request that started it.
    ``failure`` is the error that a fault rule wants it to end with.
    """

    seq: int
    name: str
    created: float
    updated: float
    metadata_type: str
    due: float
    work: str
    arguments: dict[str, Any]
    failure: dict[str, Any] | None = None
    done: bool = False
    response: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    version: str = "v1"

    @property
    def resource(self) -> str:
        """Name of what it works on."""
        return self.name.partition("/operations/")[0]


@dataclass(frozen=True, slots=True)
class LoadedFile:
    """A dataset file that was parsed: what can be learnt from it, and its statistics."""

    digest: str
    corpus: Corpus
    examples: int
    statistics: dict[str, Any]


class Due(NamedTuple):
    """An entry of the schedule; ``seq`` keeps entries of the same time in the order they were made."""

    at: float
    seq: int
    kind: str
    name: str


class Store:
    """All resources but the buckets, by resource name, in the order they were made.

    :param ids: where the ids of new ones come from.
    """

    def __init__(self, ids: Ids) -> None:
        self.ids = ids
        self.jobs: dict[str, Job] = {}
        self.models: dict[str, Model] = {}
        self.endpoints: dict[str, Endpoint] = {}
        self.evaluation_runs: dict[str, EvaluationRun] = {}
        self.operations: dict[str, Operation] = {}
        self.files: dict[str, LoadedFile] = {}
        self.reserved_models: set[str] = set()
        """Names of models that a copy under way will make."""
        self._active: dict[str, Job] = {}
        self._seq = 0
        self._schedule: list[Due] = []

    def next_seq(self) -> int:
        """Draw a number greater than all before."""
        self._seq += 1
        return self._seq

    def add_job(self, job: Job) -> None:
        """Keep a new job."""
        self.jobs[job.name] = job
        self._active[job.name] = job

    def active_jobs(self) -> Iterable[Job]:
        """Jobs that have not ended, oldest first."""
        return self._active.values()

    def retire(self, job: Job) -> None:
        """Note that a job has ended."""
        self._active.pop(job.name, None)

    def schedule(self, at: float, kind: str, name: str) -> None:
        """Remember that something of this kind is due."""
        heapq.heappush(self._schedule, Due(at, self.next_seq(), kind, name))

    def due(self, now: float) -> Iterator[Due]:
        """Take out what is due, in order of time; entries added meanwhile included."""
        while self._schedule and self._schedule[0].at <= now:
            yield heapq.heappop(self._schedule)
