"""Every DAG file can be read: no error, no warning, nothing of Google's imported, every Param fit for the form."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.serialization.serialized_objects import DagSerialization

from gemini_tuning.pipelines.params import dag_params
from gemini_tuning.ui import queries

REPOSITORY = Path(__file__).parents[2]
DAG_FILES = sorted((REPOSITORY / "dags").glob("*.py"))

PARSE = """
import importlib.util, json, sys, warnings
import airflow.sdk
sys.path.insert(0, "plugins")
warnings.simplefilter("error")
spec = importlib.util.spec_from_file_location("dag_file", sys.argv[1])
spec.loader.exec_module(importlib.util.module_from_spec(spec))
heavy = ("google.genai", "google.cloud.aiplatform", "google.cloud.storage", "google.auth", "google.api_core",
         "googleapiclient", "airflow.providers.google.common", "airflow.providers.google.cloud",
         "gemini_tuning.hooks.gemini_tuning", "gemini_tuning.smoke", "regex", "rapidfuzz")
print(json.dumps([name for name in sys.modules if name.startswith(heavy)]))
"""


@pytest.mark.parametrize("path", DAG_FILES, ids=lambda p: p.stem)
def test_a_dag_file_is_read_without_warnings_and_without_google(path):
    done = subprocess.run(
        [sys.executable, "-c", PARSE, str(path)],
        cwd=REPOSITORY,
        env=os.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []


@pytest.fixture(scope="module")
def dags():
    bag = DagBag(str(REPOSITORY / "dags"), bundle_name="dags-folder")
    assert bag.import_errors == {}
    return bag.dags


def test_the_dags_that_there_are(dags):
    tuning, actions = {"gemini_checkpoint_tuning"}, {"gemini_checkpoint_promotion", "gemini_checkpoint_prompt"}
    assert set(dags) == {*tuning, *actions, "gemini_model_cleanup", "gemini_retraining_ferry_support"}
    assert {dag_id for dag_id, dag in dags.items() if queries.TAG in dag.tags} == tuning
    assert {dag_id for dag_id, dag in dags.items() if queries.ACTIONS_TAG in dag.tags} == actions


def test_the_steps_of_the_pipeline_stand_in_the_documented_order(dags):
    dag = dags["gemini_checkpoint_tuning"]
    steps = [task.task_id for task in dag.topological_sort() if not task.is_teardown]
    assert steps[:4] == ["validate", "tune.create_tuning_job", "tune.wait_for_tuning_job", "evaluate.list_checkpoints"]
    assert set(steps[4:7]) == {"evaluate.read_metrics", "evaluate.smoke_test", "evaluate.smoke_test_champion"}
    assert steps[7:11] == ["choose", "route", "promote.approve", "promote.set_default"]
    after = [task for task in steps[11:] if task != "promote.publish"]  # beside the copy
    assert after == ["copy.copy_model", "copy.verify_copy", "copy.end", "report", "end"]
    assert dag.get_task("promote.publish").downstream_task_ids == {"end"}
    assert dag.get_task("promote.publish").upstream_task_ids >= {
        "choose",
        "route",
        "promote.approve",
        "promote.set_default",
    }
    assert set(dag.task_group.children) == {
        "validate", "tune", "evaluate", "choose", "route", "promote", "copy", "report", "end"
    }  # fmt: skip
    assert dag.get_task("tune.wait_for_tuning_job").deferrable
    assert dag.get_task("copy.copy_model").deferrable


def test_reading_a_dag_twice_gives_the_same_dag():
    """Otherwise Airflow makes a new version of the DAG at every parse."""

    def serialized():
        bag = DagBag(str(REPOSITORY / "dags"), bundle_name="dags-folder")
        return {dag_id: DagSerialization.to_dict(dag) for dag_id, dag in bag.dags.items()}

    assert serialized() == serialized()


def test_no_dag_needs_a_pool(dags):
    assert {task.pool for dag in dags.values() for task in dag.tasks} == {"default_pool"}


def test_a_teardown_looks_after_abandoned_jobs_and_counts_for_the_state_of_the_run(dags):
    teardown = dags["gemini_checkpoint_tuning"].get_task("tune.cancel_abandoned_job")
    assert teardown.is_teardown
    assert teardown.on_failure_fail_dagrun
    assert teardown.retries >= 5
    assert teardown.upstream_task_ids == {"tune.wait_for_tuning_job"}


def test_a_run_has_the_state_of_its_last_tasks_and_no_other_teardown_keeps_it_alive(dags):
    """A teardown at the end would keep a run from being failed by hand; one task for both ends would hide failures."""
    dag = dags["gemini_checkpoint_tuning"]
    assert {task.task_id for task in dag.tasks if task.is_teardown} == {"tune.cancel_abandoned_job"}
    last = {task.task_id: task.trigger_rule for task in dag.tasks if not task.downstream_task_ids}
    del last["tune.cancel_abandoned_job"]
    assert last == {"end": "none_failed"}


def test_who_checks_and_who_tells_read_the_same_file(dags):
    dag = dags["gemini_checkpoint_tuning"]
    (notifier,) = dag.get_task("promote.approve").notifiers
    assert notifier is dag.on_success_callback is dag.on_failure_callback
    assert {notifier.report, notifier.publish, notifier.tuning_job} <= set(dag.task_dict)
    files = {dag.get_task("validate").notifications}
    assert files == {notifier.notifications} == {str(REPOSITORY / "dags" / "config" / "notifications.yaml")}


def test_each_dag_has_params_of_its_own():
    first, second = dag_params("gemini_checkpoint_tuning"), dag_params("gemini_checkpoint_tuning")
    first["epoch_count"].resolve(7)
    assert second["epoch_count"].value is None


def test_a_dag_says_otherwise_about_a_param_of_the_tuning_dag_and_changes_nothing_there():
    here, there = (dag_params(form)["copy_location"] for form in ("gemini_model_cleanup", "gemini_checkpoint_tuning"))
    assert (here.schema["title"], there.schema["title"]) == ("Copies in location", "Destination location")
    assert (here.schema["section"], there.schema["section"]) == ("Copies", "Copy")
    assert here.schema["pattern"] == there.schema["pattern"]


def test_the_forms_offer_the_suites_that_there_are(tmp_path):
    for name in ("b.yaml", "a.yaml", "notes.txt"):
        (tmp_path / name).touch()
    tuning, promotion = (
        dag_params(form, tmp_path)["suite"] for form in ("gemini_checkpoint_tuning", "gemini_checkpoint_promotion")
    )
    assert (tuning.value, tuning.schema["enum"]) == ("a", ["a", "b"])
    assert (promotion.value, promotion.schema["enum"]) == (None, [None, "a", "b"])


def test_the_retraining_dag_starts_paused_and_starts_a_tuning_run_once(dags):
    dag = dags["gemini_retraining_ferry_support"]
    assert [task.task_id for task in dag.topological_sort()] == ["plan", "start_tuning_run", "wait_for_tuning_run"]
    assert dag.is_paused_upon_creation
    assert dag.max_active_runs == 1
    assert dag.timetable.expression == "0 3 * * 1"
    start = dag.get_task("start_tuning_run")
    assert start.trigger_run_id  # the same at each try
    assert start.skip_when_already_exists
    assert not start.wait_for_completion


def params():
    """Return the Params as the form gets them: after serialization."""
    bag = DagBag(str(REPOSITORY / "dags" / "gemini_checkpoint_tuning.py"), bundle_name="dags-folder")
    found = DagSerialization.from_dict(DagSerialization.to_dict(bag.dags["gemini_checkpoint_tuning"])).params
    return {name: found.get_param(name) for name in found}


@pytest.mark.parametrize(("name", "param"), params().items())
def test_every_param_can_be_shown_in_the_form(name, param):
    schema = param.schema
    jsonschema.Draft7Validator.check_schema(schema)
    assert schema["title"]
    if name != "description":
        assert param.description or schema.get("description"), f"{name} is not explained"
    if name != "training_dataset_uri":  # the one value without which there is no run
        jsonschema.validate(param.value, schema)
        types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        assert param.value is not None or "null" in types


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("training_dataset_uri", "train.jsonl"),
        ("training_dataset_uri", None),
        ("epoch_count", 0),
        ("epoch_count", "five"),
        ("adapter_size", 3),
        ("learning_rate_multiplier", "fast"),
        ("min_pass_rate", 80),
        ("suite", "../../etc/passwd"),
        ("copy_location", "Europe"),
        ("pre_tuned_model", "models/1"),
        ("labels", {"Team": "x"}),
        ("labels", {"team": 7}),
        ("poll_interval", 0),
    ],
)
def test_bad_values_are_refused(name, bad):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(bad, params()[name].schema)
