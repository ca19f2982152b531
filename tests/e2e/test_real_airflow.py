"""The pipeline in a real Airflow: API server, scheduler, DAG processor, triggerer; the clock of the service by hand."""

import json

import pytest
from support import DATA, LONG

from demo.processes import wait_until
from demo.stack import BUCKET, DAG_ID, Stack

pytestmark = pytest.mark.airflow

RETRAINING = "gemini_retraining_ferry_support"
TIMEOUT = 180.0  # seconds; only a stuck run takes as long
CONF = {
    "training_dataset_uri": f"gs://{BUCKET}/ferry_support/train.jsonl",
    "validation_dataset_uri": f"gs://{BUCKET}/ferry_support/validation.jsonl",
    "epoch_count": 6,
    "poll_interval": 1,
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with Stack(tmp_path_factory.mktemp("stack") / "home", speed=0) as stack:
        yield stack


@pytest.fixture(autouse=True)
def _fresh_service(stack):
    stack.emulator("POST", "/reset")
    stack.emulator("DELETE", "/faults")
    stack.upload(DATA, "ferry_support")


def start(stack, dag_id=DAG_ID, conf=CONF):
    answer = stack.api.trigger(dag_id, conf)
    assert answer.is_success, answer.text
    return answer.json()["dag_run_id"]


def wait_for(stack, what, condition):
    wait_until(what, condition, list(stack.processes.values()), TIMEOUT)


def state_of(stack, run_id, task_id):
    return next(t["state"] for t in stack.api.tasks(DAG_ID, run_id) if t["task_id"] == task_id)


def wait_for_state(stack, run_id, task_id, state):
    wait_for(stack, f"{task_id} {state}", lambda: state_of(stack, run_id, task_id) == state)


def log_of(stack, run_id, task_id):
    """Return the messages and the errors of a task's log."""
    records = [json.loads(line) for line in stack.api.log(DAG_ID, run_id, task_id).splitlines()]
    return "\n".join(str(r.get("event")) + str(r.get("error_detail") or "") for r in records)


def jobs(stack):
    return stack.emulator("GET", "/state")["tuningJobs"]


def test_a_run_from_start_to_finish_holds_no_worker_slot_while_the_job_tunes(stack):
    run_id = start(stack, conf={**CONF, "copy_location": "europe-west4"})

    wait_for_state(stack, run_id, "wait_for_tuning_job", "deferred")
    stack.emulator("POST", "/advance", {"seconds": 8})
    (job,) = jobs(stack)
    assert job["state"] == "JOB_STATE_RUNNING"
    pool = stack.api.get("/pools/default_pool")
    assert (pool["running_slots"], pool["queued_slots"], pool["deferred_slots"]) == (0, 0, 1)
    assert state_of(stack, run_id, "wait_for_tuning_job") == "deferred"
    wait_for(stack, "progress in the log", lambda: "epoch 1 of 6" in log_of(stack, run_id, "wait_for_tuning_job"))

    stack.emulator("POST", "/advance", {"seconds": LONG})
    wait_for_state(stack, run_id, "copy_model", "deferred")
    stack.emulator("POST", "/advance", {"seconds": LONG})
    assert stack.finish(DAG_ID, run_id, TIMEOUT) == "success"

    report = stack.api.xcom(DAG_ID, run_id, "report")
    models = {m["name"]: m for m in stack.emulator("GET", "/state")["models"]}
    assert len(jobs(stack)) == 1
    assert report["winner"] != report["default_before"] == "6"
    assert models[report["tuned_model"]]["defaultCheckpointId"] == report["winner"]
    assert models[report["copy"]]["defaultCheckpointId"] == report["winner"]
    assert models[report["copy"]]["checkpoints"] == models[report["tuned_model"]]["checkpoints"]
    log = log_of(stack, run_id, "wait_for_tuning_job")
    assert "RUNNING, tuning, epoch 1 of 6, step" in log
    assert "SUCCEEDED, epoch 6 of 6" in log


def test_a_failed_job_fails_the_run_with_the_services_words(stack):
    rule = {"job": {}, "outcome": "failed", "error": {"code": 3, "message": "The dataset smells of fish."}}
    stack.emulator("POST", "/faults", [rule])
    run_id = start(stack)
    wait_for_state(stack, run_id, "wait_for_tuning_job", "deferred")
    stack.emulator("POST", "/advance", {"seconds": LONG})
    assert stack.finish(DAG_ID, run_id, TIMEOUT) == "failed"
    assert state_of(stack, run_id, "wait_for_tuning_job") == "failed"
    log = log_of(stack, run_id, "wait_for_tuning_job")
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
    run_id = start(stack, conf={**CONF, "epochs": 3})
    assert stack.finish(DAG_ID, run_id, TIMEOUT) == "failed"
    assert "Unknown parameter epochs; nothing was created" in log_of(stack, run_id, "validate")
    assert jobs(stack) == []


def test_scheduled_retraining_starts_the_pipeline_and_waits_without_a_slot(stack):
    assert stack.api.get(f"/dags/{RETRAINING}")["is_paused"] is True
    stack.api.http.patch(f"/api/v2/dags/{RETRAINING}", json={"is_paused": False}).raise_for_status()
    run_id = start(stack, RETRAINING, {})
    tuning_run = f"{RETRAINING}__{run_id}"

    def tuning_is_deferred():
        runs = stack.api.get(f"/dags/{DAG_ID}/dagRuns", limit=100)["dag_runs"]
        return any(r["dag_run_id"] == tuning_run for r in runs) and (
            state_of(stack, tuning_run, "wait_for_tuning_job") == "deferred"
        )

    wait_for(stack, "the run of the pipeline", tuning_is_deferred)
    wait_for(stack, "tune deferred", lambda: stack.api.tasks(RETRAINING, run_id)[0]["state"] == "deferred")
    assert jobs(stack)[0]["tunedModelDisplayName"] == "ferry-support"
    stack.emulator("POST", "/advance", {"seconds": LONG})
    assert stack.finish(DAG_ID, tuning_run, TIMEOUT) == "success"
    assert stack.finish(RETRAINING, run_id, TIMEOUT) == "success"
