"""Asks one checkpoint all prompts of a suite, concurrently, and judges the answers.

A fixed number of workers takes the cases one after the other, so that neither tasks nor answers pile up; results go to
the sink as they come. Verdicts are found in a thread: a slow pattern must not hold up the other prompts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Container, Iterator
from dataclasses import dataclass, field

from gemini_tuning.core.resources import ModelResponse
from gemini_tuning.smoke.assertions import Assertion, Verdict
from gemini_tuning.smoke.cases import Case, Grade
from gemini_tuning.smoke.suite import Suite

GIVE_UP_AFTER = 50  # prompts in a row, from the first, without an answer: then the endpoint is broken

Ask = Callable[[Case], Awaitable[ModelResponse]]
JudgeAnswer = Callable[[Assertion, Case, ModelResponse], Awaitable[Verdict]]


class NoAnswerError(Exception):
    """One prompt got no answer; raised by ``ask`` when that spoils this case only."""


class EndpointUnusableError(Exception):
    """Not one prompt got an answer, which says nothing about the model."""


@dataclass(frozen=True)
class CaseResult:
    """What came of one case, asked once.

    :param repeat: 1 for the first time it was asked.
    :param verdicts: one for each assertion, in their order.
    :param error: why there is no answer.
    """

    case: Case
    repeat: int
    answer: ModelResponse | None
    verdicts: tuple[Verdict, ...] = ()
    error: str | None = None

    @property
    def grade(self) -> Grade:
        """Whether it passed, and its score from 0 to 1; without an answer it did not."""
        return Grade(False, 0.0) if self.answer is None else self.case.grade(self.verdicts)

    @property
    def why(self) -> str:
        """Why it did not pass, in words."""
        return self.error or "; ".join(verdict.reason for verdict in self.verdicts if not verdict.passed)


@dataclass
class _Progress:
    answered: int = 0
    errors: list[str] = field(default_factory=list)

    def add(self, result: CaseResult) -> None:
        if result.answer is not None:
            self.answered += 1
        elif not self.answered:
            self.errors.append(result.error or "no answer")
            if len(self.errors) >= GIVE_UP_AFTER:
                raise EndpointUnusableError(self.errors[0])


async def run_suite(
    suite: Suite,
    ask: Ask,
    sink: Callable[[CaseResult], None],
    *,
    concurrency: int,
    judge: JudgeAnswer | None = None,
    done: Container[tuple[str, int]] = frozenset(),
) -> None:
    """Ask all prompts of a suite and judge the answers.

    :param ask: sends one case's prompt and returns the answer, or raises :class:`NoAnswerError`. Any other error ends
        the run.
    :param sink: takes each result as it comes, in no order.
    :param concurrency: how many cases may be under way at once.
    :param judge: asks the judge model about an answer, for assertions that need it.
    :param done: case ids with their repeats that need not be asked again.
    :raises EndpointUnusableError: when nothing at all is answered.
    """
    work = _work(suite, done)
    progress = _Progress(answered=sum((case.id, n) in done for case, n in _work(suite)))

    async def worker() -> None:
        for case, repeat in work:
            result = await _asked(case, repeat, ask, judge)
            sink(result)
            progress.add(result)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(worker())
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    if not progress.answered and progress.errors:
        raise EndpointUnusableError(progress.errors[0])


def _work(suite: Suite, done: Container[tuple[str, int]] = frozenset()) -> Iterator[tuple[Case, int]]:
    for case in suite.cases:
        for repeat in range(1, case.repeat + 1):
            if (case.id, repeat) not in done:
                yield case, repeat


async def _asked(case: Case, repeat: int, ask: Ask, judge: JudgeAnswer | None) -> CaseResult:
    try:
        answer = await ask(case)
    except NoAnswerError as error:
        return CaseResult(case, repeat, None, error=str(error))
    verdicts = await asyncio.to_thread(_verdicts, case, answer)
    for number, assertion in enumerate(case.assertions):
        if assertion.needs_judge and judge is not None:
            verdicts[number] = await judge(assertion, case, answer)
    return CaseResult(case, repeat, answer, tuple(verdicts))


def _verdicts(case: Case, answer: ModelResponse) -> list[Verdict]:
    return [
        Verdict(assertion.type, False, 0.0, f"{assertion.type}: there is no judge")
        if assertion.needs_judge
        else assertion.check(answer, case.vars)
        for assertion in case.assertions
    ]
