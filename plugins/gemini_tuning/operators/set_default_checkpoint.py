"""Set the default checkpoint of a tuned model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowSkipException
from airflow.sdk.execution_time.context import NEVER_EXPIRE

from gemini_tuning.core.resources import Model
from gemini_tuning.operators.cloud_base import optional_text
from gemini_tuning.operators.default_checkpoint import DefaultCheckpointBase, PromotionBase, require_expected

PROMOTION_KEY = "promotion"  # in the task state store: the change that this task is about to request


class GeminiSetDefaultCheckpointOperator(PromotionBase, DefaultCheckpointBase):
    """Set the default checkpoint of a model, then poll the model and the tuning job until both show it.

    Two labels of the model record the change for a rollback: see :mod:`gemini_tuning.registry.rollback_labels`.

    XCom: ``{"model", "default_before", "default_after", "endpoint_before", "endpoint_after", "changed", "recorded"}``;
    the values before are those that the first try of the task found; ``changed``: whether this task changed the
    default; ``recorded``: whether the labels were read back.

    Further parameters: :class:`~gemini_tuning.operators.default_checkpoint.PromotionBase`; the endpoint of the
    ``tuning_job`` is read back too.

    :param expected_default: the default that the user saw; no other is overwritten. ``None``: any. (templated)
    :param optional: skip the task when no checkpoint is given or it is already the default.
    :raises InvalidInputError: when a required approval is missing, or the default is another; nothing was changed.
    :raises CheckpointError: when the model has no such checkpoint.
    :raises VerificationError: when the change is not visible in time.
    """

    template_fields: Sequence[str] = (*PromotionBase.template_fields, "expected_default")

    def __init__(self, *, expected_default: str | None = None, optional: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.expected_default = expected_default
        self.optional = optional

    def execute(self, context: Context) -> dict[str, Any]:
        """Set the default, read it back, return the values before and after."""
        from gemini_tuning.registry.rollback_labels import is_recorded

        if self.optional and optional_text(self.checkpoint_id) is None:
            raise AirflowSkipException(f"No checkpoint is given: the default of {self.model} is unchanged")
        tuning_job = optional_text(self.tuning_job)
        job_before = self.hook.get_tuning_job(tuning_job) if tuning_job else None
        model, store = self.hook.get_model(self.model), context["task_state_store"]
        checkpoint_id = self._approved(model)
        change = {"model": self.model, "checkpoint_id": checkpoint_id}
        before: dict[str, Any] = {
            "default_before": model.default_checkpoint_id,
            "endpoint_before": job_before.endpoint if job_before else None,
        }

        def before_change(now: Model) -> None:
            require_expected(now, optional_text(self.expected_default), checkpoint_id)
            found = {**change, **before, "default_before": now.default_checkpoint_id}
            store.set(PROMOTION_KEY, found, retention=NEVER_EXPIRE)

        self.set_default(model, checkpoint_id, before_change)
        stored: Any = store.get(PROMOTION_KEY)  # of this try, or of an earlier one that was killed after its request
        changed = isinstance(stored, dict) and change.items() <= stored.items()
        read, job_after = self.read_back(self.model, checkpoint_id, tuning_job, self.read_back_timeout)
        self.log.info("Read back: checkpoint %s is the default of %s", checkpoint_id, self.model)
        before = stored if changed else before
        pushed = {
            "model": self.model,
            "default_before": before["default_before"],
            "default_after": checkpoint_id,
            "endpoint_before": before["endpoint_before"],
            "endpoint_after": job_after.endpoint if job_after else None,
            "changed": changed,
            "recorded": is_recorded(read),
        }
        if self.optional and not changed:
            context["ti"].xcom_push(key="return_value", value=pushed)  # the skip below loses a return value
            reason = f"checkpoint {checkpoint_id} was already the default of {self.model}"
            raise AirflowSkipException(f"Nothing to do: {reason}")
        return pushed

    def _approved(self, model: Model) -> str:
        """Return the checkpoint to set; one that is already the default needs no approval."""
        no_approval = not isinstance(self.approval, Mapping) or not optional_text(self.approval.get("checkpoint_id"))
        if no_approval and model.default_checkpoint_id == str(self.checkpoint_id):
            return str(self.checkpoint_id)
        return self.approved_checkpoint()
