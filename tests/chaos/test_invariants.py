"""Each check against a hand-made round in which all is well, and against one in which it is not."""

import re
from dataclasses import replace

import pytest

from tests.chaos.evidence import Evidence, Run
from tests.chaos.invariants import INVARIANTS, violations
from tests.chaos.plan import RunPlan

JOB = "projects/1/locations/us-central1/tuningJobs/"
MODEL = "projects/1/locations/us-central1/models/"
COPY = "projects/1/locations/europe-west4/models/"


def job(run, number=1, state="SUCCEEDED"):
    return {"name": f"{JOB}{run}{number}", "state": f"JOB_STATE_{state}", "labels": {"chaos-run": run}}


def model(run, name=MODEL, default="2", copy=False):
    return {
        "name": f"{name}{run}@1",
        "labels": {"chaos-run": run},
        "checkpoints": [{"checkpointId": number} for number in "123"],
        "defaultCheckpointId": default,
        "modelSourceInfo": {"sourceType": "MODEL_GARDEN", **({"copy": True} if copy else {})},
    }


def succeeded(run):
    report = {"winner": "2", "tuned_model": f"{MODEL}{run}@1", "copy": f"{COPY}{run}@1"}
    return Run(RunPlan(run, copy=True), f"manual__{run}", "success", f"{JOB}{run}1", report)


GIVEN_UP = Run(RunPlan("b", "run marked failed"), "manual__b", "failed", f"{JOB}b1")
GOOD = Evidence(
    runs=(succeeded("a"), GIVEN_UP),
    jobs=(job("a"), job("b", state="CANCELLED")),
    models=(model("a"), model("a", COPY, copy=True)),
    requests=(
        {"method": "POST", "path": "/v1/p/tuningJobs", "status": 200, "time": "t", "reply": {"name": f"{JOB}a1"}},
        {
            "method": "PATCH",
            "path": "/v1/p/models/a@1",
            "status": 200,
            "time": "t",
            "body": {"defaultCheckpointId": "2"},
        },
    ),
    slots={"default_pool": 0},
)
A, B = GOOD.runs
PATCH = {"method": "PATCH", "path": "/v1/p/models/a@1", "time": "t", "body": {"defaultCheckpointId": "1"}}
LOST = {"method": "POST", "path": "/v1/p/tuningJobs", "status": 200, "time": "t", "reply": {"name": f"{JOB}x"}}
BROKEN = [
    ("the run ended as it should", {"runs": (replace(A, state="failed"), B)}, "run a is failed, not success"),
    ("the run ended as it should", {"runs": (replace(A, state="running"), B)}, "run a is running"),
    (
        "the run ended as it should",
        {"runs": (A, replace(B, state="success"))},
        "marked failed.* is success",
    ),
    ("exactly one job per run", {"jobs": (*GOOD.jobs, job("a", 2))}, "run a has 2 jobs"),
    ("exactly one job per run", {"jobs": (*GOOD.jobs, job("b", 2, "CANCELLED"))}, "has 2 jobs"),
    ("exactly one job per run", {"jobs": GOOD.jobs[1:]}, "run a has 0 jobs"),
    ("no job of nobody", {"jobs": (*GOOD.jobs, job("stray"))}, "stray1 belongs to no run"),
    ("at most one copy per run", {"models": (*GOOD.models, model("a", COPY + "2", copy=True))}, "has 2 copies"),
    ("at most one copy per run", {"models": (*GOOD.models, model("b", COPY, copy=True))}, "has 1 copies"),
    ("at most one copy per run", {"models": GOOD.models[:1]}, "run a has 0 copies"),
    ("no job runs on for a run that ended", {"jobs": (job("a"), job("b", state="RUNNING"))}, "is JOB_STATE_RUNNING"),
    ("no job runs on for a run that ended", {"jobs": (job("a"), job("b", state="CANCELLING"))}, "CANCELLING"),
    ("the default is the winner or untouched", {"models": (model("a", default="3"), GOOD.models[1])}, "is 3, not 2"),
    ("the default is the winner or untouched", {"models": (GOOD.models[0], model("a", COPY, "3", copy=True))}, "is 3"),
    ("the default is the winner or untouched", {"models": (*GOOD.models, model("b", default="1"))}, "is 1, not 2 or 3"),
    ("the default is the winner or untouched", {"requests": (*GOOD.requests, PATCH)}, "was set to 1"),
    ("no two runs share a job, model or copy", {"runs": (replace(A, job=f"{JOB}b1"), B)}, "which belongs to b"),
    ("no two runs share a job, model or copy", {"runs": (A, replace(B, job=A.job))}, "both have"),
    ("the report says what the service has", {"runs": (replace(A, report=None), B)}, "reports"),
    ("the report says what the service has", {"runs": (replace(A, report={**A.report, "copy": None}), B)}, "reports"),
    ("no pool slot is held", {"slots": {"default_pool": 1}}, "1 slots of default_pool"),
    ("the service forgot nothing", {"requests": (*GOOD.requests, LOST)}, "is gone"),
]


def test_a_good_round_violates_nothing():
    assert violations(GOOD) == []


@pytest.mark.parametrize(("invariant", "change", "text"), BROKEN)
def test_each_invariant_can_be_violated(invariant, change, text):
    found = list(INVARIANTS[invariant](replace(GOOD, **change)))
    assert found
    assert any(re.search(text, line) for line in found), found


def test_every_invariant_is_seen_to_fail():
    assert {invariant for invariant, *_ in BROKEN} == set(INVARIANTS)


def test_a_run_that_was_given_up_before_its_create_may_have_no_job():
    early = replace(GOOD, runs=(A, replace(B, job=None)), jobs=GOOD.jobs[:1])
    assert violations(early) == []


def test_a_run_that_failed_may_leave_the_default_as_the_service_set_it_or_none_yet():
    for default in ("3", "2", None):
        assert violations(replace(GOOD, models=(*GOOD.models, model("b", default=default)))) == []
