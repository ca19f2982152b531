"""The steps that set a default checkpoint and believe it only when it was read back."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from gemini_tuning import links
from gemini_tuning.exceptions import CheckpointError, InvalidInputError, VerificationError
from gemini_tuning.operators.base import GCP_FIELDS, GoogleCloudFields, flag, optional_text
from gemini_tuning.resources import Model, TuningJob, compare_checkpoints
from gemini_tuning.wording import shortened, shown

if TYPE_CHECKING:
    from airflow.sdk import Context

READ_BACK_INTERVAL = 2.0  # seconds


class SetsDefaultCheckpoint(GoogleCloudFields):
    """Sets a default checkpoint and believes it only when it was read back."""

    def set_default(self, model: Model, checkpoint_id: str) -> None:
        """Make a checkpoint the default unless it is already.

        :raises CheckpointError: when the model has no such checkpoint; nothing was changed.
        """
        try:
            model.require_checkpoint(checkpoint_id)
        except LookupError as error:
            raise CheckpointError(f"{error} Nothing was changed.") from error
        if model.default_checkpoint_id == checkpoint_id:
            self.log.info("Checkpoint %s is already the default of %s", checkpoint_id, model.name)
            return
        self.log.info("Default of %s: checkpoint %s -> %s", model.name, model.default_checkpoint_id, checkpoint_id)
        self.hook.set_default_checkpoint(model.name, checkpoint_id)

    def read_back(self, model: str, checkpoint_id: str, tuning_job: str | None, limit: float) -> TuningJob | None:
        """Read the model, and the job where there is one, until both show the new default.

        :param limit: seconds.
        :returns: the job as it was read last.
        :raises VerificationError: when the change does not show in time.
        """
        end = time.monotonic() + limit
        while True:
            default = self.hook.get_model(model).default_checkpoint_id
            job = self.hook.get_tuning_job(tuning_job) if tuning_job else None
            missing = _missing(default, job, checkpoint_id)
            if missing is None:
                return job
            if time.monotonic() >= end:
                raise VerificationError(
                    f"Checkpoint {checkpoint_id} was set as default of {model}, but after {limit:g} s {missing}. "
                    "Look at the model before you rely on it."
                )
            time.sleep(READ_BACK_INTERVAL)


def approved_checkpoint(checkpoint_id: Any, require_approval: Any, approval: Any) -> str:
    """Return the checkpoint to promote; a task that somebody marked a success has approved nothing.

    :param checkpoint_id: as the rules chose it.
    :param approval: what the task that asks has pushed.
    :raises InvalidInputError: when an approval is required and there is none.
    """
    text = optional_text(checkpoint_id)
    proposed = text if isinstance(text, str) else shown(checkpoint_id)
    if not flag(require_approval, "require_approval"):
        return proposed
    record = approval if isinstance(approval, Mapping) else {}
    chosen = optional_text(record.get("checkpoint_id"))
    if chosen is None or record.get("proposed") != proposed:
        raise InvalidInputError(
            f"approval: nobody has approved checkpoint {shortened(proposed, 100)} or another in its place, and an "
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


class GeminiSetDefaultCheckpointOperator(SetsDefaultCheckpoint):
    """Make a checkpoint the model's default, then read the model and the job back until both show it.

    XCom: ``{"model", "default_before", "default_after", "endpoint_before", "endpoint_after"}``; before is what this try
    found.

    :param model: full name of the model with its version. (templated)
    :param checkpoint_id: the checkpoint to make the default, as the rules chose it. (templated)
    :param expected_default: the checkpoint that the person saw as default; when the model has another one by now,
        nothing is changed. ``None`` or empty: whatever it is. (templated)
    :param optional: skip the task when no checkpoint is given, instead of failing.
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
        checkpoint_id = approved_checkpoint(self.checkpoint_id, self.require_approval, self.approval)
        tuning_job = optional_text(self.tuning_job)
        job_before = self.hook.get_tuning_job(tuning_job) if tuning_job else None
        before = self.hook.get_model(self.model)
        self._require_expected(before, checkpoint_id)
        self.set_default(before, checkpoint_id)
        job_after = self.read_back(self.model, checkpoint_id, tuning_job, self.read_back_timeout)
        self.log.info("Read back: checkpoint %s is the default of %s", checkpoint_id, self.model)
        return {
            "model": self.model,
            "default_before": before.default_checkpoint_id,
            "default_after": checkpoint_id,
            "endpoint_before": job_before.endpoint if job_before else None,
            "endpoint_after": job_after.endpoint if job_after else None,
        }

    def _require_expected(self, model: Model, checkpoint_id: str) -> None:
        """Refuse to undo what somebody else has set meanwhile; another try finds what the first one has set."""
        expected, default = optional_text(self.expected_default), model.default_checkpoint_id
        if expected is not None and default not in (expected, checkpoint_id):
            raise InvalidInputError(
                f"expected_default: the default of {model.name} was checkpoint {expected} and is {default} by now: "
                "somebody else has set it. Nothing was changed. Look at the model again, then decide."
            )


class GeminiVerifyModelCopyOperator(SetsDefaultCheckpoint):
    """Check that a copy has the same checkpoints and the same default; optionally give it another default.

    XCom: ``{"source_model", "model", "checkpoints", "default_checkpoint_id", "default_of_source"}``; ``checkpoints``
    is their number.

    :param source_model: full name of the model that was copied, with its version. (templated)
    :param model: full name of the copy with its version. (templated)
    :param default_checkpoint_id: make this the copy's default after the check; ``None`` keeps it. (templated)
    :param read_back_timeout: seconds until a changed default has to show.
    :raises VerificationError: saying in what the copy differs.
    :raises CheckpointError: when the copy has no checkpoint ``default_checkpoint_id``.
    """

    template_fields: Sequence[str] = (*GCP_FIELDS, "source_model", "model", "default_checkpoint_id")
    operator_extra_links = (links.SOURCE_MODEL, links.CHECKED_COPY, links.RUN_PAGE)

    def __init__(
        self,
        *,
        source_model: str,
        model: str,
        default_checkpoint_id: str | None = None,
        read_back_timeout: float = 120,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.source_model = source_model
        self.model = model
        self.default_checkpoint_id = default_checkpoint_id
        self.read_back_timeout = read_back_timeout

    def execute(self, context: Context) -> dict[str, Any]:
        """Compare both, set the other default if there is one, push what was found."""
        source, copy = self.hook.get_model(self.source_model), self.hook.get_model(self.model)
        other = optional_text(self.default_checkpoint_id)
        differences = compare_checkpoints(source.checkpoints, copy.checkpoints)
        if copy.default_checkpoint_id not in (source.default_checkpoint_id, other):  # other: an earlier try set it
            differences.append(
                f"the default is checkpoint {copy.default_checkpoint_id} in the copy, "
                f"{source.default_checkpoint_id} in the source"
            )
        if differences:
            raise VerificationError(f"{copy.name} is not a true copy of {source.name}: {'; '.join(differences)}.")
        self.log.info("%s has the same %d checkpoints and default", copy.name, len(copy.checkpoints))
        if other:
            self.set_default(copy, other)
            self.read_back(copy.name, other, None, self.read_back_timeout)
        return {
            "source_model": source.name,
            "model": copy.name,
            "checkpoints": len(copy.checkpoints),
            "default_checkpoint_id": other or copy.default_checkpoint_id,
            "default_of_source": source.default_checkpoint_id,
        }
