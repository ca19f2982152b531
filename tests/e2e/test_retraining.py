"""A profile in a real Airflow: an unchanged one is skipped, a changed one continues from the promoted checkpoint."""

import json
import shutil

import pytest
from runs import CONF, TIMEOUT, jobs
from support import DATA, REPOSITORY

from demo.processes import wait_until
from demo.stack import Stack

pytestmark = pytest.mark.airflow

DAG_ID = "gemini_retraining_every_minute"
DATASET = CONF["training_dataset_uri"]
PROFILE = {
    "schedule": "* * * * *",
    "watch": DATASET,
    "continue_from": "promoted",
    "params": {**CONF, "tuned_model_display_name": "ferry", "suite": "ferry_support"},
}


@pytest.fixture(scope="module")
def profiles(tmp_path_factory):
    """The DAG file with profiles of the test's own, as a team would have them."""
    folder = tmp_path_factory.mktemp("dags")
    shutil.copy(REPOSITORY / "dags" / "gemini_scheduled_retraining.py", folder)
    shutil.copytree(REPOSITORY / "dags" / "config" / "smoke", folder / "config" / "smoke")
    (folder / "config" / "retraining").mkdir()
    (folder / "config" / "retraining" / "every_minute.yaml").write_text(json.dumps(PROFILE))
    return folder / "config" / "retraining"


@pytest.fixture(scope="module")
def stack(tmp_path_factory, profiles):
    local = "airflow.dag_processing.bundles.local.LocalDagBundle"
    bundles = [
        {"name": "dags-folder", "classpath": local, "kwargs": {}},
        {"name": "team", "classpath": local, "kwargs": {"path": str(profiles.parents[1])}},
    ]
    env = {
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(bundles),
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "5",
        "AIRFLOW__GEMINI_TUNING__WATCH_INTERVAL": "1",
    }
    with Stack(tmp_path_factory.mktemp("stack") / "home", speed=40, airflow_env=env) as stack:
        yield stack


def wait_for(stack, what, condition):
    wait_until(what, condition, list(stack.processes.values()), TIMEOUT)


def ended_runs(stack):
    """Return the profile's finished runs, the oldest first."""
    found = stack.api.get(f"/dags/{DAG_ID}/dagRuns", limit=100)["dag_runs"]
    return sorted((run for run in found if run["state"] in ("success", "failed")), key=lambda run: run["start_date"])


def task_states(stack, run):
    return {task["task_id"]: task["state"] for task in stack.api.tasks(DAG_ID, run["dag_run_id"])}


def pause(stack, paused):
    stack.api.http.patch(f"/api/v2/dags/{DAG_ID}", json={"is_paused": paused}).raise_for_status()


def test_unchanged_is_skipped_and_new_data_continues_from_the_promoted_checkpoint(stack):
    wait_for(stack, f"the DAG {DAG_ID}", lambda: DAG_ID in stack.api.dag_ids())
    pause(stack, paused=False)

    wait_for(stack, "the second run", lambda: len(ended_runs(stack)) >= 2)
    first, second = ended_runs(stack)[:2]
    assert (first["state"], first["run_type"]) == ("success", "scheduled")
    assert set(task_states(stack, first).values()) == {"success"}
    promoted = stack.api.xcom(DAG_ID, first["dag_run_id"], "wait_for_tuning_run")
    assert promoted["outcome"] == "promoted"
    assert promoted["tuned_model"].endswith("@1")

    assert (second["state"], second["run_type"]) == ("success", "scheduled")
    assert set(task_states(stack, second).values()) == {"skipped"}
    assert "unchanged since" in stack.api.xcom(DAG_ID, second["dag_run_id"], "plan", "skipped")
    assert len(jobs(stack)) == 1

    lines = (DATA / "train.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    stack.write(DATASET, "".join(lines[1:]))
    wait_for(stack, "a run by new data", lambda: any(r["run_type"] == "asset_triggered" for r in ended_runs(stack)))
    pause(stack, paused=True)
    third = next(run for run in ended_runs(stack) if run["run_type"] == "asset_triggered")
    assert third["state"] == "success"
    assert set(task_states(stack, third).values()) == {"success"}
    assert len(jobs(stack)) == 2
    job = jobs(stack)[1]
    assert job["preTunedModel"]["tunedModelName"] == promoted["tuned_model"]
    assert job["preTunedModel"]["checkpointId"] == promoted["checkpoint_id"]
    assert job["tunedModel"]["model"] == promoted["tuned_model"].replace("@1", "@2")


def test_a_broken_profile_is_one_import_error_and_the_others_stay(stack, profiles):
    wait_for(stack, f"the DAG {DAG_ID}", lambda: DAG_ID in stack.api.dag_ids())
    broken = profiles / "broken.yaml"
    broken.write_text('schedule: "@weekly"\nparams:\n  training_dataset_uri: gs://bucket/train.jsonl\n  epochs: 3\n')
    found = []

    def seen():
        found[:] = stack.api.import_errors()
        return found

    wait_for(stack, "the import error", seen)
    (error,) = found
    assert error["filename"] == "config/retraining/broken.yaml"
    assert f"{broken}:4: params.epochs: the tuning DAG has no such Param" in error["stack_trace"]
    assert DAG_ID in stack.api.dag_ids()
    broken.unlink()
    wait_for(stack, "no import error", lambda: not stack.api.import_errors())
    assert DAG_ID in stack.api.dag_ids()
