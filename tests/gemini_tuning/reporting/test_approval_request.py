"""A person has the last word: what is asked, what may be answered, what becomes of the answer."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG
from airflow.sdk.exceptions import DownstreamTasksSkipped, TaskAwaitingInput
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import HITLDetailRequestResult
from support import TaskStateStore, context

from gemini_tuning.core.exceptions import InvalidInputError
from gemini_tuning.operators.approve_checkpoint import GeminiApproveCheckpointOperator
from gemini_tuning.operators.cloud_base import RETRY_POLICY
from gemini_tuning.reporting.approval_request import Offer, fingerprint, question
from tests.gemini_tuning.reporting.run_values import JOB, METRICS, MODEL, RESULTS, assessment, decision, summary

APPROVE, TAKE_3, REJECT = "Approve checkpoint 2", "Select checkpoint 3 instead", "Reject"
ADA = {"id": "7", "name": "ada"}
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
DOWNSTREAM = {"set_default", "copy_model", "publish"}


# ------------------------------------------------------------------------------------------- offer


def test_the_winner_and_every_other_eligible_checkpoint_are_offered(snapshot):
    offer = Offer.of(decision())
    assert offer == Offer("2", {APPROVE: "2", TAKE_3: "3", REJECT: None})
    assert [offer.outcome(answer) for answer in offer.options] == ["approved", "another checkpoint", "rejected"]
    with pytest.raises(InvalidInputError) as error:
        offer.outcome("Select checkpoint 1 instead")
    assert (error.value.field, error.value.code) == ("response", "not_an_option")
    assert str(error.value) == snapshot


def test_without_a_winner_nothing_is_offered():
    assert Offer.of(decision(None)) == Offer(None, {REJECT: None})


@pytest.mark.parametrize(
    ("bad", "field", "code"),
    [
        (decision("1"), "decision.winner", "not_eligible"),
        (decision("9"), "decision.winner", "not_eligible"),
        (decision({"id": 2}), "decision.winner", "wrong_type"),
        (decision(checkpoints=None), "decision.checkpoints", "wrong_type"),
        (decision(checkpoints=[assessment("2"), assessment("2")]), "decision.checkpoints", "duplicate_checkpoint"),
        (decision(checkpoints=[{**assessment("2"), "passed_gates": "yes"}]), "decision.winner", "not_eligible"),
    ],
)
def test_offer_of_an_invalid_decision_names_the_field(bad, field, code, snapshot):
    with pytest.raises(InvalidInputError) as error:
        Offer.of(bad)
    assert (error.value.field, error.value.code) == (field, code)
    assert str(error.value) == snapshot


# ---------------------------------------------------------------------------------------- question


def asked(**change):
    arguments = {
        "decision": decision(),
        "results": RESULTS,
        "metrics": METRICS,
        "tuning_job": JOB,
        "model": MODEL,
        "default_checkpoint_id": "3",
        "report_uri": "gs://bucket/reports/run",
        "timeout": 7_200.0,
    }
    return question(Offer.of(decision()), **{**arguments, **change})


def test_question_has_the_table_and_the_links(snapshot):
    body = asked(champion=summary("9"), decision=decision(overfitting="from step 18 on", missing=["no tokens"]))
    assert body == snapshot


@pytest.mark.parametrize(
    ("seconds", "span"),
    [(1, "1 seconds"), (90, "90 seconds"), (600, "10 minutes"), (86_400, "24 hours"), (604_800, "7 days")],
)
def test_question_states_the_timeout(seconds, span):
    assert f" within {span} " in asked(timeout=seconds).splitlines()[-1]


def test_what_is_asked_has_a_fingerprint():
    offer = Offer.of(decision())
    assert fingerprint("a", offer) == fingerprint("a", Offer.of(decision()))
    assert fingerprint("a", offer) != fingerprint("b", offer)
    assert fingerprint("a", offer) != fingerprint("a", Offer.of(decision("3")))


# ---------------------------------------------------------------------------------------- operator


class Airflow:
    """The supervisor's side of a request: as Airflow 3.3, it keeps the first one of a task instance for good."""

    def __init__(self):
        self.kept = None
        self.sent = 0

    def send(self, msg):
        self.sent += 1
        self.kept = self.kept or msg
        return HITLDetailRequestResult.from_api_response(self.kept)


@pytest.fixture
def airflow(monkeypatch):
    stub = Airflow()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", stub, raising=False)
    return stub


def operator(**change):
    arguments = {
        "decision": decision(),
        "results": RESULTS,
        "metrics": METRICS,
        "default_checkpoint_id": "3",
        "timeout": "3600",
    }
    with DAG("dag", schedule=None):
        approve = GeminiApproveCheckpointOperator(task_id="approve", **{**arguments, **change})
        approve >> [EmptyOperator(task_id=task) for task in sorted(DOWNSTREAM)]
    return approve


def run_context(approve, store=None, try_number=1):
    found = context(store=store, try_number=try_number)
    found["ti"].task, found["ti"].id, found["ti"].task_id = approve, uuid.uuid4(), "approve"
    found["task_instance"], found["task"] = found["ti"], approve
    return found


def ask(approve, store, try_number=1):
    with pytest.raises(TaskAwaitingInput) as caught:
        approve.execute(run_context(approve, store, try_number))
    return caught.value


def event(*answers, by=ADA, **more):
    return {
        "chosen_options": list(answers), "params_input": {}, "responded_at": NOON, "responded_by_user": by,
        "timedout": False, **more,
    }  # fmt: skip


def finish(method, found, *arguments):
    """Return whether the direct downstream tasks run, and the XCom."""
    try:
        return True, method(found, *arguments)
    except DownstreamTasksSkipped as skipped:
        assert set(skipped.tasks) == DOWNSTREAM
        assert set(found["ti"].xcoms["skipmixin_key"]["skipped"]) == DOWNSTREAM  # they stay skipped when cleared
        return False, found["ti"].xcoms["return_value"]


def answered(airflow, answer, **change):
    store = TaskStateStore()
    ask(operator(**change), store)
    approve = operator(**change)  # a new process takes over
    return finish(approve.execute_complete, run_context(approve, store), answer)


def test_it_asks_and_holds_nothing_meanwhile(airflow):
    waiting = ask(operator(assigned_users=[ADA]), TaskStateStore())
    assert (waiting.method_name, waiting.timeout) == ("execute_complete", timedelta(hours=1))
    request = airflow.kept
    assert (request.options, request.defaults) == ([APPROVE, TAKE_3, REJECT], [REJECT])
    assert request.body == asked(tuning_job=None, model=None, report_uri=None, timeout=3600.0)
    assert [user.id for user in request.assigned_users] == ["7"]
    assert airflow.sent == 1


@pytest.mark.parametrize(
    ("answer", "outcome", "winner", "continues"),
    [
        (APPROVE, "approved", "2", True),
        (TAKE_3, "another checkpoint", "3", True),
        (REJECT, "rejected", None, False),
    ],
)
def test_what_becomes_of_an_answer(airflow, answer, outcome, winner, continues):
    ran, pushed = answered(airflow, event(answer))
    assert ran is continues
    assert pushed == {
        "required": True,
        "outcome": outcome,
        "checkpoint_id": winner,
        "proposed": "2",
        "by": ADA,
        "at": "2026-11-20T12:00:00+00:00",
        "timeout": 3600.0,
        "offered": [APPROVE, TAKE_3, REJECT],
    }


@pytest.mark.parametrize(
    "silence",
    [
        event(REJECT, by=None, timedout=True),
        event(APPROVE, by=None, timedout=True),
        event(APPROVE, by=None),
        {"error": "The Human-in-the-loop response timeout has passed", "error_type": "timeout"},
    ],
)
def test_when_nobody_answers_it_is_a_rejection(airflow, silence):
    ran, pushed = answered(airflow, silence)
    assert not ran
    assert (pushed["checkpoint_id"], pushed["outcome"], pushed["by"]) == (None, "timed out", None)


@pytest.mark.parametrize(
    "answers", [("Approve checkpoint 9",), ("Select checkpoint 1 instead",), (), (APPROVE, REJECT)]
)
def test_what_was_not_offered_promotes_nothing(airflow, answers):
    store = TaskStateStore()
    ask(operator(), store)
    approve = operator()
    found = run_context(approve, store)
    with pytest.raises(ValueError, match=r"not in \[|exactly one option"):
        approve.execute_complete(found, event(*answers))
    assert found["ti"].xcoms == {}


def test_an_answer_to_another_comparison_does_not_count(airflow):
    store = TaskStateStore()
    ask(operator(), store)
    for changed in (
        operator(decision=decision("3")),
        operator(results=[*RESULTS[:2], summary("3", latency_ms={"p50": 1, "p95": 2})]),
    ):
        found = run_context(changed, store)
        with pytest.raises(InvalidInputError) as caught:
            changed.execute_complete(found, event(APPROVE))
        assert (caught.value.field, caught.value.code) == ("", "request_changed")
        assert found["ti"].xcoms == {}


def test_the_default_comes_from_the_decision_when_it_is_not_given(airflow):
    assert answered(airflow, event(TAKE_3), default_checkpoint_id=None)[0]


def test_without_a_winner_nobody_is_asked(airflow):
    approve = operator(decision=decision(None), results=[None])
    ran, pushed = finish(approve.execute, run_context(approve))
    assert not ran
    assert (pushed["checkpoint_id"], pushed["outcome"], pushed["offered"]) == (
        None,
        "nothing to approve",
        [],
    )
    assert airflow.sent == 0


@pytest.mark.parametrize("winner", ["2", "3"])
def test_when_it_is_not_required_the_rules_decide(airflow, winner):
    approve = operator(decision=decision(winner), required="False")
    ran, pushed = finish(approve.execute, run_context(approve))
    assert ran
    assert pushed["checkpoint_id"] == winner
    assert (pushed["required"], pushed["outcome"]) == (False, "not required")
    assert airflow.sent == 0


def test_cleared_it_asks_again(airflow):
    store = TaskStateStore()
    ask(operator(assigned_users=ADA), store)
    ask(operator(assigned_users=ADA), store, try_number=2)
    approve = operator(assigned_users=ADA)
    assert finish(approve.execute_complete, run_context(approve, store, 2), event(APPROVE))[0]


@pytest.mark.parametrize("changed", [{"decision": decision("3")}, {"assigned_users": [ADA]}, {"results": RESULTS[:2]}])
def test_cleared_it_does_not_show_a_comparison_that_is_not_true_any_more(airflow, changed):
    store = TaskStateStore()
    ask(operator(), store)
    approve = operator(**changed)
    with pytest.raises(InvalidInputError) as caught:
        approve.execute(run_context(approve, store, try_number=2))
    assert (caught.value.field, caught.value.code) == ("", "outdated_request")


def test_a_second_try_whose_first_did_not_come_to_ask(airflow):
    ask(operator(assigned_users=[ADA]), TaskStateStore(), try_number=2)
    assert [user.id for user in airflow.kept.assigned_users] == ["7"]


@pytest.mark.parametrize("timeout", ["0", "-1", "soon", "1e12"])
def test_a_time_that_makes_no_sense(airflow, timeout):
    with pytest.raises(ValueError, match="timeout"):
        operator(timeout=timeout).execute(run_context(operator()))


def test_a_decision_that_is_none(airflow):
    with pytest.raises(ValueError, match="decision"):
        operator(decision=None).execute(run_context(operator()))


def test_what_nobody_can_answer_is_not_asked_again_by_a_retry():
    assert operator().retry_policy is RETRY_POLICY
