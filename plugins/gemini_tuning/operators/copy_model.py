"""Copy a model to another location or project, once per run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import conf
from airflow.sdk.exceptions import AirflowSkipException

from gemini_tuning.core.copy_spec import ModelCopySpec
from gemini_tuning.core.exceptions import (
    CopyModelError,
    InvalidInputError,
    PermanentServiceError,
    TransientServiceError,
)
from gemini_tuning.core.names import ResourceName
from gemini_tuning.core.resources import Model, Operation
from gemini_tuning.links import gemini_tuning as links
from gemini_tuning.operators.cloud_base import GCP_FIELDS, optional_seconds, optional_text
from gemini_tuning.operators.deferrable import DeferrableMixin
from gemini_tuning.operators.idempotent_create import (
    IdempotentCreateMixin,
    Submission,
    SubmissionStore,
    generation,
)

if TYPE_CHECKING:
    from airflow.sdk import Context

NOT_FOUND = (404, 501)  # the resource does not exist, or the service does not implement the list method
MAX_CLOCK_SKEW = 60.0  # seconds between the clocks of the worker and the service


class GeminiCopyModelOperator(DeferrableMixin, IdempotentCreateMixin):
    """Copy a model with all its checkpoints and its default checkpoint; skipped when no destination is given.

    Calls https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.models/copy and waits for its
    operation. A run creates one copy: each try first searches the task state store, then the operations on the
    destination model, for the copy of an earlier try. If a copy failed, clearing the task creates a new one.

    XCom ``return_value``: ``{"source_model", "model", "operation"}``, each also under its own key; ``model`` is the
    copy's full name with its version; ``operation`` is pushed as soon as it is known.

    :param model: full name of the model; without ``@version`` its default version is copied. (templated)
    :param destination_location: region of the copy; ``None`` or empty: no copy. (templated)
    :param destination_project_id: project of the copy; ``None`` uses ``project_id``. (templated)
    :param model_id: id of the new model: at most 63 of ``a-z 0-9 _ -``, not starting with a digit or hyphen; ``None``
        generates one. (templated)
    :param parent_model: full name of a model in the destination that gets the copy as its next version. (templated)
    :param kms_key_name: customer-managed key (CMEK) for the copy. (templated)
    :param poll_interval: seconds between two polls. (templated)
    :param deadline: seconds that the copy may take. (templated)
    :param deferrable: wait in the triggerer; the default is ``[operators] default_deferrable``.
    :raises InvalidInputError: when the service would refuse or ignore a value; nothing was sent.
    :raises CopyModelError: when the operation ends with an error, or has not finished at the deadline.
    :raises CreateOutcomeUnknownError: when the response was lost and no copy was found; the next try searches again.
    :raises RetryLimitExceededError: when ``max_attempts`` or ``quota_timeout`` is reached.
    """

    submission_key = "copy_model"
    kind = "model copy"
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
    operator_extra_links = (links.TUNED_MODEL, links.COPY, links.RUN_PAGE)

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
        operation: Operation = self.find_or_create(context)
        context["ti"].xcom_push(key="operation", value=operation.name)
        if self.deferrable and not operation.done:
            from gemini_tuning.triggers.model_copy import CopyModelTrigger

            self.defer_to_trigger(
                CopyModelTrigger, operation.name, poll_interval=poll_interval, deadline=time.time() + deadline
            )
        return self._result(self._wait_here(operation, poll_interval, deadline))

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Read the operation that the trigger waited for, and return the copy."""
        operation = context["ti"].xcom_pull(key="operation")
        if operation and not self.event_matches(operation, event):
            return self.execute(context)
        return self._result(self.hook.get_operation(self.resource_from_event(event)))

    def get_resource(self, name: str) -> Operation:
        """Return the operation; a finished one for a copy that was found without its operation."""
        return self.hook.get_operation(name) if "/operations/" in name else Operation(name, done=True, model=name)

    def load_or_start(self, context: Context, store: SubmissionStore) -> Submission:
        """Return this run's submission, or a new one: also when the run has another model now."""
        stored = store.load()
        if stored is not None and stored.source in (None, self.model):
            return self.resume(context, store, stored) or stored
        return store.save(Submission.new(generation=generation(context), source=self.model))

    def find_existing(self, submission: Submission) -> Operation | None:
        """Return the copy of an earlier try. The service deletes old operations, so the model itself counts too."""
        try:
            found: Operation | None = super().find_existing(submission)
        except PermanentServiceError as error:
            if error.code not in NOT_FOUND or not submission.resource or self.spec().parent_model:
                raise
            self.log.warning("%s", error)
            return self._finished(self._target(submission))
        return found

    def find_submitted(self, submission: Submission, *, last: bool) -> Operation | None:
        """Search for the copy of a request: an operation since then, else the model itself."""
        target, since = self._target(submission), (submission.sent_at or 0.0) - MAX_CLOCK_SKEW
        undecided = None
        for operation in self._operations_on(target):
            if _seconds(operation.create_time) < since or (operation.done and not operation.model):
                continue
            if not operation.done and self.spec().parent_model:
                undecided = operation
            elif not operation.model or self._is_copy_of_ours(self.hook.get_model(operation.model)) is not False:
                return operation
        if undecided is not None:
            raise TransientServiceError(
                f"{undecided.name} creates a version of {target}, and has not ended: it may copy {self.model}.",
                resource=undecided.name,
            )
        return None if self.spec().parent_model else self._finished(target)

    def send(self, context: Context, submission: Submission) -> Operation:
        """Start the copy."""
        spec = self.spec()
        if not spec.parent_model:
            spec = replace(spec, model_id=ResourceName.parse(self._target(submission), "models").id)
        try:
            name = self.hook.copy_model(self.model, spec, location=str(spec.location), not_after=submission.send_before)
        except PermanentServiceError as error:
            if error.code == 409 and (there := self.find_submitted(submission, last=True)) is not None:
                return there
            raise
        self.log.info("Copying %s to %s: %s", self.model, self._target(submission), name)
        return Operation(name)

    def unusable_reason(self, resource: Operation) -> str | None:
        """Return why a copy cannot be used; ``None`` when it can."""
        if resource.done and not resource.model:
            return self._failure(resource)
        if resource.model and self._is_copy_of_ours(self.hook.get_model(resource.model)) is False:
            return f"{resource.model} ({resource.name}) is not a copy of {self.model}."
        return None

    def _target(self, submission: Submission) -> str:
        """Return the name of the model that the copy creates, or adds a version to."""
        spec = self.spec()
        if spec.parent_model:
            return ResourceName.parse(spec.parent_model, "models").unversioned
        source = ResourceName.parse(self.model, "models").id.lower()
        model_id = spec.model_id or f"copy-of-{source[:38]}-{submission.request_id}"
        return f"projects/{self.hook.project(spec.project_id)}/locations/{spec.location}/models/{model_id}"

    def _operations_on(self, target: str) -> list[Operation]:
        try:
            return self.hook.list_operations(target)
        except PermanentServiceError as error:
            if error.code not in NOT_FOUND:
                raise
            return []

    def _finished(self, target: str) -> Operation | None:
        try:
            model = self.hook.get_model(target)
        except PermanentServiceError as error:
            if error.code not in NOT_FOUND:
                raise
            return None
        has_our_id = self.spec().model_id is None
        ours = has_our_id or self._is_copy_of_ours(model)
        return Operation(model.name, done=True, model=model.name) if ours else None

    def _is_copy_of_ours(self, model: Model) -> bool | None:
        """Return whether a model is a copy of the given one; ``None`` when the service does not return its original."""
        if model.original_model is None:
            return None
        return ResourceName.parse(self.model, "models").is_same_version(
            ResourceName.parse(model.original_model, "models")
        )

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

    def _wait_here(self, operation: Operation, poll_interval: float, deadline: float) -> Operation:
        end = time.monotonic() + deadline
        while not (operation := self.get_resource(operation.name)).done and time.monotonic() < end:
            time.sleep(max(min(poll_interval, end - time.monotonic()), 0))
        return operation

    def _failure(self, operation: Operation) -> str:
        return f"The copy of {self.model} failed: {operation.error or 'no model in the response'} ({operation.name})."

    def _result(self, operation: Operation) -> dict[str, Any]:
        if not operation.done:
            raise CopyModelError(
                f"The copy of {self.model} has not finished at its deadline ({operation.name}).",
                field="deadline",
                resource=operation.name,
                code="deadline_exceeded",
                hint="The operation continues; clear this task to wait for it again.",
            )
        if not operation.model:
            raise CopyModelError(
                self._failure(operation),
                resource=operation.name,
                code="copy_failed",
                hint="Clear this task to create another copy.",
            )
        if self._is_copy_of_ours(self.hook.get_model(operation.model)) is False:
            raise CopyModelError(
                f"{operation.model} ({operation.name}) is not a copy of {self.model}.",
                resource=operation.model,
                code="not_a_copy",
            )
        self.log.info("Copied to %s", operation.model)
        return {"source_model": self.model, "model": operation.model, "operation": operation.name}


def _seconds(time_of_day: str | None) -> float:
    """Return an ISO time as seconds since 1970 (UTC); infinity for ``None``."""
    return datetime.fromisoformat(time_of_day).timestamp() if time_of_day else float("inf")
