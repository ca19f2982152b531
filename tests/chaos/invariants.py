"""What has to hold after a round, whatever was done to it. Pure functions of the evidence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from tests.chaos.evidence import Evidence, Json, Run, label_of

WINNER = "2"  # of the demo's data at the plan's learning rate; the last checkpoint has overfitted
ENDED_JOB = frozenset(
    f"JOB_STATE_{state}" for state in ("SUCCEEDED", "PARTIALLY_SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED")
)
ENDED_RUN = ("success", "failed")


class Violation(NamedTuple):
    """An invariant that does not hold, and how one can see it."""

    invariant: str
    text: str


def ended_as_it_should(evidence: Evidence) -> Iterator[str]:
    """Success, unless a person or the service decided otherwise."""
    for run in evidence.runs:
        if run.state != run.plan.ending:
            failed = [f"{t['task_id']} (try {t['try_number']})" for t in run.tasks if t["state"] == "failed"]
            yield f"{_name(run)} is {run.state}, not {run.plan.ending}; failed tasks: {', '.join(failed) or 'none'}"


def one_job_per_run(evidence: Evidence) -> Iterator[str]:
    """Exactly one; a run that a person gave up may have been too early for one."""
    for run in evidence.runs:
        jobs = [job["name"] for job in evidence.jobs_of(run)]
        if len(jobs) > 1 or (not jobs and not run.plan.given_up):
            yield f"{_name(run)} has {len(jobs)} jobs: {jobs}"


def no_job_of_nobody(evidence: Evidence) -> Iterator[str]:
    """Every job carries the label of a run of this round."""
    labels = {run.plan.label for run in evidence.runs}
    for job in evidence.jobs:
        if label_of(job) not in labels:
            yield f"{job['name']} belongs to no run; labels {job.get('labels')}"


def one_copy(evidence: Evidence) -> Iterator[str]:
    """At most one, none where none is wanted, one when a run that wants it has succeeded."""
    for run in evidence.runs:
        copies = [model["name"] for model in evidence.models_of(run, copies=True)]
        least = 1 if run.plan.copy and run.state == "success" else 0
        if not least <= len(copies) <= int(run.plan.copy):
            yield f"{_name(run)} has {len(copies)} copies: {copies}"


def nothing_runs_on(evidence: Evidence) -> Iterator[str]:
    """No job goes on for a run that has ended."""
    for run in evidence.runs:
        for job in evidence.jobs_of(run):
            if run.state in ENDED_RUN and job["state"] not in ENDED_JOB:
                yield f"{_name(run)} is {run.state}, and its {job['name']} is {job['state']}"


def default_is_winner_or_untouched(evidence: Evidence) -> Iterator[str]:
    """The winner after a success, on the copy too; else the winner or what it was. Never anything else meanwhile."""
    for run in evidence.runs:
        for model in evidence.models_of(run, copies=False) + evidence.models_of(run, copies=True):
            default, last = model.get("defaultCheckpointId"), model["checkpoints"][-1]["checkpointId"]
            # The service sets the last one when the job is over; until then there is none.
            good = (WINNER,) if run.state == "success" else (WINNER, last, None)
            if default not in good:
                yield f"{_name(run)}: the default of {model['name']} is {default}, not {' or '.join(map(str, good))}"
    for request in evidence.requests:
        default = _default_set_by(request)
        if default not in (None, WINNER):
            yield f"the default of {request['path']} was set to {default} at {request['time']}"


def runs_keep_apart(evidence: Evidence) -> Iterator[str]:
    """What a run says is its job, model and copy carries its label, and no other run says the same."""
    resources = {item["name"]: item for item in (*evidence.jobs, *evidence.models)}
    seen: dict[str, Run] = {}
    for run in evidence.runs:
        for name in _named_by(run):
            owner = label_of(resources.get(name, {}))
            if owner != run.plan.label:
                yield f"{_name(run)} says that {name} is its own, which belongs to {owner or 'nobody'}"
            if name in seen:
                yield f"{_name(run)} and {_name(seen[name])} both have {name}"
            seen[name] = run


def report_is_true(evidence: Evidence) -> Iterator[str]:
    """A run that succeeded names the winner, the model, and the copy if it wanted one, and the service has them."""
    for run in evidence.runs:
        if run.state != "success":
            continue
        report = run.report or {}
        tuned = [model["name"] for model in evidence.models_of(run, copies=False)]
        copies = [model["name"] for model in evidence.models_of(run, copies=True)]
        said = (report.get("winner"), report.get("tuned_model"), report.get("copy"))
        if said[0] != WINNER or said[1] not in tuned or said[2] not in (copies or [None]):
            yield f"{_name(run)} reports {said}; there are models {tuned} and copies {copies}"


def no_slot_is_held(evidence: Evidence) -> Iterator[str]:
    """When all runs have ended, Airflow's pools are empty."""
    if all(run.state in ENDED_RUN for run in evidence.runs):
        for pool, taken in evidence.slots.items():
            if taken:
                yield f"{taken} slots of {pool} are taken though all runs have ended"


def service_forgot_nothing(evidence: Evidence) -> Iterator[str]:
    """Every job that the emulator promised is there: killing it must not make the other checks look at less."""
    there = {job["name"] for job in evidence.jobs}
    for request in evidence.requests:
        reply = request.get("reply")
        is_create = request["method"] == "POST" and request["path"].endswith("/tuningJobs")
        if is_create and isinstance(reply, dict) and reply.get("name", "") not in there and request["status"] == 200:
            yield f"{reply.get('name')}, created at {request['time']}, is gone"


INVARIANTS: dict[str, Callable[[Evidence], Iterator[str]]] = {
    "the run ended as it should": ended_as_it_should,
    "exactly one job per run": one_job_per_run,
    "no job of nobody": no_job_of_nobody,
    "at most one copy per run": one_copy,
    "no job runs on for a run that ended": nothing_runs_on,
    "the default is the winner or untouched": default_is_winner_or_untouched,
    "no two runs share a job, model or copy": runs_keep_apart,
    "the report says what the service has": report_is_true,
    "no pool slot is held": no_slot_is_held,
    "the service forgot nothing": service_forgot_nothing,
}


def violations(evidence: Evidence) -> list[Violation]:
    """Return what does not hold."""
    return [Violation(name, text) for name, check in INVARIANTS.items() for text in check(evidence)]


def _name(run: Run) -> str:
    fate = f" ({run.plan.fate})" if run.plan.fate else ""
    return f"run {run.plan.label}{fate}"


def _named_by(run: Run) -> set[str]:
    report = run.report or {}
    return {name for name in (run.job, report.get("tuned_model"), report.get("copy")) if name}


def _default_set_by(request: Json) -> str | None:
    body = request.get("body")
    if request["method"] != "PATCH" or "/models/" not in request["path"] or not isinstance(body, dict):
        return None
    return body.get("defaultCheckpointId")
