"""The tasks of a scheduled retraining, with Airflow's runs and asset states as plain values."""

import json
from collections import defaultdict
from types import SimpleNamespace

import pytest
from airflow.sdk import Asset
from airflow.sdk.exceptions import AirflowSkipException, TaskDeferred

from gemini_tuning.core.exceptions import InvalidInputError, PermanentServiceError, TuningRunError
from gemini_tuning.operators.plan_retraining import MEMORY_KEY, GeminiPlanRetrainingOperator
from gemini_tuning.operators.wait_for_tuning_run import GeminiWaitForTuningRunOperator

ASSET = Asset(name="gemini_retraining_weekly")
MODEL = "projects/1/locations/us-central1/models/5@1"
REPORT = {"outcome": "promoted", "tuned_model": MODEL, "default_after": "4", "report_markdown": "gs://b/report.md"}
DAG_FIELDS = {"memory": ASSET, "tuning_dag_id": "gemini_checkpoint_tuning", "report_task_id": "report"}
PARAMS = {"training_dataset_uri": "gs://bucket/train.jsonl", "validation_dataset_uri": "gs://bucket/validation.jsonl"}


class State(dict):
    """An asset's state: JSON only, as in Airflow."""

    def set(self, key, value):
        self[key] = json.loads(json.dumps(value))


class Airflow:
    """The runs of the tuning DAG and the asset's state."""

    def __init__(self):
        self.runs: dict[str, str] = {}
        self.tasks: dict[str, dict[str, str]] = defaultdict(dict)
        self.xcoms: dict[tuple[str, str, str], object] = {}
        self.state = State()
        self.pushed: dict[str, object] = {}
        self.event = SimpleNamespace(extra={})

    def end(self, run_id, state="success", report=REPORT):
        self.runs[run_id] = state
        if report:
            self.xcoms[run_id, "report", "return_value"] = report

    def context(self):
        ti = SimpleNamespace(
            get_dr_count=self.count,
            get_dagrun_state=self.run_state,
            get_task_states=self.task_states,
            xcom_pull=self.pull,
            xcom_push=self.pushed.__setitem__,
        )
        return {"ti": ti, "asset_state_store": {ASSET: self.state}, "outlet_events": {ASSET: self.event}}

    def count(self, dag_id, run_ids):
        assert dag_id == "gemini_checkpoint_tuning"
        return sum(run_id in self.runs for run_id in run_ids)

    def run_state(self, dag_id, run_id):
        assert dag_id == "gemini_checkpoint_tuning"
        return self.runs[run_id]

    def task_states(self, dag_id, run_ids):
        assert dag_id == "gemini_checkpoint_tuning"
        return {run_id: self.tasks[run_id] for run_id in run_ids}

    def pull(self, task_ids, dag_id, run_id, key):
        assert dag_id == "gemini_checkpoint_tuning"
        return self.xcoms.get((run_id, task_ids, key))

    def plan(self, run_id, *, continue_from="promoted", params=PARAMS, **more):
        return GeminiPlanRetrainingOperator(
            task_id="plan",
            tuning_params=params,
            continue_from=continue_from,
            tuning_run_id=run_id,
            **DAG_FIELDS,
            **more,
        ).execute(self.context())

    def wait(self, run_id):
        return wait_operator(run_id).execute(self.context())


def wait_operator(run_id):
    return GeminiWaitForTuningRunOperator(task_id="wait", tuning_run_id=run_id, **DAG_FIELDS)


@pytest.fixture
def airflow(vertex):
    return Airflow()


def test_the_first_run_begins_at_the_base_model(airflow):
    plan = airflow.plan("run-1")
    assert plan["conf"] == PARAMS
    assert plan["tuning_run_id"] == "run-1"
    assert airflow.state[MEMORY_KEY]["active"]["tuning_run_id"] == "run-1"


def test_plan_unchanged_since_the_last_success_skips(airflow, snapshot):
    airflow.plan("run-1")
    airflow.end("run-1")
    outcome = airflow.wait("run-1")
    assert outcome == {
        "tuning_run_id": "run-1", "outcome": "promoted", "tuned_model": MODEL, "checkpoint_id": "4",
        "report_markdown": "gs://b/report.md",
    }  # fmt: skip
    assert airflow.event.extra == outcome
    with pytest.raises(AirflowSkipException) as caught:
        airflow.plan("run-2")
    assert airflow.pushed["skipped"] == str(caught.value) == snapshot


def test_new_data_makes_a_run_that_goes_on_from_the_promoted_checkpoint(airflow, vertex):
    airflow.plan("run-1")
    airflow.end("run-1")
    airflow.wait("run-1")
    vertex.put_object("gs://bucket/train.jsonl", "{}\n")
    conf = airflow.plan("run-2")["conf"]
    assert conf == {**PARAMS, "pre_tuned_model": MODEL, "pre_tuned_model_checkpoint_id": "4"}


@pytest.mark.parametrize("changed", [{"params": {**PARAMS, "epoch_count": 9}}, {"force": "True"}])
def test_another_parameter_or_force_makes_a_run(airflow, changed):
    airflow.plan("run-1")
    airflow.end("run-1")
    airflow.wait("run-1")
    assert airflow.plan("run-2", **changed)["tuning_run_id"] == "run-2"


def test_the_same_content_written_again_is_unchanged(airflow, vertex):
    airflow.plan("run-1")
    airflow.end("run-1")
    airflow.wait("run-1")
    text = vertex.request("GET", "/storage/v1/b/bucket/o/train.jsonl?alt=media").text
    vertex.put_object("gs://bucket/train.jsonl", text)
    with pytest.raises(AirflowSkipException, match="run-1"):
        airflow.plan("run-2")


def test_plan_while_an_earlier_tuning_run_is_running_skips(airflow, snapshot):
    airflow.plan("run-1")
    airflow.runs["run-1"] = "running"
    with pytest.raises(AirflowSkipException) as caught:
        airflow.plan("run-2", force=True)
    assert str(caught.value) == snapshot


def test_another_try_of_the_same_run_plans_the_same(airflow):
    first = airflow.plan("run-1")
    airflow.runs["run-1"] = "running"
    assert airflow.plan("run-1") == first


def test_plan_records_a_success_that_no_run_has_recorded(airflow):
    airflow.plan("run-1")
    airflow.end("run-1")
    with pytest.raises(AirflowSkipException, match="run-1"):
        airflow.plan("run-2")
    assert airflow.state[MEMORY_KEY]["promoted"] == {"model": MODEL, "checkpoint_id": "4"}


@pytest.mark.parametrize("state", ["failed", None])
def test_plan_after_a_failed_or_deleted_tuning_run_starts_one(airflow, state):
    airflow.plan("run-1")
    if state:
        airflow.end("run-1", state, report=None)
    assert airflow.plan("run-2")["tuning_run_id"] == "run-2"


def test_wait_failed_run_raises_with_the_failed_tasks_and_the_next_run_starts_over(airflow, snapshot):
    airflow.plan("run-1")
    airflow.end("run-1", "failed", report=None)
    airflow.tasks["run-1"] |= {"validate": "failed", "choose": "upstream_failed", "copy.copy_model": "failed"}
    airflow.xcoms["run-1", "validate", "error"] = "Dataset gs://bucket/train.jsonl has 1 problem(s): line 3: no JSON"
    with pytest.raises(TuningRunError) as caught:
        airflow.wait("run-1")
    assert (caught.value.resource, caught.value.code) == ("run-1", "tuning_run_failed")
    assert str(caught.value) == snapshot
    assert airflow.plan("run-2")["tuning_run_id"] == "run-2"


def test_wait_running_tuning_run_defers(airflow):
    airflow.plan("run-1")
    airflow.runs["run-1"] = "running"
    with pytest.raises(TaskDeferred) as caught:
        airflow.wait("run-1")
    assert caught.value.trigger.run_ids == ["run-1"]


def test_wait_event_of_another_trigger_defers_again(airflow):
    airflow.plan("run-1")
    airflow.runs["run-1"] = "running"
    operator = wait_operator("run-1")
    with pytest.raises(TaskDeferred):
        operator.execute_complete(airflow.context(), {"resource": "another"})


def test_a_dataset_that_is_not_there_is_named_before_anything_starts(airflow):
    with pytest.raises(PermanentServiceError) as caught:
        airflow.plan("run-1", params={"training_dataset_uri": "gs://bucket/no.jsonl"})
    assert "gs://bucket/no" in str(caught.value)
    assert airflow.state == {}


def test_plan_unreadable_memory_raises(airflow):
    airflow.state[MEMORY_KEY] = ["?"]
    with pytest.raises(InvalidInputError) as caught:
        airflow.plan("run-1")
    assert caught.value.code == "invalid_memory"
