"""The page's queries, on Airflow's own tables."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import event
from support import operator_classes
from tuning_runs import (
    ALL,
    BEGAN,
    CONF,
    CREATED,
    DAG,
    NOW,
    PROMOTED,
    RUNNING,
    WAITING,
    in_groups,
    run,
    save,
    save_dag,
    step,
)

from gemini_tuning.core.xcom import CopyXCom, PromotionXCom
from gemini_tuning.sensors import tuning_job
from gemini_tuning.ui import queries
from gemini_tuning.ui.queries import (
    RunQuery,
    active_dag_ids_tagged,
    dag_ids_tagged,
    find_runs,
    get_run,
    load_runs,
    return_values,
)
from tests.gemini_tuning.reporting.run_values import MODEL, PROMOTION, RESULTS


@pytest.fixture
def dag(session):
    save_dag(session, DAG, queries.TAG, "gemini")


def fill(session, count, **change):
    """Insert so many runs, each a minute after the one before."""
    for number in range(count):
        save(session, run(run_id=f"run-{number}", run_after=BEGAN + timedelta(minutes=number), **change))


@pytest.fixture
def page_of(monkeypatch):
    return lambda size: monkeypatch.setattr(queries, "PAGE_SIZE", size)


def found(session, dag_ids=(DAG,), **query):
    runs, more = find_runs(session, dag_ids, RunQuery(**query))
    return [each.run_id for each in runs], more


def test_dags_are_found_by_their_tag(session, dag):
    save_dag(session, "other", "gemini")
    save_dag(session, "promotion", queries.ACTIONS_TAG)
    assert dag_ids_tagged(session, queries.TAG) == {DAG}
    assert dag_ids_tagged(session, queries.TAG, queries.ACTIONS_TAG) == {DAG, "promotion"}
    assert dag_ids_tagged(session, "nobody") == set()


def test_a_dag_whose_file_is_gone_keeps_its_runs_and_is_not_started(session):
    save_dag(session, "there", queries.ACTIONS_TAG, queries.TAG)
    save_dag(session, "gone", queries.ACTIONS_TAG, queries.TAG, stale=True)
    assert dag_ids_tagged(session, queries.TAG) == {"there", "gone"}
    assert active_dag_ids_tagged(session, queries.ACTIONS_TAG) == {"there"}


def test_a_run_comes_back_with_its_steps_and_what_they_pushed(session, dag):
    save(session, run(*ALL))
    back = get_run(session, DAG, "manual__1")
    assert replace(back, id=1, steps=()) == run()
    assert [(s.task_id, s.map_index, s.label) for s in back.all_steps(queries.SMOKE_TEST)] == [
        ("smoke_test", 0, "checkpoint 1"),
        ("smoke_test", 1, "checkpoint 2"),
        ("smoke_test", 2, "checkpoint 3"),
    ]
    assert [s.xcoms["return_value"] for s in back.all_steps(queries.SMOKE_TEST)] == RESULTS
    assert back.xcom(queries.SET_DEFAULT) == PROMOTION
    assert back.step(queries.CREATE) == CREATED


def test_get_run_with_task_groups_finds_the_steps_by_their_operators(session, dag):
    save(session, run(*in_groups(*ALL)))
    back = get_run(session, DAG, "manual__1")
    assert back.step(queries.CREATE).task_id == "tune.create_tuning_job"
    assert [s.xcom() for s in back.all_steps(queries.SMOKE_TEST)] == RESULTS
    assert back.xcom(queries.SET_DEFAULT) == PROMOTION
    assert [each.model for each in return_values(session, {DAG}, queries.SET_DEFAULT, PromotionXCom)] == [MODEL]


def test_get_run_with_several_tuning_groups_keeps_their_steps_apart(session, dag):
    other = replace(CREATED, xcoms={"return_value": "another job"})
    save(session, run(*in_groups(*ALL, prefix="ferry."), *in_groups(other, prefix="train.")))
    parts = {part.group: part for part in get_run(session, DAG, "manual__1").parts()}
    assert set(parts) == {"ferry", "train"}
    assert parts["ferry"].xcom(queries.CREATE) == CREATED.xcom()
    assert [s.xcom() for s in parts["ferry"].all_steps(queries.SMOKE_TEST)] == RESULTS
    assert parts["train"].xcom(queries.CREATE) == "another job"
    assert parts["train"].xcom(queries.SET_DEFAULT) is None


def test_get_run_with_one_tuning_group_is_whole(session, dag):
    save(session, run(*in_groups(*ALL, prefix="ferry.")))
    found = get_run(session, DAG, "manual__1")
    assert (found.groups, found.parts()) == ((), [found])


def test_operators_are_classes_of_this_package():
    """A task instance has the name of its operator's class, which a rename must not part from the one here."""
    names = {value for value in vars(queries).values() if isinstance(value, str) and value.startswith("Gemini")}
    assert queries.WAIT in names
    assert {name for name in names if name not in operator_classes()} == {queries.WAIT}
    assert hasattr(tuning_job, queries.WAIT)


def test_what_is_not_asked_for_is_not_read(session, dag):
    save(session, run(step(queries.CREATE, "job", _link_tuning_job="https://…", progress={"state": "x"})))
    assert set(get_run(session, DAG, "manual__1").step(queries.CREATE).xcoms) == {"return_value", "progress"}


def test_an_unknown_run_is_none(session, dag):
    save(session, run())
    assert get_run(session, DAG, "another") is None
    assert get_run(session, "another", "manual__1") is None
    assert load_runs(session, []) == []


def test_runs_of_the_same_id_are_not_mixed_up(session, dag):
    save_dag(session, "other", queries.TAG)
    save(session, run(CREATED))
    save(session, run(step(queries.CREATE, "another job", task_id="create_tuning_job"), dag_id="other"))
    runs, _ = find_runs(session, {DAG, "other"}, RunQuery())
    assert {each.dag_id: each.xcom(queries.CREATE) for each in runs} == {
        DAG: CREATED.xcoms["return_value"],
        "other": "another job",
    }


def test_the_newest_runs_come_first_page_by_page(session, dag, page_of):
    fill(session, 5)
    page_of(2)
    assert found(session) == (["run-4", "run-3"], True)
    assert found(session, page=3) == (["run-0"], False)
    page_of(5)
    assert found(session) == ([f"run-{n}" for n in (4, 3, 2, 1, 0)], False)
    assert found(session, page=9_999) == ([], False)
    assert found(session, dag_ids=()) == ([], False)
    assert found(session, dag_ids={"another"}) == ([], False)


def test_runs_of_one_moment_have_an_order(session, dag, page_of):
    page_of(1)
    for number in range(4):
        save(session, run(run_id=f"run-{number}"))
    pages = [found(session, page=page)[0] for page in (1, 2, 3, 4)]
    assert pages == [["run-3"], ["run-2"], ["run-1"], ["run-0"]]


def test_runs_are_found_by_their_state(session, dag):
    for state in ("queued", "running", "success", "failed"):
        save(session, run(run_id=state, state=state))
    assert found(session, state="failed") == (["failed"], False)


def test_runs_are_found_by_the_names_of_their_models(session, dag):
    known = {**RUNNING, "base_model": "gemini-2.5-pro", "display_name": "named by the job"}
    save(session, run(run_id="queued", state="queued"))
    save(session, run(replace(WAITING, xcoms={"progress": known}), run_id="told", conf={}))
    save(session, run(run_id="nothing", conf={}))
    assert found(session, base_model="FLASH") == (["queued"], False)
    assert found(session, base_model="pro") == (["told"], False)
    assert found(session, display_name="by the JOB") == (["told"], False)
    assert found(session, display_name="ferry", base_model="flash") == (["queued"], False)
    assert found(session, display_name="ferry", base_model="pro") == ([], False)
    assert found(session, display_name="ferry", state="running") == ([], False)
    assert found(session, display_name="100%_") == ([], False)


def test_what_was_found_by_name_is_paged_too(session, dag, page_of):
    page_of(2)
    fill(session, 5)
    assert found(session, display_name="ferry") == (["run-4", "run-3"], True)
    assert found(session, display_name="ferry", page=3) == (["run-0"], False)


def test_a_run_that_waits_for_two_jobs_is_found_once(session, dag):
    save(session, run(WAITING, replace(WAITING, task_id="wait_for_another")))
    assert found(session, display_name="ferry") == (["manual__1"], False)


@pytest.mark.parametrize("junk", [None, [], "text", 7, {"base_model": ["x"], "display_name": {}}])
def test_names_that_are_none_are_found_by_nobody(session, dag, junk):
    save(session, run(replace(WAITING, xcoms={"progress": junk}), conf=junk))
    assert found(session, display_name="ferry") == ([], False)
    assert found(session)[0] == ["manual__1"]
    assert find_runs(session, {DAG}, RunQuery())[0][0].is_live is False


def test_promotions_come_newest_first_from_the_dags_that_one_may_read(session, dag):
    save_dag(session, "promotion", queries.ACTIONS_TAG)
    save_dag(session, "hidden", queries.ACTIONS_TAG)
    for dag_id, minutes in ((DAG, 0), ("promotion", 2), ("hidden", 3)):
        promoted = replace(PROMOTED, xcoms={"return_value": {**PROMOTION, "default_after": dag_id}})
        save(session, run(promoted, dag_id=dag_id), NOW + timedelta(minutes=minutes))
    read = [
        each.default_after for each in return_values(session, {DAG, "promotion"}, queries.SET_DEFAULT, PromotionXCom)
    ]
    assert read == ["promotion", DAG]
    assert list(return_values(session, (), queries.SET_DEFAULT, PromotionXCom)) == []
    assert list(return_values(session, {DAG}, queries.VERIFY, CopyXCom)) == []


@pytest.mark.parametrize("state", ["failed", "skipped", "running", None])
def test_a_promotion_that_did_not_succeed_does_not_count(session, dag, state):
    save(session, run(replace(PROMOTED, state=state)))
    assert list(return_values(session, {DAG}, queries.SET_DEFAULT, PromotionXCom)) == []


@pytest.mark.parametrize("junk", [None, [], "text", 7])
def test_a_promotion_that_is_no_mapping_does_not_count(session, dag, junk):
    save(session, run(replace(PROMOTED, xcoms={"return_value": junk}), run_id="junk"))
    save(session, run(PROMOTED))
    assert [each.model for each in return_values(session, {DAG}, queries.SET_DEFAULT, PromotionXCom)] == [MODEL]


@pytest.mark.parametrize("query", [RunQuery(), RunQuery(display_name="ferry")])
def test_a_page_takes_as_many_queries_for_many_runs_as_for_one(session, dag, query):
    fill(session, 1, conf=CONF)

    def queries():
        asked = []

        def listen(*args):
            asked.append(args[2])

        event.listen(session.bind, "before_cursor_execute", listen)
        find_runs(session, {DAG}, query)
        event.remove(session.bind, "before_cursor_execute", listen)
        return len(asked)

    for_one = queries()
    for number in range(20):
        save(session, run(*ALL, run_id=f"more-{number}"))
    assert queries() == for_one
