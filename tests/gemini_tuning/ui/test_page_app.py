"""The page in Airflow's API application: permissions, escaping, empty states and errors."""

import json
import socket
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from html_pages import Html
from support import REPOSITORY
from tuning_runs import (
    ALL,
    ASKED,
    CHAMPION,
    CHECKED,
    CHOSEN,
    CONF,
    COPIED,
    CREATED,
    DAG,
    ENDED,
    LISTS,
    MEASURED,
    PROMOTED,
    REPORTED,
    TESTED,
    VALIDATED,
    WAITED,
    WAITING,
    in_groups,
    lines,
    result,
    run,
    save,
    save_dag,
    smoke_tests,
    step,
)

from gemini_tuning.ui import permissions, queries, results_cache
from gemini_tuning.ui.actions import PROMOTION_DAG, PROMPT_DAG
from tests.gemini_tuning.reporting.run_values import (
    APPROVED,
    JOB,
    METRICS,
    MODEL,
    PROMOTION,
    assessment,
    decision,
    summary,
)
from tests.gemini_tuning.ui.dag_rights import DagRights

RUN = {"dag_id": DAG, "run_id": "manual__1"}
PATHS = {"/": {}, "/run": RUN, "/matrix": RUN, "/case": {**RUN, "case_id": "a"}, "/action": RUN}
NOTHING = frozenset()


@pytest.fixture
def dags(session):
    """The DAGs of this project."""
    save_dag(session, DAG, queries.TAG)
    save_dag(session, PROMOTION_DAG, queries.ACTIONS_TAG)
    save_dag(session, PROMPT_DAG, queries.ACTIONS_TAG)


@pytest.fixture
def saved(session, dags):
    """Insert a run, and let everybody see it."""

    def insert(*steps, **change):
        save(session, run(*steps, **change))
        session.commit()

    return insert


@pytest.fixture
def answered(saved, tmp_path):
    """Insert a run whose results files lie on this machine."""

    def insert(*results, checkpoints=("1", "2", "3"), **change):
        summaries = []
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        for number in checkpoints:
            path = folder / f"checkpoint-{number}.jsonl"
            path.write_bytes(b"".join(lines(results)))
            summaries.append(summary(number, results_uri=str(path)))
        saved(CREATED, WAITED, LISTS, *smoke_tests(*summaries), CHOSEN, PROMOTED, **change)

    return insert


def html(response, status=200):
    assert response.status_code == status, response.text
    return Html(response.text)


# ---------------------------------------------------------------------------------------- signed in, or not


@pytest.mark.parametrize("path", PATHS)
def test_who_is_not_signed_in_is_told_so(browser, saved, path):
    saved(*ALL)
    page = html(browser(None).page(path, **PATHS[path]), 401)
    assert "You are not signed in" in page.words
    assert "ferry" not in page.text


def test_a_token_that_is_none_is_no_login(browser, saved):
    somebody = browser(None)
    somebody.cookies.set("_token", "eyJhbGciOiJIUzUxMiJ9.e30.x")
    assert somebody.page("/").status_code in (401, 403)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("name", "role"), [("ada", "ADMIN"), ("vera", "VIEWER")])
def test_who_may_read_the_runs_sees_every_page(browser, saved, path, name, role):
    saved(*ALL)
    html(browser(name, role).page(path, **PATHS[path]))


def test_who_may_start_dags_gets_actions_and_a_viewer_none(browser, saved):
    saved(*ALL)
    forms = html(browser().page("/run", **RUN)).all("form", data_action_dag=PROMOTION_DAG)
    assert len(forms) == 4  # two other checkpoints, a roll back, a copy
    assert {"model": MODEL} in [json.loads(form["data-action-conf"]) for form in forms]
    assert len(html(browser().page("/run", **RUN)).all("form", data_action_dag=PROMPT_DAG)) == 1
    assert html(browser("vera", "VIEWER").page("/run", **RUN)).values("data-action-dag") == []


def test_a_live_run_offers_no_action(browser, saved):
    saved(*ALL, state="running")
    assert html(browser().page("/run", **RUN)).values("data-action-dag") == []


def test_what_cannot_be_started_is_not_offered(browser, session):
    save_dag(session, DAG, queries.TAG)
    save_dag(session, PROMOTION_DAG, queries.ACTIONS_TAG, stale=True)
    save_dag(session, PROMPT_DAG)  # somebody else's, it is not tagged
    save(session, run(*ALL))
    session.commit()
    assert html(browser().page("/run", **RUN)).values("data-action-dag") == []


def test_who_may_answer_for_the_run_is_led_to_the_question(browser, saved):
    saved(CREATED, WAITED, LISTS, CHOSEN, replace(ASKED, state="awaiting_input", xcoms={}), state="running")
    assert html(browser().page("/run", **RUN)).all("a", data_task="approve")
    page = html(browser("vera", "VIEWER").page("/run", **RUN))
    assert "You do not have permission to respond for this DAG." in page.words
    assert not page.all("a", data_task="approve")


# ------------------------------------------------------------------------------------- rights on each DAG


@pytest.mark.parametrize("entity", permissions.ENTITIES)
def test_who_may_not_read_all_of_a_dags_runs_sees_nothing_of_it(browser, session, dags, entity):
    save_dag(session, "hidden", queries.TAG)
    save(session, run(*ALL, dag_id="hidden", conf={**CONF, "tuned_model_display_name": "secret name"}))
    save(session, run(run_id="seen"))
    session.commit()
    DagRights.refused.add(("vera", "hidden", entity))
    vera = browser("vera", "VIEWER")
    overview = html(vera.page("/"))
    assert "seen" in overview.text
    assert "hidden" not in overview.text
    for path in set(PATHS) - {"/"}:
        page = html(vera.page(path, **{**PATHS[path], "dag_id": "hidden"}), 403)
        assert "You do not have permission to view this." in page.words
        assert "secret" not in page.text


@pytest.mark.parametrize("ids", [["hidden", DAG], [DAG, "hidden"]])
def test_two_dags_in_one_address_are_no_way_around(browser, session, dags, ids):
    """What is checked has to be what is shown, whichever of the two that is."""
    save_dag(session, "hidden", queries.TAG)
    save(session, run(*ALL, dag_id="hidden", conf={**CONF, "tuned_model_display_name": "secret name"}))
    save(session, run(*ALL))
    session.commit()
    DagRights.refused.add(("vera", "hidden", DagAccessEntity.RUN))
    query = "&".join(f"dag_id={dag_id}" for dag_id in ids)
    assert "secret" not in browser("vera", "VIEWER").get(f"/gemini-tuning/run?{query}&run_id=manual__1").text


@pytest.mark.parametrize("dag_id", ["~", "", "%", "*", "Hidden", "hidden "])
def test_no_other_spelling_shows_a_hidden_dag(browser, session, dags, dag_id):
    save_dag(session, "hidden", queries.TAG)
    save(session, run(*ALL, dag_id="hidden"))
    session.commit()
    DagRights.refused.update(("vera", "hidden", entity) for entity in permissions.ENTITIES)
    assert browser("vera", "VIEWER").page("/run", dag_id=dag_id, run_id="manual__1").status_code in (403, 404, 422)


def test_a_hidden_dag_does_not_tell_by_another_runs_default_or_copies(browser, session, dags, saved):
    save_dag(session, "hidden", queries.ACTIONS_TAG)
    later = replace(PROMOTED, xcoms={"return_value": {**PROMOTION, "default_before": "2", "default_after": "1"}})
    other = replace(CHECKED, xcoms={"return_value": {**CHECKED.xcoms["return_value"], "model": f"{MODEL}9"}})
    save(session, run(later, other, dag_id="hidden"))
    saved(*ALL)
    assert "It is now 1, set by another run." in html(browser("vera", "VIEWER").page("/run", **RUN)).words
    DagRights.refused.add(("vera", "hidden", DagAccessEntity.XCOM))
    page = html(browser("vera", "VIEWER").page("/run", **RUN))
    assert "another run" not in page.words
    assert f"{MODEL}9" not in page.text


def test_the_overview_says_why_it_is_empty_to_who_may_read_nothing(browser, saved):
    saved(*ALL)
    DagRights.refused.add(("vera", DAG, DagAccessEntity.XCOM))
    assert "You do not have permission to view the runs" in html(browser("vera", "VIEWER").page("/")).words


# --------------------------------------------------------------------------------- what every answer has


def responses(browser, monkeypatch):
    """Yield an answer of each kind."""
    ada = browser()
    yield 200, ada.page("/")
    yield 200, ada.page("/static/page.js")
    yield 200, ada.page("/static/page.css")
    yield 401, browser(None).page("/")
    yield 403, browser("nobody", None).page("/run", **RUN)
    yield 404, ada.page("/run", dag_id=DAG, run_id="another")
    yield 404, ada.page("/nothing")
    yield 404, ada.page("/static/nothing.js")
    yield 404, ada.page("/static/../app.py")
    yield 404, ada.get("/gemini-tuning/static/%2e%2e/app.py")
    yield 405, ada.post("/gemini-tuning/run")
    yield 405, ada.post("/gemini-tuning/static/page.js")
    yield 422, ada.page("/run", dag_id=DAG)
    monkeypatch.setattr(queries, "find_runs", lambda *_: 1 / 0)
    yield 500, ada.page("/")


def test_every_answer_says_what_a_browser_may_do_with_it(browser, saved, monkeypatch):
    saved(*ALL)
    for status, response in responses(browser, monkeypatch):
        assert response.status_code == status, response.request.url
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'; script-src 'self'; style-src 'self';" in policy, response.request.url
        assert "unsafe" not in policy
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        if "static/page" not in str(response.request.url):
            assert "ZeroDivisionError" not in response.text
            assert response.headers["Cache-Control"] == "no-store" or "static" in str(response.request.url)


@pytest.mark.parametrize("path", [*PATHS, "/static/page.js"])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_there_is_nothing_but_get(browser, saved, path, method):
    """So no form on another site can do anything, whoever is signed in."""
    saved(*ALL)
    response = browser().request(method, f"/gemini-tuning{path}", params=PATHS.get(path), data={"a": "b"})
    assert response.status_code == 405
    assert "GET" in response.headers["Allow"]


@pytest.mark.parametrize(
    ("path", "query", "field"),
    [
        ("/run", {}, "dag_id, run_id"),
        ("/run", {"dag_id": DAG}, "run_id"),
        ("/run", {"dag_id": DAG, "run_id": "x" * 251}, "run_id"),
        ("/case", RUN, "case_id"),
        ("/case", {**RUN, "case_id": "x" * 1_001}, "case_id"),
        ("/matrix", {**RUN, "show": "everything"}, "show"),
        ("/matrix", {**RUN, "page": 0}, "page"),
        ("/matrix", {**RUN, "page": "one"}, "page"),
        ("/", {"page": 0}, "page"),
        ("/", {"page": 10_001}, "page"),
        ("/", {"base_model": "x" * 129}, "base_model"),
    ],
)
def test_an_address_that_is_not_right_is_refused_by_name(browser, saved, path, query, field):
    saved(*ALL)
    assert f"Missing or invalid parameters: {field}." in html(browser().page(path, **query), 422).words


@pytest.mark.parametrize("path", ["/run", "/matrix", "/case", "/action"])
def test_a_run_that_is_not_there_is_a_page_that_says_so(browser, saved, path):
    saved(*ALL)
    page = html(browser().page(path, **{**PATHS[path], "run_id": "<b>gone</b>"}), 404)
    assert f"Run <b>gone</b> of DAG {DAG} does not exist." in page.words


def test_a_fault_of_ours_is_a_page_without_its_innards(browser, saved, monkeypatch):
    monkeypatch.setattr(queries, "find_runs", lambda *_: {}["secret key"])
    page = html(browser().page("/"), 500)
    assert "Internal error." in page.words
    assert "secret key" not in page.text


# --------------------------------------------------------------------------------------------- hostility

HOSTILE = [
    "<script>alert(1)</script>",
    "</script><script src=//evil.example></script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)' x='",
    '" autofocus onfocus="alert(1)',
    "{{7*7}}{% include 'run.html' %}{# #}${7*7}",
    "</textarea></title></style><!-- --><svg onload=alert(1)>",
    "javascript:alert(1)",
    "&lt;script&gt;&#x27;&amp;",
    "<a href='javascript:alert(1)'>x</a>",
    "]]>--><b>",
]
HARMLESS = "plain"


def hostile_run(text):
    """Return the steps of a run where every text that somebody else writes is this one."""
    texts = {"reason": text, "overfitting": text, "missing": [text], "outcome": text}
    found = decision("2", **texts)
    found["checkpoints"] = [
        {**assessment("2"), "speaks_for": [text], "speaks_against": [text]},
        {**assessment("3"), "checkpoint_id": f"3{text}"},
    ]
    listed = [
        {"checkpoint_id": "2", "step": 20, "endpoint": text},
        {"checkpoint_id": f"3{text}", "step": 30, "endpoint": text},
    ]
    failing = summary("1", error=text, results_uri=None)
    return (
        replace(VALIDATED, state="failed", label=text, xcoms={"error": text}),
        CREATED,
        replace(WAITED, xcoms={"progress": {**ENDED, "state": text, "base_model": text, "display_name": text}}),
        replace(LISTS, xcoms={**LISTS.xcoms, "return_value": listed, "default_checkpoint_id": f"d{text}"}),
        *smoke_tests(failing, summary("2", endpoint=text)),
        step(queries.CHAMPION, {**CHAMPION, "endpoint": text}),
        replace(MEASURED, xcoms={"return_value": {**METRICS, "missing": [text]}}),
        replace(CHOSEN, xcoms={"decision": found}),
        replace(ASKED, xcoms={"return_value": {**APPROVED, "by": {"name": text}, "at": text, "checkpoint_id": text}}),
        replace(PROMOTED, xcoms={"return_value": {**PROMOTION, "default_before": f"b{text}"}}),
        replace(COPIED, xcoms={"return_value": {"model": text}}),
        replace(REPORTED, xcoms={"return_value": {"report_markdown": text}}),
    )


def shapes(browser, path, save_runs, **query):
    """Return the page of a harmless run, and that of a hostile one."""
    plain, odd = save_runs
    return [html(browser().page(path, **{**RUN, **query, "run_id": run_id})) for run_id in (plain, odd)]


def same_but_for_the_words(plain, odd):
    """Hold two pages against each other: texts of others add no element and no attribute."""
    assert odd.shape == plain.shape
    assert not [name for _, found in odd.elements for name in found if name.startswith("on")]
    assert not [value for value in odd.values("href") if value.strip().lower().startswith("javascript")]
    assert odd.values("src") == plain.values("src")


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_of_others_becomes_a_part_of_the_page(browser, session, dags, text):
    conf = {"training_dataset_uri": text}
    save(session, run(*hostile_run(HARMLESS), run_id="run", conf={"training_dataset_uri": HARMLESS}, started_by="x"))
    save(session, run(*hostile_run(text), run_id=f"run {text}", conf=conf, started_by=text))
    session.commit()
    plain, odd = shapes(browser, "/run", ("run", f"run {text}"))
    same_but_for_the_words(plain, odd)
    assert odd.all("script") == [{"src": "static/page.js", "defer": None}]
    assert odd.text.count(text) >= 15
    marks = json.loads(odd.all("div", **{"class": "chart"})[0]["data-chart"])["checkpoints"]
    assert [mark["checkpoint_id"] for mark in marks] == ["1", "2", f"3{text}"]
    confs = [json.loads(found) for found in odd.values("data-action-conf")]
    assert f"3{text}" in [found.get("checkpoint_id") for found in confs]
    assert text in odd.values("data-copy")


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_of_others_becomes_a_part_of_the_overview(browser, session, dags, text):
    pages = []
    for each in (HARMLESS, text):
        save(session, run(*hostile_run(each), run_id=f"run {each}", started_by=each))
        session.commit()
        pages.append(html(browser().page("/", display_name=each)))
    same_but_for_the_words(*pages)
    assert pages[1].all("input", name="display_name")[0]["value"] == text
    assert pages[1].all("a", data_run=f"run {text}")
    assert pages[1].text.count(text) >= 4


@pytest.mark.parametrize("text", HOSTILE)
def test_no_answer_becomes_a_part_of_the_page(browser, answered, text):
    def results(text):
        verdict = {"type": text, "passed": False, "reason": text, "expected": text}
        said = {"contents": [{"role": text, "parts": [{"text": text}]}], "system_instruction": text}
        return (
            result(f"case {text}", False, answer=text, verdicts=[verdict], critical=True, **said),
            result(f"case {text}", False, answer=None, error=text, repeat=2, verdicts=[], **said),
        )

    pages = []
    for run_id, each in (("plain", HARMLESS), ("odd", text)):
        answered(*results(each), run_id=run_id)
        query = {**RUN, "run_id": run_id}
        matrix = html(browser().page("/matrix", **query))
        (open_case,) = {button["hx-get"] for button in matrix.all("button", data_opens="case")}
        pages.append((matrix, html(browser().get(f"/gemini-tuning/{open_case}"))))
    for plain, odd in zip(*pages, strict=True):
        same_but_for_the_words(plain, odd)
    assert pages[1][1].text.count(text) == 18


def test_half_a_character_is_a_question_mark(browser, saved):
    """JSON can name it, and UTF-8 cannot carry it."""
    failed, *others = hostile_run("half \ud800")
    saved(replace(failed, label=None), *others, conf={**CONF, "tuned_model_display_name": "\ud800"})
    assert "half ?" in html(browser().page("/run", **RUN)).text
    html(browser().page("/"))
    html(browser().page("/action", **RUN))


# ------------------------------------------------------------------------------------------ empty states


def test_without_a_tagged_dag_the_overview_says_what_to_tag(browser):
    assert "No DAG has the tag gemini-tuning." in html(browser().page("/")).words


def test_without_a_run_the_overview_says_what_to_trigger(browser, session, dags):
    session.commit()
    assert f"No tuning runs yet. Trigger the DAG {DAG}" in html(browser().page("/")).words


@pytest.mark.parametrize("query", [{"state": "failed"}, {"base_model": "pro"}, {"display_name": "x"}, {"page": 7}])
def test_filters_that_nothing_matches_offer_all(browser, saved, query):
    saved(*ALL)
    page = html(browser().page("/", **query))
    assert "No run matches these filters." in page.words
    assert page.all("a", href="./")


def test_a_state_that_there_is_not_is_no_filter(browser, saved):
    saved(*ALL)
    assert "ferry" in html(browser().page("/", state="asleep")).text


def test_the_overview_shows_a_line_and_leads_to_the_run(browser, saved):
    saved(*ALL)
    page = html(browser().page("/", state="success", base_model="flash", display_name="ferry"))
    for words in ("ferry", "gemini-2.5-flash", "pass rate 91.7%", "10 min 0 s", "ada", "2026-11-20 08:00 UTC"):
        assert words in page.words
    assert page.all("a", href=f"run?dag_id={DAG}&run_id=manual__1")
    assert page.all("option", value="success", selected=None)
    assert not page.values("hx-trigger")[1:]  # nothing to follow: all is over


@pytest.fixture
def two_groups(saved):
    """Insert a run with two tuning groups, of which one has a job only."""
    created = replace(CREATED, xcoms={"return_value": f"{JOB}2"})
    saved(*in_groups(*ALL, prefix="ferry."), *in_groups(created, prefix="train."))


def test_the_overview_has_a_line_for_each_tuning_group(browser, two_groups):
    page = html(browser().page("/"))
    for group in ("ferry", "train"):
        assert page.all("a", href=f"run?dag_id={DAG}&run_id=manual__1&group={group}")


@pytest.mark.parametrize(("query", "has_job"), [({}, JOB), ({"group": "ferry"}, JOB), ({"group": "train"}, f"{JOB}2")])
def test_the_page_shows_one_tuning_group_and_leads_to_the_others(browser, two_groups, query, has_job):
    page = html(browser().page("/run", dag_id=DAG, run_id="manual__1", **query))
    assert page.all("a", href=f"run?dag_id={DAG}&run_id=manual__1&group=train")
    assert {JOB, f"{JOB}2"} & set(page.values("data-copy")) == {has_job}


def test_a_tuning_group_that_the_run_does_not_have_is_a_page_that_says_so(browser, two_groups):
    html(browser().page("/run", dag_id=DAG, run_id="manual__1", group="other"), status=404)


def test_older_runs_are_on_the_next_page_with_the_same_filters(browser, session, dags):
    for number in range(26):
        save(session, run(run_id=f"run-{number}"))
    session.commit()
    first = html(browser().page("/", base_model="flash"))
    assert first.all("a", href="./?state=&base_model=flash&display_name=&page=2")
    second = html(browser().page("/", base_model="flash", page=2))
    assert len(second.all("tr")) == 2
    assert second.all("a", href="./?state=&base_model=flash&display_name=&page=1")


def test_a_run_of_another_dag_says_that_it_is_none(browser, saved):
    saved(step("BashOperator"))
    assert "This run has no tuning job" in html(browser().page("/run", **RUN)).words


STAGES = {
    "queued": ((replace(CREATED, state=None, xcoms={}),), "queued", "The tuning job has not started yet."),
    "validating": (
        (replace(VALIDATED, state="running", xcoms={}), replace(CREATED, state=None, xcoms={})),
        "running",
        "Losses appear after the first epoch.",
    ),
    "over quota": (
        (VALIDATED, step(queries.CREATE, state="deferred", quota_wait={"since": "2026-11-22T10:00:00+00:00"})),
        "running",
        "Waiting for quota since 2026-",
    ),
    "tuning": ((VALIDATED, CREATED, WAITING), "running", "epoch 2 of 6, step 21"),
    "listed": ((CREATED, WAITED, LISTS), "running", "not tested yet"),
    "tested": ((CREATED, WAITED, LISTS, *TESTED), "running", "No decision yet."),
    "decided": (
        (CREATED, WAITED, LISTS, *TESTED, CHOSEN),
        "success",
        "Default checkpoint: 3, not changed by this run.",
    ),
    "failed": ((replace(CREATED, state="failed", xcoms={"error": "400: no"}),), "failed", "create_tuning_job 400: no"),
    "log": ((replace(CREATED, state="failed", xcoms={}),), "failed", "create_tuning_job failed. See the task log."),
    "over": ((CREATED,), "success", "No losses were recorded."),
    "promoted": (ALL, "success", "Default checkpoint: changed from 3 to 2, read back from the model."),
    "unmeasured": ((CREATED, WAITED, LISTS, *TESTED, CHOSEN, PROMOTED), "success", "Checkpoint 2 wins."),
}


@pytest.mark.parametrize(("steps", "state", "words"), STAGES.values(), ids=STAGES)
def test_at_each_stage_the_page_says_what_is_known(browser, saved, steps, state, words):
    saved(*steps, state=state)
    page = html(browser().page("/run", **RUN))
    assert words in page.words
    assert "None" not in page.text
    followed = [found for tag, found in page.elements if found.get("id") == "live" and "hx-get" in found]
    assert bool(followed) == (state in queries.UNFINISHED_STATES)


# ------------------------------------------------------------------------------------- results and answers


def test_the_matrix_shows_each_case_and_leads_to_its_answers(browser, answered):
    answered(result("a"), result("b", False, critical=True))
    page = html(browser().page("/matrix", **RUN))
    assert [cell["class"] for cell in page.all("td")] == ["cell cell-passed"] * 3 + ["cell cell-failed"] * 3
    assert page.all("button", hx_get=f"case?dag_id={DAG}&run_id=manual__1&case_id=b")
    assert "critical" in page.text
    only = html(browser().page("/matrix", **RUN, show="critical"))
    assert len(only.all("td")) == 3
    case = html(browser().page("/case", **RUN, case_id="b"))
    assert case.words.count("Yes.") == 3
    assert "differs from the response of checkpoint 2 is highlighted" in case.words


def test_many_cases_are_paged(browser, answered):
    answered(*(result(f"case-{number}") for number in range(60)))
    assert "Page 1 of 2" in html(browser().page("/matrix", **RUN)).words
    assert "case-59" in html(browser().page("/matrix", **RUN, page=99)).text


def test_a_case_that_nobody_was_asked_is_said_to_have_no_answer(browser, answered):
    answered(result("a"))
    assert "The results files have no response to this case." in html(browser().page("/case", **RUN, case_id="b")).words


def test_results_that_are_gone_are_said_to_be_and_the_rest_of_the_page_is_fine(browser, saved):
    summaries = [summary(number, results_uri=f"/nowhere/checkpoint-{number}.jsonl") for number in "123"]
    saved(CREATED, WAITED, LISTS, *smoke_tests(*summaries), CHOSEN)
    for path in ("/matrix", "/case"):
        page = html(browser().page(path, **PATHS[path]))
        assert (
            "The results cannot be read: there is no file '/nowhere/checkpoint-1.jsonl' on this machine" in page.words
        )
    assert "Checkpoint 2 wins." in html(browser().page("/run", **RUN)).words


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/stdin", "file:///dev/zero", "/tmp", "/etc/passwd", "gs://b/x"])
def test_what_is_no_results_file_is_not_read(browser, saved, device):
    saved(CREATED, LISTS, *smoke_tests(summary("1", results_uri=device)))
    assert "is not the name of a results file" in html(browser().page("/matrix", **RUN)).words


def test_a_device_is_not_read_without_end(browser, saved, tmp_path):
    (tmp_path / "checkpoint-1.jsonl").symlink_to("/dev/zero")
    saved(CREATED, LISTS, *smoke_tests(summary("1", results_uri=f"{tmp_path}/checkpoint-1.jsonl")))
    assert "there is no file" in html(browser().page("/matrix", **RUN)).words


def test_the_reason_why_results_cannot_be_read_has_no_secret(browser, answered, monkeypatch):
    def refuse(*_):
        raise RuntimeError("401, Authorization: Bearer ya29.secret-token")

    monkeypatch.setattr(results_cache, "index_of", refuse)
    answered(result("a"))
    page = html(browser().page("/matrix", **RUN))
    assert "401" in page.words
    assert "secret-token" not in page.text


def test_without_results_there_are_no_answers_yet(browser, saved):
    saved(CREATED, WAITED, LISTS)
    assert "No responses yet." in html(browser().page("/matrix", **RUN)).words


def test_results_in_cloud_storage_are_read_with_the_connection_of_the_run(browser, saved, vertex, monkeypatch):
    vertex.put_object("gs://bucket/results/checkpoint-1.jsonl", b"".join(lines([result("a")])).decode())
    monkeypatch.setenv("AIRFLOW_CONN_OTHER", json.dumps(vertex.connection()))
    monkeypatch.delenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT")
    saved(CREATED, LISTS, *smoke_tests(summary("1")), conf={**CONF, "gcp_conn_id": "other"})
    for _ in range(3):
        assert "passed" in html(browser().page("/matrix", **RUN)).words
    assert len({request["path"] for request in vertex.requests() if "checkpoint-1.jsonl" in request["path"]}) <= 2
    read = len(vertex.requests())
    html(browser().page("/case", **RUN, case_id="a"))
    assert len(vertex.requests()) == read


@pytest.mark.parametrize("path", ["/", "/run", "/action"])
def test_pages_without_results_send_no_request(browser, saved, monkeypatch, path):
    def refuse(*_):
        raise AssertionError("a page opened a connection")

    saved(*ALL)
    ada = browser()
    monkeypatch.setitem(sys.modules, "gemini_tuning.hooks.gemini_tuning", None)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    html(ada.page(path, **PATHS[path]))


# --------------------------------------------------------------------------------------- runs of actions


def action(session, dag_id, *steps, state="success", **change):
    save(session, run(*steps, dag_id=dag_id, run_id="action", state=state, **change))
    session.commit()
    return {"dag_id": dag_id, "run_id": "action"}


def test_a_promotion_under_way_is_followed_and_then_says_what_it_did(browser, session, dags):
    asked = action(session, PROMOTION_DAG, state="running")
    page = html(browser().page("/action", **asked))
    assert page.values("hx-get") == [f"action?dag_id={PROMOTION_DAG}&run_id=action"]
    save(session, run(PROMOTED, CHECKED, dag_id=PROMOTION_DAG, run_id="over"))
    session.commit()
    page = html(browser().page("/action", dag_id=PROMOTION_DAG, run_id="over"))
    assert page.values("data-ended") == [None]
    assert "changed from 3 to 2, read back from the model." in page.words
    assert "3 checkpoints, default 2." in page.words


def test_a_paused_dag_is_said_to_be(browser, session):
    save_dag(session, PROMOTION_DAG, queries.ACTIONS_TAG, paused=True)
    asked = action(session, PROMOTION_DAG, state="queued")
    assert "This DAG is paused" in html(browser().page("/action", **asked)).words


def test_an_action_that_failed_says_why(browser, session, dags):
    failed = replace(PROMOTED, state="failed", xcoms={"error": "no checkpoint '9'"})
    asked = action(session, PROMOTION_DAG, failed, state="failed")
    assert "set_default no checkpoint '9'" in html(browser().page("/action", **asked)).words


def test_an_action_that_changed_nothing_says_so(browser, session, dags):
    """It was the default already, or somebody rejected it."""
    skipped = replace(PROMOTED, state="skipped")
    asked = action(session, PROMOTION_DAG, skipped)
    words = html(browser().page("/action", **asked)).words
    assert "Nothing was changed" in words
    assert "read back" not in words
    live = run(dag_id=PROMOTION_DAG, run_id="live", state="running")
    save(session, live)
    session.commit()
    assert "Nothing was changed" not in html(browser().page("/action", dag_id=PROMOTION_DAG, run_id="live")).words


@pytest.mark.parametrize("text", [*HOSTILE, "half \ud800"])
def test_the_answers_to_a_prompt_stand_side_by_side(browser, session, dags, text):
    pages = []
    for number, each in enumerate((HARMLESS, text)):
        replies = [
            {"checkpoint_id": "1", "answer": each, "latency_ms": 5.0, "error": None},
            {"checkpoint_id": each, "answer": each, "error": None},
            {"checkpoint_id": "3", "answer": None, "error": each},
        ]
        conf = {"prompt": each, "system_instruction": each}
        save(session, run(step(queries.PROMPT, replies), dag_id=PROMPT_DAG, run_id=f"run {number}", conf=conf))
        session.commit()
        pages.append(html(browser().page("/action", dag_id=PROMPT_DAG, run_id=f"run {number}")))
    same_but_for_the_words(*pages)
    assert pages[1].text.count(text.encode("utf-8", "replace").decode()) == 6


@pytest.mark.parametrize("junk", [[], ["x"], [{}], {"a": 1}, "text", [{"checkpoint_id": {}, "answer": [1]}]])
def test_junk_that_an_action_pushed_is_no_error(browser, session, dags, junk):
    asked = action(session, PROMPT_DAG, step(queries.PROMPT, junk), step(queries.SET_DEFAULT, {"x": junk}))
    assert "None" not in html(browser().page("/action", **asked)).text


# --------------------------------------------------------------------------------------------- the plugin


def test_airflow_mounts_what_the_plugin_links_to(browser, saved):
    from gemini_tuning_plugin import GeminiTuningPlugin

    saved(*ALL)
    for view in GeminiTuningPlugin.external_views:
        address = view["href"].replace("{DAG_ID}", DAG).replace("{RUN_ID}", "manual__1")
        assert browser().get(address).status_code == 200


def test_a_task_process_that_loads_the_plugin_imports_the_plugins_module_alone():
    ours = "[name for name in sys.modules if name.startswith('gemini_tuning.')]"
    code = f"import sys, gemini_tuning_plugin as p; p.GeminiTuningPlugin(); print({ours})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY / "plugins", capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "['gemini_tuning.ui', 'gemini_tuning.ui.plugin']"
