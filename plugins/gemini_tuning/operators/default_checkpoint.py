"""Bases of the operators that promote a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gemini_tuning.core.exceptions import InvalidInputError, PermanentServiceError
from gemini_tuning.core.resources import Model, TuningJob
from gemini_tuning.core.text import short_repr, shorten
from gemini_tuning.links import gemini_tuning as links
from gemini_tuning.operators.cloud_base import GCP_FIELDS, GeminiBaseOperator, flag, optional_text, wait_until_visible

MAX_ATTEMPTS = 3  # while others change the model concurrently


class PromotionBase(GeminiBaseOperator):
    """Takes the winner, or the checkpoint that was approved in its place.

    :param model: full name of the model with its version. (templated)
    :param checkpoint_id: the winner. (templated)
    :param require_approval: whether an approval is required. (templated)
    :param approval: XCom of :class:`GeminiApproveCheckpointOperator`; the approved checkpoint is promoted. (templated)
    :param tuning_job: full name of the tuning job. (templated)
    :param read_back_timeout: seconds until each change must be visible.
    """

    template_fields: Sequence[str] = (
        *GCP_FIELDS, "model", "checkpoint_id", "require_approval", "approval", "tuning_job",
    )  # fmt: skip
    operator_extra_links = (links.TUNED_MODEL, links.RUN_PAGE)

    def __init__(
        self,
        *,
        model: str,
        checkpoint_id: str | None,
        require_approval: bool | str = False,
        approval: Mapping[str, Any] | None = None,
        tuning_job: str | None = None,
        read_back_timeout: float = 120,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.checkpoint_id = checkpoint_id
        self.require_approval = require_approval
        self.approval = approval
        self.tuning_job = tuning_job
        self.read_back_timeout = read_back_timeout

    def approved_checkpoint(self) -> str:
        """Return the checkpoint to promote; an approval task that a user marked as success approves nothing."""
        text = optional_text(self.checkpoint_id)
        proposed = text if isinstance(text, str) else short_repr(self.checkpoint_id)
        if not flag(self.require_approval, "require_approval"):
            return proposed
        record = self.approval if isinstance(self.approval, Mapping) else {}
        chosen = optional_text(record.get("checkpoint_id"))
        if chosen is None or record.get("proposed") != proposed:
            problem = f"approval: an approval of checkpoint {shorten(proposed, 100)} is required. Nothing was changed."
            hint = "Clear the approval task and its downstream tasks."
            raise InvalidInputError(problem, field="approval", code="not_approved", hint=hint)
        return chosen


class DefaultCheckpointBase(GeminiBaseOperator):
    """Sets a default checkpoint with the rollback labels, and reads it back."""

    def set_default(
        self, model: Model, checkpoint_id: str, before_change: Callable[[Model], None] = lambda _: None
    ) -> None:
        """Set the default checkpoint and the rollback labels in one request, so that neither exists without the other.

        If the service rejects that request although the model has not changed, the default checkpoint is set without
        the labels (https://cloud.google.com/vertex-ai/docs/reference/rest/v1beta1/projects.locations.models/patch).

        :param before_change: called with the model that is about to be changed, at each attempt; it may raise.
        """
        from gemini_tuning.registry.rollback_labels import labels_with_record

        refusal: Exception | str = "the model kept changing"
        for _ in range(MAX_ATTEMPTS):
            model.require_checkpoint(checkpoint_id)
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
        """Poll the model, and the tuning job if there is one, until both show the new default; return both."""
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


def require_expected(model: Model, expected: str | None, checkpoint_id: str) -> None:
    """Refuse to overwrite a default that has been set concurrently; a retry accepts what the first try set."""
    default = model.default_checkpoint_id
    if expected is not None and default not in (expected, checkpoint_id):
        name, code, hint = str(model.name), "default_changed", "Check the model, then start another run."
        changed = f"the default of {name} was checkpoint {expected} and is now {default}"
        problem = f"expected_default: {changed}. Nothing was changed."
        raise InvalidInputError(problem, field="expected_default", resource=name, code=code, hint=hint)
