"""A run in one line, and which checkpoint is whose default by all that was recorded."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from tuning_runs import (
    ALL,
    BEGAN,
    CHOSEN,
    CREATED,
    LISTS,
    NOW,
    PROMOTED,
    RUNNING,
    VALIDATED,
    WAITED,
    WAITING,
    run,
    step,
)

from gemini_tuning.ui import queries
from gemini_tuning.ui.overview import Default, default_of, defaults_now, line, model_key
from tests.gemini_tuning.reporting.run_values import COPY, JOB, MODEL, PROMOTION
from tests.gemini_tuning.strategies import HUGE_INT, json_values

OTHER = MODEL.replace("models/7", "models/8")


def set_to(after, before, model=MODEL):
    return {"model": model, "default_before": before, "default_after": after}


def test_a_run_that_is_over_shows_its_winner_and_its_score():
    found = line(run(*ALL), {}, NOW)
    assert (found.winner, found.score, found.default_now, found.checkpoints) == ("2", 22 / 24, "2", 3)
    assert (found.display_name, found.base_model, found.started_by) == ("ferry", "gemini-2.5-flash", "ada")
    assert (found.job, found.copy, found.job_state) == (JOB, COPY["model"], "SUCCEEDED")
    assert found.job_console.startswith("https://console.cloud.google.com/")
    assert found.seconds == 600
    assert found.pace is None


def test_a_run_that_waits_shows_how_far_its_job_is():
    found = line(run(VALIDATED, CREATED, WAITING, state="running"), {}, NOW)
    assert found.pace.words == "epoch 2 of 6, step 21"
    assert (found.checkpoints, found.winner, found.default_now) == (1, None, None)


def test_a_job_that_has_ended_has_no_pace_though_the_run_goes_on():
    assert line(run(CREATED, WAITED, state="running"), {}, NOW).pace is None


def test_a_queued_run_shows_what_was_asked_for():
    found = line(run(state="queued", start=None), {}, NOW)
    assert (found.display_name, found.base_model, found.job, found.seconds) == ("ferry", "gemini-2.5-flash", None, None)


def test_a_run_that_nobody_started_says_what_did():
    assert line(run(started_by=None, run_type="scheduled"), {}, NOW).started_by == "scheduled"


def test_what_an_earlier_try_of_a_skipped_task_pushed_does_not_count():
    assert line(run(LISTS, CHOSEN, replace(PROMOTED, state="skipped")), {}, NOW).default_now == "3"


def test_a_checkpoint_that_a_person_took_in_place_of_the_winner_is_the_winner():
    found = line(run(CHOSEN, step(queries.SET_DEFAULT, set_to("3", "1"))), {}, NOW)
    assert (found.winner, found.score) == ("3", 21 / 24)


def test_without_a_winner_nobodys_score_is_shown():
    nameless = step(queries.CHOOSE, decision={"winner": None, "checkpoints": [{"pass_rate": 0.5}]})
    assert (line(run(nameless), {}, NOW).winner, line(run(nameless), {}, NOW).score) == (None, None)


# ------------------------------------------------------------------------------------- the default now


@pytest.mark.parametrize(
    ("promotions", "expected"),
    [
        ([], None),
        ([set_to("2", "3")], Default("2", "3")),
        ([set_to("2", None)], Default("2", None)),
        ([set_to("3", "2"), set_to("2", "3")], Default("3", "2")),  # rolled back: that can be rolled back as well
        ([set_to("2", "3"), set_to("3", "2"), set_to("2", "3")], Default("2", "3")),
        ([set_to("2", "2"), set_to("2", "3")], Default("2", "3")),  # set to what it was: one before is that of before
        ([set_to("2", "2"), set_to("2", "2"), set_to("2", "1")], Default("2", "1")),
        ([set_to("2", "2"), set_to("1", "3")], Default("2", None)),  # changed elsewhere: nobody recorded from what
        ([set_to("2", "1"), set_to("2", "3")], Default("2", "1")),
        ([set_to(None, "3"), set_to("2", "1")], Default("2", "1")),
        ([set_to("5", "4", OTHER), set_to("2", "3")], Default("2", "3")),
    ],
)
def test_the_default_is_what_was_read_back_last(promotions, expected):
    assert defaults_now(promotions).get(model_key(MODEL)) == expected


def test_each_model_has_its_own_default():
    assert defaults_now([set_to("2", "3"), set_to("5", "4", OTHER)]) == {
        MODEL: Default("2", "3"),
        OTHER: Default("5", "4"),
    }


@pytest.mark.parametrize("name", [None, "", 7, "models/7", [MODEL]])
def test_a_default_of_nobody_knows_which_model_is_that_of_none(name):
    """Else it would be the default of every run whose model is not known yet."""
    found = defaults_now([set_to("2", "3", name)])
    assert found == {}
    assert default_of(run(), None, found) == Default()


def test_another_runs_promotion_counts_more_than_the_runs_own():
    later = {MODEL: Default("1", "2")}
    assert default_of(run(LISTS, PROMOTED), MODEL, later) == Default("1", "2")
    assert default_of(run(LISTS, PROMOTED), MODEL, {}) == Default("2", "3")
    assert default_of(run(LISTS), MODEL, {}) == Default("3")
    assert default_of(run(), None, later) == Default()


@given(pushed=json_values)
def test_whatever_the_tasks_pushed_a_line_can_be_shown(pushed):
    steps = [
        replace(each, pushed=dict.fromkeys(("return_value", "decision", "progress", "tuned_model"), pushed))
        for each in ALL
    ]
    conf = {"base_model": pushed, "tuned_model_display_name": pushed, "training_dataset_uri": pushed}
    found = line(run(*steps, state="running", conf=conf), defaults_now([PROMOTION]), NOW)
    assert isinstance(found.display_name, str)


JUNK = {"list": [], "mapping": {"a": [1]}, "NaN": math.nan, "big": 10**400, "huge": HUGE_INT, "half": "\ud800"}


@pytest.mark.parametrize("junk", JUNK.values(), ids=JUNK)
@pytest.mark.parametrize("name", sorted(RUNNING))
def test_no_field_of_the_progress_is_trusted(name, junk):
    line(run(CREATED, replace(WAITING, pushed={"progress": {**RUNNING, name: junk}}), state="running"), {}, BEGAN)


@pytest.mark.parametrize("junk", [[{}], [[]], [{"default_after": {}, "model": {}}], [set_to([], {}), set_to("1", [])]])
def test_junk_among_the_promotions_is_no_error(junk):
    defaults_now([item for item in junk if isinstance(item, dict)])
