"""What the page shows of a run, at each stage that it can be at."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from tuning_runs import (
    ALL,
    ASKED,
    CHAMPION,
    CHECKED,
    CHECKPOINTS,
    CHOSEN,
    COPIED,
    CREATED,
    LISTS,
    MEASURED,
    NOW,
    PROMOTED,
    REPORTED,
    RUNNING,
    TESTED,
    VALIDATED,
    WAITED,
    WAITING,
    in_groups,
    read_all,
    run,
    smoke_tests,
    step,
)

from gemini_tuning.core.xcom import CopyXCom, PromotionXCom
from gemini_tuning.ui import queries
from gemini_tuning.ui.defaults import DefaultCheckpoint, current_defaults
from gemini_tuning.ui.run_view import RunView
from tests.gemini_tuning.reporting.run_values import COPY, METRICS, MODEL, PROMOTION, decision, summary
from tests.gemini_tuning.strategies import json_values

KEYS = queries.XCOM_KEYS


def shown(*steps, state="running", promotions=(), copies=(), **change):
    return RunView(
        run(*steps, state=state, **change),
        current_defaults(map(PromotionXCom.from_xcom, promotions)),
        list(filter(None, map(CopyXCom.from_xcom, copies))),
        NOW,
    )


def badges(found):
    return {checkpoint.checkpoint_id: found.badges(checkpoint.checkpoint_id) for checkpoint in found.checkpoints}


# ------------------------------------------------------------------------------------------ its stages


def test_the_estimated_cost_is_shown():
    brief, whole = shown(VALIDATED).cost
    assert brief == "0.1025 USD"
    assert whole.startswith("0.1025 USD: tuning of gemini-2.5-flash 0.0900 (18,000 tokens), smoke test")
    for without in ((), (step(queries.VALIDATE, {"cost": None}),), (step(queries.VALIDATE, {"cost": "much"}),)):
        assert shown(*without).cost is None


@pytest.mark.parametrize("steps", [(), (replace(VALIDATED, state="running", xcoms={}),), (VALIDATED, CREATED)])
def test_before_the_job_runs_there_is_nothing_but_what_was_asked_for(steps):
    found = shown(*steps, state="running" if steps else "queued")
    assert found.base_model == "gemini-2.5-flash"
    assert (found.checkpoints, found.champion, found.decision, found.copies, found.run.errors) == (
        [],
        None,
        None,
        [],
        [],
    )
    assert (found.model, found.default, found.before, found.promoted.default_after) == (
        None,
        DefaultCheckpoint(),
        None,
        None,
    )
    assert not found.losses["train"] and not found.losses["eval"]
    assert found.results_files == []


def test_a_job_under_way_shows_its_losses_and_the_checkpoints_so_far():
    found = shown(VALIDATED, CREATED, WAITING)
    assert found.losses["train"] == RUNNING["train_loss"]
    assert found.losses["eval"] == RUNNING["eval_loss"]
    assert found.loss_rows() == [
        (1, 2.1, None, None),
        (10, 0.5, 0.6, "1"),
    ]
    (checkpoint,) = found.checkpoints
    assert (checkpoint.checkpoint_id, checkpoint.smoke_test, checkpoint.assessment) == ("1", None, None)


def test_listed_checkpoints_are_there_before_anybody_has_asked_them():
    found = shown(VALIDATED, CREATED, WAITED, LISTS)
    assert badges(found) == {"1": [], "2": [], "3": ["default"]}
    assert found.model == MODEL
    assert found.before == "3"


def test_checkpoints_that_have_answered_stand_beside_those_that_have_not():
    half = [TESTED[0], replace(TESTED[1], state="running", xcoms={}, end=None)]
    found = shown(VALIDATED, CREATED, WAITED, LISTS, *half)
    assert [bool(checkpoint.smoke_test) for checkpoint in found.checkpoints] == [True, False, False]
    assert found.results_files == [("1", "gs://bucket/results/checkpoint-1.jsonl")]
    assert found.decision is None


def test_the_version_of_the_results_changes_when_a_checkpoint_has_answered():
    before = shown(LISTS, TESTED[0], replace(TESTED[1], state="running", xcoms={}, end=None))
    assert before.results_version != shown(LISTS, *TESTED[:2]).results_version
    assert before.results_version == (shown(LISTS, TESTED[0], replace(TESTED[1], xcoms={}, end=None)).results_version)


def test_a_decision_shows_winner_and_reason():
    found = shown(CREATED, WAITED, LISTS, *TESTED, MEASURED, CHOSEN)
    assert badges(found) == {"1": [], "2": ["winner"], "3": ["default"]}
    assert found.decision.reason == "Checkpoint 2 wins."
    assert found.missing == ["no losses of checkpoint 3"]
    assert (found.before, found.promoted.default_after, found.approval) == ("3", None, None)
    assert found.checkpoints[1].losses.eval_loss == 0.45
    assert found.losses["train"] == METRICS["train_loss"]


def test_nobody_wins():
    chosen = step(queries.CHOOSE, decision=decision(None))
    assert badges(shown(LISTS, *TESTED, chosen)) == {"1": [], "2": [], "3": ["default"]}


def test_a_run_that_asks_a_person_says_so_as_long_as_it_asks():
    assert shown(CHOSEN, replace(ASKED, state="awaiting_input", xcoms={})).approval_task == "approve"
    assert shown(CHOSEN, ASKED).approval_task is None
    assert shown(CHOSEN).approval_task is None


def test_who_decided_is_shown():
    approval = shown(*ALL).approval
    assert (approval.outcome, approval.checkpoint_id, approval.proposed) == ("approved", "2", "2")
    assert (approval.at, approval.by.name) == ("2026-11-20T09:30:00+00:00", "ada")
    assert shown(replace(ASKED, xcoms={"return_value": {"required": False}})).approval is None


def test_a_promotion_shows_before_and_after():
    found = shown(*ALL, state="success", promotions=[PROMOTION])
    assert (found.before, found.promoted.default_after, found.default) == ("3", "2", DefaultCheckpoint("2", "3"))
    assert badges(found) == {"1": [], "2": ["winner", "default"], "3": ["previous default"]}
    assert found.report == "gs://bucket/results/report.md"


def test_a_later_roll_back_shows_on_the_run_that_was_rolled_back():
    back = {"model": MODEL, "default_before": "2", "default_after": "3"}
    found = shown(*ALL, state="success", promotions=[back, PROMOTION])
    assert badges(found) == {"1": [], "2": ["winner", "previous default"], "3": ["default"]}
    assert (found.before, found.promoted.default_after, found.default) == ("3", "2", DefaultCheckpoint("3", "2"))


def test_a_copy_is_there_as_soon_as_it_is_made_and_is_checked_later():
    assert shown(*ALL[:-2], state="running").copies == [(COPY["model"], None)]
    ((_, verified),) = shown(*ALL).copies
    assert (verified.checkpoints, verified.default_checkpoint_id) == (3, "2")


def test_copies_that_other_runs_made_of_the_same_model_are_shown():
    another = {**COPY, "model": COPY["model"].replace("8@1", "9@1")}
    of_another = {**COPY, "model": "projects/1/locations/l/models/1@1", "source_model": f"{MODEL}0"}
    found = shown(*ALL, copies=[another, of_another, {}])
    assert [model for model, _ in found.copies] == [another["model"], COPY["model"]]


def test_a_model_without_a_proper_name_has_no_copies():
    odd = replace(LISTS, xcoms={**LISTS.xcoms, "tuned_model": "the model"})
    assert shown(odd, copies=[{**COPY, "source_model": "another"}]).copies == []


@pytest.mark.parametrize("prefix", ["", "mine.", "mine.nested."])
def test_view_steps_in_task_groups_are_found_by_their_operators(prefix):
    plain, grouped = shown(*ALL), shown(*in_groups(*ALL, prefix=prefix))
    assert read_all(grouped) == read_all(plain)
    asking = replace(ASKED, state="awaiting_input", xcoms={})
    assert shown(CHOSEN, *in_groups(asking, prefix=prefix)).approval_task == f"{prefix}promote.approve"


# --------------------------------------------------------------------------- champion, losses, failures


def test_the_champion_is_a_row_of_its_own_also_when_its_id_is_that_of_a_checkpoint():
    champion = step(queries.CHAMPION, {**CHAMPION, "checkpoint_id": "2"})
    found = shown(LISTS, *TESTED, champion, CHOSEN)
    assert [label for label, _, _ in found.rows()] == ["1", "2", "3", "champion"]
    assert found.rows()[-1][2] == []
    assert found.results_files[-1] == ("champion", "gs://bucket/results/champion.jsonl")


def test_the_turn_is_where_the_eval_loss_was_lowest():
    losses = {n: {"train_loss": 1 / n, "eval_loss": e} for n, e in ((1, 0.6), (2, 0.4), (3, 0.7))}
    metrics = step(queries.METRICS, {"checkpoints": {str(n): found for n, found in losses.items()}})
    found = shown(LISTS, metrics)
    assert found.losses["turn"] == 20
    assert [mark["step"] for mark in found.losses["checkpoints"]] == [10, 20, 30]


def test_losses_without_checkpoints_show_the_turn_too():
    curves = {"train_loss": [[5, 2.0], [10, 1.0], [20, 0.5]], "eval_loss": [[5, 1.0], [10, 0.8], [20, 1.2]]}
    waits = replace(WAITING, xcoms={"progress": {**RUNNING, **curves}})
    assert shown(CREATED, waits).losses["turn"] == 10


def test_checkpoints_stand_in_the_order_of_their_numbers():
    found = shown(*smoke_tests(*(summary(n) for n in ("10", "9", "1"))), smoke_tests({"checkpoint_id": "odd"})[0])
    assert [checkpoint.checkpoint_id for checkpoint in found.checkpoints] == ["1", "9", "10", "odd"]


@pytest.mark.parametrize("failed", ALL, ids=lambda each: f"{each.task_id}-{each.map_index}")
def test_a_run_that_failed_says_where_and_why_and_shows_the_rest(failed):
    steps = [
        replace(each, state="failed", xcoms={"error": "Google said: no."}) if each is failed else each for each in ALL
    ]
    found = shown(*steps, state="failed")
    assert found.run.errors == [{"step": failed.label or failed.task_id, "message": "Google said: no."}]
    assert found.checkpoints


def test_what_failed_only_because_of_another_is_not_an_error_and_no_secret_is_shown():
    failed = step(queries.CREATE, state="failed", error="401, Authorization: Bearer ya29.secret-token")
    found = shown(failed, replace(WAITED, state="upstream_failed"), step(queries.CHOOSE, state="failed"))
    assert [bool(error["message"]) for error in found.run.errors] == [True, False]
    assert "secret-token" not in found.run.errors[0]["message"]


# ------------------------------------------------------------------------------------------- hostility


@given(pushed=json_values)
def test_whatever_the_tasks_pushed_there_is_something_to_show(pushed):
    steps = [replace(each, xcoms=dict.fromkeys(KEYS, pushed)) for each in (*ALL, step(queries.CHAMPION))]
    found = RunView(run(*steps), {}, now=NOW)
    read_all(found)
    json.dumps(found.losses, allow_nan=False)
    assert found.loss_rows() is not None
    assert all(isinstance(address, str) for _, address in found.results_files)
    assert found.rows() is not None


@given(junk=json_values)
def test_no_field_that_a_step_pushed_is_trusted(junk):
    for place, each in enumerate(ALL):
        for key, value in each.xcoms.items():
            if isinstance(value, dict):
                for name in value:
                    broken = replace(each, xcoms={**each.xcoms, key: {**value, name: junk}})
                    read_all(RunView(run(*ALL[:place], broken, *ALL[place + 1 :]), {}, now=NOW))


@given(junk=json_values)
def test_no_field_of_a_checkpoint_is_trusted(junk):
    for name in CHECKPOINTS[0]:
        pushed = {**LISTS.xcoms, "return_value": [{**CHECKPOINTS[0], name: junk}, junk]}
        read_all(shown(replace(LISTS, xcoms=pushed), MEASURED, COPIED, CHECKED, PROMOTED, REPORTED))


@pytest.mark.parametrize("state", [None, "scheduled", "queued", "upstream_failed", "removed", "skipped"])
def test_a_cleared_run_shows_nothing_of_its_earlier_try(state):
    """Airflow drops what a task pushed when its next try begins."""
    found = shown(*(replace(old, state=state) for old in ALL))
    assert (found.decision, found.approval, found.report, found.checkpoints, found.copies) == (None, None, None, [], [])
    assert (found.winner, found.job, found.default, found.promotion) == (
        None,
        None,
        DefaultCheckpoint(),
        "pending",
    )
    assert not found.losses["train"] and not found.losses["eval"]


@pytest.mark.parametrize(
    ("run_state", "step_state", "expected"),
    [
        ("running", None, "pending"),
        ("running", "up_for_retry", "pending"),
        ("success", "skipped", "unchanged"),
        ("failed", "upstream_failed", "unchanged"),
        ("success", "success", "set"),
        ("failed", "failed", "failed"),
    ],
)
def test_what_became_of_the_default_is_not_claimed_before_it_is_known(run_state, step_state, expected):
    found = shown(LISTS, replace(PROMOTED, state=step_state), state=run_state)
    assert found.promotion == expected
    if expected == "failed":  # it may have been set, and only the reading back failed
        assert found.default == DefaultCheckpoint()


def test_a_create_over_quota_shows_since_when_it_waits():
    wait = {"since": "2026-11-22T10:00:00+00:00", "next_try": "2026-11-22T10:01:00+00:00", "message": "Quota."}
    deferred = step(queries.CREATE, task_id="create_tuning_job", state="deferred", quota_wait={**wait, "refusals": 1})
    assert shown(deferred).quota_wait == wait
    assert shown(replace(deferred, state="success")).quota_wait is None
    assert shown(CHOSEN).quota_wait is None
