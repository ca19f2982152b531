"""Endpoints made by hand: creation, deployment of a checkpoint, traffic. What takes time is done by operations."""

import re
from typing import Any

from .errors import already_exists, failed_precondition, invalid_argument
from .names import Name, Parent
from .protojson import camel, check_labels
from .records import Checkpoint, DeployedModel, Deployment, Endpoint, ModelVersion, Store
from .registry import Registry
from .render import render_deployed_model, render_endpoint
from .serving import Serving, check_traffic

NEW = "0"
"""Key of a traffic split that stands for the model being deployed (discovery document)."""
_ENDPOINT_ID = re.compile(r"[a-z][a-z0-9-]{0,62}|[0-9]{1,10}")
_UPDATABLE = ("displayName", "description", "labels", "trafficSplit")


class Deployments:
    """Checks requests about endpoints, and does what was asked when it is due."""

    def __init__(self, store: Store, registry: Registry, serving: Serving) -> None:
        self._store = store
        self._registry = registry
        self._serving = serving

    def check_create(self, parent: Parent, request: dict[str, Any], wanted: str | None) -> dict[str, Any]:
        """Check a request to make an endpoint.

        :param request: the Endpoint of the request.
        :param wanted: the query parameter ``endpointId``; none makes an id.
        :return: arguments of :meth:`create`.
        """
        if not request.get("displayName"):
            raise invalid_argument("display_name is required.")
        if wanted and not _ENDPOINT_ID.fullmatch(wanted):
            raise invalid_argument(f"Invalid endpoint_id: {wanted}")
        check_labels(request.get("labels", {}))
        endpoint_id = wanted or self._store.ids.new()
        self._refuse_taken(parent, endpoint_id)
        fields = ("displayName", "description", "labels", "encryptionSpec")
        return {"parent": parent, "id": endpoint_id, **{key: request[key] for key in fields if key in request}}

    def create(self, arguments: dict[str, Any], now: float) -> dict[str, Any]:
        """Make the endpoint; returns the operation's response."""
        parent = Parent(*arguments["parent"])
        self._refuse_taken(parent, arguments["id"])
        endpoint = Endpoint(
            self._store.next_seq(),
            parent,
            arguments["id"],
            now,
            now,
            arguments["displayName"],
            dict(arguments.get("labels", {})),
            description=arguments.get("description", ""),
            encryption=arguments.get("encryptionSpec"),
        )
        self._store.endpoints[endpoint.name] = endpoint
        return {"@type": "Endpoint", **render_endpoint(endpoint)}

    def check_deploy(self, endpoint: Endpoint, request: dict[str, Any]) -> dict[str, Any]:
        """Check a DeployModelRequest.

        :return: arguments of :meth:`deploy`: the version resolved, the default checkpoint when none was named.
        """
        wanted = request.get("deployedModel", {})
        if not wanted.get("model"):
            raise invalid_argument("deployed_model.model is required.")
        model, version = self._registry.resolve(wanted["model"], "deployed_model.model")
        if model.parent.location != endpoint.parent.location:
            raise invalid_argument(f"The Model {model.name} and the Endpoint {endpoint.name} must be in one location.")
        deployed_id = wanted.get("id") or self._store.ids.new()
        if any(item.id == deployed_id for item in endpoint.deployed):
            raise already_exists(f"The Endpoint {endpoint.name} has a DeployedModel {deployed_id} already.")
        split = _split(endpoint, request.get("trafficSplit"), deployed_id)
        return {
            "endpoint": (endpoint.parent, "endpoints", endpoint.id, None),
            "model": (model.parent, "models", model.id, version.version_id),
            "checkpoint": _wanted_checkpoint(version, wanted.get("checkpointId")).checkpoint_id,
            "id": deployed_id,
            "displayName": wanted.get("displayName") or version.display_name,
            "trafficSplit": split,
        }

    def deploy(self, arguments: dict[str, Any], now: float) -> dict[str, Any]:
        """Put the checkpoint on the endpoint; returns the operation's response."""
        source, target = _name(arguments["model"]), _name(arguments["endpoint"])
        endpoint = self._serving.endpoint(target.parent, target.id)
        model, version = self._registry.version(source.parent, source.id, source.version)
        deployed = DeployedModel(
            arguments["id"], model.name, version.version_id, arguments["checkpoint"], arguments["displayName"], now
        )
        endpoint.deployed.append(deployed)
        endpoint.updated = now
        if arguments["trafficSplit"] is not None:
            endpoint.traffic = dict(arguments["trafficSplit"])
        version.deployments.append(Deployment(endpoint.name, deployed.id, deployed.checkpoint_id))
        return {"@type": "DeployModelResponse", "deployedModel": render_deployed_model(deployed)}

    def update(self, endpoint: Endpoint, changes: dict[str, Any], mask: str | None, now: float) -> None:
        """Patch an endpoint; without a mask, the fields of the request are changed."""
        fields = [camel(field.strip()) for field in mask.split(",")] if mask else [*changes]
        for field in fields:
            if field not in _UPDATABLE:
                raise invalid_argument(f"Field {field} can't be updated.")
        if "trafficSplit" in fields:
            endpoint.traffic = check_traffic(changes.get("trafficSplit", {}), [item.id for item in endpoint.deployed])
        if "labels" in fields:
            check_labels(changes.get("labels", {}))
            endpoint.labels = dict(changes.get("labels", {}))
        if "displayName" in fields:
            endpoint.display_name = changes.get("displayName", "")
        if "description" in fields:
            endpoint.description = changes.get("description", "")
        endpoint.updated = now

    def _refuse_taken(self, parent: Parent, endpoint_id: str) -> None:
        name = parent.child("endpoints", endpoint_id)
        if name in self._store.endpoints:
            raise already_exists(f'The Endpoint "{name}" already exists.')


def _split(endpoint: Endpoint, wanted: dict[str, int] | None, deployed_id: str) -> dict[str, int] | None:
    """Traffic after a deployment; None leaves it as it is.

    The first model of an endpoint gets all traffic even when the request does not say so (emulator's choice).
    """
    if not wanted:
        return {deployed_id: 100} if not endpoint.deployed else None
    renamed = {deployed_id if key == NEW else key: value for key, value in wanted.items()}
    return check_traffic(renamed, [deployed_id, *(item.id for item in endpoint.deployed)])


def _wanted_checkpoint(version: ModelVersion, checkpoint_id: str | None) -> Checkpoint:
    if not checkpoint_id and version.default_checkpoint is None:
        raise failed_precondition("The Model has no default checkpoint yet.")
    found = version.checkpoint(checkpoint_id or version.default_checkpoint)
    if found is None:
        raise invalid_argument(f'deployed_model.checkpoint_id "{checkpoint_id}" is not a checkpoint of the model.')
    return found


def _name(parts: tuple[Any, ...]) -> Name:
    return Name(Parent(*parts[0]), *parts[1:])
