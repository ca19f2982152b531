"""Long-running operations: one table of what they do when they are due."""

from collections.abc import Callable, Iterator
from typing import Any

from .deployment import Deployments
from .errors import GoogleError, not_found
from .faults import Faults
from .names import Name, Parent
from .records import Operation, Store
from .registry import Registry

EMPTY = {"@type": "google.protobuf.Empty"}


class Operations:
    """Makes operations and completes them."""

    def __init__(self, store: Store, registry: Registry, deployments: Deployments, faults: Faults) -> None:
        self._store = store
        self._faults = faults
        self._registry = registry
        self._work: dict[str, Callable[[dict[str, Any], float], dict[str, Any]]] = {
            "copy": self._copy,
            "create endpoint": deployments.create,
            "deploy": deployments.deploy,
        }

    def get(self, name: str) -> Operation:
        """Return the operation, or 404."""
        if name not in self._store.operations:
            raise not_found("Operation", name)
        return self._store.operations[name]

    def of(self, resource: str) -> Iterator[Operation]:
        """All operations of a resource, newest first: also one that is only going to make it."""
        return (item for item in reversed(self._store.operations.values()) if item.resource == resource)

    def start(
        self,
        resource: str,
        metadata_type: str,
        work: str,
        *,
        arguments: dict[str, Any],
        now: float,
        seconds: float,
        version: str,
    ) -> Operation:
        """Begin an operation on a resource; it is done after some virtual seconds.

        :param metadata_type: such as ``CopyModelOperationMetadata``.
        :param version: of the API, as the request had it.
        """
        operation = self._new(resource, metadata_type, now, version)
        operation.due, operation.work, operation.arguments = now + seconds, work, arguments
        rule = self._faults.operation(work)
        if rule:
            operation.failure = rule.error
        if rule is None or rule.error:
            self._store.schedule(operation.due, "operation", operation.name)
        return operation

    def finished(
        self, resource: str, metadata_type: str, now: float, version: str, response: dict[str, Any] = EMPTY
    ) -> Operation:
        """Make the operation of something that was done at once."""
        operation = self._new(resource, metadata_type, now, version)
        operation.done, operation.response = True, response
        return operation

    def apply(self, name: str, at: float) -> None:
        """Complete an operation that is due."""
        operation = self._store.operations.get(name)
        if operation is None or operation.done:
            return
        operation.done, operation.updated = True, at
        self._store.reserved_models.discard(operation.resource)
        if operation.failure:
            operation.error = operation.failure
            return
        try:
            operation.response = self._work[operation.work](operation.arguments, at)
        except GoogleError as error:
            operation.error = {"code": 13, "message": error.message}

    def _new(self, resource: str, metadata_type: str, now: float, version: str) -> Operation:
        operation = Operation(
            seq=self._store.next_seq(),
            name=f"{resource}/operations/{self._store.ids.new()}",
            created=now,
            updated=now,
            metadata_type=metadata_type,
            due=now,
            work="",
            arguments={},
            version=version,
        )
        self._store.operations[operation.name] = operation
        return operation

    def _copy(self, arguments: dict[str, Any], now: float) -> dict[str, Any]:
        parent = Parent(*arguments["parent"])
        source = Name(Parent(*arguments["source"][0]), *arguments["source"][1:])
        model_id = arguments["model_id"]
        version = self._registry.copy_version(source, parent, model_id, arguments["options"], now)
        return {
            "@type": "CopyModelResponse",
            "model": parent.child("models", model_id),
            "modelVersionId": version,
        }
