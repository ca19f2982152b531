"""projects.locations.models: the registry, and copies."""

from collections.abc import Mapping
from typing import Any

from vertex_emulator.call import Call, Entry
from vertex_emulator.names import split_version
from vertex_emulator.paging import part
from vertex_emulator.protojson import Repeated, Type, read_message
from vertex_emulator.records import Model, ModelVersion
from vertex_emulator.render import Json, render_checkpoint, render_model, render_operation, without_empty
from vertex_emulator.routes.listing import NO_ORDER, USUAL_ORDER, listed

_COLLECTION = "/{version:version}/projects/{project}/locations/{location}/models"
_MODEL = _COLLECTION + "/{id:id}"
MODEL: Mapping[str, Type] = {
    **dict.fromkeys(
        (
            "name", "versionId", "versionAliases", "versionCreateTime", "versionUpdateTime", "createTime", "updateTime",
            "deployedModels", "checkpoints", "modelSourceInfo", "baseModelSource", "metadata", "artifactUri",
            "encryptionSpec", "containerSpec", "predictSchemata", "explanationSpec", "metadataSchemaUri",
            "metadataArtifact", "originalModelInfo", "satisfiesPzi", "satisfiesPzs",
            "supportedDeploymentResourcesTypes", "supportedExportFormats", "supportedInputStorageFormats",
            "supportedOutputStorageFormats", "trainingPipeline",
        ),
        "any",
    ),
    "displayName": "string",
    "description": "string",
    "versionDescription": "string",
    "labels": "labels",
    "defaultCheckpointId": "string",
    "etag": "string",
}  # fmt: skip
_COPY: Mapping[str, Type] = {
    "parent": "string",
    "sourceModel": "string",
    "modelId": "string",
    "parentModel": "string",
    "encryptionSpec": {"kmsKeyName": "string"},
    "customServiceAccount": "string",
}
_VERSION_ORDER = {"createTime": "versionCreateTime", "updateTime": "versionUpdateTime"}
_ALIASES: Mapping[str, Type] = {"name": "string", "versionAliases": Repeated("string")}


def get(call: Call) -> Json:
    """Return a version (``ID@VERSION`` or ``ID@ALIAS``), or the default version (``ID``)."""
    return _render(call, *_version(call))


def list_models(call: Call) -> Json:
    """Return a page of models, each as its default version."""
    parent = call.parent
    models = (model for model in reversed(call.world.store.models.values()) if model.parent == parent)
    # v1beta1 has no orderBy here (discovery documents).
    order = USUAL_ORDER if call.version == "v1" else NO_ORDER
    return listed(call, "models", models, _default_version, order=order, mask=MODEL)


def patch(call: Call) -> Json:
    """Update a version.

    The discovery document calls updateMask required, yet google-genai sends none and Google's samples rely on it:
    then the fields in the body are the mask.
    """
    model, version = _version(call)
    changes = read_message(call.json(), MODEL, "model")
    call.world.registry.update(version, changes, call.query("updateMask"), call.now)
    return _render(call, model, version)


def delete(call: Call) -> Json:
    """Delete a model and its versions."""
    model, _ = _version(call)
    call.world.registry.delete_model(model)
    return _finished(call, model, "DeleteOperationMetadata")


def delete_version(call: Call) -> Json:
    """Delete a version."""
    model, version = _version(call)
    call.world.registry.delete_version(model, version)
    return _finished(call, model, "DeleteOperationMetadata")


def list_versions(call: Call) -> Json:
    """Return a page of versions."""
    model, _ = _version(call)

    def render(version: ModelVersion) -> Json:
        return render_model(model, version, versioned_name=True)

    return listed(call, "models", reversed(model.versions.values()), render, order=_VERSION_ORDER, mask=MODEL)


def list_checkpoints(call: Call) -> Json:
    """Return a page of a version's checkpoints, in the order of their steps."""
    _, version = _version(call)
    shown = version.checkpoints if version.shows_checkpoints else []
    found, token = part(shown, call.query("pageSize"), call.query("pageToken"))
    return without_empty({"checkpoints": [render_checkpoint(item) for item in found], "nextPageToken": token})


def merge_version_aliases(call: Call) -> Json:
    """Add and remove aliases."""
    model, version = _version(call)
    aliases = read_message(call.json(), _ALIASES).get("versionAliases", [])
    call.world.registry.merge_aliases(model, version, aliases, call.now)
    return _render(call, model, version)


def copy(call: Call) -> Json:
    """Start to copy a version into this location; the path is the destination."""
    world, parent = call.world, call.parent
    request = read_message(call.json(), _COPY)
    source, model_id = world.registry.check_copy(parent, request)
    arguments = {"parent": parent, "source": source, "model_id": model_id, "options": request}
    operation = world.operations.start(
        parent.child("models", model_id),
        "CopyModelOperationMetadata",
        "copy",
        arguments=arguments,
        now=call.now,
        seconds=world.settings.pace.copy,
        version=call.version,
    )
    return render_operation(operation)


def _version(call: Call) -> tuple[Model, ModelVersion]:
    model_id, version = split_version(call.path["id"])
    return call.world.registry.version(call.parent, model_id, version)


def _render(call: Call, model: Model, version: ModelVersion) -> Json:
    return render_model(model, version, versioned_name="@" in call.path["id"])


def _default_version(model: Model) -> dict[str, Any]:
    version = model.version(None) or next(iter(model.versions.values()))
    return render_model(model, version, versioned_name=False)


def _finished(call: Call, model: Model, metadata_type: str) -> Json:
    return render_operation(call.world.operations.finished(model.name, metadata_type, call.now, call.version))


ROUTES = [
    Entry("GET", _MODEL, get),
    Entry("PATCH", _MODEL, patch),
    Entry("GET", _COLLECTION, list_models),
    Entry("POST", _COLLECTION + ":copy", copy),
    Entry("GET", _MODEL + ":listVersions", list_versions),
    Entry("GET", _MODEL + ":listCheckpoints", list_checkpoints),
    Entry("POST", _MODEL + ":mergeVersionAliases", merge_version_aliases),
    Entry("DELETE", _MODEL, delete),
    Entry("DELETE", _MODEL + ":deleteVersion", delete_version),
]
