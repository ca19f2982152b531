"""A run of the whole pipeline, as Airflow itself records it, on the page."""

import pytest
from airflow.dag_processing.dagbag import DagBag
from html_pages import Html
from sqlalchemy import select
from support import REPOSITORY, fill, use_connection

from gemini_tuning.ui import queries
from vertex_emulator.process import Emulator

DAG = "gemini_checkpoint_tuning"
CONF = {
    "training_dataset_uri": "gs://bucket/train.jsonl",
    "validation_dataset_uri": "gs://bucket/validation.jsonl",
    "tuned_model_display_name": "ferry",
    "epoch_count": 6,
    "poll_interval": 1,
}


@pytest.fixture
def vertex(monkeypatch):
    with Emulator(speed=500) as emulator:
        fill(emulator)
        use_connection(monkeypatch, emulator.connection())
        yield emulator


def test_a_run_of_the_pipeline_is_on_the_page(vertex, browser, session):
    from airflow.models.dag import DagTag

    dag = DagBag(str(REPOSITORY / "dags" / f"{DAG}.py"), bundle_name="dags-folder").dags[DAG]
    for task in dag.tasks:
        task.retries = 0
    found = dag.test(run_conf={**CONF, "copy_location": "europe-west4"})
    assert str(found.state) == "success"
    if session.scalar(select(DagTag).where(DagTag.dag_id == DAG, DagTag.name == queries.TAG)) is None:
        session.add(DagTag(dag_id=DAG, name=queries.TAG))  # the DAG processor's work
        session.commit()
    query = {"dag_id": DAG, "run_id": found.run_id}
    run = queries.get_run(session, DAG, found.run_id)
    winner = run.xcom(queries.CHOOSE, queries.DECISION)["winner"]
    assert len(list(run.all_steps(queries.SMOKE_TEST))) == 6

    def see(path, **more):
        response = browser().page(path, **more)
        assert response.status_code == 200, response.text
        return Html(response.text)

    overview = see("/", display_name="ferry", base_model="flash", state="success")
    assert overview.all("a", data_run=found.run_id)
    assert "pass rate" in overview.words
    page = see("/run", **query)
    for words in (f"changed from 6 to {winner}", "verified: 6 checkpoints", "report.md", "Eligible"):
        assert words in page.words
    assert page.all("div", **{"class": "chart"})
    assert len(page.all("span", **{"class": "badge badge-winner"})) == 1
    matrix = see("/matrix", **query)
    assert len(matrix.all("td")) == 24 * 6
    case = see("/case", **query, case_id=matrix.all("button", data_opens="case")[0]["hx-get"].rpartition("=")[2])
    assert len(case.all("article")) == 6
