"""How far a tuning job is, by what was seen of it last."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tuning_runs import BEGAN, NOW, RUNNING

from gemini_tuning.ui.pace import pace_of
from tests.gemini_tuning.strategies import json_values, spoiled


def test_the_rest_takes_as_long_as_the_pace_so_far_says():
    found = pace_of(RUNNING, BEGAN, NOW)  # a third took four minutes, and six more have passed since
    assert found.share == pytest.approx(1 / 3)
    assert found.seconds_left == pytest.approx((12 - 10) * 60)
    assert found.words == "epoch 2 of 6, step 21"


def test_nothing_is_left_when_the_time_is_over():
    assert pace_of(RUNNING, BEGAN, NOW + timedelta(days=1)).seconds_left == 0


@pytest.mark.parametrize(
    ("known", "share", "words"),
    [
        ({"phase": "DATA_PREPARATION"}, None, "data preparation"),
        ({"completed_epochs": 0, "epoch_count": 6}, 0.0, "epoch 0 of 6"),
        ({"completed_epochs": 3}, None, "epoch 3"),
        ({"completed_steps": 7}, None, "step 7"),
        ({"completed_epochs": 7, "epoch_count": 6}, 1.0, "epoch 7 of 6"),
        ({"completed_epochs": 1, "epoch_count": 0}, None, "epoch 1"),
        ({"completed_epochs": True, "epoch_count": "6"}, None, ""),
    ],
)
def test_what_the_service_does_not_tell_is_not_made_up(known, share, words):
    found = pace_of({**known, "at": NOW.isoformat()}, BEGAN, NOW)
    assert (found.share, found.words) == (share, words)
    assert share or found.seconds_left is None


@pytest.mark.parametrize("at", [None, "soon", 5, "2026-11-20T08:04:00", BEGAN.isoformat(), "0001-01-01T00:00:00+23:59"])
def test_without_the_time_of_the_look_nobody_knows_how_long(at):
    assert pace_of({**RUNNING, "at": at}, BEGAN, NOW).seconds_left is None


def test_nothing_is_known_before_the_first_look():
    assert pace_of({}, BEGAN, NOW) is None
    assert pace_of(RUNNING, None, NOW).seconds_left is None


@pytest.mark.parametrize(("done", "epochs"), [(1, 2**62), (-1, 6), (1, -6), (-1, -6)])
def test_absurd_epochs_are_no_error(done, epochs):
    found = pace_of({**RUNNING, "completed_epochs": done, "epoch_count": epochs}, BEGAN, NOW)
    assert found.share is None or 0 <= found.share <= 1


@given(known=spoiled(RUNNING) | st.dictionaries(st.sampled_from(sorted(RUNNING)), json_values))
def test_whatever_a_task_pushed_is_no_error(known):
    found = pace_of(known, BEGAN, NOW)
    if found is not None:
        assert found.share is None or 0 <= found.share <= 1
        assert found.seconds_left is None or found.seconds_left >= 0
