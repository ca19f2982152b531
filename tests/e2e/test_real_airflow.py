"""The pipeline in a real Airflow: API server, scheduler, DAG processor, triggerer; the clock of the service by hand."""

import pytest
from runs import CONF, COPY, CREATE, TIMEOUT, WAIT, Run, advance, jobs

from demo.processes import wait_until
from demo.stack import DAG_ID, Stack

pytestmark = pytest.mark.airflow

RETRAINING = "gemini_retraining_ferry_support"


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with Stack(tmp_path_factory.mktemp("stack") / "home", speed=0) as stack:
        yield stack


def test_a_run_from_start_to_finish_holds_no_worker_slot_while_the_job_tunes(stack):
    run = Run.start(stack, copy_location="europe-west4")

    run.wait_for_state(WAIT, "deferred")
    advance(stack, 8)
    (job,) = jobs(stack)
    assert job["state"] == "JOB_STATE_RUNNING"
    pool = stack.api.get("/pools/default_pool")
    assert (pool["running_slots"], pool["queued_slots"], pool["deferred_slots"]) == (0, 0, 1)
    assert run.state(WAIT) == "deferred"
    run.wait_for("progress in the log", lambda: "epoch 1 of 6" in run.log(WAIT))

    advance(stack)
    run.wait_for_state(COPY, "deferred")
    advance(stack)
    assert run.finish() == "success"

    report = run.xcom("report")
    models = {m["name"]: m for m in stack.emulator("GET", "/state")["models"]}
    assert len(jobs(stack)) == 1
    assert report["winner"] != report["default_before"] == "6"
    assert models[report["tuned_model"]]["defaultCheckpointId"] == report["winner"]
    assert models[report["copy"]]["defaultCheckpointId"] == report["winner"]
    assert models[report["copy"]]["checkpoints"] == models[report["tuned_model"]]["checkpoints"]
    log = run.log(WAIT)
    assert "RUNNING, tuning, epoch 1 of 6, step" in log
    assert "SUCCEEDED, epoch 6 of 6" in log


def test_a_failed_job_fails_the_run_with_the_services_words(stack):
    rule = {"job": {}, "outcome": "failed", "error": {"code": 3, "message": "The dataset smells of fish."}}
    stack.emulator("POST", "/faults", [rule])
    run = Run.start(stack)
    run.wait_for_state(WAIT, "deferred")
    advance(stack)
    assert run.finish() == "failed"
    assert run.state(WAIT) == "failed"
    log = run.log(WAIT)
    assert "is FAILED: The dataset smells of fish. (code 3)" in log
    assert jobs(stack)[0]["name"] in log


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("epoch_count", 0),
        ("adapter_size", 3),
        ("learning_rate_multiplier", "fast"),
        ("training_dataset_uri", "train.jsonl"),
        ("suite", "no_such_suite"),
    ],
)
def test_a_bad_value_is_refused_by_the_api_with_its_name(stack, name, bad):
    answer = stack.api.trigger(DAG_ID, {**CONF, name: bad})
    assert answer.status_code == 400
    assert name in answer.text
    assert jobs(stack) == []


def test_a_param_that_does_not_exist_stops_the_run_before_anything_is_paid(stack):
    run = Run.start(stack, epochs=3)
    assert run.finish() == "failed"
    assert "Unknown parameter epochs. Nothing was created" in run.log("validate")
    assert run.xcom(CREATE) is None
    assert jobs(stack) == []


def test_scheduled_retraining_waits_for_the_pipeline_without_a_slot_and_fails_with_it(stack):
    wait_until(RETRAINING, lambda: RETRAINING in stack.api.dag_ids(), list(stack.processes.values()), TIMEOUT)
    assert stack.api.get(f"/dags/{RETRAINING}")["is_paused"] is True
    stack.api.http.patch(f"/api/v2/dags/{RETRAINING}", json={"is_paused": False}).raise_for_status()
    by_hand = Run.start(stack, {}, RETRAINING)
    found = []

    def tuning_is_deferred():
        # On the day of the schedule Airflow makes a run of its own, and only one may be active: any will do.
        runs = stack.api.get(f"/dags/{DAG_ID}/dagRuns", limit=100)["dag_runs"]
        found[:] = [r["dag_run_id"] for r in runs if r["dag_run_id"].startswith(f"{RETRAINING}__")]
        return found and Run(stack, found[0]).state(WAIT) == "deferred"

    by_hand.wait_for("the run of the pipeline", tuning_is_deferred)
    tuning = Run(stack, found[0])
    retraining = Run(stack, tuning.run_id.removeprefix(f"{RETRAINING}__"), RETRAINING)
    retraining.wait_for_state("wait_for_tuning_run", "deferred")
    assert jobs(stack)[0]["tunedModelDisplayName"] == "ferry-support"
    # How one that ends well is seen: test_retraining.py. The profile's poll_interval is a minute and grows to four.
    tuning.mark("failed", WAIT)
    assert tuning.finish() == "failed"
    assert retraining.finish() == "failed"
    assert f"Run {tuning.run_id} of {DAG_ID} failed: {WAIT}" in retraining.log("wait_for_tuning_run")
