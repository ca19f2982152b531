"""projects.locations.tuningJobs: create, get, list, cancel."""

from vertex_emulator.call import Call, Entry
from vertex_emulator.filters import parse_filter
from vertex_emulator.paging import page
from vertex_emulator.records import Job
from vertex_emulator.render import Json, job_fields, render_job, without_empty
from vertex_emulator.tuning_request import read_tuning_job, without_beta

_COLLECTION = "/{version:version}/projects/{project}/locations/{location}/tuningJobs"


def create(call: Call) -> Json:
    """Start a job. There is no idempotency key in this API: asked twice, two jobs run."""
    return _render(
        call, call.world.jobs.create(call.parent, read_tuning_job(call.json(), beta=_is_beta(call)), call.now)
    )


def get(call: Call) -> Json:
    """One job."""
    return _render(call, _job(call))


def list_jobs(call: Call) -> Json:
    """Return a page of jobs, newest first."""
    matches = parse_filter(call.filter())
    parent = call.parent

    def wanted(job: Job) -> bool:
        return job.parent == parent and matches(job_fields(job))

    jobs, token = page(
        reversed(call.world.store.jobs.values()), wanted, call.query("pageSize"), call.query("pageToken")
    )
    return without_empty({"tuningJobs": [_render(call, job) for job in jobs], "nextPageToken": token})


def cancel(call: Call) -> Json:
    """Ask a job to stop."""
    call.world.jobs.cancel(_job(call), call.now)
    return {}


def _job(call: Call) -> Job:
    return call.world.jobs.get(call.parent, call.path["id"])


def _render(call: Call, job: Job) -> Json:
    beta = _is_beta(call)
    rendered = render_job(job, call.world.jobs.endpoint(job), call.now, beta=beta)
    return rendered if beta else without_beta(rendered)


def _is_beta(call: Call) -> bool:
    return call.version == "v1beta1"


ROUTES = [
    Entry("GET", _COLLECTION + "/{id:id}", get),
    Entry("POST", _COLLECTION, create),
    Entry("GET", _COLLECTION, list_jobs),
    Entry("POST", _COLLECTION + "/{id:id}:cancel", cancel),
]
