"""The judge: its prompt, its replies and the majority."""

import asyncio
import json

import pytest
from hypothesis import given

from gemini_tuning.core.model_response import ModelResponse
from gemini_tuning.smoke.assertions import MAX_REASON, Assertion
from gemini_tuning.smoke.cases import Case, single_turn
from gemini_tuning.smoke.judge import MAX_JUDGED, Judge, Vote, judge_prompt, read_vote
from tests.gemini_tuning.strategies import texts, wire_values

RUBRIC = Assertion("llm-rubric", "is polite")
CASE = Case("a", single_turn("Hi"), (RUBRIC,), system_instruction="Be kind.")


def reply(holds: bool, score: float = 0.5, reason: str = "because") -> str:
    return json.dumps({"reason": reason, "pass": holds, "score": score})


YES, NO, NONSENSE = reply(True, 0.9, "good"), reply(False, 0.2, "bad"), "I think it passes."


def decide(replies: list[str], samples: int = 3, assertion: Assertion = RUBRIC, answer: str = "Hello!"):
    """Return the verdict and the number of prompts sent to the judge."""
    left = iter(replies)

    async def ask(prompt: str) -> ModelResponse:
        return ModelResponse(next(left), 0.1)

    verdict = asyncio.run(
        Judge(model="m", samples=samples).judge(assertion, CASE, ModelResponse(answer, 0.1, "STOP"), ask)
    )
    return verdict, len(replies) - len(list(left))


@pytest.mark.parametrize(
    ("replies", "samples", "passed", "score", "asked_for"),
    [
        ([YES, YES, NO], 3, True, 0.9, 2),  # two of three is enough
        ([NO, NO, YES], 3, False, 0.2, 2),
        ([YES, NO, YES], 3, True, (0.9 + 0.2 + 0.9) / 3, 3),
        ([NONSENSE, YES, YES], 3, True, 0.9, 3),
        ([YES, YES, YES], 1, True, 0.9, 1),
        ([YES, NO, YES, NO, YES], 5, True, (2.7 + 0.4) / 5, 5),
        ([YES, NO, YES, YES, NO], 5, True, (2.7 + 0.2) / 4, 4),
        ([reply(True, 1), reply(True, 0)], 3, True, 0.5, 2),
    ],
)
def test_the_majority_decides(replies, samples, passed, score, asked_for):
    verdict, count = decide(replies, samples)
    assert (verdict.passed, verdict.score, count) == (passed, pytest.approx(score), asked_for)
    assert verdict.type == "llm-rubric"
    assert ("good" in verdict.reason) is (passed and replies[0] != reply(True, 1))


@pytest.mark.parametrize("form", ["", "not-"])
@pytest.mark.parametrize(
    ("replies", "said"),
    [
        ([NONSENSE] * 3, "no majority of 3 judgements: 0 for, 0 against, 3 not in the requested form"),
        ([YES, NONSENSE, NONSENSE], "1 for, 0 against, 2 not"),
        ([YES, NO, NONSENSE], "1 for, 1 against, 1 not"),
    ],
)
def test_without_a_majority_neither_form_holds(form, replies, said):
    verdict, _ = decide(replies, assertion=Assertion(f"{form}llm-rubric", "is polite"))
    assert (verdict.passed, verdict.score) == (False, 0.0)
    assert said in verdict.reason


def test_the_not_form():
    verdict, _ = decide([YES, YES], assertion=Assertion("not-llm-rubric", "is rude"))
    assert (verdict.passed, verdict.score) == (False, pytest.approx(0.1))
    verdict, _ = decide([NO, NO], assertion=Assertion("not-llm-rubric", "is rude"))
    assert (verdict.passed, verdict.score) == (True, pytest.approx(0.8))


def test_a_threshold_asks_for_a_score_as_well():
    strict = Assertion("llm-rubric", "is polite", threshold=0.95)
    assert not decide([YES, YES], assertion=strict)[0].passed
    assert decide([YES, YES], assertion=Assertion("llm-rubric", "is polite", threshold=0.9))[0].passed


@pytest.mark.parametrize("form", ["", "not-"])
def test_an_answer_without_text_is_not_judged(form):
    verdict, count = decide([], assertion=Assertion(f"{form}llm-rubric", "x"), answer=" ")
    assert (verdict.passed, verdict.reason, count) == (False, "the answer has no text (finish reason STOP)", 0)


def test_what_ask_raises_is_raised_on():
    async def ask(prompt: str) -> ModelResponse:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(Judge(model="m").judge(RUBRIC, CASE, ModelResponse("x", 0.1), ask))


def test_when_one_question_fails_the_others_are_cancelled():
    cancelled = []

    async def ask(prompt: str) -> ModelResponse:
        if started.is_set():
            raise ZeroDivisionError
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(prompt)
            raise
        raise AssertionError("nobody sets the event")

    async def judged() -> None:
        await Judge(model="m").judge(RUBRIC, CASE, ModelResponse("x", 0.1), ask)

    started = asyncio.Event()
    with pytest.raises(ZeroDivisionError):
        asyncio.run(judged())
    assert len(cancelled) == 1


@pytest.mark.parametrize(
    "text",
    [
        YES,
        f"```json\n{YES}\n```",
        f"\n```\n{YES}\n\n```  \n",
        json.dumps({"pass": True, "score": 0.9, "reason": "good", "more": 1}, indent=2),
    ],
)
def test_replies_that_are_votes(text):
    assert read_vote(text) == Vote(**json.loads(YES))


@pytest.mark.parametrize(
    "text",
    [
        "",
        NONSENSE,
        f"Sure! {YES}",
        f"{YES} {YES}",
        f"[{YES}]",
        "[" * 10_000,
        reply(True) + " " * 100_000,
        '{"pass": "true", "score": 1, "reason": ""}',
        '{"pass": 1, "score": 1, "reason": ""}',
        '{"pass": true, "score": 2, "reason": ""}',
        '{"pass": true, "score": true, "reason": ""}',
        '{"pass": true, "score": NaN, "reason": ""}',
        '{"pass": true, "score": "1", "reason": ""}',
        '{"pass": true, "score": 1}',
        '{"pass": true, "reason": ""}',
        '{"score": 1, "reason": ""}',
    ],
)
def test_replies_that_are_none(text):
    assert read_vote(text) is None


@given(wire_values)
def test_any_reply(value):
    for text in (json.dumps(value), json.dumps({"pass": value, "score": value, "reason": value})):
        vote = read_vote(text)
        assert vote is None or 0 <= vote.score <= 1


@given(texts, texts, texts)
def test_whatever_the_answer_says_stays_within_its_string(rubric, prompt, text):
    """The data is one JSON object between our words, and holds what was put in."""
    sent = judge_prompt(rubric, Case("a", single_turn(prompt), ()), ModelResponse(text, 0.1))
    head, _, rest = sent.partition("\n{")
    data, tail = json.JSONDecoder().raw_decode("{" + rest)
    assert data == {"rubric": rubric, "conversation": [{"role": "user", "text": prompt}], "answer": text[:MAX_JUDGED]}
    assert (head, ("{" + rest)[tail:]) == (HEAD, TAIL)


_MARK = judge_prompt("r", Case("a", single_turn("p"), ()), ModelResponse("t", 0.1))
HEAD, TAIL = _MARK.partition("\n{")[0], _MARK[_MARK.index("\n}\n") + 2 :]


def test_the_judge_sees_the_conversation_and_is_told_of_files():
    file = {"file_uri": "gs://b/x.png", "mime_type": "image/png"}
    turns = [
        {"role": "user", "parts": [{"text": "What is this?"}, file]},
        {"role": "model", "parts": [{"text": "A cat."}]},
        {"role": "user", "parts": [{"text": "Sure?"}]},
    ]
    prompt = judge_prompt("r", Case("a", turns, (), system_instruction="Be kind."), ModelResponse("x" * 60_000, 0.1))
    data, _ = json.JSONDecoder().raw_decode("{" + prompt.partition("\n{")[2])
    assert [turn["role"] for turn in data["conversation"]] == ["system", "user", "model", "user"]
    assert data["conversation"][1]["text"].endswith("[a file that is not shown: image/png, gs://b/x.png]")
    assert data["answer"].endswith("… (cut; 60000 characters in all)")


def test_a_reason_is_bounded():
    verdict, _ = decide([reply(True, 1, "x" * 5_000)] * 3)
    assert len(verdict.reason) < MAX_REASON + 100
