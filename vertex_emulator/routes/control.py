"""The emulator's own API below ``/_emulator/``: no token needed, none of it exists in the real service."""

import json
from typing import Any

from vertex_emulator.call import Call, Entry
from vertex_emulator.clock import timestamp
from vertex_emulator.errors import invalid_argument
from vertex_emulator.faults import read_rules
from vertex_emulator.protojson import read_message
from vertex_emulator.render import Json, render_endpoint, render_job, render_model, render_operation

_MEGAYEAR = 1e13


def health(call: Call) -> Json:
    """Whether it serves, its time, the seed that makes another run alike, and counts of resources and requests."""
    world = call.world
    return {
        "status": "ok",
        "virtualTime": timestamp(call.now),
        "speed": world.clock.speed,
        "seed": world.seed,
        "counts": world.counts(),
        "requests": world.journal.total,
    }


def state(call: Call) -> Json:
    """All resources, as the API would show them."""
    store, jobs = call.world.store, call.world.jobs
    return {
        "tuningJobs": [render_job(job, jobs.endpoint(job), call.now, beta=True) for job in store.jobs.values()],
        "models": [
            render_model(model, version, versioned_name=True)
            for model in store.models.values()
            for version in model.versions.values()
        ],
        "endpoints": [render_endpoint(endpoint) for endpoint in store.endpoints.values()],
        "operations": [render_operation(operation) for operation in store.operations.values()],
        "buckets": [
            {"name": bucket.name, "objects": {name: len(item.content) for name, item in bucket.objects.items()}}
            for bucket in call.world.buckets
        ],
    }


def requests(call: Call) -> Json:
    """Return the last requests."""
    return {"requests": call.world.journal.entries()}


def reset(call: Call) -> Json:
    """Forget everything but the key."""
    call.world.reset()
    return {}


def advance(call: Call) -> Json:
    """Move virtual time on, and apply what has become due."""
    seconds = read_message(call.json(), {"seconds": "double"}).get("seconds", 0.0)
    if not 0 <= seconds < _MEGAYEAR:
        raise invalid_argument("seconds must be a number of 0 or more: time moves forward only.")
    call.world.clock.advance(seconds)
    call.world.tick()
    return {"virtualTime": timestamp(call.now)}


def add_faults(call: Call) -> Json:
    """Append fault rules."""
    call.world.faults.add(read_rules(call.json()))
    return _faults(call)


def get_faults(call: Call) -> Json:
    """Say what the fault rules have done so far."""
    return dict(call.world.faults.describe())


def clear_faults(call: Call) -> Json:
    """Drop all fault rules."""
    call.world.faults.clear()
    return _faults(call)


def make_bucket(call: Call) -> Json:
    """Make a bucket, or leave the one there is."""
    world = call.world
    name = read_message(call.json(), {"name": "string"}).get("name", "")
    if name not in [bucket.name for bucket in world.buckets]:
        world.buckets.create(name, world.settings.project, call.now)
    return {"name": name}


def key(call: Call) -> Json:
    """Return the service-account key, for callers that reach the server the way this caller did."""
    return dict(call.world.account.key_file(call.base_url))


def connection(call: Call) -> Json:
    """Return the Airflow connection that points here."""
    extra: dict[str, Any] = {
        "project": call.world.settings.project,
        "keyfile_dict": json.dumps(call.world.account.key_file(call.base_url)),
        "aiplatform.endpoint": call.base_url,
        "gcs.endpoint": call.base_url,
        "monitoring.endpoint": call.base_url,
    }
    return {"conn_type": "google_cloud_platform", "extra": extra}


def _faults(call: Call) -> Json:
    faults = call.world.faults
    return {"replies": len(faults.replies), "jobs": len(faults.jobs), "operations": len(faults.operations)}


ROUTES = [
    Entry("GET", "/_emulator/health", health),
    Entry("GET", "/_emulator/state", state),
    Entry("GET", "/_emulator/requests", requests),
    Entry("POST", "/_emulator/reset", reset),
    Entry("POST", "/_emulator/advance", advance),
    Entry("POST", "/_emulator/faults", add_faults),
    Entry("GET", "/_emulator/faults", get_faults),
    Entry("DELETE", "/_emulator/faults", clear_faults),
    Entry("POST", "/_emulator/buckets", make_bucket),
    Entry("GET", "/_emulator/key", key),
    Entry("GET", "/_emulator/connection", connection),
]
