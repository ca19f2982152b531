"""The steps that set a default checkpoint and believe it only when it was read back."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from gemini_tuning import links
from gemini_tuning.exceptions import CheckpointError, InvalidInputError, PermanentServiceError, VerificationError
from gemini_tuning.operators.base import GCP_FIELDS, GoogleCloudFields, flag, optional_text
from gemini_tuning.promotion_record import is_recorded, labels_with_record
from gemini_tuning.resources import Checkpoint, Model, TuningJob, compare_checkpoints
from gemini_tuning.wording import shortened, shown

if TYPE_CHECKING:
    from airflow.sdk import Context

READ_BACK_INTERVAL = 2.0  # seconds
MAX_ATTEMPTS = 3  # at a model that others change at the same time
PROMOTION_KEY = "promotion"  # in the task state store: what this task was about to change, and from what


class SetsDefaultCheckpoint(GoogleCloudFields):
    """Sets a default checkpoint, records on the model what it was before, and believes it when it was read back."""

    def set_default(
        self, model: Model, checkpoint_id: str, before_change: Callable[[Model], None] = lambda _: None
    ) -> None:
        """Make a checkpoint the default unless it is already, and write the record, in one request.

        So there is no moment at which one is there without the other. Where the service refuses that request, though
        nobody has changed the model meanwhile, the default alone is set: a promotion is worth more than its record.

        :param model: with its etag, see :meth:`~gemini_tuning.hook.GeminiTuningHook.get_model_with_endpoints`.
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
                changed = self.hook.promote_checkpoint(model, checkpoint_id, labels_with_record(model, checkpoint_id))
            except PermanentServiceError as error:
                refusal, now = error, self.hook.get_model_with_endpoints(model.name)
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
        self.hook.set_default_checkpoint(model.name, checkpoint_id)

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
    except LookupError as error:
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

    Two labels of the model record the change, for a roll-back: see :mod:`gemini_tuning.promotion_record`.

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
        model = self.hook.get_model_with_endpoints(self.model)
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
            self.set_default(self.hook.get_model_with_endpoints(copy.name), other)
            self.read_back(copy.name, other, None, self.read_back_timeout)
        return {
            "source_model": source.name,
            "model": copy.name,
            "checkpoints": len(copy.checkpoints),
            "default_checkpoint_id": other or copy.default_checkpoint_id,
            "default_of_source": source.default_checkpoint_id,
        }
