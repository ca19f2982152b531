"""What a smoke test left is read field by field: a result that is not whole does not count as one."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemini_tuning.core.case_outcomes import CaseOutcome, ResultError, outcomes_from_lines
from gemini_tuning.core.xcom import LossesXCom, SmokeTestXCom
from gemini_tuning.selection.candidate import Candidate
from tests.gemini_tuning.selection.policy_examples import outcomes

SUMMARY = {
    "checkpoint_id": "2",
    "epoch": 2,
    "step": 20,
    "endpoint": "projects/1/locations/us-central1/endpoints/2",
    "suite": "smoke",
    "suite_fingerprint": "ab12",
    "results_uri": "gs://bucket/2.jsonl",
    "cases": 3,
    "answered": 3,
    "passed": 2,
    "pass_rate": 0.666667,
    "pass_rate_interval": [0.2, 0.94],
    "score": 0.666667,
    "score_interval": [0.2, 0.94],
    "latency_ms": {"p50": 300.0, "p95": 900.5},
    "error": None,
}
LINE = {
    "case_id": "a",
    "repeat": 0,
    "key": "k",
    "passed": True,
    "score": 1.0,
    "weight": 1.0,
    "critical": False,
    "answer": "Hello",
    "finish_reason": "STOP",
    "blocked": None,
    "verdicts": [],
    "error": None,
    "latency_ms": 12.5,
}


def lines(*changes: dict) -> list[bytes]:
    return [json.dumps({**LINE, **change}).encode() + b"\n" for change in changes]


def read(*changes: dict) -> dict[str, CaseOutcome]:
    return outcomes_from_lines(lines(*changes), "gs://b/r.jsonl")


def candidate_from(summary: dict, outcomes: dict[str, CaseOutcome], losses: dict | None = None) -> Candidate:
    return Candidate.from_smoke_test(SmokeTestXCom.from_xcom(summary), outcomes, LossesXCom.from_xcom(losses))


# ---------------------------------------------------------------------------------------- summaries


def test_a_summary_with_its_outcomes_and_losses():
    found = candidate_from(SUMMARY, outcomes("110"), {"train_loss": 0.5, "eval_loss": 1, "eval_accuracy": 0.9})
    assert found == Candidate("2", 2, 20, 900.5, 0.5, 1.0, None, "ab12", outcomes=outcomes("110"))
    assert found.was_tested
    assert found.pass_rate == pytest.approx(2 / 3)


def test_what_is_not_known_is_none():
    found = candidate_from({"checkpoint_id": 2, "cases": 1}, outcomes("1"))
    assert found == Candidate("2", outcomes=outcomes("1"))
    assert candidate_from({**SUMMARY, "latency_ms": {"p95": None}}, outcomes("110")).latency_p95_ms is None


def test_a_loss_of_a_tuning_that_diverged_is_not_known():
    found = candidate_from(SUMMARY, outcomes("110"), {"train_loss": math.nan, "eval_loss": math.inf})
    assert (found.train_loss, found.eval_loss) == (None, None)


def test_with_an_error_nothing_else_counts():
    found = candidate_from({**SUMMARY, "error": "Bearer SECRET " + "x" * 9_000, "cases": None}, outcomes("111"))
    assert not found.was_tested
    assert found.outcomes == {}
    assert found.error.startswith("Bearer [removed] x")
    assert len(found.failure) < 300


@pytest.mark.parametrize("cases", [2, None, 0], ids=str)
def test_results_that_are_not_whole_are_refused(cases, snapshot):
    with pytest.raises(ResultError) as error:
        candidate_from({**SUMMARY, "cases": cases}, outcomes("110"))
    assert (error.value.field, error.value.code) == ("cases", "incomplete_results")
    assert str(error.value) == snapshot


@pytest.mark.parametrize(
    ("create", "field"),
    [
        (lambda: CaseOutcome(True, 1.5), "score"),
        (lambda: CaseOutcome(True, 1.0, 0), "weight"),
    ],
    ids=["score", "weight"],
)
def test_value_out_of_range_is_refused_by_the_constructor(create, field, snapshot):
    with pytest.raises(ResultError) as error:
        create()
    assert (error.value.field, error.value.code) == (field, "out_of_range")
    assert str(error.value) == snapshot


# ------------------------------------------------------------------------------------ results files


def test_a_case_a_line():
    found = read(
        {"case_id": "a", "weight": 2, "critical": True},
        {"case_id": "b", "passed": False, "score": 0.25},
        {"case_id": "c", "passed": False, "score": 0, "blocked": "SAFETY"},
    )
    assert found == {
        "a": CaseOutcome(True, 1.0, 2.0, critical=True),
        "b": CaseOutcome(False, 0.25),
        "c": CaseOutcome(False, 0.0, blocked=True),
    }


@pytest.mark.parametrize(
    ("blocked", "expected"), [(None, False), (False, False), ("", False), (True, True), ("X", True)]
)
def test_blocked_is_a_reason_or_a_flag(blocked, expected):
    assert read({"blocked": blocked})["a"].blocked is expected


def test_an_answer_that_never_came_has_not_passed():
    assert read({"passed": True, "score": 1.0, "error": "Error 400"})["a"] == CaseOutcome(False, 0.0)
    assert read({"passed": False, "score": None, "error": "Error 400"})["a"] == CaseOutcome(False, 0.0)


def test_empty_lines_are_none():
    assert outcomes_from_lines([b"\n", *lines({}), b"  \n"], "f") == {"a": CaseOutcome(True, 1.0)}
    assert outcomes_from_lines([], "f") == {}


def repeats(*passed: bool, critical=False) -> CaseOutcome:
    changes = ({"repeat": n, "passed": p, "score": float(p), "critical": critical} for n, p in enumerate(passed))
    return read(*changes)["a"]


@pytest.mark.parametrize(
    ("passed", "critical", "expected"),
    [
        ((True, True, False), False, True),
        ((True, False, False), False, False),
        ((True, False), False, False),  # half is not more than half
        ((True, True, False), True, False),
        ((True, True, True), True, True),
    ],
)
def test_repeats_are_joined(passed, critical, expected):
    found = repeats(*passed, critical=critical)
    assert found == CaseOutcome(expected, sum(passed) / len(passed), 1.0, critical)


def test_one_repeat_held_back_is_enough():
    assert read({"repeat": 0}, {"repeat": 1, "blocked": "SAFETY"})["a"].blocked


def test_repeats_need_not_stand_together():
    found = read({"repeat": 0}, {"case_id": "b"}, {"repeat": 1, "passed": False, "score": 0.0})
    assert found["a"].score == 0.5


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.randoms())
def test_the_order_of_the_lines_does_not_matter(scores, rng):
    found = lines(*({"repeat": n, "score": score, "case_id": "ab"[n % 2]} for n, score in enumerate(scores)))
    mixed = rng.sample(found, len(found))
    assert outcomes_from_lines(found, "f") == outcomes_from_lines(mixed, "f")


@pytest.mark.parametrize(
    ("text", "field", "code"),
    [
        (b'{"case_id": "b"', "", "invalid_json"),
        (b"[1]", "", "invalid_json"),
        (b"\xff", "", "invalid_json"),
        (b"[" * 100_000, "", "invalid_json"),
        *(
            (json.dumps({**LINE, "case_id": "b", **change}).encode(), *expected)
            for change, *expected in [
                ({"case_id": ""}, "case_id", "wrong_type"),
                ({"case_id": 5}, "case_id", "wrong_type"),
                ({"case_id": "x" * 1_001}, "case_id", "wrong_type"),
                ({"repeat": None}, "repeat", "wrong_type"),
                ({"repeat": "0"}, "repeat", "wrong_type"),
                ({"passed": 1}, "passed", "wrong_type"),
                ({"critical": None}, "critical", "wrong_type"),
                ({"blocked": ["SAFETY"]}, "blocked", "wrong_type"),
                ({"score": None}, "score", "wrong_type"),
                ({"score": True}, "score", "wrong_type"),
                ({"score": 1.01}, "score", "out_of_range"),
                ({"score": math.nan}, "score", "out_of_range"),
                ({"score": 10**400}, "score", "out_of_range"),
                ({"weight": 0}, "weight", "out_of_range"),
                ({"weight": "1"}, "weight", "wrong_type"),
                ({"case_id": "a"}, "repeat", "duplicate_result"),
                ({"case_id": "a", "repeat": 1, "weight": 2}, "case_id", "inconsistent_case"),
                ({"case_id": "a", "repeat": 1, "critical": True}, "case_id", "inconsistent_case"),
            ]
        ),
    ],
    ids=lambda value: "line" if isinstance(value, bytes) else None,
)
def test_outcomes_from_lines_with_an_invalid_line_names_line_and_field(text, field, code, snapshot):
    with pytest.raises(ResultError) as error:
        outcomes_from_lines([*lines({}), text], "gs://b/r.jsonl")
    assert str(error.value).startswith("gs://b/r.jsonl, line 2: ")
    assert (error.value.resource, error.value.field, error.value.code) == ("gs://b/r.jsonl", field, code)
    assert len(str(error.value)) < 1_000
    assert str(error.value) == snapshot
