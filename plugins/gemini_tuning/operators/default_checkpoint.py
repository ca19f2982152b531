"""Base of the operators that set a default checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gemini_tuning.core.exceptions import CheckpointError, InvalidInputError, PermanentServiceError
from gemini_tuning.core.resources import Checkpoint, Model, TuningJob
from gemini_tuning.core.text import short_repr, shorten
from gemini_tuning.operators.cloud_base import GeminiBaseOperator, flag, optional_text, wait_until_visible

MAX_ATTEMPTS = 3  # while others change the model concurrently


class DefaultCheckpointBase(GeminiBaseOperator):
    """Sets a default checkpoint with the rollback labels, and reads it back."""

    def set_default(
        self, model: Model, checkpoint_id: str, before_change: Callable[[Model], None] = lambda _: None
    ) -> None:
        """Set the default checkpoint and the rollback labels in one request, so that neither exists without the other.

        If the service rejects that request although the model has not changed, the default checkpoint is set without
        the labels (https://cloud.google.com/vertex-ai/docs/reference/rest/v1beta1/projects.locations.models/patch).

        :param model: with its etag, see
            :meth:`~gemini_tuning.hooks.gemini_tuning.GeminiTuningHook.get_model`.
        :param before_change: called with the model that is about to be changed, again after a concurrent change; it
            may raise.
        :raises CheckpointError: when the model has no such checkpoint; nothing was changed.
        """
        from gemini_tuning.registry.rollback_labels import labels_with_record

        refusal: Exception | str = "the model kept changing"
        for _ in range(MAX_ATTEMPTS):
            require_checkpoint(model, checkpoint_id)
            if model.default_checkpoint_id == checkpoint_id:
                self.log.info("Checkpoint %s is already the default of %s", checkpoint_id, model.name)
                return
            before_change(model)
            self.log.info("Default of %s: checkpoint %s -> %s", model.name, model.default_checkpoint_id, checkpoint_id)
            labels = labels_with_record(model, checkpoint_id)
            try:
                changed = self.hook.set_default_checkpoint(model, checkpoint_id, labels)
            except PermanentServiceError as error:
                refusal, read = error, self.hook.get_model(model.name)
                if read == model:
                    break
                self.log.info("%s has been changed concurrently; trying again. %s", model.name, error)
                model = read
                continue
            if changed.default_checkpoint_id == checkpoint_id:
                return
            refusal = f"the service kept checkpoint {changed.default_checkpoint_id}"
            break
        before_change(model)
        self.log.warning("The default of %s is set without rollback labels: %s", model.name, refusal)
        self.hook.set_default_checkpoint(model, checkpoint_id)

    def read_back(
        self, model: str, checkpoint_id: str, tuning_job: str | None, limit: float
    ) -> tuple[Model, TuningJob | None]:
        """Poll the model, and the tuning job if there is one, until both show the new default.

        :param limit: seconds.
        :returns: both as they were read last.
        :raises VerificationError: when the change is not visible in time.
        """
        found: Model
        job: TuningJob | None = None

        def missing() -> str | None:
            nonlocal found, job
            found, job = self.hook.get_model(model), self.hook.get_tuning_job(tuning_job) if tuning_job else None
            if found.default_checkpoint_id != checkpoint_id:
                return f"the default of the model is {found.default_checkpoint_id}"
            endpoints = {each.checkpoint_id: each.endpoint for each in job.checkpoints} if job else {}
            expected = endpoints.get(checkpoint_id)
            if job and expected and job.endpoint != expected:
                return f"the tuning job's endpoint is {job.endpoint or 'empty'}, not {expected}"
            return None

        change = f"Checkpoint {checkpoint_id} was set as default of {model}"
        wait_until_visible(missing, limit, change, resource=model, hint="Check the model before you use it.")
        return found, job


def require_checkpoint(model: Model, checkpoint_id: str) -> Checkpoint:
    """Return a model's checkpoint.

    :raises CheckpointError: when the model does not have it, with the ids that it has.
    """
    try:
        return model.require_checkpoint(checkpoint_id)
    except CheckpointError as error:
        error.add_hint("Nothing was changed.")
        raise


def require_expected(model: Model, expected: str | None, checkpoint_id: str) -> None:
    """Refuse to overwrite a default that has been set concurrently; a retry accepts what the first try set.

    :param expected: the default that the user saw; ``None`` for any.
    :raises InvalidInputError: when the default is neither this one nor the checkpoint that is to be set.
    """
    default = model.default_checkpoint_id
    if expected is not None and default not in (expected, checkpoint_id):
        raise InvalidInputError(
            f"expected_default: the default of {model.name} was checkpoint {expected} and is now {default}. "
            "Nothing was changed.",
            field="expected_default",
            resource=str(model.name),
            code="default_changed",
            hint="Check the model, then start another run.",
        )


def approved_checkpoint(checkpoint_id: Any, require_approval: Any, approval: Any) -> str:
    """Return the checkpoint to promote; an approval task that a user marked as success approves nothing.

    :param checkpoint_id: the winner.
    :param approval: XCom of the approval.
    :raises InvalidInputError: when a required approval is missing.
    """
    text = optional_text(checkpoint_id)
    proposed = text if isinstance(text, str) else short_repr(checkpoint_id)
    if not flag(require_approval, "require_approval"):
        return proposed
    record = approval if isinstance(approval, Mapping) else {}
    chosen = optional_text(record.get("checkpoint_id"))
    if chosen is None or record.get("proposed") != proposed:
        raise InvalidInputError(
            f"approval: an approval of checkpoint {shorten(proposed, 100)} is required. Nothing was changed.",
            field="approval",
            code="not_approved",
            hint="Clear the approval task and its downstream tasks.",
        )
    return chosen
