"""Setting a default and rolling back, with what may come in between, against the local Vertex AI."""

import pytest
from airflow.sdk.exceptions import AirflowSkipException
from support import TaskStateStore, context, finished_job

from gemini_tuning.core import retry
from gemini_tuning.core.exceptions import (
    CheckpointError,
    InvalidInputError,
    PermanentServiceError,
    TransientServiceError,
)
from gemini_tuning.core.labels import BEFORE, PROMOTED
from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook
from gemini_tuning.operators.gate_promotion import GeminiGatePromotionOperator
from gemini_tuning.operators.set_default_checkpoint import GeminiSetDefaultCheckpointOperator
from gemini_tuning.operators.validate_promotion import GeminiValidatePromotionOperator
from gemini_tuning.operators.verify_model_copy import GeminiVerifyModelCopyOperator

PATCH = {"method": "PATCH", "path": "/models/"}


@pytest.fixture
def job(vertex):
    return finished_job(vertex)


def set_default(job, checkpoint_id, store=None, **change):
    operator = GeminiSetDefaultCheckpointOperator(task_id="set", model=job.model, checkpoint_id=checkpoint_id, **change)
    return operator.execute(context(store=store))


def validate(job, store=None, **change):
    """Return the XCom of the first task, and the next step."""
    operator = GeminiValidatePromotionOperator(task_id="validate", model=job.model, **change)
    assert operator.multiple_outputs
    found = operator.execute(context(store=store))
    return found, found["next_step"]


def roll_back(job, store=None):
    """Do what a run with ``roll_back`` does."""
    found, _ = validate(job, store, roll_back=True)
    return set_default(job, found["checkpoint_id"], expected_default=found["expected_default"])


def registered(job):
    return GeminiTuningHook().get_model(job.model)


def state(job):
    """Return the default, and the record."""
    model = registered(job)
    return model.default_checkpoint_id, model.labels.get(PROMOTED), model.labels.get(BEFORE)


def label(vertex, job, **labels):
    """Change the model as somebody else would."""
    kept = vertex.request("GET", f"/v1/{job.model}").json()["labels"]
    vertex.request("PATCH", f"/v1/{job.model}?updateMask=labels", json={"labels": {**kept, **labels}})


def patches(vertex):
    return [r for r in vertex.requests() if r["method"] == "PATCH"]


# ----------------------------------------------------------------------------------------- the record


def test_a_model_is_read_with_what_google_genai_drops(job):
    model = registered(job)
    assert [checkpoint.endpoint for checkpoint in model.checkpoints] == [c.endpoint for c in job.checkpoints]
    assert model.etag
    assert (model.name, model.default_checkpoint_id) == (job.model, "3")
    assert model.checkpoints == job.checkpoints


def test_default_and_record_are_set_at_once_and_other_labels_stay(vertex, job):
    label(vertex, job, team="ferry")
    labels = registered(job).labels
    found = set_default(job, "1")
    assert (found["changed"], found["recorded"]) == (True, True)
    assert registered(job).labels == {**labels, PROMOTED: "1", BEFORE: "3"}
    (change,) = patches(vertex)[1:]
    assert change["body"]["defaultCheckpointId"] == "1"
    assert change["body"]["etag"]


def test_a_death_after_the_change_loses_neither_record_nor_what_was_before(vertex, job, monkeypatch):
    """The answer never comes, the task dies; the next try must not take what it finds for what was before."""
    monkeypatch.setattr(retry, "READ_TIMEOUT", 0.0)
    store = TaskStateStore()
    vertex.faults([{**PATCH, "drop": "after", "times": 1}])
    with pytest.raises(TransientServiceError):
        set_default(job, "1", store, optional=True)
    assert state(job) == ("1", "1", "3")
    found = set_default(job, "1", store, optional=True)
    assert (found["default_before"], found["default_after"], found["changed"]) == ("3", "1", True)
    assert state(job) == ("1", "1", "3")
    assert len(patches(vertex)) == 1


def test_a_death_before_the_change_leaves_the_older_record_whole(vertex, job, monkeypatch):
    monkeypatch.setattr(retry, "READ_TIMEOUT", 0.0)
    set_default(job, "1")
    store = TaskStateStore()
    vertex.faults([{**PATCH, "drop": "before", "times": 1}])
    with pytest.raises(TransientServiceError):
        set_default(job, "2", store)
    assert state(job) == ("1", "1", "3")
    assert set_default(job, "2", store)["default_before"] == "1"
    assert state(job) == ("2", "2", "1")


def test_a_lost_answer_is_asked_for_again_within_the_try(vertex, job):
    vertex.faults([{**PATCH, "drop": "after", "times": 1}])
    found = set_default(job, "1")
    assert (found["default_before"], found["changed"], found["recorded"]) == ("3", True, True)
    assert state(job) == ("1", "1", "3")


def test_somebody_who_is_quicker_is_seen(vertex, job, monkeypatch):
    """Between the look at the model and the change another default is set; the service refuses the old etag."""
    set_default_checkpoint = GeminiTuningHook.set_default_checkpoint

    def late(hook, model, checkpoint_id, labels):
        if len(patches(vertex)) == 0:
            vertex.request("PATCH", f"/v1/{job.model}", json={"defaultCheckpointId": "2"})
        return set_default_checkpoint(hook, model, checkpoint_id, labels)

    monkeypatch.setattr(GeminiTuningHook, "set_default_checkpoint", late)
    with pytest.raises(InvalidInputError) as caught:
        set_default(job, "1", expected_default="3")
    assert (caught.value.field, caught.value.code) == ("expected_default", "default_changed")
    assert state(job) == ("2", None, None)


def test_without_an_expectation_the_record_names_the_default_that_was_really_there(vertex, job, monkeypatch):
    set_default_checkpoint = GeminiTuningHook.set_default_checkpoint

    def late(hook, model, checkpoint_id, labels):
        if len(patches(vertex)) == 0:
            vertex.request("PATCH", f"/v1/{job.model}", json={"defaultCheckpointId": "2"})
        return set_default_checkpoint(hook, model, checkpoint_id, labels)

    monkeypatch.setattr(GeminiTuningHook, "set_default_checkpoint", late)
    assert set_default(job, "1")["default_before"] == "2"
    assert state(job) == ("1", "1", "2")


def test_a_record_that_cannot_be_written_stops_no_promotion(vertex, job, capsys):
    vertex.faults([{**PATCH, "status": 400, "message": "Labels are full.", "times": 1}])
    found = set_default(job, "1")
    assert (found["default_after"], found["recorded"]) == ("1", False)
    log = capsys.readouterr().out
    assert "set without rollback labels" in log
    assert "Labels are full" in log
    assert state(job) == ("1", None, None)


def test_a_default_that_cannot_be_set_changes_nothing(vertex, job):
    vertex.faults([{**PATCH, "status": 403, "message": "Not you."}])
    with pytest.raises(PermanentServiceError, match="Not you"):
        set_default(job, "1")
    assert state(job) == ("3", None, None)


def test_the_default_of_a_copy_is_recorded_too(vertex, job):
    copied = GeminiVerifyModelCopyOperator(
        task_id="verify", source_model=job.model, model=job.model, default_checkpoint_id="2"
    ).execute(context())
    assert copied["default_checkpoint_id"] == "2"
    assert state(job) == ("2", "2", "3")


def test_nothing_to_do_is_said_and_skipped(vertex, job):
    operator = GeminiSetDefaultCheckpointOperator(task_id="set", model=job.model, checkpoint_id="3", optional=True,
                                                  require_approval=True)  # fmt: skip
    ctx = context()
    with pytest.raises(AirflowSkipException, match="Nothing to do: checkpoint 3 was already the default"):
        operator.execute(ctx)
    assert ctx["ti"].xcoms["return_value"]["changed"] is False
    assert patches(vertex) == []


# ------------------------------------------------------------------------------------------- roll-back


def test_a_roll_back_restores_the_earlier_default_and_twice_goes_forth_again(job):
    set_default(job, "1")
    assert roll_back(job)["default_after"] == "3"
    assert state(job) == ("3", "3", "1")
    assert roll_back(job)["default_after"] == "1"
    assert state(job) == ("1", "1", "3")


def test_a_roll_back_that_is_tried_again_does_not_go_forth(job):
    """The first step may be cleared, or tried again, after the default was set."""
    set_default(job, "1")
    store = TaskStateStore()
    assert roll_back(job, store)["default_after"] == "3"
    found, following = validate(job, store, roll_back=True)
    assert (found["checkpoint_id"], following) == ("3", "set_default")
    assert state(job)[0] == "3"


def test_a_roll_back_without_a_record_is_refused(vertex, job):
    with pytest.raises(InvalidInputError) as caught:
        validate(job, roll_back=True)
    assert (caught.value.field, caught.value.code) == ("roll_back", "no_record")
    assert patches(vertex) == []


def test_a_roll_back_after_a_change_elsewhere_is_refused(vertex, job):
    set_default(job, "1")
    vertex.request("PATCH", f"/v1/{job.model}", json={"defaultCheckpointId": "2"})
    with pytest.raises(InvalidInputError) as error:
        validate(job, roll_back=True)
    assert (error.value.field, error.value.code, error.value.resource) == ("roll_back", "default_changed", job.model)
    assert state(job)[0] == "2"


def test_a_roll_back_is_about_the_default_that_it_saw(vertex, job):
    set_default(job, "1")
    found, _ = validate(job, roll_back=True)
    set_default(job, "2")
    with pytest.raises(InvalidInputError) as caught:
        set_default(job, found["checkpoint_id"], expected_default=found["expected_default"])
    assert (caught.value.field, caught.value.code) == ("expected_default", "default_changed")


# ------------------------------------------------------------------------------ what is checked before


@pytest.mark.parametrize(
    ("change", "field", "code"),
    [
        ({"roll_back": True, "checkpoint_id": "1"}, "roll_back", "invalid_combination"),
        ({"checkpoint_id": "1", "suite": "s"}, "results_uri", "invalid_combination"),
        ({"checkpoint_id": "1", "suite": "s", "results_uri": "results"}, "results_uri", "invalid_combination"),
        ({"suite": "s", "results_uri": "gs://bucket/r"}, "suite", "invalid_combination"),
        ({"require_approval": True}, "require_approval", "invalid_combination"),
        ({"checkpoint_id": "1", "expected_default": "2"}, "expected_default", "default_changed"),
    ],
)
def test_validate_contradicting_parameters_are_refused(vertex, job, snapshot, change, field, code):
    with pytest.raises(InvalidInputError) as caught:
        validate(job, **change)
    assert (caught.value.field, caught.value.code) == (field, code)
    assert str(caught.value).replace(job.model, "MODEL") == snapshot


def test_a_checkpoint_that_does_not_exist_is_refused(job):
    with pytest.raises(CheckpointError) as caught:
        validate(job, checkpoint_id="9")
    assert (caught.value.field, caught.value.code) == ("checkpoint_id", "not_found_in_model")


def test_it_goes_on_with_what_comes_first(job):
    suite = {"suite": "s", "results_uri": "gs://bucket/r"}
    assert validate(job)[1] == "set_default"
    assert validate(job, checkpoint_id="1")[1] == "set_default"
    assert validate(job, checkpoint_id="1", require_approval=True)[1] == "gate"
    assert validate(job, checkpoint_id="1", require_approval=True, **suite)[1] == "smoke_test"
    assert validate(job, checkpoint_id="3", require_approval=True, **suite)[1] == "set_default", "nothing to do"


def test_what_the_next_steps_need_is_pushed(job):
    store = TaskStateStore()
    ask = {"checkpoint_id": "1", "suite": "s", "results_uri": "gs://bucket/r"}
    found, _ = validate(job, store, **ask)
    assert found["checkpoint"] == job.checkpoints[0].as_dict()
    assert (found["model"], found["default_checkpoint_id"], found["expected_default"]) == (job.model, "3", None)
    assert found["results_uri"].startswith("gs://bucket/r/dag/run-")
    assert validate(job, store, **ask)[0] == found, "each try gets the same folder"
    assert validate(job, **ask)[0]["results_uri"] != found["results_uri"], "each run has its own"
    asked, _ = validate(job, checkpoint_id="1", require_approval=True)
    assert asked["expected_default"] == "3", "what a person approves is about the default that is shown"
    other, _ = validate(job, checkpoint_id="1", expected_default="3")
    assert other["expected_default"] == "3"


def test_without_a_suite_the_person_is_asked_about_what_was_named(job):
    found, _ = validate(job, checkpoint_id="1", require_approval=True)
    gate = GeminiGatePromotionOperator(task_id="gate", promotion=found, results=[None], model=job.model)
    pushed = gate.execute(context())
    decision = pushed["decision"]
    assert pushed["winner"] == "1"
    assert (decision["winner"], decision["default_checkpoint_id"]) == ("1", "3")
    assert decision["reason"] == "Named by hand; no suite was run."
    assert [each["passed_gates"] for each in decision["checkpoints"]] == [True]
