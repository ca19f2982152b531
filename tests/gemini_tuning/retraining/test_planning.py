"""Whether there is anything to do, and from which model a run goes on."""

import json

import pytest

from gemini_tuning.retraining.planning import Attempt, Memory, Promotion, fingerprint, nothing_to_do, tuning_conf
from gemini_tuning.retraining.profiles import GoOnFrom

MODEL = "projects/1/locations/us-central1/models/5@1"
PARAMS = {"training_dataset_uri": "gs://b/t", "epoch_count": 3, "champion": "projects/1/locations/l/models/9@2"}
REPORT = {"outcome": "promoted", "tuned_model": MODEL, "default_after": "4"}
AFTER_ONE = Memory().started(Attempt("run-1", "f1")).ended(REPORT)


def test_the_memory_is_kept_as_json():
    for memory in (Memory(), AFTER_ONE, AFTER_ONE.started(Attempt("run-2", "f2"))):
        assert Memory.from_json(json.loads(json.dumps(memory.as_json()))) == memory
    assert Memory.from_json(None) == Memory()


@pytest.mark.parametrize("stored", [7, "x", [], {"last": {"run": 1}}, {"promoted": [1]}, {"under_way": "x"}])
def test_something_else_is_not_taken_for_an_empty_memory(stored):
    with pytest.raises(ValueError, match="the asset's state holds something else"):
        Memory.from_json(stored or 0)


def test_a_run_that_ended_well_is_remembered():
    expected = Memory(None, Attempt("run-1", "f1", "promoted"), Promotion(MODEL, "4"))
    assert expected == AFTER_ONE


@pytest.mark.parametrize("outcome", ["nobody", "rejected", "timed out", "champion kept", "not promoted", None])
def test_a_run_that_promoted_nothing_leaves_the_promotion_before(outcome):
    memory = AFTER_ONE.started(Attempt("run-2", "f2")).ended({**REPORT, "outcome": outcome, "default_after": "9"})
    assert memory.promoted == Promotion(MODEL, "4")
    assert memory.last == Attempt("run-2", "f2", outcome or "unknown")


def test_a_run_that_failed_is_done_again():
    memory = AFTER_ONE.started(Attempt("run-2", "f2")).failed()
    assert memory == AFTER_ONE
    assert nothing_to_do(memory, "f2", force=False) is None


def test_unchanged_is_skipped_with_the_reason_unless_it_is_forced():
    reason = nothing_to_do(AFTER_ONE, "f1", force=False)
    assert reason
    assert reason.startswith("Unchanged since run-1 (promoted): ")
    assert nothing_to_do(AFTER_ONE, "f1", force=True) is None
    assert nothing_to_do(AFTER_ONE, "f2", force=False) is None
    assert nothing_to_do(Memory(), "f1", force=False) is None


def test_the_fingerprint_is_of_content_parameters_and_what_is_gone_on_from():
    same = fingerprint(PARAMS, GoOnFrom.BASE, {"gs://b/t": "10 abc"})
    assert fingerprint(dict(reversed(PARAMS.items())), GoOnFrom.BASE, {"gs://b/t": "10 abc"}) == same
    assert fingerprint(PARAMS, GoOnFrom.BASE, {"gs://b/t": "10 abd"}) != same
    assert fingerprint(PARAMS, GoOnFrom.PROMOTED, {"gs://b/t": "10 abc"}) != same
    assert fingerprint({**PARAMS, "epoch_count": 4}, GoOnFrom.BASE, {"gs://b/t": "10 abc"}) != same


def test_from_which_model_a_run_goes_on():
    assert tuning_conf(PARAMS, GoOnFrom.BASE, AFTER_ONE) == PARAMS
    assert tuning_conf(PARAMS, GoOnFrom.PROMOTED, Memory()) == PARAMS
    assert tuning_conf(PARAMS, GoOnFrom.PROMOTED, AFTER_ONE) == {
        **PARAMS, "pre_tuned_model": MODEL, "pre_tuned_model_checkpoint_id": "4",
    }  # fmt: skip
    assert tuning_conf(PARAMS, GoOnFrom.CHAMPION, AFTER_ONE) == {**PARAMS, "pre_tuned_model": PARAMS["champion"]}
