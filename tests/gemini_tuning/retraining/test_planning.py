"""Whether there is anything to do, and from which model a run continues."""

import json
from dataclasses import asdict

import pytest

from gemini_tuning.core.exceptions import InvalidInputError
from gemini_tuning.retraining.planning import Attempt, Memory, Promotion, fingerprint, skip_reason, tuning_conf
from gemini_tuning.retraining.profiles import ContinueFrom

MODEL = "projects/1/locations/us-central1/models/5@1"
PARAMS = {"training_dataset_uri": "gs://b/t", "epoch_count": 3, "champion": "projects/1/locations/l/models/9@2"}
REPORT = {"outcome": "promoted", "tuned_model": MODEL, "default_after": "4"}
AFTER_ONE = Memory().started(Attempt("run-1", "f1")).succeeded(REPORT)


def test_the_memory_is_kept_as_json():
    for memory in (Memory(), AFTER_ONE, AFTER_ONE.started(Attempt("run-2", "f2"))):
        assert Memory.from_json(json.loads(json.dumps(asdict(memory)))) == memory
    assert Memory.from_json(None) == Memory()


@pytest.mark.parametrize("stored", [7, "x", [], {"last": {"run": 1}}, {"promoted": [1]}, {"active": "x"}])
def test_memory_from_json_anything_else_raises(stored):
    with pytest.raises(InvalidInputError) as caught:
        Memory.from_json(stored)
    assert caught.value.code == "invalid_memory"
    assert caught.value.hint


def test_memory_from_json_error_wording(snapshot):
    with pytest.raises(InvalidInputError) as caught:
        Memory.from_json({"last": {"run": 1}})
    assert caught.value.field == "last.tuning_run_id"
    assert str(caught.value) == snapshot


def test_memory_records_a_success():
    expected = Memory(None, Attempt("run-1", "f1", "promoted"), Promotion(MODEL, "4"))
    assert expected == AFTER_ONE


@pytest.mark.parametrize("outcome", ["nobody", "rejected", "timed out", "champion kept", "not promoted", None])
def test_a_run_that_promoted_nothing_leaves_the_promotion_before(outcome):
    memory = AFTER_ONE.started(Attempt("run-2", "f2")).succeeded({**REPORT, "outcome": outcome, "default_after": "9"})
    assert memory.promoted == Promotion(MODEL, "4")
    assert memory.last == Attempt("run-2", "f2", outcome or "unknown")


def test_memory_failed_run_is_repeated():
    memory = AFTER_ONE.started(Attempt("run-2", "f2")).failed()
    assert memory == AFTER_ONE
    assert skip_reason(memory, "f2", force=False) is None


def test_skip_reason_unchanged_unless_forced(snapshot):
    reason = skip_reason(AFTER_ONE, "f1", force=False)
    assert reason == snapshot
    assert skip_reason(AFTER_ONE, "f1", force=True) is None
    assert skip_reason(AFTER_ONE, "f2", force=False) is None
    assert skip_reason(Memory(), "f1", force=False) is None


def test_fingerprint_covers_checksums_parameters_and_continue_from():
    same = fingerprint(PARAMS, ContinueFrom.BASE, {"gs://b/t": "10 abc"})
    assert fingerprint(dict(reversed(PARAMS.items())), ContinueFrom.BASE, {"gs://b/t": "10 abc"}) == same
    assert fingerprint(PARAMS, ContinueFrom.BASE, {"gs://b/t": "10 abd"}) != same
    assert fingerprint(PARAMS, ContinueFrom.PROMOTED, {"gs://b/t": "10 abc"}) != same
    assert fingerprint({**PARAMS, "epoch_count": 4}, ContinueFrom.BASE, {"gs://b/t": "10 abc"}) != same


def test_tuning_conf_sets_the_model_to_continue_from():
    assert tuning_conf(PARAMS, ContinueFrom.BASE, AFTER_ONE) == PARAMS
    assert tuning_conf(PARAMS, ContinueFrom.PROMOTED, Memory()) == PARAMS
    assert tuning_conf(PARAMS, ContinueFrom.PROMOTED, AFTER_ONE) == {
        **PARAMS, "pre_tuned_model": MODEL, "pre_tuned_model_checkpoint_id": "4",
    }  # fmt: skip
    assert tuning_conf(PARAMS, ContinueFrom.CHAMPION, AFTER_ONE) == {**PARAMS, "pre_tuned_model": PARAMS["champion"]}
