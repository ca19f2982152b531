"""Run a smoke suite against one endpoint; shared by the checkpoint and the champion operator."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gemini_tuning.core.exceptions import InvalidInputError, TransientServiceError
from gemini_tuning.core.files import Files, folder_problem, joined
from gemini_tuning.core.text import short_repr
from gemini_tuning.operators.base import GCP_FIELDS, GeminiBaseOperator, optional_int, optional_text
from gemini_tuning.smoke.results import ResultsFile
from gemini_tuning.smoke.runner import CaseResult, EndpointUnusableError
from gemini_tuning.smoke.session import Session
from gemini_tuning.smoke.suite import Suite, load_suite
from gemini_tuning.smoke.summary import summarize

if TYPE_CHECKING:
    from airflow.sdk import Context

CHAMPION = "champion"  # in place of a checkpoint id

LOGGED = 100  # cases that fail

MOST_AT_ONCE = 1_000


class SmokeTestBase(GeminiBaseOperator):
    """A step that asks one endpoint the prompts of a suite.

    A retried task asks only what has no answer yet.

    XCom: ``{"checkpoint_id", "epoch", "step", "endpoint", "suite", "suite_fingerprint", "results_uri", "cases",
    "answered", "unanswered", "passed", "pass_rate", "pass_rate_interval", "score", "score_interval", "critical_failed",
    "critical_failures", "blocked", "latency_ms": {"p50", "p95"}, "tokens": {"prompt", "output"}, "cost": {"amount",
    "currency"} or None, "failures": [{"id", "reason"}], "error", "service_unavailable"}``, at most 1.5 KB. The file at
    ``results_uri`` has the prompts, the answers and their verdicts. Rates and scores are 0 to 1, intervals are 95 %
    intervals, latencies are in milliseconds.

    :param suite: path of a suite file, or its name in ``suite_folder``; ``.yaml`` may be left out. (templated)
    :param suite_folder: folder that the suite must lie in. (templated)
    :param results_uri: folder for the results file: ``gs://bucket/folder`` or an absolute path that all workers see.
        (templated)
    :param suite_fingerprint: fingerprint of the suite that was validated; a suite that differs is refused before a
        prompt is sent. (templated)
    :param concurrency: prompts under way at once, at most; less while the service answers 429. (templated)
    :raises InvalidInputError: the suite is not acceptable, or it changed after it was validated.
    :raises PermanentServiceError: when the connection's account is refused (401, 403), or the results can't be written.
    :raises TransientServiceError: when the service does not answer although each prompt was repeated.
    """

    template_fields: Sequence[str] = (
        *GCP_FIELDS, "suite", "suite_folder", "suite_fingerprint", "results_uri", "concurrency",
    )  # fmt: skip

    def __init__(
        self,
        *,
        suite: str,
        results_uri: str,
        suite_folder: str | None = None,
        suite_fingerprint: str | None = None,
        concurrency: int | str = 8,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.suite = suite
        self.suite_folder = suite_folder
        self.suite_fingerprint = suite_fingerprint
        self.results_uri = results_uri
        self.concurrency = concurrency

    def run_suite(self, contender: Mapping[str, Any], context: Context) -> dict[str, Any]:
        """Ask an endpoint and sum up.

        :param contender: ``{"checkpoint_id", "epoch", "step", "endpoint"}``.
        """
        concurrency = self._concurrency()
        if problem := folder_problem("results_uri", self.results_uri):
            raise ValueError(problem)
        suite = self._load_suite()
        if not contender["endpoint"]:
            self.log.warning("Checkpoint %s is not deployed to an endpoint", contender["checkpoint_id"])
            summary = summarize(suite, contender, [], None, error="it is not deployed to an endpoint")
            return {**summary, "service_unavailable": False}
        results = ResultsFile(
            Files(self.hook), joined(self.results_uri, f"checkpoint-{contender['checkpoint_id']}.jsonl")
        )
        error, unavailable = None, False
        try:
            self._ask(suite, contender["endpoint"], results, concurrency)
        except EndpointUnusableError as unusable:
            error = str(unusable)
            self.log.warning("Checkpoint %s can't be asked: %s", contender["checkpoint_id"], error)
        except TransientServiceError as transient:
            if context["ti"].try_number <= (context["ti"].max_tries or 0):
                raise  # Airflow tries again
            unavailable = True
            error = f"it did not answer in {context['ti'].try_number} tries: {transient}"
            self.log.warning("Checkpoint %s: %s", contender["checkpoint_id"], error)
        summary = summarize(suite, contender, results.lines, results.uri, error=error)
        summary["service_unavailable"] = unavailable
        self.log.info(
            "Checkpoint %s: %s of %d passed, score %s: %s",
            contender["checkpoint_id"], summary["passed"], summary["cases"], summary["score"], results.uri,
        )  # fmt: skip
        return summary

    def _load_suite(self) -> Suite:
        """Read the suite with its case files; refuse one that is not the suite that was validated and priced."""
        suite = load_suite(self.suite, self.suite_folder, read_lines=self.hook.read_lines)
        validated = optional_text(self.suite_fingerprint)
        if validated is not None and validated != suite.fingerprint:
            raise InvalidInputError(
                f"suite: {suite.name} changed after this run validated it "
                f"(fingerprint {suite.fingerprint[:12]}, validated {short_repr(validated[:12])}).",
                field="suite",
                resource=suite.name,
                code="suite_changed",
                hint="Restore the suite and its case files and clear this task, or start a new run.",
            )
        return suite

    def _concurrency(self) -> int:
        number = optional_int(self.concurrency, "concurrency")
        if number is not None and not 0 < number <= MOST_AT_ONCE:
            raise ValueError(f"concurrency: {short_repr(number)} is not from 1 to {MOST_AT_ONCE}")
        return number or 1

    def _ask(self, suite: Suite, endpoint: str, results: ResultsFile, concurrency: int) -> None:
        session = Session(
            self.hook, suite, endpoint, results,
            concurrency=concurrency, project_id=optional_text(self.project_id), location=self.location,
        )  # fmt: skip
        asyncio.run(session.run(self._tell(len(suite.cases))))

    def _tell(self, cases: int) -> Any:
        seen = failed = 0

        def tell(result: CaseResult) -> None:
            nonlocal seen, failed
            seen += 1
            if not result.grade.passed:
                failed += 1
                if failed <= LOGGED:
                    self.log.info("FAIL %s: %s", result.case.id, result.why)
            if seen % max(cases // 10, 100) == 0:
                self.log.info("%d answers, %d of them failed", seen, failed)

        return tell
