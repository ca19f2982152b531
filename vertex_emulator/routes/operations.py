"""Long-running operations, below the resource they belong to.

Google's generated REST clients poll and list them below ``/ui/`` instead of ``/v1/``.
"""

from vertex_emulator.call import Call, Entry
from vertex_emulator.filters import parse_filter
from vertex_emulator.names import split_version
from vertex_emulator.paging import page
from vertex_emulator.records import Operation
from vertex_emulator.render import Json, render_operation, without_empty

_LOCATION = "/projects/{project}/locations/{location}"
_NAME = _LOCATION + "/{collection}/{id:id}/operations/{operation:id}"
_VERSIONS = ("/{version:version}", "/ui")


def get(call: Call) -> Json:
    """One operation."""
    resource = call.parent.child(call.path["collection"], call.path["id"])
    return render_operation(call.world.operations.get(f"{resource}/operations/{call.path['operation']}"), call.version)


def list_of_model(call: Call) -> Json:
    """Return a page of a model's operations, newest first.

    A copy's operation is there from the moment the copy was accepted, the model only when it is done. So a model that
    is not there is no error.
    """
    return _list(call, call.parent.child("models", split_version(call.path["id"])[0]))


def list_of_endpoint(call: Call) -> Json:
    """Return a page of an endpoint's operations, newest first."""
    return _list(call, call.parent.child("endpoints", call.path["id"]))


def _list(call: Call, resource: str) -> Json:
    matches = parse_filter(call.filter())

    def wanted(operation: Operation) -> bool:
        return matches({"done": False, **render_operation(operation, call.version)})

    found, token = page(call.world.operations.of(resource), wanted, call.query("pageSize"), call.query("pageToken"))
    rendered = [render_operation(operation, call.version) for operation in found]
    return without_empty({"operations": rendered, "nextPageToken": token})


ROUTES = [
    *(Entry("GET", version + _NAME, get) for version in _VERSIONS),
    *(Entry("GET", f"{version}{_LOCATION}/models/{{id:id}}/operations", list_of_model) for version in _VERSIONS),
    *(Entry("GET", f"{version}{_LOCATION}/endpoints/{{id:id}}/operations", list_of_endpoint) for version in _VERSIONS),
]
