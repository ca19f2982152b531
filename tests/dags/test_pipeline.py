"""The whole pipeline in this process, once for each branch, against the local Vertex AI."""

import json
import time

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.models import Variable
from support import REPOSITORY, without_callbacks

from gemini_tuning import __version__
from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook
from gemini_tuning.operators.triggerer_check import VARIABLE

CONF = {
    "training_dataset_uri": "gs://bucket/train.jsonl",
    "validation_dataset_uri": "gs://bucket/validation.jsonl",
    "epoch_count": 6,
    "poll_interval": 1,
}


def read_dag():
    """Read the DAG afresh: dag.test() leaves rendered values behind on the tasks."""
    bag = DagBag(str(REPOSITORY / "dags" / "gemini_checkpoint_tuning.py"), bundle_name="dags-folder")
    dag = bag.dags["gemini_checkpoint_tuning"]
    for task in dag.tasks:
        task.retries = 0
    return without_callbacks(dag)


@pytest.fixture
def dag(airflow_db):
    return read_dag()


@pytest.fixture
def again(airflow_db):
    """The same for a second run."""
    return read_dag()


def run(dag, **conf):
    """Run the DAG; return its state, the tasks' states, and the report."""
    dag_run = dag.test(run_conf={**CONF, **conf})
    instances = dag_run.get_task_instances()
    states: dict[str, set] = {}
    for instance in instances:
        states.setdefault(instance.task_id, set()).add(str(instance.state))
    report = next((i.xcom_pull(task_ids="report") for i in instances if i.task_id == "report"), None)
    return str(dag_run.state), {task: "/".join(sorted(found)) for task, found in states.items()}, report


def defaults(vertex):
    return {model["name"]: model["defaultCheckpointId"] for model in vertex.state()["models"]}


def test_the_winner_is_not_the_default(dag, vertex):
    state, tasks, report = run(dag, copy_location="europe-west4", copy_model_id="ferry-copy")
    assert state == "success"
    not_needed = {"evaluate.smoke_test_champion", "promote.approve"}
    assert {task for task, state in tasks.items() if state != "success"} == not_needed
    assert report["default_before"] == "6"
    assert report["winner"] == report["default_after"] != "6"
    assert defaults(vertex) == {report["tuned_model"]: report["winner"], report["copy"]: report["winner"]}
    assert report["copy"].endswith("/locations/europe-west4/models/ferry-copy@1")
    assert len(vertex.state()["tuningJobs"]) == 1


def test_the_winner_is_the_default_already(dag, vertex):
    state, tasks, report = run(dag, export_last_checkpoint_only=True, min_pass_rate=0.1)
    assert state == "success"
    assert (tasks["promote.set_default"], tasks["copy.copy_model"], tasks["copy.verify_copy"]) == ("skipped",) * 3
    assert report["default_before"] == report["default_after"] == report["winner"]
    assert report["copy"] is None
    assert not [r for r in vertex.requests() if r["method"] == "PATCH"]


def test_the_winner_is_the_default_already_and_is_copied(dag, vertex):
    state, tasks, report = run(dag, export_last_checkpoint_only=True, min_pass_rate=0.1, copy_location="europe-west4")
    assert state == "success"
    assert (tasks["promote.set_default"], tasks["copy.copy_model"], tasks["copy.verify_copy"]) == (
        "skipped",
        "success",
        "success",
    )
    assert report["copy"] in defaults(vertex)


def test_nobody_is_good_enough(dag, vertex):
    state, tasks, report = run(dag, min_pass_rate=1.0, copy_location="europe-west4")
    assert state == "success"
    assert (tasks["promote.set_default"], tasks["copy.copy_model"], tasks["copy.verify_copy"]) == ("skipped",) * 3
    assert tasks["report"] == "success"
    assert report["winner"] is None
    assert "below the minimum 100.0%" in report["reason"]
    assert list(defaults(vertex).values()) == ["6"]


def test_only_what_is_better_than_the_champion_is_promoted(dag, again, vertex):
    """The first run's winner is in production when the next run, of the same data, comes to the same."""
    _, _, first = run(dag)
    state, tasks, report = run(again, champion=first["tuned_model"])
    assert state == "success"
    assert (tasks["evaluate.smoke_test_champion"], tasks["promote.set_default"]) == ("success", "skipped")
    assert (report["outcome"], report["winner"]) == ("champion kept", None)
    assert defaults(vertex)[report["tuned_model"]] == "6"


def test_a_champion_that_is_worse_is_replaced(dag, again, vertex):
    _, _, first = run(dag, export_last_checkpoint_only=True, min_pass_rate=0.1)
    state, _, report = run(again, champion=first["tuned_model"])
    assert state == "success"
    assert report["outcome"] == "promoted"


def test_a_champion_that_is_not_there_stops_the_run_before_anything_is_paid(dag, vertex):
    state, tasks, _ = run(dag, champion="projects/demo-project/locations/us-central1/endpoints/404")
    assert (state, tasks["validate"]) == ("failed", "failed")
    assert vertex.state()["tuningJobs"] == []


def test_the_triggerer_is_checked_once_a_day(dag, again, vertex):
    """The runs stop after the check, before anything is paid."""
    stop = {"champion": "projects/demo-project/locations/us-central1/endpoints/404"}
    Variable.delete(VARIABLE)
    run(dag, **stop)
    proof = Variable.get(VARIABLE, deserialize_json=True)
    assert proof == {"version": __version__, "at": pytest.approx(time.time(), abs=600)}
    earlier = {**proof, "at": proof["at"] - 3600}
    Variable.set(VARIABLE, earlier, serialize_json=True)
    run(again, **stop)
    assert Variable.get(VARIABLE, deserialize_json=True) == earlier


@pytest.mark.parametrize("proof", [{"version": "0.0.1"}, {"at": 0}, {"at": "yesterday"}], ids=str)
def test_the_triggerer_is_checked_again_after_a_day_and_for_another_version(dag, vertex, proof):
    outdated = {"version": __version__, "at": int(time.time()), **proof}
    Variable.set(VARIABLE, outdated, serialize_json=True)
    run(dag, champion="projects/demo-project/locations/us-central1/endpoints/404")
    assert Variable.get(VARIABLE, deserialize_json=True) != outdated


def test_a_checkpoint_that_is_not_deployed_does_not_stop_the_others(dag, vertex):
    vertex.faults([{"job": {}, "outcome": "checkpoint_without_endpoint", "checkpoint": "4"}])
    state, tasks, report = run(dag)
    assert state == "success"
    assert tasks["evaluate.smoke_test"] == "success"
    assert report["winner"] not in (None, "4")


def test_the_copy_gets_another_default(dag, vertex):
    state, _, report = run(dag, copy_location="europe-west4", copy_default_checkpoint_id="2")
    assert state == "success"
    assert defaults(vertex)[report["copy"]] == "2"
    assert defaults(vertex)[report["tuned_model"]] == report["winner"] != "2"


def test_a_failed_job_fails_the_run_and_nothing_is_changed(dag, vertex):
    vertex.faults([{"job": {}, "outcome": "failed", "error": {"code": 3, "message": "Bad data."}}])
    state, tasks, report = run(dag)
    assert state == "failed"
    assert tasks["tune.wait_for_tuning_job"] == "failed"
    assert tasks["report"] == "upstream_failed"
    assert report is None


def test_a_malformed_dataset_stops_the_run_before_anything_is_paid(dag, vertex):
    vertex.put_object("gs://bucket/train.jsonl", "{oops\n")
    state, tasks, _ = run(dag)
    assert state == "failed"
    assert tasks["validate"] == "failed"
    assert vertex.state()["tuningJobs"] == []


def test_a_run_above_its_budget_ends_before_any_job_exists(dag, vertex):
    state, tasks, report = run(dag, budget=0.01)
    assert (state, tasks["validate"], tasks["tune.create_tuning_job"]) == ("failed", "failed", "upstream_failed")
    assert report is None
    assert vertex.state()["tuningJobs"] == []


def test_what_was_billed_is_in_the_report_beside_the_estimate(dag, vertex):
    state, _, report = run(dag, budget=5, count_tokens=True)
    assert state == "success"
    lines = GeminiTuningHook().read_lines(report["report_json"])
    cost = json.loads(b"".join(lines))["cost"]
    assert cost["total"] < cost["budget"]
    assert cost["counted"]["ratio"] == pytest.approx(1, rel=0.05)
    assert cost["billed"]["ratio"] == pytest.approx(1, rel=0.05)
