"""The steps that change models: set the default checkpoint, copy, check the copy."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import conf
from airflow.sdk.exceptions import AirflowSkipException

from gemini_tuning.copy_spec import ModelCopySpec
from gemini_tuning.exceptions import CheckpointError, CopyModelError, InvalidInputError, VerificationError
from gemini_tuning.operators.base import (
    CREATE_RETRY_POLICY,
    GCP_FIELDS,
    GoogleCloudFields,
    optional_seconds,
    optional_text,
)
from gemini_tuning.operators.deferral import WaitsInTrigger
from gemini_tuning.resources import Model, Operation, ResourceName, TuningJob, compare_checkpoints

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
    :param checkpoint_id: the checkpoint to make the default. (templated)
    :param tuning_job: full name of the job that made the model; its endpoint is checked as well. (templated)
    :param read_back_timeout: seconds until the change has to show.
    :raises CheckpointError: when the model has no such checkpoint.
    :raises VerificationError: when the change does not show.
    """

    template_fields: Sequence[str] = (*GCP_FIELDS, "model", "checkpoint_id", "tuning_job")

    def __init__(
        self,
        *,
        model: str,
        checkpoint_id: str,
        tuning_job: str | None = None,
        read_back_timeout: float = 120,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.checkpoint_id = checkpoint_id
        self.tuning_job = tuning_job
        self.read_back_timeout = read_back_timeout

    def execute(self, context: Context) -> dict[str, Any]:
        """Set, read back, push before and after."""
        checkpoint_id, tuning_job = str(self.checkpoint_id), optional_text(self.tuning_job)
        job_before = self.hook.get_tuning_job(tuning_job) if tuning_job else None
        before = self.hook.get_model(self.model)
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


class GeminiCopyModelOperator(WaitsInTrigger):
    """Copy a model with all its checkpoints and its default; skipped when no destination is given.

    The request is sent once and never repeated, like the creation of a job; clearing the task makes a second copy.

    XCom ``return_value``: ``{"source_model", "model", "operation"}``, each also under its own key; ``model`` is the
    copy's full name with its version; ``operation`` is pushed as soon as it is known.

    :param model: full name of the model; without ``@version`` its default version is copied. (templated)
    :param destination_location: region of the copy; ``None`` or empty: no copy. (templated)
    :param destination_project_id: project of the copy; ``None`` takes ``project_id``. (templated)
    :param model_id: id of the new model: at most 63 of ``a-z 0-9 _ -``, not starting with a digit or hyphen; ``None``
        lets the service make one. (templated)
    :param parent_model: full name of a model in the destination to add a version to, instead. (templated)
    :param kms_key_name: customer-managed key for the copy. (templated)
    :param poll_interval: seconds between two looks. (templated)
    :param deadline: seconds that the copy may take. (templated)
    :param deferrable: wait in the triggerer; the default is ``[operators] default_deferrable``.
    :raises InvalidInputError: when the service would refuse or ignore a value; nothing was sent.
    :raises CopyModelError: when the operation ends with an error, or is not over at the deadline.
    :raises CreateOutcomeUnknownError: when the answer to the request was lost.
    """

    template_fields: Sequence[str] = (
        *GCP_FIELDS,
        "model",
        "destination_location",
        "destination_project_id",
        "model_id",
        "parent_model",
        "kms_key_name",
        "poll_interval",
        "deadline",
    )

    def __init__(
        self,
        *,
        model: str,
        destination_location: str | None = None,
        destination_project_id: str | None = None,
        model_id: str | None = None,
        parent_model: str | None = None,
        kms_key_name: str | None = None,
        poll_interval: float | str = 30,
        deadline: float | str = 3600,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("multiple_outputs", True)
        kwargs.setdefault("retry_policy", CREATE_RETRY_POLICY)
        super().__init__(**kwargs)
        self.model = model
        self.destination_location = destination_location
        self.destination_project_id = destination_project_id
        self.model_id = model_id
        self.parent_model = parent_model
        self.kms_key_name = kms_key_name
        self.poll_interval = poll_interval
        self.deadline = deadline
        self.deferrable = deferrable

    def execute(self, context: Context) -> dict[str, Any]:
        """Start the copy and wait for it."""
        spec = self.spec()
        poll_interval = optional_seconds(self.poll_interval, "poll_interval") or 30.0
        deadline = optional_seconds(self.deadline, "deadline") or 3600.0
        ResourceName.parse(self.model, "models")
        if problems := spec.problems():
            raise InvalidInputError("Nothing was copied. " + "; ".join(problems) + ".")
        if spec.location is None:
            raise AirflowSkipException("No copy: destination_location is not set")
        name = self.hook.copy_model(self.model, spec, location=spec.location)
        self.log.info("Copying %s to %s: %s", self.model, spec.location, name)
        context["ti"].xcom_push(key="operation", value=name)
        if self.deferrable:
            from gemini_tuning.triggers import CopyModelTrigger

            self.wait_in_trigger(CopyModelTrigger, name, poll_interval=poll_interval, deadline=time.time() + deadline)
        return self._result(self._wait_here(name, poll_interval, deadline))

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Take over from the trigger."""
        return self._result(self.hook.get_operation(self.resource_of(event)))

    def spec(self) -> ModelCopySpec:
        """Return the rendered destination as one value."""
        location = optional_text(self.destination_location)
        project_id = optional_text(self.destination_project_id)
        return ModelCopySpec(
            location=location,
            project_id=project_id or (optional_text(self.project_id) if location else None),
            model_id=optional_text(self.model_id),
            parent_model=optional_text(self.parent_model),
            kms_key_name=optional_text(self.kms_key_name),
        )

    def _wait_here(self, name: str, poll_interval: float, deadline: float) -> Operation:
        end = time.monotonic() + deadline
        while not (operation := self.hook.get_operation(name)).done and time.monotonic() < end:
            time.sleep(poll_interval)
        return operation

    def _result(self, operation: Operation) -> dict[str, Any]:
        if not operation.done:
            raise CopyModelError(
                f"The copy of {self.model} was not over at its deadline: {operation.name}. It goes on at Google: look "
                "for it there before you start another."
            )
        if operation.error or not operation.model:
            raise CopyModelError(f"The copy of {self.model} failed: {operation.error} ({operation.name}).")
        self.log.info("Copied to %s", operation.model)
        return {"source_model": self.model, "model": operation.model, "operation": operation.name}


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
