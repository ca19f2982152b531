"""The actions of a run: for whom, and with parameters that the DAG accepts."""

from dataclasses import replace

import jsonschema
import pytest
from airflow.dag_processing.dagbag import DagBag
from hypothesis import given
from support import REPOSITORY
from tuning_runs import ALL, CONF, CREATED, LISTS, NOW, RUNNING, WAITED, WAITING, run, step

from gemini_tuning.core.xcom import PromotionXCom
from gemini_tuning.ui import queries
from gemini_tuning.ui.actions import PROMOTION_DAG, PROMPT_DAG, Actions
from gemini_tuning.ui.defaults import current_defaults
from gemini_tuning.ui.run_view import RunView
from tests.gemini_tuning.reporting.run_values import JOB, MODEL, PROMOTION
from tests.gemini_tuning.strategies import json_values

ROLLED_BACK = {"model": MODEL, "default_before": "2", "default_after": "3"}


@pytest.fixture(scope="module")
def schemas():
    """The Params of the DAGs that are started."""
    found = {}
    for name in (PROMOTION_DAG, PROMPT_DAG):
        bag = DagBag(str(REPOSITORY / "dags" / f"{name}.py"), bundle_name="dags-folder")
        params = bag.dags[name].params
        found[name] = {param: params.get_param(param).schema for param in params}
    return found


def of(*steps, promotions=(PROMOTION,), may=lambda _: True, **change):
    defaults = current_defaults(map(PromotionXCom.from_xcom, promotions))
    return Actions.of(RunView(run(*steps, **change), defaults, now=NOW), may)


def every(actions):
    return [*actions.set_default.values(), *filter(None, (actions.roll_back, actions.copy, actions.prompt))]


def check(actions, schemas):
    """Hold what is given against the Params, as Airflow does when a run is triggered."""
    form = {"Copy": {"copy_location": "europe-west4"}, "Send": {"prompt": "A ticket?"}}
    for action in every(actions):
        given_ = {**action.conf, **form.get(action.label, {})}
        for name, value in given_.items():
            jsonschema.validate(value, schemas[action.dag_id][name])


def test_all_checkpoints_but_the_default_can_be_made_the_default():
    found = of(*ALL).set_default
    assert list(found) == ["1", "3"]
    assert found["1"].conf == {"model": MODEL, "checkpoint_id": "1", "expected_default": "2", "tuning_job": JOB}
    assert f"Set checkpoint 1 as the default of {MODEL}? The current default is checkpoint 2." in found["1"].question


def test_a_roll_back_takes_the_default_that_was_there_before():
    found = of(*ALL)
    assert (found.roll_back.conf["checkpoint_id"], found.roll_back.label) == ("3", "Roll back to checkpoint 3")
    back = of(*ALL, promotions=(ROLLED_BACK, PROMOTION))
    assert back.roll_back.conf["checkpoint_id"] == "2"
    assert list(back.set_default) == ["1", "2"]


def test_without_a_promotion_there_is_nothing_to_roll_back():
    found = of(CREATED, WAITED, LISTS, promotions=())
    assert found.roll_back is None
    assert list(found.set_default) == ["1", "2"]


def test_a_copy_and_a_prompt_are_about_the_runs_model():
    found = of(*ALL)
    assert found.copy.conf == {"model": MODEL}
    assert "{copy_location}" in found.copy.question
    assert [asked["checkpoint_id"] for asked in found.prompt.conf["checkpoints"]] == ["1", "2", "3"]
    assert "Google bills 3 requests" in found.prompt.question


def test_the_connection_is_that_of_the_run():
    conf = {**CONF, "gcp_conn_id": "other", "impersonation_chain": "sa@p.iam.gserviceaccount.com", "project_id": "p"}
    for action in every(of(*ALL, conf=conf)):
        assert action.conf["gcp_conn_id"] == "other"
        assert action.conf["impersonation_chain"] == conf["impersonation_chain"]
        assert "project_id" not in action.conf  # the model's own


def test_a_connection_that_the_wait_used_counts_more_than_what_was_given():
    known = {**WAITED.xcoms["progress"], "gcp_conn_id": "fixed", "impersonation_chain": ["a@p", "b@p"]}
    for action in every(of(CREATED, replace(WAITED, xcoms={"progress": known}), LISTS, conf={"gcp_conn_id": "other"})):
        assert action.conf["gcp_conn_id"] == "fixed"
        assert action.conf["impersonation_chain"] == "a@p,b@p"


def test_a_run_that_tunes_two_models_offers_nothing():
    assert of(*ALL, replace(CREATED, task_id="another")) == Actions()


@pytest.mark.parametrize("state", ["queued", "running"])
def test_a_live_run_offers_nothing(state):
    assert of(*ALL, state=state) == Actions()


def test_a_run_without_a_model_offers_nothing():
    assert of(CREATED, replace(WAITING, xcoms={"progress": RUNNING}), state="failed", promotions=()) == Actions()


@pytest.mark.parametrize("model", ["", "the model", "projects/p/locations/l/endpoints/1", 7, ["x"]])
def test_what_is_no_model_offers_nothing(model):
    assert of(replace(LISTS, xcoms={**LISTS.xcoms, "tuned_model": model})) == Actions()


def test_everybody_gets_what_they_may_start():
    assert every(of(*ALL, may=lambda _: False)) == []
    promoting = of(*ALL, may=lambda dag_id: dag_id == PROMOTION_DAG)
    assert promoting.set_default and promoting.roll_back and promoting.copy and promoting.prompt is None
    asking = of(*ALL, may=lambda dag_id: dag_id == PROMPT_DAG)
    assert not asking.set_default and not asking.roll_back and not asking.copy and asking.prompt


def test_checkpoints_without_an_endpoint_are_not_asked():
    pushed = {**LISTS.xcoms, "return_value": [{"checkpoint_id": "1"}, {"checkpoint_id": "2", "endpoint": ""}]}
    assert of(replace(LISTS, xcoms=pushed)).prompt is None


def test_the_dags_take_what_the_actions_give_them(schemas):
    conf = {**CONF, "gcp_conn_id": "other", "impersonation_chain": "sa@p.iam.gserviceaccount.com"}
    for found in (of(*ALL), of(*ALL, conf=conf), of(CREATED, WAITED, LISTS, promotions=())):
        assert len(every(found)) >= 4
        check(found, schemas)


def test_a_hundred_checkpoints_are_not_more_than_the_dag_takes(schemas):
    many = [{"checkpoint_id": str(n), "endpoint": f"projects/p/locations/l/endpoints/{n}"} for n in range(100)]
    found = of(replace(LISTS, xcoms={**LISTS.xcoms, "return_value": many}))
    check(found, schemas)
    assert "Google bills 50 requests" in found.prompt.question


@given(junk=json_values)
def test_whatever_was_pushed_the_dags_take_what_the_actions_give_them(schemas, junk):
    conf = dict.fromkeys((*CONF, "gcp_conn_id", "impersonation_chain"), junk)
    before = {**PROMOTION, "default_before": junk}
    lists = replace(
        LISTS, xcoms={**LISTS.xcoms, "return_value": [{"checkpoint_id": junk, "endpoint": junk}, {}, "x" * 200]}
    )
    waited = replace(WAITED, xcoms={"progress": {"name": junk}})
    created = step(queries.CREATE, junk)
    check(of(created, waited, lists, conf=conf, promotions=(before,)), schemas)
