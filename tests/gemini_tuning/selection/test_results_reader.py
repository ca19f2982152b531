"""What a smoke test left is read field by field: a result that is not whole does not count as one."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemini_tuning.selection.candidate import Candidate, CaseOutcome, ResultError
from gemini_tuning.selection.results_reader import candidate_from, outcomes_from_lines
from tests.gemini_tuning.selection.policy_examples import outcomes
from tests.gemini_tuning.strategies import HUGE_INT

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


# ---------------------------------------------------------------------------------------- summaries


def test_a_summary_with_its_outcomes_and_losses():
    found = candidate_from(SUMMARY, outcomes("110"), {"train_loss": 0.5, "eval_loss": 1, "eval_accuracy": 0.9})
    assert found == Candidate("2", 2, 20, outcomes("110"), 900.5, 0.5, 1.0, None, "ab12")
    assert found.asked
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
    assert not found.asked
    assert found.outcomes == {}
    assert found.error.startswith("Bearer [removed] x")
    assert len(found.error) < 600


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"checkpoint_id": None}, "result: checkpoint_id: None is not the id"),
        ({"epoch": 1.5}, "epoch: 1.5 is not a whole number"),
        ({"step": "10"}, "step: '10' is not a whole number"),
        ({"step": True}, "step: True is not a whole number"),
        ({"cases": 2}, "cases: 2 by the summary, 3 by the results file"),
        ({"cases": None}, "cases: None is not the number of cases, though there is no error"),
        ({"cases": 0}, "cases: 0 is not the number of cases"),
        ({"latency_ms": 5}, "latency_ms: expected p50 and p95, not 5"),
        ({"latency_ms": {"p95": "5"}}, "p95: '5' is not a number"),
        ({"latency_ms": {"p95": -1}}, "latency_ms: p95: -1.0 is not a time"),
        ({"latency_ms": {"p95": math.nan}}, "latency_ms: p95: nan is not a time"),
        ({"latency_ms": {"p95": HUGE_INT}}, "latency_ms: p95: inf is not a time"),
        ({"suite_fingerprint": 5}, "suite_fingerprint: 5 is not a text"),
    ],
)
def test_a_summary_that_is_none(change, said):
    with pytest.raises(ResultError) as caught:
        candidate_from({**SUMMARY, **change}, outcomes("110"))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        ("all", "losses: expected train_loss and eval_loss, not 'all'"),
        ({"eval_loss": "0.5"}, "eval_loss: '0.5' is not a number"),
        ({"train_loss": True}, "train_loss: True is not a number"),
    ],
)
def test_losses_that_are_none(losses, said):
    with pytest.raises(ResultError) as caught:
        candidate_from(SUMMARY, outcomes("110"), losses)
    assert str(caught.value) == said


def test_a_contender_made_by_hand_is_looked_at_too():
    with pytest.raises(ResultError, match="checkpoint '1': eval_loss: nan is not a finite number"):
        Candidate("1", eval_loss=math.nan)
    with pytest.raises(ResultError, match=r"score: 1.5 is not between 0 and 1"):
        CaseOutcome(True, 1.5)
    with pytest.raises(ResultError, match="weight: 0 is not between 1e-09 and 1e"):
        CaseOutcome(True, 1.0, 0)


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
    ("text", "said"),
    [
        (b'{"case_id": "b"', "expected a JSON object, not b'"),
        (b"[1]", "expected a JSON object, not [1]"),
        (b"\xff", "expected a JSON object"),
        (b"[" * 100_000, "expected a JSON object"),
        *(
            (json.dumps({**LINE, "case_id": "b", **change}).encode(), said)
            for change, said in [
                ({"case_id": ""}, "case_id: '' is not the id of a case"),
                ({"case_id": 5}, "case_id: 5 is not"),
                ({"case_id": "x" * 1_001}, "is not the id of a case"),
                ({"repeat": None}, "repeat: expected the number of the repeat, such as 0"),
                ({"repeat": "0"}, "repeat: '0' is not a whole number"),
                ({"passed": 1}, "passed: 1 is neither true nor false"),
                ({"critical": None}, "critical: None is neither true nor false"),
                ({"blocked": ["SAFETY"]}, "blocked: ['SAFETY'] is neither a reason nor true, false or null"),
                ({"score": None}, "score: None is not a number"),
                ({"score": True}, "score: True is not a number"),
                ({"score": 1.01}, "score: 1.01 is not between 0 and 1"),
                ({"score": math.nan}, "score: nan is not between 0 and 1"),
                ({"score": 10**400}, "score: inf is not between 0 and 1"),
                ({"weight": 0}, "weight: 0.0 is not between 1e-09 and 1e+09"),
                ({"weight": "1"}, "weight: '1' is not a number"),
                ({"case_id": "a"}, "case 'a', repeat 0: already in line 1"),
                ({"case_id": "a", "repeat": 1, "weight": 2}, "case 'a': weight or critical is not as in line 1"),
                ({"case_id": "a", "repeat": 1, "critical": True}, "case 'a': weight or critical is not as in line 1"),
            ]
        ),
    ],
)
def test_a_line_that_is_none(text, said):
    with pytest.raises(ResultError) as caught:
        outcomes_from_lines([*lines({}), text], "gs://b/r.jsonl")
    assert str(caught.value).startswith("gs://b/r.jsonl, line 2: ")
    assert said in str(caught.value)
    assert len(str(caught.value)) < 1_000
