"""Set a default checkpoint and read it back; shared by the operators that do so."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from gemini_tuning.core.exceptions import CheckpointError, InvalidInputError, PermanentServiceError, VerificationError
from gemini_tuning.core.resources import Checkpoint, Model, TuningJob
from gemini_tuning.core.text import short_repr, shorten
from gemini_tuning.operators.base import GeminiBaseOperator, flag, optional_text
from gemini_tuning.registry.rollback_labels import labels_with_record

if TYPE_CHECKING:
    from airflow.sdk import Context

READ_BACK_INTERVAL = 2.0  # seconds

MAX_ATTEMPTS = 3  # at a model that others change at the same time

PROMOTION_KEY = "promotion"  # in the task state store: what this task was about to change, and from what


class DefaultCheckpointBase(GeminiBaseOperator):
    """Sets a default checkpoint, records on the model what it was before, and believes it when it was read back."""

    def set_default(
        self, model: Model, checkpoint_id: str, before_change: Callable[[Model], None] = lambda _: None
    ) -> None:
        """Make a checkpoint the default unless it is already, and write the record, in one request.

        So there is no moment at which one is there without the other. Where the service refuses that request, though
        nobody has changed the model meanwhile, the default alone is set: a promotion is worth more than its record.

        :param model: with its etag, see
            :meth:`~gemini_tuning.hooks.gemini_tuning.GeminiTuningHook.get_model`.
        :param before_change: called with the model that is about to be changed, again when somebody else has been
            quicker; it may raise.
        :raises CheckpointError: when the model has no such checkpoint; nothing was changed.
        """
        refusal: Exception | str = "others were changing the model all the time"
        for _ in range(MAX_ATTEMPTS):
            require_checkpoint(model, checkpoint_id)
            if model.default_checkpoint_id == checkpoint_id:
                self.log.info("Checkpoint %s is the default of %s already", checkpoint_id, model.name)
                return
            before_change(model)
            self.log.info("Default of %s: checkpoint %s -> %s", model.name, model.default_checkpoint_id, checkpoint_id)
            try:
                changed = self.hook.set_default_checkpoint(
                    model, checkpoint_id, labels_with_record(model, checkpoint_id)
                )
            except PermanentServiceError as error:
                refusal, now = error, self.hook.get_model(model.name)
                if now == model:
                    break
                self.log.info("%s has been changed meanwhile; looking again. %s", model.name, error)
                model = now
                continue
            if changed.default_checkpoint_id == checkpoint_id:
                return
            refusal = f"the service has kept checkpoint {changed.default_checkpoint_id}"
            break
        before_change(model)
        self.log.warning("The default of %s is set without a record to roll back by: %s", model.name, refusal)
        self.hook.set_default_checkpoint(model, checkpoint_id)

    def read_back(
        self, model: str, checkpoint_id: str, tuning_job: str | None, limit: float
    ) -> tuple[Model, TuningJob | None]:
        """Read the model, and the job where there is one, until both show the new default.

        :param limit: seconds.
        :returns: both as they were read last.
        :raises VerificationError: when the change does not show in time.
        """
        end = time.monotonic() + limit
        while True:
            read = self.hook.get_model(model)
            job = self.hook.get_tuning_job(tuning_job) if tuning_job else None
            missing = _missing(read.default_checkpoint_id, job, checkpoint_id)
            if missing is None:
                return read, job
            if time.monotonic() >= end:
                raise VerificationError(
                    f"Checkpoint {checkpoint_id} was set as default of {model}, but after {limit:g} s {missing}. "
                    "Look at the model before you rely on it."
                )
            time.sleep(READ_BACK_INTERVAL)


def remember(context: Context, change: dict[str, Any]) -> None:
    """Keep what a task is about to change: a later try finds it changed, and has to say what it was before."""
    from airflow.sdk.execution_time.context import NEVER_EXPIRE

    context["task_state_store"].set(PROMOTION_KEY, change, retention=NEVER_EXPIRE)


def recall(context: Context, wanted: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the change that this task, in this or an earlier try, was about to make; ``None`` when it made none.

    :param wanted: with the same ``model`` and ``checkpoint_id``.
    """
    change = context["task_state_store"].get(PROMOTION_KEY)
    if not isinstance(change, dict) or any(change.get(key) != wanted[key] for key in ("model", "checkpoint_id")):
        return None
    return change


def require_checkpoint(model: Model, checkpoint_id: str) -> Checkpoint:
    """Return a model's checkpoint.

    :raises CheckpointError: when there is none such, with those that there are.
    """
    try:
        return model.require_checkpoint(checkpoint_id)
    except CheckpointError as error:
        raise CheckpointError(f"{error} Nothing was changed.") from error


def require_expected(model: Model, expected: str | None, checkpoint_id: str) -> None:
    """Refuse to undo what somebody else has set meanwhile; another try finds what the first one has set.

    :param expected: the default that a person saw; ``None``: any.
    :raises InvalidInputError: when the default is neither this one nor the checkpoint that is to be set.
    """
    default = model.default_checkpoint_id
    if expected is not None and default not in (expected, checkpoint_id):
        raise InvalidInputError(
            f"expected_default: the default of {model.name} was checkpoint {expected} and is {default} by now: "
            "somebody else has set it. Nothing was changed. Look at the model again, then decide."
        )


def approved_checkpoint(checkpoint_id: Any, require_approval: Any, approval: Any) -> str:
    """Return the checkpoint to promote; a task that somebody marked a success has approved nothing.

    :param checkpoint_id: as the rules chose it.
    :param approval: what the task that asks has pushed.
    :raises InvalidInputError: when an approval is required and there is none.
    """
    text = optional_text(checkpoint_id)
    proposed = text if isinstance(text, str) else short_repr(checkpoint_id)
    if not flag(require_approval, "require_approval"):
        return proposed
    record = approval if isinstance(approval, Mapping) else {}
    chosen = optional_text(record.get("checkpoint_id"))
    if chosen is None or record.get("proposed") != proposed:
        raise InvalidInputError(
            f"approval: nobody has approved checkpoint {shorten(proposed, 100)} or another in its place, and an "
            "approval is required; nothing was changed. Clear the task that asks, and what comes after it."
        )
    return chosen


def _missing(default: str | None, job: TuningJob | None, checkpoint_id: str) -> str | None:
    """Say what does not show the new default yet, or ``None``."""
    if default != checkpoint_id:
        return f"the model says {default}"
    if job is None:
        return None
    expected = next((c.endpoint for c in job.checkpoints if c.checkpoint_id == checkpoint_id), None)
    if expected and job.endpoint != expected:
        return f"the tuning job's endpoint is {job.endpoint or 'empty'}, not {expected}"
    return None
