"""What a run of the whole pipeline tells others: an asset event, version aliases, messages; a failure stays one."""

import json
from types import SimpleNamespace

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.models.asset import AssetAliasModel, AssetEvent
from airflow.utils.session import create_session
from sqlalchemy import select
from support import REPOSITORY, without_callbacks

from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook
from gemini_tuning.registry.assets import PROMOTED_MODELS, model_uri
from tests.gemini_tuning.keeping_notifier import KEEPER, kept

CONF = {
    "training_dataset_uri": "gs://bucket/train.jsonl",
    "validation_dataset_uri": "gs://bucket/validation.jsonl",
    "epoch_count": 6,
    "poll_interval": 1,
}
EVENTS = ["promoted", "rejected", "no_winner", "failed", "waiting_for_approval"]


@pytest.fixture
def told(tmp_path):
    return tmp_path / "told.jsonl"


def run(tmp_path, notifications, **conf):
    """Run the DAG and its callback; return the run's state, the tasks' states, and their XComs."""
    bag = DagBag(str(REPOSITORY / "dags" / "gemini_checkpoint_tuning.py"), bundle_name="dags-folder")
    dag = bag.dags["gemini_checkpoint_tuning"]
    file = tmp_path / "notifications.yaml"
    file.write_text(json.dumps(notifications))  # which is YAML
    for task in dag.tasks:
        task.retries = 0
    dag.get_task("validate").notifications = str(file)
    callbacks = {"success": dag.on_success_callback, "failed": dag.on_failure_callback}
    dag_run = without_callbacks(dag).test(run_conf={**CONF, **conf})
    instances = dag_run.get_task_instances()
    states = {instance.task_id: str(instance.state) for instance in instances}
    pushed = {
        task_id: instances[0].xcom_pull(task_ids=task_id) for task_id in states if task_id != "evaluate.smoke_test"
    }
    notifier = callbacks[str(dag_run.state)]
    notifier.notifications = str(file)
    call_back(notifier, dag, instances[0], states, str(dag_run.state))
    return str(dag_run.state), states, {**pushed, "run_id": dag_run.run_id}


def call_back(notifier, dag, instance, states, state):
    """Call the notifier as the DAG processor does when the run has finished."""
    run_id = instance.run_id
    ti = SimpleNamespace(
        dag_id=dag.dag_id, run_id=run_id, xcom_pull=instance.xcom_pull, get_task_states=lambda **_: {run_id: states}
    )
    notifier({"dag": dag, "run_id": run_id, "ti": ti, "reason": "success" if state == "success" else "task_failure"})


def keeper(told, on=EVENTS):
    return {"on": list(on), "notifier": KEEPER, "arguments": {"file": str(told), "fields": ["{{ gemini.title }}"]}}


def events(run_id):
    """Return the asset events of a run, and through which alias each came."""
    with create_session() as session:
        found = session.scalars(select(AssetEvent).where(AssetEvent.source_run_id == run_id)).all()
        aliases = session.scalars(select(AssetAliasModel)).all()
        through = {event.id: alias.name for alias in aliases for event in alias.asset_events}
        return [(event.asset.uri, event.source_task_id, through.get(event.id), event.extra) for event in found]


def test_a_promotion_is_an_event_an_alias_and_a_message(airflow_db, vertex, tmp_path, told):
    state, tasks, pushed = run(tmp_path, [keeper(told)], version_aliases=True)
    assert (state, tasks["promote.publish"], tasks["end"]) == ("success", "success", "success")
    report, published = pushed["report"], pushed["promote.publish"]
    assert published["aliases"] == {"champion": "1", "previous": None}
    ((uri, task_id, alias, extra),) = events(pushed["run_id"])
    assert (uri, task_id, alias) == (model_uri(report["tuned_model"]), "promote.publish", PROMOTED_MODELS.name)
    assert uri == published["asset"]
    assert extra["model"] == report["tuned_model"].partition("@")[0]
    assert (extra["version"], extra["checkpoint_id"]) == ("1", report["winner"])
    assert extra["endpoint"] == pushed["promote.set_default"]["endpoint_after"]
    assert extra["scores"]["pass_rate"] > 0.5
    assert "eval_loss" in extra["scores"]
    assert (extra["dag_id"], extra["run_id"]) == ("gemini_checkpoint_tuning", pushed["run_id"])
    assert GeminiTuningHook().get_tuning_job(extra["tuning_job"]).model == report["tuned_model"]
    (message,) = kept(told)
    assert message["gemini"]["event"] == "promoted"
    assert message["gemini"]["checkpoint_id"] == report["winner"]
    assert message["fields"] == [f"Checkpoint {report['winner']} was promoted (gemini_checkpoint_tuning)"]
    assert "| checkpoint " in message["text"]
    assert report["report_markdown"] == message["gemini"]["report"]
    assert message["run_id"] == pushed["run_id"]


def test_the_default_already_is_an_event_as_well(airflow_db, vertex, tmp_path, told):
    state, tasks, pushed = run(tmp_path, [keeper(told)], export_last_checkpoint_only=True, min_pass_rate=0.1)
    assert (state, tasks["promote.set_default"], tasks["promote.publish"], tasks["copy.copy_model"]) == (
        "success", "skipped", "success", "skipped",
    )  # fmt: skip
    assert len(events(pushed["run_id"])) == 1
    assert [m["gemini"]["outcome"] for m in kept(told)] == ["already default"]


def test_no_winner_emits_no_event_and_notifies_subscribers(airflow_db, vertex, tmp_path, told):
    entries = [keeper(told, ["no_winner"]), keeper(tmp_path / "other", ["promoted", "failed"])]
    state, tasks, pushed = run(tmp_path, entries, min_pass_rate=1.0, epoch_count=2)
    assert (state, tasks["promote.publish"]) == ("success", "skipped")
    assert events(pushed["run_id"]) == []
    (message,) = kept(told)
    assert (message["gemini"]["event"], message["gemini"]["outcome"]) == ("no_winner", "no winner")
    assert "below the minimum 100.0%" in message["gemini"]["reason"]
    assert kept(tmp_path / "other") == []


def test_a_failed_run_stays_failed_and_says_why(airflow_db, vertex, tmp_path, told):
    vertex.faults([{"job": {}, "outcome": "failed", "error": {"code": 3, "message": "Bad data."}}])
    state, tasks, pushed = run(tmp_path, [keeper(told)])
    assert state == "failed"
    assert {tasks[task] for task in ("promote.publish", "report", "end")} == {"upstream_failed"}
    (message,) = kept(told)
    assert message["gemini"]["event"] == "failed"
    assert "tune.wait_for_tuning_job: Tuning job" in message["gemini"]["reason"]
    assert "Bad data." in message["text"]
    assert message["gemini"]["tuning_job"] == pushed["tune.create_tuning_job"]


def test_aliases_that_are_refused_fail_the_run_and_the_copy_is_made(airflow_db, vertex, tmp_path, told):
    vertex.faults([{"method": "POST", "path": ":mergeVersionAliases", "status": 403, "message": "No aliases for you."}])
    state, tasks, pushed = run(
        tmp_path, [keeper(told)], version_aliases=True, copy_location="europe-west4", min_pass_rate=0.1
    )
    assert state == "failed"
    assert (tasks["promote.publish"], tasks["copy.verify_copy"], tasks["report"]) == ("failed", "success", "success")
    assert tasks["end"] == "upstream_failed"
    assert events(pushed["run_id"]) == []
    (message,) = kept(told)
    assert "No aliases for you" in message["text"]


def test_a_copy_that_fails_fails_the_run_and_the_report_is_written(airflow_db, vertex, tmp_path, told):
    vertex.faults([{"method": "POST", "path": ":copy", "status": 403, "message": "No copies for you."}])
    state, tasks, pushed = run(tmp_path, [keeper(told)], copy_location="europe-west4", min_pass_rate=0.1)
    assert state == "failed"
    assert (tasks["copy.copy_model"], tasks["copy.verify_copy"]) == ("failed", "upstream_failed")
    assert (tasks["promote.publish"], tasks["report"], tasks["end"]) == ("success", "success", "upstream_failed")
    assert (pushed["report"]["outcome"], pushed["report"]["copy"]) == ("promoted", None)
    (message,) = kept(told)
    assert (message["gemini"]["event"], message["gemini"]["report"]) == ("failed", pushed["report"]["report_markdown"])
    assert "No copies for you" in message["text"]


def test_a_file_that_is_not_acceptable_stops_the_run_before_anything_is_paid(airflow_db, vertex, tmp_path, told):
    state, tasks, _ = run(tmp_path, [{**keeper(told), "on": ["promotion"]}])
    assert (state, tasks["validate"]) == ("failed", "failed")
    assert vertex.state()["tuningJobs"] == []
