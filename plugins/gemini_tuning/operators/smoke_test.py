"""Base of the operators that run a smoke suite against one endpoint."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import Context

from gemini_tuning.core.exceptions import InvalidInputError, TransientServiceError
from gemini_tuning.core.files import Files, folder_problem, joined
from gemini_tuning.core.text import short_repr
from gemini_tuning.operators.cloud_base import GCP_FIELDS, GeminiBaseOperator, optional_int, optional_text

if TYPE_CHECKING:
    from gemini_tuning.smoke.results import ResultsFile
    from gemini_tuning.smoke.runner import CaseResult
    from gemini_tuning.smoke.suite import Suite

MAX_LOGGED = 100  # failed cases
MAX_CONCURRENCY = 1_000


class SmokeTestBase(GeminiBaseOperator):
    """Sends the prompts of a suite to one endpoint and checks the answers.

    Each case and repeat is one ``generateContent`` request. A retried task sends only the prompts without an answer.

    XCom: ``{"checkpoint_id", "epoch", "step", "endpoint", "suite", "suite_fingerprint", "results_uri", "cases",
    "answered", "unanswered", "passed", "pass_rate", "pass_rate_interval", "score", "score_interval", "critical_failed",
    "critical_failures", "blocked", "latency_ms": {"p50", "p95"}, "tokens": {"prompt", "output"}, "cost": {"amount",
    "currency"} or None, "failures": [{"id", "reason"}], "error", "service_unavailable"}``, at most 1.5 KB. The file at
    ``results_uri`` has the prompts, the answers and their verdicts. Rates and scores are 0 to 1, intervals are 95 %
    intervals, latencies are in milliseconds.

    :param suite: path of a suite file, or its name in ``suite_folder``; ``.yaml`` may be left out. (templated)
    :param suite_folder: folder that the suite must be in. (templated)
    :param results_uri: folder for the results file: ``gs://bucket/folder`` or an absolute path that all workers share.
        (templated)
    :param suite_fingerprint: of the suite that was validated; one that differs is refused. (templated)
    :param concurrency: maximum of concurrent prompts, 1 to 1,000; lower while the service returns 429. (templated)
    :raises InvalidInputError: the suite is not acceptable, or it changed after it was validated.
    :raises PermanentServiceError: the connection's account has no access (401, 403), or the results cannot be written.
    :raises TransientServiceError: the service is unavailable although each prompt was retried.
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

    def run_suite(self, checkpoint: Mapping[str, Any], context: Context) -> dict[str, Any]:
        """Run the suite against a checkpoint's endpoint and return the summary for XCom."""
        from gemini_tuning.smoke.results import ResultsFile
        from gemini_tuning.smoke.runner import EndpointUnusableError
        from gemini_tuning.smoke.summary import summarize

        concurrency = optional_int(self.concurrency, "concurrency")
        if concurrency is not None and not 0 < concurrency <= MAX_CONCURRENCY:
            message = f"concurrency must be between 1 and {MAX_CONCURRENCY}, not {short_repr(concurrency)}"
            raise InvalidInputError(message, field="concurrency", code="out_of_range")
        if problem := folder_problem("results_uri", self.results_uri):
            raise InvalidInputError(problem, field="results_uri", code="invalid_folder")
        suite = self._load_suite()
        checkpoint_id = checkpoint["checkpoint_id"]
        if not checkpoint["endpoint"]:
            self.log.warning("Checkpoint %s is not deployed to an endpoint", checkpoint_id)
            summary = summarize(suite, checkpoint, [], None, error="it is not deployed to an endpoint")
            return {**summary, "service_unavailable": False}
        results = ResultsFile(Files(self.hook), joined(self.results_uri, f"checkpoint-{checkpoint_id}.jsonl"))
        error, unavailable = None, False
        try:
            self._run(suite, checkpoint["endpoint"], results, concurrency or 1)
        except EndpointUnusableError as unusable:
            error = str(unusable)
        except TransientServiceError as transient:
            attempts = context["ti"].try_number
            if attempts <= (context["ti"].max_tries or 0):
                raise  # Airflow retries the task
            error, unavailable = f"the service was unavailable in {attempts} attempts: {transient}", True
        if error:
            self.log.warning("Checkpoint %s has no score: %s", checkpoint_id, error)
        summary = summarize(suite, checkpoint, results.lines, results.uri, error=error)
        figures = summary["passed"], summary["cases"], summary["score"]
        self.log.info("Checkpoint %s: %s of %d cases passed, score %s: %s", checkpoint_id, *figures, results.uri)
        return {**summary, "service_unavailable": unavailable}

    def _load_suite(self) -> Suite:
        from gemini_tuning.smoke.suite import load_suite

        suite = load_suite(self.suite, optional_text(self.suite_folder), read_lines=self.hook.read_lines)
        validated = optional_text(self.suite_fingerprint)
        if validated is not None and validated != suite.fingerprint:
            fingerprints = f"fingerprint {suite.fingerprint[:12]}, validated {short_repr(validated)[:13]}"
            problem = f"suite: {suite.name} changed after this run validated it ({fingerprints})."
            hint = "Restore the suite and its case files and clear this task, or start a new run."
            raise InvalidInputError(problem, field="suite", resource=suite.name, code="suite_changed", hint=hint)
        return suite

    def _run(self, suite: Suite, endpoint: str, results: ResultsFile, concurrency: int) -> None:
        from gemini_tuning.smoke.session import Session

        options = {"concurrency": concurrency, **self.project_and_location}
        session = Session(hook=self.hook, suite=suite, endpoint=endpoint, results=results, **options)
        seen = Counter[bool]()  # results by whether they passed
        step = max(len(suite.cases) // 10, 100)

        def log_result(result: CaseResult) -> None:
            seen[result.grade.passed] += 1
            if not result.grade.passed and seen[False] <= MAX_LOGGED:
                self.log.info("FAIL %s: %s", result.case.id, result.failure_reason)
            if seen.total() % step == 0:
                self.log.info("%d results, %d of them failed", seen.total(), seen[False])

        asyncio.run(session.run(log_result))
