"""The model registry: versions, aliases, default checkpoints, copies."""

import copy
import re
from typing import Any

from .errors import aborted, already_exists, failed_precondition, invalid_argument, not_found
from .names import Name, Parent, Projects, is_model_id
from .protojson import camel, check_labels
from .records import Checkpoint, Model, ModelVersion, Store

_UPDATABLE = {"displayName", "description", "versionDescription", "labels", "defaultCheckpointId"}
_ALIAS = re.compile(r"-?[a-z][a-z0-9-]{0,126}[a-z0-9]")


class Registry:
    """Reads and changes models."""

    def __init__(self, store: Store, projects: Projects) -> None:
        self._store = store
        self._projects = projects

    def model(self, parent: Parent, model_id: str) -> Model:
        """Return the model, or 404."""
        name = parent.child("models", model_id)
        if name not in self._store.models:
            raise not_found("Model", name)
        return self._store.models[name]

    def version(self, parent: Parent, model_id: str, version: str | None) -> tuple[Model, ModelVersion]:
        """Return a version by id or alias (none: the default version), or 404."""
        model = self.model(parent, model_id)
        found = model.version(version)
        if found is None:
            raise not_found("Model", f"{model.name}@{version}")
        return model, found

    def resolve(self, name: str, field: str) -> tuple[Model, ModelVersion]:
        """Return the model version that a request names in one of its fields."""
        parsed = self._projects.parse(name)
        if parsed is None or parsed.collection != "models":
            raise invalid_argument(f"Invalid {field}: {name}. Expected projects/*/locations/*/models/*.")
        return self.version(parsed.parent, parsed.id, parsed.version)

    def add_version(self, parent: Parent, model_id: str, version: ModelVersion) -> Model:
        """Append a version, making the model if it is new.

        The first version gets the alias ``default``; later ones do not take it away (discovery document).
        """
        model = Model(self._store.next_seq(), parent, model_id)
        model = self._store.models.setdefault(model.name, model)
        model.last_version += 1
        version.version_id = str(model.last_version)
        if len(model.versions) == 0:
            version.aliases = ["default"]
        model.versions[version.version_id] = version
        return model

    def update(self, version: ModelVersion, changes: dict[str, Any], mask: str | None, now: float) -> None:
        """Patch a version.

        :param changes: the Model of the request; one with an etag is refused when that is not the present one.
        :param mask: updateMask, comma separated; with none, the fields that the request holds are changed.
        """
        fields = [camel(field.strip()) for field in mask.split(",")] if mask else sorted(changes.keys() & _UPDATABLE)
        for field in fields:
            if field not in _UPDATABLE:
                raise invalid_argument(f"Field {field} can't be updated.")
        if changes.get("etag") not in (None, "", version.etag):
            raise aborted("The Model has changed since: its etag is not the one of the request.")
        _check_changes(version, changes, fields)
        for field in fields:
            _SETTERS[field](version, changes.get(field))
        version.touch(now)

    def merge_aliases(self, model: Model, version: ModelVersion, aliases: list[str], now: float) -> None:
        """Add aliases to a version, or with ``-`` before them remove them; others lose an alias added here."""
        for alias in aliases:
            if not _ALIAS.fullmatch(alias):
                raise invalid_argument(f"Invalid version alias: {alias}")
            if alias == "-default":
                raise invalid_argument("The default alias can't be removed; give it to another version.")
        for alias in aliases:
            if alias.startswith("-"):
                version.aliases = [item for item in version.aliases if item != alias[1:]]
                continue
            for other in model.versions.values():
                other.aliases = [item for item in other.aliases if item != alias]
            version.aliases.append(alias)
        version.touch(now)

    def delete_model(self, model: Model) -> None:
        """Delete a model with all versions; refused while one is deployed."""
        for version in model.versions.values():
            _refuse_deployed(model, version)
        del self._store.models[model.name]

    def delete_version(self, model: Model, version: ModelVersion) -> None:
        """Delete one version; neither the default one nor a deployed one."""
        _refuse_deployed(model, version)
        if "default" in version.aliases:
            raise failed_precondition("The default version can't be deleted; delete the model, or move the alias.")
        del model.versions[version.version_id]

    def check_copy(self, parent: Parent, request: dict[str, Any]) -> tuple[Name, str]:
        """Check a copy request and choose the destination.

        :param parent: where the copy goes.
        :param request: CopyModelRequest.
        :return: the source with its version resolved, and the id of the destination model.
        """
        if not request.get("sourceModel"):
            raise invalid_argument("source_model is required.")
        if request.get("modelId") and request.get("parentModel"):
            raise invalid_argument("Only one of model_id and parent_model can be set.")
        source, version = self.resolve(request["sourceModel"], "source_model")
        name = Name(source.parent, "models", source.id, version.version_id)
        if request.get("parentModel"):
            destination, _ = self.resolve(request["parentModel"], "parent_model")
            if destination.parent != parent:
                raise invalid_argument(f"parent_model must be in {parent}: {request['parentModel']}")
            return name, destination.id
        return name, self._new_model_id(parent, request.get("modelId"))

    def copy_version(self, source: Name, parent: Parent, model_id: str, options: dict[str, Any], now: float) -> str:
        """Copy a model version; all checkpoints and the default stay (guide).

        :param options: CopyModelRequest.
        :return: the new version's id.
        """
        model, original = self.version(source.parent, source.id, source.version)
        if options.get("parentModel"):
            self.model(parent, model_id)
        made = ModelVersion(
            version_id="",
            created=now,
            updated=now,
            display_name=original.display_name,
            description=original.description,
            version_description=original.version_description,
            labels=dict(original.labels),
            base_model=original.base_model,
            checkpoints=[_without_endpoint(checkpoint) for checkpoint in original.checkpoints],
            default_checkpoint=original.default_checkpoint,
            encryption=options.get("encryptionSpec"),
            copied_from=f"{model.name}@{original.version_id}",
            shows_checkpoints=original.shows_checkpoints,
        )
        self.add_version(parent, model_id, made)
        return made.version_id

    def _new_model_id(self, parent: Parent, wanted: str | None) -> str:
        if wanted and not is_model_id(wanted):
            raise invalid_argument(
                f"Invalid model_id: {wanted}. It may be up to 63 characters of [a-z0-9_-], and the first character "
                "cannot be a number or hyphen."
            )
        model_id = wanted or self._store.ids.new()
        name = parent.child("models", model_id)
        if name in self._store.models or name in self._store.reserved_models:
            raise already_exists(f'The Model "{name}" already exists.')
        self._store.reserved_models.add(name)
        return model_id


def _check_changes(version: ModelVersion, changes: dict[str, Any], fields: list[str]) -> None:
    if "labels" in fields:
        check_labels(changes.get("labels", {}))
    wanted = changes.get("defaultCheckpointId")
    if "defaultCheckpointId" in fields and version.checkpoint(wanted) is None:
        known = ", ".join(checkpoint.checkpoint_id for checkpoint in version.checkpoints) or "none"
        raise invalid_argument(
            f'default_checkpoint_id "{wanted}" is not a checkpoint of the model. Checkpoints: {known}.'
        )


def _set_display_name(version: ModelVersion, value: Any) -> None:
    version.display_name = value or ""


def _set_description(version: ModelVersion, value: Any) -> None:
    version.description = value or ""


def _set_version_description(version: ModelVersion, value: Any) -> None:
    version.version_description = value or ""


def _set_labels(version: ModelVersion, value: Any) -> None:
    version.labels = dict(value or {})


def _set_default_checkpoint(version: ModelVersion, value: Any) -> None:
    version.default_checkpoint = value


_SETTERS = {
    "displayName": _set_display_name,
    "description": _set_description,
    "versionDescription": _set_version_description,
    "labels": _set_labels,
    "defaultCheckpointId": _set_default_checkpoint,
}


def _refuse_deployed(model: Model, version: ModelVersion) -> None:
    if version.deployments:
        where = ", ".join(sorted({deployment.endpoint for deployment in version.deployments}))
        raise failed_precondition(
            f"The Model {model.name}@{version.version_id} can't be deleted: it is deployed at {where}."
        )


def _without_endpoint(checkpoint: Checkpoint) -> Checkpoint:
    made = copy.copy(checkpoint)
    made.endpoint = None
    return made
