"""The life of a tuning job as data: which checkpoints it saves, and what happens to it when. Pure functions."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

BATCH_SIZE = 16
"""Examples per step. The service's own batch size is not documented; steps per epoch are examples / 16, rounded up."""
MAX_CHECKPOINTS = 10
"""From this many epochs on, checkpoints are saved at this many evenly spaced steps (guide)."""
_DEFAULT_EPOCHS = ((200, 10), (1_000, 5), (10_000, 3))
"""Examples up to the first number: that many epochs. The service's own rule is not documented."""
_LEAST_DEFAULT_EPOCHS = 2

ENDED = frozenset(
    f"JOB_STATE_{state}" for state in ("SUCCEEDED", "PARTIALLY_SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED")
)
"""States that a job never leaves."""
AT_WORK = frozenset(("JOB_STATE_RUNNING", "JOB_STATE_CANCELLING"))
"""States in which a job is at work, and takes up quota."""
BEFORE_RUNNING = frozenset(("JOB_STATE_QUEUED", "JOB_STATE_PENDING"))


@dataclass(frozen=True, slots=True)
class Pace:
    """How long things take, in virtual seconds."""

    queued: float = 1.0
    pending: float = 1.0
    dataset: float = 2.0
    preemption: float = 2.0
    epoch: float = 3.0
    deployment: float = 0.7
    post_processing: float = 1.0
    cancelling: float = 0.5
    copy: float = 2.0
    endpoint: float = 1.0
    deploy: float = 2.0


class Step(StrEnum):
    """Kinds of :class:`Event`."""

    PENDING = "pending"
    RUNNING = "running"
    DATASET = "dataset"
    """The dataset has been processed: the job goes on or fails."""
    CHECKPOINT = "checkpoint"
    """A checkpoint is saved; value: its id."""
    DEPLOYED = "deployed"
    """A checkpoint has its endpoint; value: its id."""
    STALL = "stall"
    """Tuning gets no further, and the job does not say so."""
    PREEMPTED = "preempted"
    """The job loses its machines, and waits for others."""
    RESUMED = "resumed"
    """It has others, and goes on from where it was."""
    POST_PROCESSING = "post_processing"
    END = "end"
    """The job reaches a state; value: the state."""


class Event(NamedTuple):
    """Something that happens to a job at a (virtual) time, in seconds since the epoch."""

    at: float
    step: Step
    value: str = ""


class Outcome(StrEnum):
    """How a job ends when nobody interferes; anything but SUCCEEDED is asked for as a fault."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """While tuning, before a first checkpoint."""
    FAILED_MIDWAY = "failed_midway"
    """Half-way; the checkpoints saved until then stay."""
    FAILED_AFTER_MODEL = "failed_after_model"
    """The model is there, its endpoints could not be made (seen in the real service)."""
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    """By somebody else, half-way."""
    PAUSED = "paused"
    """Half-way, and stays so."""
    STALLED = "stalled"
    """Half-way it gets no further, and stays RUNNING until it is cancelled."""
    PREEMPTED = "preempted"
    """Half-way it is PENDING once more, then RUNNING; it keeps its place among the concurrent jobs meanwhile, and
    succeeds later than it would have."""
    PENDING = "pending"
    """Never gets out of PENDING."""
    PARTIALLY_SUCCEEDED = "partially_succeeded"
    CANCEL_TOO_LATE = "cancel_too_late"
    """Asked to cancel while it runs, it is CANCELLING and succeeds all the same."""
    CHECKPOINT_WITHOUT_ENDPOINT = "checkpoint_without_endpoint"
    """One intermediate checkpoint could not be deployed; the job succeeds."""
    ENDPOINT_UNDEPLOYED = "endpoint_undeployed"
    """The endpoint of one checkpoint is there, and nothing is deployed on it; the job succeeds."""
    NO_CHECKPOINTS = "no_checkpoints"
    """Succeeds, and lists no checkpoints, as jobs did before there were checkpoints."""


@dataclass(frozen=True, slots=True)
class Fate:
    """A job's outcome.

    :param error: google.rpc.Status of the job, instead of the usual one.
    :param checkpoint: id for CHECKPOINT_WITHOUT_ENDPOINT and ENDPOINT_UNDEPLOYED.
    """

    outcome: Outcome = Outcome.SUCCEEDED
    error: dict[str, Any] | None = None
    checkpoint: str = "1"


class Interruption(NamedTuple):
    """An end other than success: the state (none: it just stalls), the error, and after what share of the tuning."""

    state: str
    error: dict[str, Any] | None
    share: float


CANCELLED_ERROR = {"code": 1, "message": "The tuning job was cancelled."}
_INTERNAL_ERROR = {"code": 13, "message": "Internal error encountered while tuning the model."}
_AFTER_MODEL_ERROR = {
    "code": 13,
    "message": "Failed to create endpoint. Tuned model is uploaded and can be accessed through Model Registry.",
}
_EXPIRED_ERROR = {"code": 4, "message": "The tuning job exceeded its maximum duration."}
_INTERRUPTIONS = {
    Outcome.FAILED: Interruption("JOB_STATE_FAILED", _INTERNAL_ERROR, 0.0),
    Outcome.FAILED_MIDWAY: Interruption("JOB_STATE_FAILED", _INTERNAL_ERROR, 0.5),
    Outcome.FAILED_AFTER_MODEL: Interruption("JOB_STATE_FAILED", _AFTER_MODEL_ERROR, 1.0),
    Outcome.EXPIRED: Interruption("JOB_STATE_EXPIRED", _EXPIRED_ERROR, 0.5),
    Outcome.CANCELLED: Interruption("JOB_STATE_CANCELLED", CANCELLED_ERROR, 0.5),
    Outcome.PAUSED: Interruption("JOB_STATE_PAUSED", None, 0.5),
    Outcome.STALLED: Interruption("", None, 0.5),
    Outcome.PARTIALLY_SUCCEEDED: Interruption("JOB_STATE_PARTIALLY_SUCCEEDED", None, 1.0),
}


@dataclass(frozen=True, slots=True)
class CheckpointPlan:
    """A checkpoint that will be saved: its id, the exact step, the epoch that the step belongs to."""

    checkpoint_id: str
    epoch: int
    step: int


def default_epochs(examples: int) -> int:
    """Epochs when the request names none: fewer examples, more passes."""
    for most, epochs in _DEFAULT_EPOCHS:
        if examples <= most:
            return epochs
    return _LEAST_DEFAULT_EPOCHS


def steps_per_epoch(examples: int, batch_size: int | None = None) -> int:
    """Count the steps of one pass over the training file."""
    return math.ceil(examples / (batch_size or BATCH_SIZE))


def plan_checkpoints(epochs: int, epoch_steps: int, *, last_only: bool) -> list[CheckpointPlan]:
    """Choose the steps at which checkpoints are saved (guide).

    Fewer than 10 epochs: after each epoch. 10 or more: 10, evenly spaced. The final step always; it alone with
    ``last_only`` (exportLastCheckpointOnly).

    :param epoch_steps: steps of one epoch.
    """
    total = epochs * epoch_steps
    if last_only:
        steps = [total]
    elif epochs < MAX_CHECKPOINTS:
        steps = [epoch_steps * epoch for epoch in range(1, epochs + 1)]
    else:
        steps = [math.ceil(total * part / MAX_CHECKPOINTS) for part in range(1, MAX_CHECKPOINTS + 1)]
    return [CheckpointPlan(str(number), math.ceil(step / epoch_steps), step) for number, step in enumerate(steps, 1)]


def opening(created: float, pace: Pace, fate: Fate) -> list[Event]:
    """Events from a job's start (seconds since the epoch) until its dataset has been processed."""
    pending = Event(created + pace.queued, Step.PENDING)
    if fate.outcome is Outcome.PENDING:
        return [pending]
    running = Event(pending.at + pace.pending, Step.RUNNING)
    return [pending, running, Event(running.at + pace.dataset, Step.DATASET)]


def tuning_seconds(epochs: int, pace: Pace) -> float:
    """Virtual seconds between the first step and the last."""
    return epochs * pace.epoch


def tuning(start: float, checkpoints: Sequence[CheckpointPlan], seconds: float, pace: Pace, fate: Fate) -> list[Event]:
    """Events of a job after its dataset.

    :param start: time of the first step, in seconds since the epoch.
    :param seconds: virtual seconds from the first step to the last.
    :return: in order of time, the last one being the job's end.
    """
    interruption = _INTERRUPTIONS.get(fate.outcome)
    if interruption and interruption.share < 1:
        first = seconds * checkpoints[0].step / checkpoints[-1].step
        at = start + max(seconds * interruption.share, first / 2)
        before = [event for event in _saving(start, checkpoints, seconds, pace, fate) if event.at <= at]
        return [*before, Event(at, Step.END if interruption.state else Step.STALL, interruption.state)]
    events = list(_saving(start, checkpoints, seconds, pace, fate))
    saved = start + seconds
    ready = max(events[-1].at, saved) + pace.post_processing
    state = interruption.state if interruption else "JOB_STATE_SUCCEEDED"
    events += [Event(saved, Step.POST_PROCESSING), Event(ready, Step.END, state)]
    if fate.outcome is Outcome.PREEMPTED:
        events = _preempted(events, start + seconds / 2, pace.preemption)
    return sorted(events, key=lambda event: event.at)


def end_error(fate: Fate) -> dict[str, Any] | None:
    """google.rpc.Status of the job when it reaches the end of its events."""
    interruption = _INTERRUPTIONS.get(fate.outcome)
    return interruption and (fate.error or interruption.error)


def _saving(
    start: float, checkpoints: Sequence[CheckpointPlan], seconds: float, pace: Pace, fate: Fate
) -> Iterator[Event]:
    """Checkpoints saved and deployed, one deployment after another; in order of time."""
    events = []
    free = start
    for checkpoint in checkpoints:
        saved = start + seconds * checkpoint.step / checkpoints[-1].step
        events.append(Event(saved, Step.CHECKPOINT, checkpoint.checkpoint_id))
        if _is_deployed(checkpoint.checkpoint_id, fate):
            free = max(free, saved) + pace.deployment
            events.append(Event(free, Step.DEPLOYED, checkpoint.checkpoint_id))
    return iter(sorted(events, key=lambda event: event.at))


def _preempted(events: list[Event], at: float, pause: float) -> list[Event]:
    """Put off what comes after a time."""
    events = [event if event.at <= at else event._replace(at=event.at + pause) for event in events]
    return [*events, Event(at, Step.PREEMPTED), Event(at + pause, Step.RESUMED)]


def _is_deployed(checkpoint_id: str, fate: Fate) -> bool:
    if fate.outcome is Outcome.FAILED_AFTER_MODEL:
        return False
    return fate.outcome is not Outcome.CHECKPOINT_WITHOUT_ENDPOINT or checkpoint_id != fate.checkpoint
