"""One endpoint and one suite: requests through the hook, with retries, judging and stored results."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from gemini_tuning.core.exceptions import ServiceError
from gemini_tuning.smoke.adaptive_limit import AdaptiveLimit, request_with_retries
from gemini_tuning.smoke.results import ResultsFile, result_key, result_line
from gemini_tuning.smoke.runner import CaseResult, EndpointUnusableError, NoAnswerError, run_suite

if TYPE_CHECKING:
    from gemini_tuning.core.model_response import ModelResponse
    from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook
    from gemini_tuning.smoke.assertions import Assertion, Verdict
    from gemini_tuning.smoke.cases import Case
    from gemini_tuning.smoke.suite import Suite

NO_ACCESS, NOT_FOUND = (401, 403), 404

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Session:
    """Runs a suite against one endpoint."""

    hook: GeminiTuningHook  # its async clients belong to the event loop that run() runs in
    suite: Suite
    endpoint: str  # full name
    results: ResultsFile  # may contain those of an earlier try
    concurrency: int  # maximum number of concurrent prompts, and of concurrent requests to the judge
    project_id: str | None  # billed for the judge; None: the connection's
    location: str  # of the judge

    async def run(self, on_result: Callable[[CaseResult], None] = lambda _: None) -> None:
        """Send the prompts that have no answer yet.

        :raises EndpointUnusableError: when no prompt got an answer.
        :raises PermanentServiceError: when the account has no access (401, 403).
        :raises TransientServiceError: when the service was unavailable although each prompt was retried.
        """
        prompts = [(case, repeat) for case in self.suite.cases for repeat in range(1, case.repeat + 1)]
        keys = {(case.id, repeat): result_key(self.suite, case, self.endpoint) for case, repeat in prompts}
        done = self.results.reuse(keys, {case.id: case for case in self.suite.cases})
        if done:
            log.info("An earlier try has %d of %d answers: %s", len(done), len(keys), self.results.uri)
        self._limit, self._judge_limit = AdaptiveLimit(self.concurrency), AdaptiveLimit(self.concurrency)

        def sink(result: CaseResult) -> None:
            self.results.add(result_line(result, keys[(result.case.id, result.repeat)]))
            on_result(result)

        gc.freeze()  # otherwise a full collection traverses all of Airflow and of Google's clients: 0.2 s
        try:
            async with self.results.saving(order=list(keys)):
                await run_suite(
                    self.suite, self._send, sink, concurrency=self.concurrency, judge=self._judge, done=done
                )
        finally:
            gc.unfreeze()
            await self.hook.aclose()

    async def _generate(self, limit: AdaptiveLimit, *prompt: Any, **options: Any) -> ModelResponse:
        return await request_with_retries(lambda: self.hook.agenerate(*prompt, **options), limit)

    async def _send(self, case: Case) -> ModelResponse:
        started = time.monotonic()
        try:
            return await self._generate(
                self._limit,
                self.endpoint,
                case.contents,
                system_instruction=case.system_instruction,
                temperature=case.temperature,
                max_output_tokens=case.max_output_tokens,
            )
        except ServiceError as error:
            if error.code == NOT_FOUND:
                raise EndpointUnusableError(str(error), resource=self.endpoint, code="not_found") from error
            # An unavailable service, or one that refuses our account, is no evidence about the checkpoint; but when
            # other prompts got responses in this time, the error belongs to this prompt.
            if error.code in NO_ACCESS or (error.retryable and not self._limit.has_response_since(started)):
                raise
            raise NoAnswerError(str(error), resource=self.endpoint, code=error.code) from error

    async def _judge(self, assertion: Assertion, case: Case, answer: ModelResponse) -> Verdict:
        judge = self.suite.judge
        if judge is None:
            raise AssertionError("unreachable: load_suite requires a judge for a rubric")
        billed = {"project_id": self.project_id, "location": self.location}
        send = partial(self._generate, self._judge_limit, judge.model, temperature=judge.temperature, **billed)
        try:
            return await judge.judge(assertion, case, answer, send)
        except ServiceError as error:
            if error.retryable or error.code in (*NO_ACCESS, NOT_FOUND):
                raise
            return assertion.undecided(f"the judge {judge.model} refuses the request: {error}")
