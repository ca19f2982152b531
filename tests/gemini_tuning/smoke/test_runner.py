"""The concurrent runner, without a service."""

import asyncio
import threading

import pytest
from support import prompt_of

from gemini_tuning.core.model_response import ModelResponse
from gemini_tuning.smoke import runner
from gemini_tuning.smoke.assertions import Assertion
from gemini_tuning.smoke.runner import EndpointUnusableError, NoAnswerError, run_suite
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


def suite(assertion, cases=1, **more):
    parts = "".join(f", {key}: {value}" for key, value in more.items())
    lines = "\n".join(f"- {{id: case-{n}, prompt: Hi{parts}, assert: [{assertion}]}}" for n in range(cases))
    return parse_suite("cases:\n" + lines, "one.yaml")


async def echo(case):
    return ModelResponse(prompt_of(case), latency=0.25)


def run(asked=SUITE, ask=echo, concurrency=8, **options):
    results = []
    asyncio.run(run_suite(asked, ask, results.append, concurrency=concurrency, **options))
    return {(result.case.id, result.repeat): result for result in results}


def test_each_case_has_its_verdicts_and_its_grade():
    results = run()
    assert {key: result.grade.passed for key, result in results.items()} == {
        ("a", 1): True, ("b", 1): False, ("c", 1): True,
    }  # fmt: skip
    assert results["b", 1].failure_reason == '"ok" is not in the answer'


def test_no_more_prompts_at_once_than_allowed():
    under_way, most = 0, 0

    async def counting(case):
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        return ModelResponse("ok", 0.1)

    run(ask=counting, concurrency=2)
    assert most == 2


def test_one_refused_prompt_spoils_one_case():
    async def refuses_b(case):
        if case.id == "b":
            raise NoAnswerError("400 no")
        return ModelResponse("ok", 0.1)

    results = run(ask=refuses_b)
    assert [key for key, result in results.items() if not result.grade.passed] == [("b", 1)]
    assert results["b", 1].failure_reason == "400 no"


async def refuses(case):
    raise NoAnswerError(f"404 {case.id}")


def test_an_endpoint_that_answers_nothing_is_unusable():
    with pytest.raises(EndpointUnusableError, match="404 a"):
        run(ask=refuses, concurrency=1)


def test_a_broken_endpoint_is_given_up_early():
    asked = []

    async def counting(case):
        asked.append(case.id)
        raise NoAnswerError("404")

    with pytest.raises(EndpointUnusableError):
        run(suite("{type: is-json}", 500), ask=counting, concurrency=4)
    assert len(asked) <= runner.MAX_FAILED_FIRST + 4


def test_with_an_earlier_answer_the_endpoint_is_not_unusable():
    results = run(ask=refuses, done={("a", 1)})
    assert set(results) == {("b", 1), ("c", 1)}


def test_another_error_ends_the_run_as_it_is():
    async def breaks(case):
        raise PermissionError("403")

    with pytest.raises(PermissionError, match="403"):
        run(ask=breaks)


def test_what_is_done_is_not_asked_again():
    assert set(run(done={("a", 1), ("c", 1)})) == {("b", 1)}


def test_a_case_is_asked_as_often_as_it_says():
    assert set(run(suite("{type: contains, value: Hi}", repeat=3))) == {("case-0", 1), ("case-0", 2), ("case-0", 3)}


@pytest.mark.parametrize(
    ("assertion", "passed"),
    [
        ("{type: not-contains, value: x}", False),
        ("{type: not-regex, value: x}", False),
        ("{type: finish-reason, value: SAFETY}", True),
        ("{type: not-safety-not-blocked}", True),
        ("{type: max-latency, value: 1000}", True),
    ],
)
def test_an_answer_without_text_passes_only_where_the_text_is_not_tested(assertion, passed):
    async def blocked(case):
        return ModelResponse("", 0.1, "SAFETY", blocked="SAFETY")

    (result,) = run(suite(assertion), ask=blocked).values()
    assert result.grade.passed is passed
    if not passed:
        assert "no text" in result.failure_reason


def test_a_slow_assertion_does_not_block_the_loop(monkeypatch):
    """Assertions are checked in other threads, so that prompts are sent in the meantime."""
    loop_thread, check_threads = threading.get_ident(), set()
    check = Assertion.check

    def recording(*args):
        check_threads.add(threading.get_ident())
        return check(*args)

    monkeypatch.setattr(Assertion, "check", recording)
    run()
    assert check_threads
    assert loop_thread not in check_threads


def test_workers_are_as_many_as_may_be_under_way_not_as_many_as_cases():
    most = 0

    async def counting(case):
        nonlocal most
        most = max(most, len(asyncio.all_tasks()))
        return ModelResponse("ok", 0.1)

    run(suite("{type: contains, value: ok}", 1_000), ask=counting, concurrency=4)
    assert most <= 4 + 1
