"""One endpoint and one suite: asks over the hook, repeats, judges, and keeps the results."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from gemini_tuning.core.exceptions import ServiceError
from gemini_tuning.core.resources import ModelResponse
from gemini_tuning.smoke.adaptive_limit import AdaptiveLimit, patiently
from gemini_tuning.smoke.assertions import Assertion, Verdict
from gemini_tuning.smoke.cases import Case
from gemini_tuning.smoke.results import Key, ResultsFile, result_key, result_line
from gemini_tuning.smoke.runner import CaseResult, EndpointUnusableError, NoAnswerError, run_suite
from gemini_tuning.smoke.suite import Suite

if TYPE_CHECKING:
    from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook

NO_ACCESS, NOT_FOUND = (401, 403), 404

log = logging.getLogger(__name__)


class Session:
    """Asks one endpoint the prompts of a suite.

    :param hook: asks Google; its async clients belong to the event loop that :meth:`run` runs in.
    :param endpoint: full name.
    :param results: takes the results, and may hold some of an earlier try.
    :param concurrency: how many prompts may be under way at once, and as many for the judge.
    :param project_id: who pays for the judge; ``None`` takes the connection's project.
    :param location: where the judge is asked.
    """

    def __init__(
        self,
        hook: GeminiTuningHook,
        suite: Suite,
        endpoint: str,
        results: ResultsFile,
        *,
        concurrency: int,
        project_id: str | None,
        location: str,
    ) -> None:
        self.hook = hook
        self.suite = suite
        self.endpoint = endpoint
        self.results = results
        self.concurrency = concurrency
        self.project_id = project_id
        self.location = location

    async def run(self, seen: Callable[[CaseResult], None] = lambda _: None) -> None:
        """Ask what has no answer yet.

        :param seen: is told each result as it comes.
        :raises EndpointUnusableError: when not one prompt got an answer.
        :raises PermanentServiceError: when the account is refused (401, 403).
        :raises TransientServiceError: when the service did not answer although each prompt was repeated.
        """
        keys = self._keys()
        done = self.results.take_over(keys, {case.id: case for case in self.suite.cases})
        if done:
            log.info("An earlier try has %d of %d answers: %s", len(done), len(keys), self.results.uri)
        self._limit, self._judge_limit = AdaptiveLimit(self.concurrency), AdaptiveLimit(self.concurrency)

        def sink(result: CaseResult) -> None:
            self.results.add(result_line(result, keys[(result.case.id, result.repeat)]))
            seen(result)

        gc.freeze()  # else a full collection looks through all of Airflow and of Google's clients, for 0.2 s
        try:
            async with self.results.saving(order=list(keys)):
                await run_suite(
                    self.suite, self._ask, sink, concurrency=self.concurrency, judge=self._judged, done=done
                )
        finally:
            gc.unfreeze()
            await self.hook.aclose()

    def _keys(self) -> dict[Key, str]:
        return {
            (case.id, repeat): key
            for case in self.suite.cases
            for key in [result_key(self.suite, case, self.endpoint)]
            for repeat in range(1, case.repeat + 1)
        }

    async def _ask(self, case: Case) -> ModelResponse:
        async def once() -> ModelResponse:
            return await self.hook.agenerate(
                self.endpoint,
                contents,
                system_instruction=case.system_instruction,
                temperature=case.temperature,
                max_output_tokens=case.max_output_tokens,
            )

        contents = [turn.as_dict() for turn in case.contents]
        started = time.monotonic()
        try:
            return await patiently(once, self._limit)
        except ServiceError as error:
            if error.code == NOT_FOUND:
                raise EndpointUnusableError(str(error)) from error
            # A service that is away, or refuses our account, says nothing about the checkpoint; but when others were
            # answered meanwhile, it is this prompt.
            if error.code in NO_ACCESS or (error.retryable and not self._limit.has_answered_since(started)):
                raise
            raise NoAnswerError(str(error)) from error

    async def _judged(self, assertion: Assertion, case: Case, answer: ModelResponse) -> Verdict:
        judge = self.suite.judge
        if judge is None:
            raise AssertionError("a suite with a rubric has a judge: its loader sees to that")

        async def ask(prompt: str) -> ModelResponse:
            return await patiently(
                lambda: self.hook.agenerate(
                    judge.model,
                    prompt,
                    temperature=judge.temperature,
                    project_id=self.project_id,
                    location=self.location,
                ),
                self._judge_limit,
            )

        try:
            return await judge.judge(assertion, case, answer, ask)
        except ServiceError as error:
            if error.retryable or error.code in (*NO_ACCESS, NOT_FOUND):
                raise
            return assertion.undecided(f"the judge {judge.model} refuses: {error}")
