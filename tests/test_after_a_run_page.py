"""docs/after_a_run.md: its example follows a promotion, its tables say what the code does."""

import json
import re
from dataclasses import asdict

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.jobs.job import Job
from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
from airflow.models.dag import DagModel
from airflow.models.dagrun import DagRun
from airflow.utils.session import create_session
from sqlalchemy import delete, select
from support import REPOSITORY, finished_job

from gemini_tuning.registry.assets import PROMOTED_MODELS
from gemini_tuning.registry.version_aliases import SCORES
from gemini_tuning.reporting.notification_message import EVENTS, SAMPLES
from gemini_tuning.reporting.notification_sender import load_notifications

PAGE = (REPOSITORY / "docs" / "after_a_run.md").read_text(encoding="utf-8")
FOLLOWER, PRODUCER = "serve_promoted_model", "promote"
PROMOTE = """
from airflow.sdk import DAG, Param

from gemini_tuning.operators.publish_model import GeminiPublishModelOperator

with DAG(dag_id="promote", schedule=None, params={"model": Param("", type="string")}) as dag:
    GeminiPublishModelOperator(
        task_id="publish", model=dag.param("model"), checkpoint_id="3", scores={"pass_rate": 0.9}, retries=0
    )
"""


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


def table(first):
    """Return the first cells of the table that begins with this heading."""
    rows = PAGE[PAGE.index(f"| {first} |") :].partition("\n\n")[0].splitlines()[2:]
    return {word for row in rows for word in re.findall(r"`(\w+)`", row.split("|")[1])}


@pytest.fixture
def dags(airflow_db, tmp_path, monkeypatch):
    """The example in a DAG folder, beside a DAG that promotes."""
    (code,) = blocks("python")
    (tmp_path / "follow.py").write_text(code)
    (tmp_path / "promote.py").write_text(PROMOTE)
    local = "airflow.dag_processing.bundles.local.LocalDagBundle"
    bundle = {"name": "after-a-run", "classpath": local, "kwargs": {"path": str(tmp_path)}}
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", json.dumps([bundle]))
    monkeypatch.setenv("AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION", "False")
    bag = DagBag(str(tmp_path), bundle_name="after-a-run")
    assert bag.import_errors == {}
    yield bag.dags
    with create_session() as session:
        for kind in (DagRun, DagModel):
            rows = delete(kind).where(kind.dag_id.in_([FOLLOWER, PRODUCER]))
            session.execute(rows.execution_options(synchronize_session=False))


def test_the_example_runs_after_a_promotion(dags, vertex):
    job = finished_job(vertex)
    assert str(dags[PRODUCER].test(run_conf={"model": job.model}).state) == "success"
    with create_session() as session:
        model = session.get(DagModel, FOLLOWER)
        _, due = DagModel.dags_needing_dagruns(session)
        assert FOLLOWER in due
        SchedulerJobRunner(job=Job())._create_dag_runs_asset_triggered(dag_models=[model], session=session)
    with create_session() as session:
        (run,) = session.scalars(select(DagRun).where(DagRun.dag_id == FOLLOWER))
        assert run.run_type == "asset_triggered"
        (event,) = (each for each in run.consumed_asset_events if each.source_dag_id == PRODUCER)  # others promote too
        assert table("key") == set(event.extra)
        assert event.extra["scores"] == {"pass_rate": 0.9}
        switch = dags[FOLLOWER].get_task("switch").python_callable
        assert switch(triggering_asset_events={PROMOTED_MODELS: [event]}) == job.checkpoints[2].endpoint


def test_the_tables_are_complete():
    assert table("`on`") == set(EVENTS)
    assert table("field") == set(asdict(SAMPLES["promoted"]))
    scores = next(line for line in PAGE.splitlines() if line.startswith("| `scores` |"))
    assert re.findall(r"`(\w+)`", scores)[1:] == list(SCORES)


def test_the_example_of_notifications_is_good(tmp_path):
    (text,) = blocks("yaml")
    (tmp_path / "notifications.yaml").write_text(text)
    assert len(load_notifications(tmp_path / "notifications.yaml")) == 2
    ours = (REPOSITORY / "dags" / "config" / "notifications.yaml").read_text(encoding="utf-8")
    assert all(f"# {line}" in ours for line in text.splitlines())
