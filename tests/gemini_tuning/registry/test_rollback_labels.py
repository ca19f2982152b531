"""The record of a promotion: the labels on the model, and the checkpoint for a rollback."""

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gemini_tuning.core.labels import BEFORE, PROMOTED
from gemini_tuning.core.resources import Checkpoint, Model
from gemini_tuning.registry.rollback_labels import RollbackError, earlier_default, is_recorded, labels_with_record

NAME = "projects/1/locations/us-central1/models/7@1"
ids = st.text(min_size=1, max_size=100).filter(lambda text: text.isprintable() and bool(text.strip()))


def model(default, labels, *there):
    checkpoints = tuple(Checkpoint(identifier) for identifier in there or ("1", "2", "3"))
    return Model(NAME, default_checkpoint_id=default, checkpoints=checkpoints, labels=labels)


def promoted(before, checkpoint_id):
    """Return the model after a promotion."""
    there = tuple(checkpoint.checkpoint_id for checkpoint in before.checkpoints)
    return model(checkpoint_id, labels_with_record(before, checkpoint_id), *there)


def test_the_record_stands_beside_the_other_labels():
    labels = labels_with_record(model("3", {"team": "ferry", BEFORE: "1", PROMOTED: "3"}), "2")
    assert labels == {"team": "ferry", PROMOTED: "2", BEFORE: "3"}


def test_a_model_without_a_default_before_keeps_none_of_an_older_record(snapshot):
    after = promoted(model(None, {BEFORE: "1"}), "2")
    assert after.labels == {PROMOTED: "2"}
    with pytest.raises(RollbackError) as error:
        earlier_default(after)
    assert (error.value.code, error.value.resource) == ("no_earlier_default", NAME)
    assert str(error.value) == snapshot


@given(ids, ids)
def test_a_roll_back_finds_any_id_and_twice_leads_forth_again(one, other):
    assume(one != other)
    first = promoted(model(one, {}, one, other), other)
    assert all(re.fullmatch(r"[a-z0-9_-]{0,63}", value) for value in first.labels.values())
    assert is_recorded(first)
    assert earlier_default(first) == one
    assert earlier_default(promoted(first, one)) == other


def test_earlier_default_without_a_record_is_an_error(snapshot):
    assert not is_recorded(model("3", {"team": "ferry"}))
    with pytest.raises(RollbackError) as error:
        earlier_default(model("3", {"team": "ferry"}))
    assert (error.value.field, error.value.code, error.value.resource) == ("checkpoint_id", "no_record", NAME)
    assert str(error.value) == snapshot


@pytest.mark.parametrize("default", ["3", None])
def test_earlier_default_after_a_change_elsewhere_is_an_error(default, snapshot):
    elsewhere = model(default, {PROMOTED: "2", BEFORE: "1"})
    assert not is_recorded(elsewhere)
    with pytest.raises(RollbackError) as error:
        earlier_default(elsewhere)
    assert error.value.code == "default_changed"
    assert str(error.value) == snapshot


def test_earlier_default_that_does_not_exist_is_an_error(snapshot):
    with pytest.raises(RollbackError) as error:
        earlier_default(model("2", {PROMOTED: "2", BEFORE: "9"}))
    assert error.value.code == "not_found_in_model"
    assert str(error.value) == snapshot
