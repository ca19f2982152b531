"""Asks one checkpoint all prompts of a suite, concurrently, and scores the answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gemini_tuning.resources import Answer, Checkpoint
from gemini_tuning.smoke.suite import Case, Suite
from gemini_tuning.wording import said, shortened

MAX_ANSWER = 2_000  # characters of an answer that go to XCom; the assertions see all of it

Ask = Callable[[Case], Awaitable[Answer]]


class NoAnswerError(Exception):
    """One prompt got no answer; raised by ``ask`` when that spoils this case only."""


@dataclass(frozen=True)
class CaseResult:
    """What came of one case.

    :param failures: why it did not pass, one sentence an assertion; empty when it passed.
    :param error: why there is no answer.
    """

    case: Case
    answer: Answer | None
    failures: tuple[str, ...] = ()
    error: str | None = None

    @property
    def passed(self) -> bool:
        """Whether there is an answer and every assertion holds."""
        return self.answer is not None and not self.failures

    def as_dict(self) -> dict[str, Any]:
        """Return the form that goes to XCom; latency in milliseconds, a long answer cut with a note at its end."""
        answer = self.answer
        return {
            "id": self.case.id,
            "passed": self.passed,
            "answer": shortened(answer.text, MAX_ANSWER) if answer else None,
            "finish_reason": answer.finish_reason if answer else None,
            "failures": list(self.failures),
            "error": said(self.error) if self.error else None,
            "latency_ms": round(answer.latency * 1000, 1) if answer else None,
            "weight": self.case.weight,
        }


async def run_suite(suite: Suite, ask: Ask, *, concurrency: int) -> list[CaseResult]:
    """Ask all prompts of a suite and check the answers; results come in the suite's order.

    :param ask: sends one case's prompt and returns the answer, or raises :class:`NoAnswerError`. Any other error ends
        the run.
    :param concurrency: how many prompts may be under way at once.
    """
    limit = asyncio.Semaphore(concurrency)

    async def one(case: Case) -> CaseResult:
        async with limit:
            try:
                answer = await ask(case)
            except NoAnswerError as error:
                return CaseResult(case, None, error=str(error))
        return CaseResult(case, answer, _failures(case, answer))

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(case)) for case in suite.cases]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


def _failures(case: Case, answer: Answer) -> tuple[str, ...]:
    if not answer.text.strip():
        return (f"the answer has no text (finish reason {answer.finish_reason or 'not given'})",)
    found = (assertion.check(answer, case.vars) for assertion in case.assertions)
    return tuple(str(verdict) for verdict in found if not verdict.passed)


def summarize(suite: Suite, checkpoint: Checkpoint, results: Sequence[CaseResult]) -> dict[str, Any]:
    """Return a checkpoint's result as it goes to XCom.

    ``score`` is the weighted pass rate, 0 to 1. It is ``None``, with ``error`` set, when no prompt was answered: then
    the endpoint is broken, which says nothing about the model.
    """
    total = sum(result.case.weight for result in results)
    passed = sum(result.case.weight for result in results if result.passed)
    answered = any(result.answer for result in results)
    return {
        **checkpoint.as_dict(),
        "suite": suite.name,
        "score": round(passed / total, 6) if answered else None,
        "passed": sum(result.passed for result in results),
        "total": len(results),
        "error": None if answered else said(next((r.error for r in results if r.error), "the suite has no case")),
        "cases": [result.as_dict() for result in results],
    }


def unusable(suite: Suite, checkpoint: Checkpoint, reason: str) -> dict[str, Any]:
    """Return the result of a checkpoint that could not be asked at all."""
    return {
        **checkpoint.as_dict(),
        "suite": suite.name,
        "score": None,
        "passed": 0,
        "total": len(suite.cases),
        "error": said(reason),
        "cases": [],
    }
