"""Long-running operations, below the resource they belong to.

Google's generated REST clients poll them below ``/ui/`` instead of ``/v1/``.
"""

from vertex_emulator.call import Call, Entry
from vertex_emulator.render import Json, render_operation

_NAME = "/projects/{project}/locations/{location}/{collection}/{id:id}/operations/{operation:id}"


def get(call: Call) -> Json:
    """One operation."""
    resource = call.parent.child(call.path["collection"], call.path["id"])
    return render_operation(call.world.operations.get(f"{resource}/operations/{call.path['operation']}"), call.version)


ROUTES = [Entry("GET", "/{version:version}" + _NAME, get), Entry("GET", "/ui" + _NAME, get)]
