"""Results of smoke tests, answers of models, other people's words: nothing wins wrongly, nothing breaks the report."""

import asyncio
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from support import context

from gemini_tuning.operators import GeminiChooseCheckpointOperator
from gemini_tuning.report import HEADINGS, render
from gemini_tuning.resources import Answer, Checkpoint
from gemini_tuning.selection import Candidate, ResultError, choose, read_results
from gemini_tuning.smoke.runner import MAX_ANSWER, NoAnswerError, run_suite, summarize
from gemini_tuning.smoke.suite import parse_suite
from gemini_tuning.wording import MAX_SAID, said, shortened, shown
from tests.gemini_tuning.strategies import HTML, HUGE_INT, json_values, spoiled, texts

GOOD = {"checkpoint_id": "1", "epoch": 1, "step": 10, "score": 0.9, "passed": 9, "total": 10, "error": None}
results = st.lists(
    st.one_of(
        st.just(GOOD),
        spoiled(GOOD),
        st.fixed_dictionaries(
            {
                "checkpoint_id": st.sampled_from(["1", "2", "3", "4"]),
                "epoch": st.none() | st.integers(1, 5),
                "step": st.none() | st.integers(1, 50),
                "score": st.none() | st.floats(0, 1),
                "error": st.none() | texts,
            }
        ),
        json_values,
    ),
    max_size=4,
)


@given(results | json_values, st.floats(0, 1), st.sampled_from(["1", "2", None]))
@example([{**GOOD, "score": float("nan")}], 0.0, None)
@example([{**GOOD, "score": True}], 0.0, None)
@example([{**GOOD, "error": "broken"}], 0.0, None)
@example([{**GOOD, "score": 0.1}, GOOD], 0.5, None)
def test_only_a_checkpoint_with_a_score_and_no_error_can_win(found, minimum, default):
    ti = context()
    operator = GeminiChooseCheckpointOperator(
        task_id="choose", results=found, default_checkpoint_id=default, min_pass_rate=minimum
    )
    try:
        branch = operator.choose_branch(ti)
    except ValueError as error:
        assert str(error).startswith("results")
        assert len(str(error)) < 1_000
        assert ti["ti"].xcoms == {}
        return
    winner = ti["ti"].xcoms["winner"]
    if winner is None:
        assert branch == "report"
        return
    (result,) = [result for result in found if str(result["checkpoint_id"]) == winner]
    assert result.get("error") is None
    assert minimum <= result["score"] <= 1
    assert branch == ("copy_model" if winner == default else "set_default")


@given(
    st.lists(
        st.builds(
            Candidate, st.sampled_from("123"), st.none(), st.none(), st.none() | st.floats(), st.none() | st.just("x")
        ),
        max_size=3,
    )
)
def test_candidates_made_by_hand(candidates):
    try:
        decision = choose(candidates, min_pass_rate=0)
    except ResultError:
        assert len({c.checkpoint_id for c in candidates}) < len(candidates)
        return
    if decision.winner is not None:
        (winner,) = [c for c in candidates if c.checkpoint_id == decision.winner]
        assert winner.error is None
        assert 0 <= winner.score <= 1


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (None, "results: expected a list"),
        ("1", "results: expected a list"),
        ([GOOD, GOOD], "checkpoint '1' is there more than once"),
        ([GOOD, None], "results, number 2: expected what the smoke test pushed"),
        ([{**GOOD, "checkpoint_id": None}], "results, number 1: result: checkpoint_id"),
        ([{**GOOD, "score": "0.9"}], "results, number 1: score"),
        ([{**GOOD, "score": 1.5}], "score: 1.5 is not between 0 and 1"),
        ([{**GOOD, "score": HUGE_INT}], "score: a value of type int"),
        ([{**GOOD, "step": "10"}], "step: '10' is not a whole number"),
    ],
)
def test_results_that_cannot_be_ranked(bad, said):
    with pytest.raises(ResultError) as caught:
        choose(read_results(bad), min_pass_rate=0)
    assert said in str(caught.value)


# ------------------------------------------------------------------------------------------ report

NASTY = (
    "a|b", "a\\|b", "a\n\n# b", "<script>alert(1)</script>", "[x](http://e.example)", "![x](y)", "`a|", "\r\n|---|\n",
    "<http://e.example>", "**b**", "&lt;b&gt;", "\u2028# c", "http://e.example www.e.example a@e.example", HTML, "\\",
    "~~x~~",
)  # fmt: skip
nasty = st.sampled_from(NASTY) | texts | json_values


@given(
    st.lists(st.fixed_dictionaries({**dict.fromkeys(GOOD, nasty)}) | spoiled(GOOD), max_size=3),
    st.fixed_dictionaries({"winner": nasty, "reason": nasty, "default_checkpoint_id": nasty}) | st.just({}),
    st.none() | st.fixed_dictionaries({"default_after": nasty}),
    st.none() | st.fixed_dictionaries({"model": nasty, "checkpoints": nasty, "default_checkpoint_id": nasty}),
    nasty,
)
@example([{**GOOD, "error": text} for text in NASTY], {"reason": "\n".join(NASTY)}, None, None, "x")
def test_nothing_breaks_the_table_or_becomes_a_link(found, decision, promotion, copy, name):
    report = render(tuning_job=name, model=name, results=found, decision=decision, promotion=promotion, copy=copy)
    tokens = MarkdownIt("commonmark", {"html": True, "linkify": True}).enable(["table", "linkify"]).parse(report)
    kinds = [token.type for token in tokens] + [child.type for token in tokens for child in token.children or ()]
    assert {kind for kind in kinds if "html" in kind or kind.startswith(("image", "heading", "fence", "code"))} == set()
    assert not [
        child
        for token in tokens
        for child in token.children or ()
        if child.type == "link_open" and child.markup != "linkify"
    ]
    assert kinds.count("table_open") == 1
    assert kinds.count("tr_open") == 1 + len(found)
    assert kinds.count("td_open") == len(HEADINGS) * len(found)


@given(json_values)
def test_a_report_of_something_else_names_what_is_wrong(value):
    for change in ({"decision": value}, {"promotion": value}, {"copy": value}, {"results": [value]}):
        arguments = {"tuning_job": "j", "model": "m", "results": [], "decision": {}, "promotion": None, "copy": None}
        try:
            render(**{**arguments, **change})
        except ValueError as error:
            assert str(error).startswith(next(iter(change)))


# ----------------------------------------------------------------------------------------- answers

SUITE = parse_suite(
    "cases:\n"
    "- {id: a, prompt: Hi, assert: [{type: contains, value: THE END}]}\n"
    "- {id: b, prompt: Ho, assert: [{type: is-json}]}",
    "two.yaml",
)


def summary(text: str = "", error: str | None = None) -> dict:
    async def ask(case):
        if error:
            raise NoAnswerError(error)
        return Answer(text, 0.1, finish_reason="STOP")

    return summarize(SUITE, Checkpoint("1"), asyncio.run(run_suite(SUITE, ask, concurrency=2)))


@given(texts | st.sampled_from([HTML, "{}", "[" * 20_000, "\ud800"]))
def test_any_answer_gives_a_score(text):
    pushed = summary(text)
    assert 0 <= pushed["score"] <= 1
    assert len(json.dumps(pushed)) < 10_000


def test_a_huge_answer_is_cut_in_xcom_while_the_assertions_see_all_of_it():
    pushed = summary("x" * 5_000_000 + "THE END")
    assert [case["passed"] for case in pushed["cases"]] == [True, False]
    assert pushed["cases"][0]["answer"] == "x" * MAX_ANSWER + "… (cut; 5000007 characters in all)"
    assert len(json.dumps(pushed)) < 10_000


def test_an_error_as_big_as_a_page_is_cut():
    pushed = summary(error="Error 502 " + "x" * 1_000_000)
    assert pushed["score"] is None
    assert pushed["cases"][0]["error"].startswith("Error 502 x")
    assert len(json.dumps(pushed)) < 10_000


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
    assert "SECRET" not in said(f"The service said: {text} and more")
    assert "The service said" in said(f"The service said: {text} and more")
    assert "SECRET" not in said(text + "x" * 100_000)


@given(json_values | st.builds(object))
@example(HUGE_INT)
@example([HUGE_INT])
@example(10**4_200)
def test_any_value_can_be_shown(value):
    assert len(shown(value)) < 500


@given(st.text(), st.integers(1, 50))
def test_what_is_cut_keeps_its_beginning(text, limit):
    assert shortened(text, limit)[:limit] == text[:limit]
    assert len(said(text * 10)) < MAX_SAID + 100
