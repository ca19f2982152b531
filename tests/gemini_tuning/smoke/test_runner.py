import asyncio

import pytest

from gemini_tuning.resources import Answer, Checkpoint
from gemini_tuning.smoke.runner import NoAnswerError, run_suite, summarize, unusable
from gemini_tuning.smoke.suite import parse_suite

SUITE = parse_suite(
    """
    defaults: {assert: [{type: contains, value: ok}]}
    cases:
    - {id: a, prompt: ok}
    - {id: b, prompt: bad, weight: 2}
    - {id: c, prompt: ok too}
    """,
    "three.yaml",
)
CHECKPOINT = Checkpoint("2", 2, 20, "projects/1/locations/l/endpoints/9")


async def echo(case):
    return Answer(case.prompt, latency=0.25)


def run(ask, concurrency=8):
    return asyncio.run(run_suite(SUITE, ask, concurrency=concurrency))


def test_scores_are_weighted():
    summary = summarize(SUITE, CHECKPOINT, run(echo))
    assert (summary["passed"], summary["total"], summary["score"]) == (2, 3, 0.5)
    assert summary["checkpoint_id"] == "2"
    assert summary["error"] is None
    assert summary["cases"][1] == {
        "id": "b", "passed": False, "answer": "bad", "failures": ['contains: "ok" is not in the answer'],
        "finish_reason": None, "error": None, "latency_ms": 250.0, "weight": 2.0,
    }  # fmt: skip


def test_results_keep_the_order_of_the_suite_whatever_comes_first():
    released = {case.id: asyncio.Event() for case in SUITE.cases}

    async def in_reverse(case):
        if case.id == "c":
            released["b"].set()
        elif case.id == "b":
            await released["b"].wait()
            released["a"].set()
        else:
            await released["a"].wait()
        return Answer("ok", 0.1)

    assert [result.case.id for result in run(in_reverse)] == ["a", "b", "c"]


def test_no_more_prompts_at_once_than_allowed():
    under_way, most = 0, 0

    async def counting(case):
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        return Answer("ok", 0.1)

    run(counting, concurrency=2)
    assert most == 2


def test_one_refused_prompt_spoils_one_case():
    async def refuses_b(case):
        if case.id == "b":
            raise NoAnswerError("503")
        return Answer("ok", 0.1)

    summary = summarize(SUITE, CHECKPOINT, run(refuses_b))
    assert summary["score"] == 0.5
    assert summary["cases"][1]["error"] == "503"
    assert summary["error"] is None


def test_an_endpoint_that_answers_nothing_has_no_score():
    async def refuses(case):
        raise NoAnswerError("503 for all")

    summary = summarize(SUITE, CHECKPOINT, run(refuses))
    assert summary["score"] is None
    assert summary["error"] == "503 for all"


def test_an_answer_without_text_fails_even_what_it_must_not_contain():
    suite = parse_suite("cases: [{id: a, prompt: Hi, assert: [{type: not-contains, value: x}]}]", "one.yaml")

    async def blocked(case):
        return Answer(" ", 0.1, finish_reason="SAFETY")

    (result,) = asyncio.run(run_suite(suite, blocked, concurrency=1))
    assert result.failures == ("the answer has no text (finish reason SAFETY)",)


def test_an_unexpected_error_ends_the_run():
    async def breaks(case):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(breaks)


def test_a_checkpoint_that_cannot_be_asked():
    result = unusable(SUITE, Checkpoint("1", 1, 10), "it is not deployed to an endpoint")
    assert (result["score"], result["error"], result["total"]) == (None, "it is not deployed to an endpoint", 3)
