"""projects.locations.evaluationRuns: the evaluations of tuning jobs, read only."""

from vertex_emulator.call import Call, Entry
from vertex_emulator.errors import not_found
from vertex_emulator.render import Json, render_evaluation_run
from vertex_emulator.routes.listing import listed

_COLLECTION = "/{version:version}/projects/{project}/locations/{location}/evaluationRuns"
_ORDER = {field: field for field in ("displayName", "name", "createTime", "completionTime", "state")}


def get(call: Call) -> Json:
    """One run."""
    name = call.parent.child("evaluationRuns", call.path["id"])
    run = call.world.store.evaluation_runs.get(name)
    if run is None:
        raise not_found("EvaluationRun", name)
    return render_evaluation_run(run)


def list_runs(call: Call) -> Json:
    """Return a page of runs."""
    parent = call.parent
    runs = (run for run in reversed(call.world.store.evaluation_runs.values()) if run.parent == parent)
    return listed(call, "evaluationRuns", runs, render_evaluation_run, order=_ORDER)


ROUTES = [Entry("GET", _COLLECTION + "/{id:id}", get), Entry("GET", _COLLECTION, list_runs)]
