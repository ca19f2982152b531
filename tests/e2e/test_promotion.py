"""Promotion and roll-back by hand, in a real Airflow."""

import pytest
from runs import CONF, Run, advance
from support import LOCATION, SPEC, use_connection
from test_human_gate import answer, request, wait_for_question

from demo.stack import Stack
from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook

pytestmark = pytest.mark.airflow

APPROVE = "approve"

PROMOTION = "gemini_checkpoint_promotion"


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with Stack(tmp_path_factory.mktemp("stack") / "home", speed=0) as stack:
        yield stack


@pytest.fixture
def model(stack, monkeypatch):
    """Name of a tuned model with six checkpoints."""
    use_connection(monkeypatch, stack.emulator("GET", "/connection"))
    uris = {name: CONF[name] for name in ("training_dataset_uri", "validation_dataset_uri")}
    hook = GeminiTuningHook()
    job = hook.create_tuning_job(
        SPEC.model_copy(update=dict(epoch_count=6, **uris)), project_id=None, location=LOCATION
    )
    advance(stack)
    return hook.get_tuning_job(job.name).model


def promote(stack, model, **conf):
    return Run.start(stack, {"model": model, **conf}, PROMOTION)


def registered(stack, model):
    """Return the default and the labels, as the service has them."""
    found = next(each for each in stack.emulator("GET", "/state")["models"] if each["name"] == model)
    labels = found.get("labels", {})
    return found["defaultCheckpointId"], labels.get("gemini_tuning_promoted"), labels.get("gemini_tuning_before")


def test_a_roll_back_after_a_promotion_restores_the_earlier_default_in_one_run(stack, model):
    before, *_ = registered(stack, model)
    promotion = promote(stack, model, checkpoint_id="2")
    assert promotion.finish() == "success"
    assert registered(stack, model) == ("2", "2", before)

    back = promote(stack, model, roll_back=True)
    assert back.finish() == "success"
    assert registered(stack, model) == (before, before, "2")
    pushed = back.xcom("set_default")
    assert (pushed["default_before"], pushed["default_after"], pushed["changed"]) == ("2", before, True)

    again = promote(stack, model, checkpoint_id=before)
    assert again.finish() == "success"
    assert again.state("set_default") == "skipped"
    assert again.xcom("set_default")["changed"] is False
    assert f"Checkpoint {before} is already the default of {model}" in again.log("set_default")


def test_a_roll_back_without_a_promotion_says_what_to_do(stack, model):
    before = registered(stack, model)
    run = promote(stack, model, roll_back=True)
    assert run.finish() == "failed"
    assert "Nothing was changed" in run.log("validate")
    assert registered(stack, model) == before


@pytest.mark.parametrize(("option", "default"), [("Approve checkpoint 2", "2"), ("Reject", "6")])
def test_a_person_has_the_last_word(stack, model, option, default):
    run = promote(stack, model, checkpoint_id="2", require_approval=True, copy_location="europe-west4")
    wait_for_question(run, APPROVE)
    shown = request(run, APPROVE)
    assert shown["subject"] == "Make checkpoint 2 the default in place of checkpoint 6?"
    assert shown["options"] == ["Approve checkpoint 2", "Reject"]
    assert model.partition("/models/")[2].partition("@")[0] in shown["body"]
    assert registered(stack, model)[0] == "6"
    assert answer(run, option, APPROVE).status_code == 200
    if option == "Reject":
        assert run.finish() == "success"
        states = {task: run.state(task) for task in (APPROVE, "set_default", "publish", "copy_model")}
        assert states == {APPROVE: "success", **dict.fromkeys(("set_default", "publish", "copy_model"), "skipped")}
    else:
        run.wait_for_state("copy_model", "deferred")
        advance(stack)
        assert run.finish() == "success"
    assert registered(stack, model)[0] == default
