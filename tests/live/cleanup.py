"""Takes away what a live run has made, as far as that is possible: nothing that it did not make itself."""

from __future__ import annotations

from collections.abc import Iterator

from tests.live.evidence import (
    BETWEEN_LOOKS,
    CANCEL_LABEL,
    RUN_LABEL,
    TUNING,
    Asked,
    Evidence,
    Pause,
    jobs_labelled,
)
from tests.live.promises import STOPPING
from tests.live.wire import Reply, Wire, dig

PATIENCE = 200  # looks at an operation


def stop_jobs(wire: Wire, asked: Asked, known: str = "") -> list[str]:
    """Cancel the jobs of this run that are under way; return what was done, one sentence each.

    :param known: name of a job that is the run's whatever a list says.
    """
    labelled = [job for key in (RUN_LABEL, CANCEL_LABEL) for job in jobs_labelled(wire, asked.parent, key, asked.run)]
    names = {str(job.get("name")) for job in labelled} | ({known} if known else set())
    return [said for name in sorted(names) if (said := _stop(wire, name))]


def _stop(wire: Wire, name: str) -> str | None:
    job = wire.vertex("GET", name, version=TUNING)
    if job.at("state") in STOPPING:
        return None
    reply = wire.vertex("POST", f"{name}:cancel", version=TUNING)
    if reply.ok:
        return f"{name} was under way and is cancelled."
    said = reply.at("error", "message") or reply.body
    return f"{name} MAY STILL RUN, AND COST: its cancel said {reply.status} {said}. Cancel it in the console."


def remove_objects(wire: Wire, asked: Asked) -> list[str]:
    """Delete the run's objects; return what could not be done."""
    names = wire.objects(asked.bucket, f"{asked.folder}/")
    if names is None:
        return [f"gs://{asked.bucket}/{asked.folder}/ could not be listed"]
    replies = {name: wire.delete_object(asked.bucket, name) for name in names}
    return [f"gs://{asked.bucket}/{name}: {reply.status}" for name, reply in replies.items() if reply.status != 204]


def remove_models(wire: Wire, evidence: Evidence, pause: Pause) -> list[str]:
    """Undeploy the checkpoints, delete their endpoints, the copy and the model; return what could not be done.

    Only endpoints and a model with this run's label, and only a model with one version, are touched.
    """
    problems = []
    for number in range(1, len(evidence.checkpoints) + 1):
        problems += _remove_endpoint(wire, evidence, evidence.reply(f"endpoint_{number}"), pause)
    for name in ("copy", "model"):
        problems += _remove_model(wire, evidence, evidence.reply(name), pause)
    return problems


def _remove_endpoint(wire: Wire, evidence: Evidence, endpoint: Reply, pause: Pause) -> list[str]:
    name = endpoint.at("name")
    if not name or endpoint.at("labels", RUN_LABEL) != evidence.asked.run:
        return [f"{name or endpoint.request} is left alone: it has not this run's label"]
    for deployed in endpoint.items("deployedModels"):
        body = {"deployedModelId": dig(deployed, "id")}
        if problem := _done(wire, wire.vertex("POST", f"{name}:undeployModel", body=body), pause):
            return [f"{name} could not be undeployed: {problem}"]
    problem = _done(wire, wire.vertex("DELETE", str(name)), pause)
    return [f"{name} could not be deleted: {problem}"] if problem else []


def _remove_model(wire: Wire, evidence: Evidence, model: Reply, pause: Pause) -> list[str]:
    name = str(model.at("name") or "").partition("@")[0]
    if not name:
        return []
    versions = wire.vertex("GET", f"{name}:listVersions").items("models")
    if len(versions) != 1 or dig(versions[0], "labels", RUN_LABEL) != evidence.asked.run:
        return [f"{name} is left alone: it has {len(versions)} versions, or not this run's label"]
    problem = _done(wire, wire.vertex("DELETE", name), pause)
    return [f"{name} could not be deleted: {problem}"] if problem else []


def _done(wire: Wire, started: Reply, pause: Pause) -> str | None:
    """Wait for an operation; return why it did not end well."""
    if not started.ok:
        return f"{started.status} {started.at('error', 'message') or started.body}"[:300]
    for reply in _looks(wire, started, pause):
        if reply.at("done"):
            error = reply.at("error", "message")
            return str(error)[:300] if error else None
    return "it was not over in time"


def _looks(wire: Wire, started: Reply, pause: Pause) -> Iterator[Reply]:
    yield started
    for _ in range(PATIENCE):
        pause(BETWEEN_LOOKS)
        yield wire.vertex("GET", str(started.at("name")))
