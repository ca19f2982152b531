"""A run in one line, and the current default of each model."""

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
    read_all,
    run,
    step,
)

from gemini_tuning.core.xcom import PromotionXCom
from gemini_tuning.ui import queries
from gemini_tuning.ui.defaults import DefaultCheckpoint, current_defaults, model_key
from gemini_tuning.ui.run_view import RunView
from tests.gemini_tuning.reporting.run_values import COPY, JOB, MODEL, PROMOTION
from tests.gemini_tuning.strategies import HUGE_INT, json_values

OTHER = MODEL.replace("models/7", "models/8")


def set_to(after, before, model=MODEL):
    return PromotionXCom(model=model, default_before=before, default_after=after)


def test_a_run_that_is_over_shows_its_winner_and_its_score():
    found = RunView(run(*ALL), {}, now=NOW)
    assert (found.winner, found.pass_rate, found.default.current, found.checkpoint_count) == ("2", 22 / 24, "2", 3)
    assert (found.display_name, found.base_model) == ("ferry", "gemini-2.5-flash")
    assert (found.job, found.copied_model) == (JOB, COPY["model"])
    assert found.seconds == 600
    assert found.job_progress is None


def test_a_run_that_waits_shows_how_far_its_job_is():
    found = RunView(run(VALIDATED, CREATED, WAITING, state="running"), {}, now=NOW)
    assert found.job_progress.text == "epoch 2 of 6, step 21"
    assert (found.checkpoint_count, found.winner, found.default.current) == (1, None, None)


def test_a_job_that_has_ended_has_no_pace_though_the_run_goes_on():
    assert RunView(run(CREATED, WAITED, state="running"), {}, now=NOW).job_progress is None


def test_a_queued_run_shows_what_was_asked_for():
    found = RunView(run(state="queued", start=None), {}, now=NOW)
    assert (found.display_name, found.base_model, found.job, found.seconds) == ("ferry", "gemini-2.5-flash", None, None)


def test_what_an_earlier_try_of_a_skipped_task_pushed_does_not_count():
    assert RunView(run(LISTS, CHOSEN, replace(PROMOTED, state="skipped")), {}, now=NOW).default.current == "3"


def test_a_checkpoint_that_a_person_took_in_place_of_the_winner_is_the_winner():
    found = RunView(run(CHOSEN, step(queries.SET_DEFAULT, set_to("3", "1").model_dump())), {}, now=NOW)
    assert (found.winner, found.pass_rate) == ("3", 21 / 24)


def test_without_a_winner_nobodys_score_is_shown():
    nameless = step(queries.CHOOSE, decision={"winner": None, "checkpoints": [{"pass_rate": 0.5}]})
    assert (RunView(run(nameless), {}, now=NOW).winner, RunView(run(nameless), {}, now=NOW).pass_rate) == (None, None)


# ------------------------------------------------------------------------------------- the default now


@pytest.mark.parametrize(
    ("promotions", "expected"),
    [
        ([], None),
        ([set_to("2", "3")], DefaultCheckpoint("2", "3")),
        ([set_to("2", None)], DefaultCheckpoint("2", None)),
        ([set_to("3", "2"), set_to("2", "3")], DefaultCheckpoint("3", "2")),  # rolled back
        ([set_to("2", "3"), set_to("3", "2"), set_to("2", "3")], DefaultCheckpoint("2", "3")),
        ([set_to("2", "2"), set_to("2", "3")], DefaultCheckpoint("2", "3")),  # set again
        ([set_to("2", "2"), set_to("2", "2"), set_to("2", "1")], DefaultCheckpoint("2", "1")),
        ([set_to("2", "2"), set_to("1", "3")], DefaultCheckpoint("2", None)),  # changed elsewhere in between
        ([set_to("2", "1"), set_to("2", "3")], DefaultCheckpoint("2", "1")),
        ([set_to(None, "3"), set_to("2", "1")], DefaultCheckpoint("2", "1")),
        ([set_to("5", "4", OTHER), set_to("2", "3")], DefaultCheckpoint("2", "3")),
    ],
)
def test_the_default_is_what_was_read_back_last(promotions, expected):
    assert current_defaults(promotions).get(model_key(MODEL)) == expected


def test_each_model_has_its_own_default():
    assert current_defaults([set_to("2", "3"), set_to("5", "4", OTHER)]) == {
        MODEL: DefaultCheckpoint("2", "3"),
        OTHER: DefaultCheckpoint("5", "4"),
    }


@pytest.mark.parametrize("name", [None, "", 7, "models/7", [MODEL]])
def test_a_default_of_nobody_knows_which_model_is_that_of_none(name):
    """Else it would be the default of every run whose model is not known yet."""
    found = current_defaults([set_to("2", "3", name)])
    assert found == {}
    assert RunView(run(), found, now=NOW).default == DefaultCheckpoint()


def test_another_runs_promotion_counts_more_than_the_runs_own():
    later = {MODEL: DefaultCheckpoint("1", "2")}
    assert RunView(run(LISTS, PROMOTED), later, now=NOW).default == DefaultCheckpoint("1", "2")
    assert RunView(run(LISTS, PROMOTED), {}, now=NOW).default == DefaultCheckpoint("2", "3")
    assert RunView(run(LISTS), {}, now=NOW).default == DefaultCheckpoint("3")
    assert RunView(run(), later, now=NOW).default == DefaultCheckpoint()


@given(pushed=json_values)
def test_whatever_the_tasks_pushed_a_line_can_be_shown(pushed):
    steps = [
        replace(each, xcoms=dict.fromkeys(("return_value", "decision", "progress", "tuned_model"), pushed))
        for each in ALL
    ]
    conf = {"base_model": pushed, "tuned_model_display_name": pushed, "training_dataset_uri": pushed}
    found = RunView(run(*steps, state="running", conf=conf), current_defaults([PromotionXCom(**PROMOTION)]), now=NOW)
    assert isinstance(read_all(found)["display_name"], str)


JUNK = {"list": [], "mapping": {"a": [1]}, "NaN": math.nan, "big": 10**400, "huge": HUGE_INT, "half": "\ud800"}


@pytest.mark.parametrize("junk", JUNK.values(), ids=JUNK)
@pytest.mark.parametrize("name", sorted(RUNNING))
def test_no_field_of_the_progress_is_trusted(name, junk):
    read_all(
        RunView(
            run(CREATED, replace(WAITING, xcoms={"progress": {**RUNNING, name: junk}}), state="running"), {}, now=BEGAN
        )
    )


@pytest.mark.parametrize(
    "junk",
    [[{}], [[]], [{"default_after": {}, "model": {}}], [{"model": MODEL, "default_before": {}, "default_after": []}]],
)
def test_junk_among_the_promotions_is_no_error(junk):
    current_defaults(filter(None, map(PromotionXCom.from_xcom, junk)))
