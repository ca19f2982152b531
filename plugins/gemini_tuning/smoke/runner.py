"""Sends the prompts of a suite to one endpoint concurrently and checks the answers.

A fixed number of workers takes one case after the other, so that neither tasks nor answers accumulate; results are
passed on as they arrive. Assertions are checked in a thread, because a slow pattern must not delay other prompts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Container
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gemini_tuning.core.exceptions import GeminiTuningError
from gemini_tuning.core.model_response import ModelResponse
from gemini_tuning.smoke.adaptive_limit import run_all
from gemini_tuning.smoke.assertions import Assertion, Verdict
from gemini_tuning.smoke.cases import Case, Grade

if TYPE_CHECKING:
    from gemini_tuning.smoke.suite import Suite

MAX_FAILED_FIRST = 50  # consecutive prompts without an answer, from the first: then the endpoint is unusable

SendCase = Callable[[Case], Awaitable[ModelResponse]]
JudgeAnswer = Callable[[Assertion, Case, ModelResponse], Awaitable[Verdict]]


class NoAnswerError(GeminiTuningError):
    """One prompt got no answer, and other prompts are not affected."""


class EndpointUnusableError(GeminiTuningError):
    """No prompt got an answer, so nothing is known about the model."""


@dataclass(frozen=True)
class CaseResult:
    """The result of one case and repeat."""

    case: Case
    repeat: int  # 1 for the first
    answer: ModelResponse | None
    verdicts: tuple[Verdict, ...] = ()  # one for each assertion, in their order
    error: str | None = None  # why there is no answer

    @property
    def grade(self) -> Grade:
        """Whether it passed, and its score from 0 to 1; without an answer it failed."""
        return Grade(False, 0.0) if self.answer is None else self.case.grade(self.verdicts)

    @property
    def failure_reason(self) -> str:
        """Why it did not pass."""
        return self.error or "; ".join(verdict.reason for verdict in self.verdicts if not verdict.passed)


async def run_suite(
    suite: Suite,
    send: SendCase,
    sink: Callable[[CaseResult], None],
    *,
    concurrency: int,
    judge: JudgeAnswer | None = None,
    done: Container[tuple[str, int]] = frozenset(),
) -> None:
    """Send all prompts of a suite and check the answers.

    :param send: returns a case's answer, or raises :class:`NoAnswerError`. Any other exception ends the run.
    :param sink: receives each result as it arrives, in any order.
    :param done: case ids and repeats that have an answer already.
    :raises EndpointUnusableError: when no prompt gets an answer.
    """
    prompts = [(case, repeat) for case in suite.cases for repeat in range(1, case.repeat + 1)]
    work = [(case, repeat) for case, repeat in prompts if (case.id, repeat) not in done]
    queue = iter(work)
    answered = len(work) < len(prompts)
    errors: list[str] = []

    def check_usable(max_errors: int) -> None:
        if not answered and len(errors) >= max_errors:
            raise EndpointUnusableError(errors[0], code="no_answers")

    async def worker() -> None:
        nonlocal answered
        for case, repeat in queue:
            result = await _result(case, repeat, send, judge)
            sink(result)
            answered = answered or result.answer is not None
            if not answered:
                errors.append(result.error or "no answer")
                check_usable(MAX_FAILED_FIRST)

    await run_all(*(worker() for _ in range(concurrency)))
    check_usable(1)


async def _result(case: Case, repeat: int, send: SendCase, judge: JudgeAnswer | None) -> CaseResult:
    try:
        answer = await send(case)
    except NoAnswerError as error:
        return CaseResult(case, repeat, None, error=str(error))
    verdicts = await asyncio.to_thread(lambda: [each.check(answer, case.vars) for each in case.assertions])
    for number, assertion in enumerate(case.assertions):
        if assertion.needs_judge and judge is not None:
            verdicts[number] = await judge(assertion, case, answer)
    return CaseResult(case, repeat, answer, tuple(verdicts))
