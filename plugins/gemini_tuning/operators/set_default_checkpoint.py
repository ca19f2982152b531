"""Set the default checkpoint of a tuned model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from gemini_tuning.core.resources import Model
from gemini_tuning.links import gemini_tuning as links
from gemini_tuning.operators.base import GCP_FIELDS, optional_text
from gemini_tuning.operators.default_checkpoint import (
    DefaultCheckpointBase,
    approved_checkpoint,
    recall,
    remember,
    require_expected,
)
from gemini_tuning.registry.rollback_labels import is_recorded

if TYPE_CHECKING:
    from airflow.sdk import Context


class GeminiSetDefaultCheckpointOperator(DefaultCheckpointBase):
    """Make a checkpoint the model's default, then read the model and the job back until both show it.

    Two labels of the model record the change, for a roll-back: see :mod:`gemini_tuning.registry.rollback_labels`.

    XCom: ``{"model", "default_before", "default_after", "endpoint_before", "endpoint_after", "changed", "recorded"}``;
    before is what the first try of this task found; ``changed`` whether this task set the default, ``recorded`` whether
    the record was read back.

    :param model: full name of the model with its version. (templated)
    :param checkpoint_id: the checkpoint to make the default, as the rules chose it. (templated)
    :param expected_default: the checkpoint that the person saw as default; when the model has another one by now,
        nothing is changed. ``None`` or empty: whatever it is. (templated)
    :param optional: skip the task when there is nothing to do: no checkpoint is given, or it is the default already.
    :param tuning_job: full name of the job that made the model; its endpoint is checked as well. (templated)
    :param require_approval: whether a person has the last word; then nothing is set without one. (templated)
    :param approval: what :class:`~gemini_tuning.operators.GeminiApproveCheckpointOperator` pushed: its checkpoint is
        set, if it was approved in place of ``checkpoint_id``. (templated)
    :param read_back_timeout: seconds until the change has to show.
    :raises InvalidInputError: when an approval is required and there is none for this checkpoint, or the default is not
        the expected one; nothing was changed.
    :raises CheckpointError: when the model has no such checkpoint.
    :raises VerificationError: when the change does not show.
    """

    template_fields: Sequence[str] = (
        *GCP_FIELDS,
        "model",
        "checkpoint_id",
        "expected_default",
        "tuning_job",
        "require_approval",
        "approval",
    )
    operator_extra_links = (links.TUNED_MODEL, links.RUN_PAGE)

    def __init__(
        self,
        *,
        model: str,
        checkpoint_id: str | None,
        expected_default: str | None = None,
        optional: bool = False,
        tuning_job: str | None = None,
        require_approval: bool | str = False,
        approval: Mapping[str, Any] | None = None,
        read_back_timeout: float = 120,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.checkpoint_id = checkpoint_id
        self.expected_default = expected_default
        self.optional = optional
        self.tuning_job = tuning_job
        self.require_approval = require_approval
        self.approval = approval
        self.read_back_timeout = read_back_timeout

    def execute(self, context: Context) -> dict[str, Any]:
        """Set, read back, push before and after."""
        if self.optional and optional_text(self.checkpoint_id) is None:
            raise AirflowSkipException(f"No checkpoint was given: the default of {self.model} stays as it is")
        tuning_job = optional_text(self.tuning_job)
        job_before = self.hook.get_tuning_job(tuning_job) if tuning_job else None
        model = self.hook.get_model(self.model)
        checkpoint_id = self._approved(model)
        found = {"model": self.model, "checkpoint_id": checkpoint_id, "default_before": model.default_checkpoint_id,
                 "endpoint_before": job_before.endpoint if job_before else None}  # fmt: skip

        def before_change(now: Model) -> None:
            require_expected(now, optional_text(self.expected_default), checkpoint_id)
            remember(context, {**found, "default_before": now.default_checkpoint_id})

        self.set_default(model, checkpoint_id, before_change)
        before = recall(context, found)
        read, job_after = self.read_back(self.model, checkpoint_id, tuning_job, self.read_back_timeout)
        self.log.info("Read back: checkpoint %s is the default of %s", checkpoint_id, self.model)
        pushed = {
            "model": self.model,
            "default_before": (before or found)["default_before"],
            "default_after": checkpoint_id,
            "endpoint_before": (before or found)["endpoint_before"],
            "endpoint_after": job_after.endpoint if job_after else None,
            "changed": before is not None,
            "recorded": is_recorded(read),
        }
        if self.optional and before is None:
            context["ti"].xcom_push(key="return_value", value=pushed)  # here: skipping leaves by an exception
            raise AirflowSkipException(
                f"Nothing to do: checkpoint {checkpoint_id} was the default of {self.model} already; read back"
            )
        return pushed

    def _approved(self, model: Model) -> str:
        """Return the checkpoint to set; one that is the default already needs nobody's word."""
        nobody = not isinstance(self.approval, Mapping) or not optional_text(self.approval.get("checkpoint_id"))
        if nobody and model.default_checkpoint_id == str(self.checkpoint_id):
            return str(self.checkpoint_id)
        return approved_checkpoint(self.checkpoint_id, self.require_approval, self.approval)
