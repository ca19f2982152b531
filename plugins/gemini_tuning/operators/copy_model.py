"""Copy a model to another location or project, once per run."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from airflow.sdk import Context, conf
from airflow.sdk.exceptions import AirflowSkipException

from gemini_tuning.core.copy_spec import ModelCopySpec
from gemini_tuning.core.exceptions import (
    CopyModelError,
    InvalidInputError,
    PermanentServiceError,
    TransientServiceError,
)
from gemini_tuning.core.names import ResourceName
from gemini_tuning.core.resources import Operation
from gemini_tuning.links import gemini_tuning as links
from gemini_tuning.operators.cloud_base import GCP_FIELDS, DeferrableMixin, optional_seconds, optional_text
from gemini_tuning.operators.idempotent_create import IdempotentCreateMixin, Submission, generation

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
    :param model_id: at most 63 of ``a-z 0-9 _ -``, the first a letter or ``_``; ``None`` generates one. (templated)
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
        *GCP_FIELDS, "model", "destination_location", "destination_project_id", "model_id", "parent_model",
        "kms_key_name", "poll_interval", "deadline",
    )  # fmt: skip
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
            raise InvalidInputError(f"Nothing was copied. {'; '.join(problems)}.", field="copy", code="invalid_copy")
        if spec.location is None:
            raise AirflowSkipException("No copy: destination_location is not set")
        operation: Operation = self.find_or_create(context)
        context["ti"].xcom_push(key="operation", value=operation.name)
        if self.deferrable and not operation.done:
            from gemini_tuning.triggers.model_copy import CopyModelTrigger

            end = time.time() + deadline
            self.defer_to_trigger(CopyModelTrigger, operation.name, poll_interval=poll_interval, deadline=end)
        end = time.monotonic() + deadline
        while not (operation := self.get_resource(operation.name)).done and time.monotonic() < end:
            time.sleep(max(min(poll_interval, end - time.monotonic()), 0))
        return self._result(operation)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Read the operation that the trigger waited for, and return the copy."""
        name = context["ti"].xcom_pull(key="operation") or event["resource"]
        if not self.event_matches(name, event):
            return self.execute(context)
        return self._result(self.hook.get_operation(name))

    def get_resource(self, name: str) -> Operation:
        """Return the operation; a finished one for a copy that was found without its operation."""
        return self.hook.get_operation(name) if "/operations/" in name else Operation(name, done=True, model=name)

    def load_or_start(self, context: Context) -> Submission:
        """Return this run's submission, or a new one: also when the run has another model now."""
        stored = self.load(context)
        if stored is not None and stored.source in (None, self.model):
            return self.resume(context, stored)
        return self.save(context, Submission(generation=generation(context), source=self.model))

    def find_existing(self, submission: Submission) -> Operation | None:
        """Return the copy of an earlier try. The service deletes old operations, so the model itself counts too."""
        try:
            found: Operation | None = super().find_existing(submission)
        except PermanentServiceError as error:
            if error.code not in NOT_FOUND or not submission.resource or self.spec().parent_model:
                raise
            self.log.warning("%s", error)
            found = self._finished(self._target(submission))
        return found

    def find_submitted(self, submission: Submission, *, last: bool) -> Operation | None:
        """Search for the copy of a request: an operation since then, else the model itself."""
        target, since = self._target(submission), (submission.sent_at or 0.0) - MAX_CLOCK_SKEW
        undecided = None
        for operation in self._operations_on(target):
            created = datetime.fromisoformat(operation.create_time).timestamp() if operation.create_time else math.inf
            if created < since or (operation.done and not operation.model):
                continue
            if not operation.done and self.spec().parent_model:
                undecided = operation
            elif not operation.model or self._is_our_copy(operation.model) is not False:
                return operation
        if undecided is not None:
            problem = f"{undecided.name} creates a version of {target}, and has not ended: it may copy {self.model}."
            raise TransientServiceError(problem, resource=undecided.name)
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
        if resource.model and self._is_our_copy(resource.model) is False:
            return f"{resource.model} ({resource.name}) is not a copy of {self.model}."
        if resource.done and not resource.model:
            reason = resource.error or "no model in the response"
            return f"The copy of {self.model} failed: {reason} ({resource.name})."
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
        model = self.hook.find_model(target)
        if model is None or (self.spec().model_id and not self._is_our_copy(model.name)):
            return None  # an id that we generated is no other model's
        return Operation(model.name, done=True, model=model.name)

    def _is_our_copy(self, name: str) -> bool | None:
        """Return whether a model is a copy of the given one; ``None`` when the service does not return its original."""
        original = self.hook.get_model(name).original_model
        source = ResourceName.parse(self.model, "models")
        return None if original is None else source.is_same_version(ResourceName.parse(original, "models"))

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

    def _result(self, operation: Operation) -> dict[str, Any]:
        if not operation.done:
            problem = f"The copy of {self.model} has not finished at its deadline ({operation.name})."
            code, hint = "deadline_exceeded", "The operation continues; clear this task to wait for it again."
            raise CopyModelError(problem, field="deadline", resource=operation.name, code=code, hint=hint)
        if reason := self.unusable_reason(operation):
            if operation.model:
                raise CopyModelError(reason, resource=operation.model, code="not_a_copy")
            hint = "Clear this task to create another copy."
            raise CopyModelError(reason, resource=operation.name, code="copy_failed", hint=hint)
        self.log.info("Copied to %s", operation.model)
        return {"source_model": self.model, "model": operation.model, "operation": operation.name}
