"""Progress of a tuning job, by its last poll."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tuning_runs import BEGAN, CREATED, NOW, RUNNING, WAITING, run

from gemini_tuning.core.xcom import ProgressXCom
from gemini_tuning.ui.run_view import RunView, job_progress
from tests.gemini_tuning.strategies import json_values, spoiled


def progress_of(known, since, now):
    return job_progress(ProgressXCom.from_xcom(known) or ProgressXCom(), since, now)


def test_seconds_left_is_estimated_from_the_time_so_far():
    found = progress_of(RUNNING, BEGAN, NOW)  # a third took four minutes, and six more have passed since
    assert found.share == pytest.approx(1 / 3)
    assert found.seconds_left == pytest.approx((12 - 10) * 60)
    assert found.text == "epoch 2 of 6, step 21"


def test_seconds_left_after_the_estimate_is_zero():
    assert progress_of(RUNNING, BEGAN, NOW + timedelta(days=1)).seconds_left == 0


@pytest.mark.parametrize(
    ("known", "share", "text"),
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
def test_job_progress_with_missing_fields_estimates_nothing(known, share, text):
    found = progress_of({**known, "at": NOW.isoformat()}, BEGAN, NOW)
    assert (found.share, found.text) == (share, text)
    assert share or found.seconds_left is None


@pytest.mark.parametrize("at", [None, "soon", 5, "2026-11-20T08:04:00", BEGAN.isoformat(), "0001-01-01T00:00:00+23:59"])
def test_seconds_left_without_the_time_of_the_last_poll_is_unknown(at):
    assert progress_of({**RUNNING, "at": at}, BEGAN, NOW).seconds_left is None


def test_run_line_before_the_first_poll_has_no_progress():
    assert RunView(run(CREATED, replace(WAITING, xcoms={}), state="running"), {}, now=NOW).job_progress is None
    assert progress_of(RUNNING, None, NOW).seconds_left is None


@pytest.mark.parametrize(("done", "epochs"), [(1, 2**62), (-1, 6), (1, -6), (-1, -6)])
def test_job_progress_with_impossible_epochs_is_no_error(done, epochs):
    found = progress_of({**RUNNING, "completed_epochs": done, "epoch_count": epochs}, BEGAN, NOW)
    assert found.share is None or 0 <= found.share <= 1


@given(known=spoiled(RUNNING) | st.dictionaries(st.sampled_from(sorted(RUNNING)), json_values))
def test_job_progress_with_any_xcom_is_no_error(known):
    found = progress_of(known, BEGAN, NOW)
    assert found.share is None or 0 <= found.share <= 1
    assert found.seconds_left is None or found.seconds_left >= 0
