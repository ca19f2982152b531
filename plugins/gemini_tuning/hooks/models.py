"""Models of the Model Registry: get, list, set the default checkpoint, aliases, copy, delete."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gemini_tuning.core.exceptions import InvalidInputError, NotSentError
from gemini_tuning.core.names import ResourceName
from gemini_tuning.core.resources import Model, Operation
from gemini_tuning.hooks import converters
from gemini_tuning.hooks.base import GeminiBaseHook, none_if_missing, retry_read
from gemini_tuning.hooks.errors import creating, service_errors

if TYPE_CHECKING:
    from gemini_tuning.core.copy_spec import ModelCopySpec


class ModelHookMixin(GeminiBaseHook):
    """Models (https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.models).

    As JSON: google-genai drops etags, aliases and deployments.
    """

    def get_model(self, name: str) -> Model:
        """Get a model version, given by its full name; without ``@version`` the default version."""
        return self._read(Model, name)

    def find_model(self, name: str) -> Model | None:
        """Return a model version as :meth:`get_model` does, or ``None`` when it does not exist."""
        return none_if_missing(lambda: self.get_model(name))

    def list_models(self, project: str, location: str) -> list[Model]:
        """Return all models of a location, each as its default version."""
        return self._list(f"projects/{project}/locations/{location}/models", location, "models", Model.from_json)

    def list_model_versions(self, name: str) -> list[Model]:
        """Return all versions of a model, given by its full name; none when it does not exist."""
        resource = ResourceName.parse(name, "models")
        path = f"{resource.unversioned}:listVersions"
        return none_if_missing(lambda: self._list(path, resource.location, "models", Model.from_json)) or []

    def set_default_checkpoint(
        self, model: Model, checkpoint_id: str, labels: Mapping[str, str] | None = None
    ) -> Model:
        """Set the default checkpoint of a model version and return the model of the response.

        The caller reads the change back. See
        https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.models/patch.

        :param labels: replace the model's labels in the same request. It then carries the model's etag, so that the
            service refuses it if the model has changed since it was read.
        """
        location = model.resource_name.location
        body: dict[str, Any] = {"defaultCheckpointId": checkpoint_id}
        if labels is not None:
            body |= {"labels": dict(labels)} | ({"etag": model.etag} if model.etag else {})
        mask = {"updateMask": "labels,defaultCheckpointId" if labels is not None else "defaultCheckpointId"}
        return retry_read(
            f"set default checkpoint {checkpoint_id} of",
            model.name,
            lambda: Model.from_json(self._send_json("PATCH", model.name, location, params=mask, body=body), model.name),
        )

    def merge_version_aliases(self, name: str, aliases: Sequence[str]) -> None:
        """Add aliases to a model version, or remove some. The caller reads them back.

        :param name: full name of the model with its version.
        :param aliases: to add; with ``-`` before it, to remove.
        """
        location = Model.location_of(name)
        with service_errors(f"set the aliases {', '.join(aliases)} of", name):
            self._send_json("POST", f"{name}:mergeVersionAliases", location, body={"versionAliases": list(aliases)})

    def copy_model(
        self, source_model: str, spec: ModelCopySpec, *, location: str, not_after: float | None = None
    ) -> str:
        """Start copying a model with its checkpoints and its default; return the operation's name.

        See https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.models/copy.

        :param source_model: full name of the model; without ``@version`` its default version is copied.
        :param spec: the copy's project, which is the connection's when ``None``, and name.
        :param location: destination region.
        :param not_after: seconds since 1970 (UTC) after which the request is not sent any more.
        :raises CreateOutcomeUnknownError: when the request was sent and its response was lost.
        :raises NotSentError: when it would have been sent after ``not_after``.
        """
        parent = f"projects/{self.project(spec.project_id)}/locations/{location}"
        names = {"sourceModel": source_model, "modelId": spec.model_id, "parentModel": spec.parent_model}
        body: dict[str, Any] = {field: name for field, name in names.items() if name}
        if spec.kms_key_name:
            body["encryptionSpec"] = {"kmsKeyName": spec.kms_key_name}
        self._vertex_endpoint(location)  # refuses an invalid location before anything counts as sent
        if not_after is not None and time.time() > not_after:
            problem = f"The copy of {source_model} was not requested: its send deadline had passed."
            raise NotSentError(problem, resource=source_model)
        with creating(f"copy of {source_model} in {parent}"):
            return Operation.from_json(self._send_json("POST", f"{parent}/models:copy", location, body=body)).name

    def get_operation(self, name: str, *, retry: bool = True) -> Operation:
        """Get the operation of a copy by its full name; ``retry`` is for an unavailable service."""
        location = Operation.location_of(name)
        if retry:
            return retry_read("get", name, lambda: converters.copy_operation(self._get_json(name, location), name))
        with service_errors("get", name):
            return converters.copy_operation(self._get_json(name, location), name)

    def list_operations(self, model: str) -> list[Operation]:
        """Return the copies into a model, given by its full name, also into one that does not exist yet."""
        resource = ResourceName.parse(model, "models")
        path = f"{resource.unversioned}/operations"
        read, action = converters.copy_operation, "list the operations of"
        found = self._list(path, resource.location, "operations", read, action=action, about=model)
        return [operation for operation in found if operation.is_copy]

    def delete_model_version(self, name: str) -> None:
        """Delete a version that is deployed nowhere, given by its full name, and wait; a missing one is no error."""
        if ResourceName.parse(name, "models").version is None:
            raise InvalidInputError(f"{name} has no version", field="name", resource=name, code="version_required")
        self._run_operation("delete", name, "DELETE", f"{name}:deleteVersion", kind=Model)

    def delete_model(self, name: str) -> None:
        """Delete a model, given by its name without version, with all versions; a missing one is no error."""
        if ResourceName.parse(name, "models").version is not None:
            message = f"{name} has a version, but all versions would be deleted"
            raise InvalidInputError(message, field="name", resource=name, code="version_not_allowed")
        self._run_operation("delete", name, "DELETE", name, kind=Model)
