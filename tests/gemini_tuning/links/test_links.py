"""Extra links: the page of the console, also after a deferral or a failure, and the run's page."""

from types import SimpleNamespace

import pytest
from airflow.sdk.execution_time.xcom import XCom
from support import operator_classes

from gemini_tuning.links import gemini_tuning as links
from gemini_tuning.links.gemini_tuning import ConsoleLink, run_page

JOB = "projects/p/locations/us-central1/tuningJobs/7"
MODEL = "projects/p/locations/us-central1/models/9@2"
ENDPOINT = "projects/p/locations/us-central1/endpoints/5"
KEY = SimpleNamespace(dag_id="dag", task_id="task", run_id="run", map_index=-1)


@pytest.fixture
def xcoms(monkeypatch):
    """The task's XComs."""
    found = {}
    monkeypatch.setattr(XCom, "get_value", lambda key, **_: found.get(key))
    return found


def test_console_link_of_a_field(xcoms):
    link = links.TUNING_JOB.get_link(SimpleNamespace(tuning_job=JOB), ti_key=KEY)
    assert link.startswith("https://console.cloud.google.com/vertex-ai/")
    assert "tuningJob/7" in link
    assert "project=p" in link


def test_console_link_of_an_xcom(xcoms):
    xcoms["return_value"] = JOB
    assert "tuningJob/7" in links.TUNING_JOB.get_link(SimpleNamespace(), ti_key=KEY)


def test_console_link_of_an_item_in_an_xcom_or_field(xcoms):
    xcoms["return_value"] = {"model": MODEL}
    assert "models/9/versions/2" in links.COPY.get_link(SimpleNamespace(), ti_key=KEY)
    mapped = SimpleNamespace(checkpoint={"endpoint": ENDPOINT})
    assert "endpoints/5" in links.ENDPOINT.get_link(mapped, ti_key=KEY)


@pytest.mark.parametrize("given", [None, "", "not a name", {"endpoint": None}, 7, SimpleNamespace()])
@pytest.mark.parametrize("link", [links.TUNING_JOB, links.ENDPOINT, links.COPY])
def test_console_link_without_a_resource_is_empty(xcoms, link, given):
    xcoms["return_value"] = given
    fields = dict.fromkeys(("tuning_job", "checkpoint"), given)
    assert link.get_link(SimpleNamespace(**fields), ti_key=KEY) == ""


def test_run_page_is_quoted_and_below_airflows_own_path(monkeypatch):
    page = "/dags/my.dag/runs/manual__2026-01-01T00%3A00%3A00%2B00%3A00%2Fx/plugin/gemini-tuning-run"
    assert run_page("my.dag", "manual__2026-01-01T00:00:00+00:00/x") == page
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://example.com/team/airflow/")
    assert run_page("my.dag", "manual__2026-01-01T00:00:00+00:00/x") == "/team/airflow" + page


WITHOUT_A_PAGE = {  # at that time, or at all
    "GeminiValidateTuningOperator", "GeminiCancelTuningJobOperator", "GeminiPlanCleanupOperator",
    "GeminiApproveCleanupOperator", "GeminiCleanupOperator", "GeminiPlanRetrainingOperator",
    "GeminiWaitForTuningRunOperator", "GeminiRouteOperator",
}  # fmt: skip


def test_tuning_run_link_is_the_page_of_the_triggered_run():
    operator = SimpleNamespace(tuning_dag_id="gemini_checkpoint_tuning", tuning_run_id="weekly__1")
    page = "/dags/gemini_checkpoint_tuning/runs/weekly__1/plugin/gemini-tuning-run"
    assert links.TUNING_RUN.get_link(operator, ti_key=KEY) == page
    operator.tuning_run_id = None
    assert links.TUNING_RUN.get_link(operator, ti_key=KEY) == ""


def test_links_of_a_task_have_distinct_names_and_xcom_keys():
    from gemini_tuning.sensors import tuning_job as sensors

    kinds = [*operator_classes().values(), sensors.GeminiTuningJobSensor]
    for kind in kinds:
        found = kind.operator_extra_links
        assert len({link.name for link in found}) == len({link.xcom_key for link in found}) == len(found), kind
        if kind.__name__ not in WITHOUT_A_PAGE:
            assert links.RUN_PAGE in found, kind
        for link in found:
            if isinstance(link, ConsoleLink) and link.field:
                assert link.field in kind.template_fields or link.xcom, (kind, link)
