"""Results of smoke tests, answers of models, other people's words: nothing wins wrongly, nothing breaks the report."""

import asyncio
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gemini_tuning.core.case_outcomes import CaseOutcome, ResultError, outcomes_from_lines
from gemini_tuning.core.files import Files
from gemini_tuning.core.model_response import ModelResponse
from gemini_tuning.core.text import MAX_SAID, redact, short_repr, shorten
from gemini_tuning.core.xcom import LossesXCom, SmokeTestXCom
from gemini_tuning.selection.candidate import Candidate
from gemini_tuning.selection.decide import decide
from gemini_tuning.selection.gates import Policy
from gemini_tuning.smoke.results import MAX_ANSWER, ResultsFile, result_line
from gemini_tuning.smoke.runner import EndpointUnusableError, NoAnswerError, run_suite
from gemini_tuning.smoke.suite import parse_suite
from gemini_tuning.smoke.summary import summarize
from tests.gemini_tuning.strategies import DEEP, HTML, HUGE_INT, json_values, spoiled, texts


def candidate_from(summary, outcomes, losses=None) -> Candidate:
    summary = SmokeTestXCom.from_xcom(summary) or SmokeTestXCom()
    return Candidate.from_smoke_test(summary, outcomes, LossesXCom.from_xcom(losses))


# ---------------------------------------------------------------------------- summaries, results files

SUMMARY = {
    "checkpoint_id": "1",
    "epoch": 1,
    "step": 10,
    "cases": 2,
    "latency_ms": {"p50": 10.0, "p95": 20.0},
    "suite_fingerprint": "ab",
    "error": None,
}
LINE = {
    "case_id": "a", "repeat": 0, "passed": True, "score": 1.0, "weight": 1.0, "critical": False, "blocked": None,
    "error": None,
}  # fmt: skip
OUTCOMES = {"a": CaseOutcome(True, 1.0), "b": CaseOutcome(False, 0.5, critical=True)}


@given(
    st.just(SUMMARY) | spoiled(SUMMARY) | json_values,
    st.sampled_from([OUTCOMES, {}]),
    st.none() | spoiled({"train_loss": 0.5, "eval_loss": 0.25}) | json_values,
)
@example({**SUMMARY, "error": ""}, OUTCOMES, None)
@example({**SUMMARY, "cases": HUGE_INT}, OUTCOMES, None)
@example({**SUMMARY, "latency_ms": {"p95": HUGE_INT}}, OUTCOMES, {"eval_loss": HUGE_INT})
@example({**SUMMARY, "cases": True}, {"a": OUTCOMES["a"]}, None)
def test_any_summary_is_a_candidate_or_names_its_field(summary, outcomes, losses):
    try:
        found = candidate_from(summary, outcomes, losses)
    except ResultError as error:
        assert 0 < len(str(error)) < 1_000
        return
    assert found.was_tested == (summary.get("error") is None)
    assert not found.was_tested or summary["cases"] == len(outcomes)
    decision = decide([found], Policy(min_pass_rate=0))
    assert (decision.winner is not None) == (found.was_tested and not found.failed_critical)
    assert len(json.dumps(decision.as_dict(), allow_nan=False)) < 8_000


@given(
    st.lists(
        st.one_of(
            st.just(LINE),
            spoiled(LINE),
            st.fixed_dictionaries(
                {
                    **{name: st.just(value) for name, value in LINE.items()},
                    "case_id": st.sampled_from("abc"),
                    "repeat": st.integers(0, 2),
                    "score": st.floats(0, 1),
                }
            ),
            json_values,
        ).map(lambda value: json.dumps(value).encode())
        | st.binary(max_size=30),
        max_size=4,
    )
)
@example([DEEP.encode()])
@example([b'{"case_id": ' + b"9" * 5_000 + b"}"])
@example([json.dumps({**LINE, "score": 1e999}).encode()])
def test_any_results_file_is_outcomes_or_names_its_line(lines):
    try:
        outcomes = outcomes_from_lines(lines, "gs://bucket/r.jsonl")
    except ResultError as error:
        assert str(error).startswith("gs://bucket/r.jsonl, line ")
        assert len(str(error)) < 1_000
        return
    assert len(outcomes) <= len(lines)
    decision = decide([Candidate("1", outcomes=outcomes)], Policy(min_pass_rate=0, allow_blocked=True))
    assert (decision.winner is None) == (not outcomes or any(o.critical and not o.passed for o in outcomes.values()))


# ----------------------------------------------------------------------------------------- answers

SUITE = parse_suite(
    "cases:\n"
    "- {id: a, prompt: Hi, assert: [{type: contains, value: THE END}]}\n"
    "- {id: b, prompt: Ho, assert: [{type: is-json}]}",
    "two.yaml",
)


CHECKPOINT = {"checkpoint_id": "1", "epoch": 1, "step": 10, "endpoint": None}


def run_smoke(text: str = "", error: str | None = None) -> tuple[dict, list[bytes]]:
    """Run the suite against a model with a constant response; return the XCom and the lines of the results file."""

    async def respond(case):
        if error:
            raise NoAnswerError(error)
        return ModelResponse(text, 0.1, finish_reason="STOP")

    file = ResultsFile(Files(), "/results.jsonl")
    try:
        asyncio.run(run_suite(SUITE, respond, lambda result: file.add(result_line(result, "key")), concurrency=2))
    except EndpointUnusableError as unusable:
        return summarize(SUITE, CHECKPOINT, file.lines, file.uri, error=str(unusable)), file.lines
    return summarize(SUITE, CHECKPOINT, file.lines, file.uri), file.lines


@given(texts | st.sampled_from([HTML, "{}", "[" * 20_000, "\ud800"]))
def test_any_answer_gives_a_score_and_the_choice_reads_the_same(text):
    pushed, lines = run_smoke(text)
    assert 0 <= pushed["score"] <= 1
    assert len(json.dumps(pushed)) < 1_500
    found = candidate_from(json.loads(json.dumps(pushed)), outcomes_from_lines(lines, "f"))
    assert (round(found.score, 6), round(found.pass_rate, 6)) == (pushed["score"], pushed["pass_rate"])


def test_a_huge_answer_is_cut_in_the_file_while_the_assertions_see_all_of_it():
    pushed, lines = run_smoke("x" * 5_000_000 + "THE END")
    results = {result["case_id"]: result for result in map(json.loads, lines)}
    assert {case: result["passed"] for case, result in results.items()} == {"a": True, "b": False}
    assert results["a"]["answer"] == "x" * MAX_ANSWER + "… (cut; 5000007 characters in all)"
    assert len(json.dumps(pushed)) < 1_500


def test_an_error_as_big_as_a_page_is_cut():
    pushed, lines = run_smoke(error="Error 502 " + "x" * 1_000_000)
    assert pushed["score"] is None
    assert pushed["error"].startswith("Error 502 x")
    assert all(json.loads(line)["error"].startswith("Error 502 x") for line in lines)
    assert len(json.dumps(pushed)) < 1_500
    assert not candidate_from(pushed, outcomes_from_lines(lines, "f")).was_tested


# --------------------------------------------------------------------------------- words of others


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer SECRET",
        "illegal header value b'Bearer SECRET\\n'",
        '{"access_token": "SECRET", "expires_in": 3600}',
        "access_token=SECRET&x=1",
        '"private_key": "-----BEGIN PRIVATE KEY-----\\nSECRET\\n-----END PRIVATE KEY-----"',
        "-----BEGIN RSA PRIVATE KEY-----\nSECRET",
        "assertion=eyJhbGciOi.SECRET.sig",
        "ya29.SECRET",
    ],
)
def test_secrets_are_not_repeated(text):
    assert "SECRET" not in redact(f"The service returned: {text} and more")
    assert "The service returned" in redact(f"The service returned: {text} and more")
    assert "SECRET" not in redact(text + "x" * 100_000)


@given(json_values | st.builds(object))
@example(HUGE_INT)
@example([HUGE_INT])
@example(10**4_200)
def test_any_value_can_be_shown(value):
    assert len(short_repr(value)) < 500


@given(st.text(), st.integers(1, 50))
def test_what_is_cut_keeps_its_beginning(text, limit):
    assert shorten(text, limit)[:limit] == text[:limit]
    assert len(redact(text * 10)) < MAX_SAID + 100
