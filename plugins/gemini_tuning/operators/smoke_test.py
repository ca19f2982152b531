"""The steps that ask the suite: each checkpoint, and the champion that they are compared with."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from gemini_tuning import links
from gemini_tuning.exceptions import TransientServiceError
from gemini_tuning.files import Files, folder_problem, joined
from gemini_tuning.operators.base import GCP_FIELDS, GoogleCloudFields, optional_int, optional_text
from gemini_tuning.resources import Checkpoint, serving_problem
from gemini_tuning.smoke.results import ResultsFile
from gemini_tuning.smoke.runner import CaseResult, EndpointUnusableError
from gemini_tuning.smoke.session import Session
from gemini_tuning.smoke.suite import Suite, load_suite
from gemini_tuning.smoke.summary import summarize
from gemini_tuning.wording import shown

if TYPE_CHECKING:
    from airflow.sdk import Context

CHAMPION = "champion"  # in place of a checkpoint id
LOGGED = 100  # cases that fail
MOST_AT_ONCE = 1_000


class AsksSuite(GoogleCloudFields):
    """A step that asks one endpoint the prompts of a suite.

    A retried task asks only what has no answer yet.

    XCom: ``{"checkpoint_id", "epoch", "step", "endpoint", "suite", "suite_fingerprint", "results_uri", "cases",
    "answered", "unanswered", "passed", "pass_rate", "pass_rate_interval", "score", "score_interval", "critical_failed",
    "critical_failures", "blocked", "latency_ms": {"p50", "p95"}, "tokens": {"prompt", "output"}, "cost": {"amount",
    "currency"} or None, "failures": [{"id", "reason"}], "error", "away"}``: at most 1.5 KB; the prompts, the answers
    and their verdicts are in the file at ``results_uri``. Rates and scores are 0 to 1, intervals are of 95 %,
    latencies in milliseconds.

    :param suite: path of a suite file, or its name in ``suite_folder``; ``.yaml`` may be left out. (templated)
    :param suite_folder: folder that the suite must lie in. (templated)
    :param results_uri: folder for the results file: ``gs://bucket/folder`` or an absolute path that all workers see.
        (templated)
    :param concurrency: prompts under way at once, at most; less while the service answers 429. (templated)
    :raises SuiteError: when the suite is not acceptable.
    :raises PermanentServiceError: when the connection's account is refused (401, 403), or the results can't be written.
    :raises TransientServiceError: when the service does not answer although each prompt was repeated.
    """

    template_fields: Sequence[str] = (*GCP_FIELDS, "suite", "suite_folder", "results_uri", "concurrency")

    def __init__(
        self,
        *,
        suite: str,
        results_uri: str,
        suite_folder: str | None = None,
        concurrency: int | str = 8,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.suite = suite
        self.suite_folder = suite_folder
        self.results_uri = results_uri
        self.concurrency = concurrency

    def ask_suite(self, contender: Mapping[str, Any], context: Context) -> dict[str, Any]:
        """Ask an endpoint and sum up.

        :param contender: ``{"checkpoint_id", "epoch", "step", "endpoint"}``.
        """
        concurrency = self._concurrency()
        if problem := folder_problem("results_uri", self.results_uri):
            raise ValueError(problem)
        suite = load_suite(self.suite, self.suite_folder, read_lines=self.hook.read_lines)
        if not contender["endpoint"]:
            self.log.warning("Checkpoint %s is not deployed to an endpoint", contender["checkpoint_id"])
            summary = summarize(suite, contender, [], None, error="it is not deployed to an endpoint")
            return {**summary, "away": False}
        results = ResultsFile(
            Files(self.hook), joined(self.results_uri, f"checkpoint-{contender['checkpoint_id']}.jsonl")
        )
        error, away = None, False
        try:
            self._ask(suite, contender["endpoint"], results, concurrency)
        except EndpointUnusableError as unusable:
            error = str(unusable)
            self.log.warning("Checkpoint %s can't be asked: %s", contender["checkpoint_id"], error)
        except TransientServiceError as transient:
            if context["ti"].try_number <= (context["ti"].max_tries or 0):
                raise  # Airflow tries again
            error, away = f"it did not answer in {context['ti'].try_number} tries: {transient}", True
            self.log.warning("Checkpoint %s: %s", contender["checkpoint_id"], error)
        summary = {**summarize(suite, contender, results.lines, results.uri, error=error), "away": away}
        self.log.info(
            "Checkpoint %s: %s of %d passed, score %s: %s",
            contender["checkpoint_id"], summary["passed"], summary["cases"], summary["score"], results.uri,
        )  # fmt: skip
        return summary

    def _concurrency(self) -> int:
        number = optional_int(self.concurrency, "concurrency")
        if number is not None and not 0 < number <= MOST_AT_ONCE:
            raise ValueError(f"concurrency: {shown(number)} is not from 1 to {MOST_AT_ONCE}")
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


class GeminiSmokeTestCheckpointOperator(AsksSuite):
    """Ask one checkpoint the prompts of a suite, concurrently, and score its answers; map it over the list.

    A checkpoint without an endpoint, or one whose endpoint refuses every prompt, gets no score and an error; the task
    succeeds, so that the other checkpoints can still win. A service that is away or over quota fails the task, so
    that Airflow's retries apply; after the last one the checkpoint gets no score either, and ``away`` is true, with
    which the choice fails unless another checkpoint was asked. XCom, further parameters and
    errors: :class:`AsksSuite`.

    Example::

        smoke_test = GeminiSmokeTestCheckpointOperator.partial(
            task_id="smoke_test",
            map_index_template="checkpoint {{ task.checkpoint['checkpoint_id'] }}",
            suite="ferry_support",
            suite_folder=SUITES,
            results_uri=validate.output["results_uri"],
        ).expand(checkpoint=list_checkpoints.output)

    :param checkpoint: ``{"checkpoint_id", "epoch", "step", "endpoint"}``. (templated)
    """

    template_fields: Sequence[str] = (*AsksSuite.template_fields, "checkpoint")
    operator_extra_links = (links.ENDPOINT, links.RUN_PAGE)

    def __init__(self, *, checkpoint: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.checkpoint = checkpoint

    def execute(self, context: Context) -> dict[str, Any]:
        """Run the suite and push the checkpoint's result."""
        return self.ask_suite(Checkpoint.from_mapping(self.checkpoint).as_dict(), context)


class GeminiSmokeTestChampionOperator(AsksSuite):
    """Ask the production model the prompts of the suite, so that the checkpoints can be compared with it.

    Skipped when no champion is given. A champion that left a prompt unanswered has an error, so that nothing is
    promoted over it. XCom, further parameters and errors: :class:`AsksSuite`; ``checkpoint_id`` is
    ``champion``.

    :param champion: full name of an endpoint, or of a model, whose default checkpoint must be deployed. (templated)
    :raises PermanentServiceError: when the champion is not there, or not deployed.
    """

    template_fields: Sequence[str] = (*AsksSuite.template_fields, "champion")
    operator_extra_links = (links.CHAMPION, links.RUN_PAGE)

    def __init__(self, *, champion: str | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.champion = champion

    def execute(self, context: Context) -> dict[str, Any]:
        """Run the suite and push the champion's result."""
        champion = optional_text(self.champion)
        if champion is None:
            raise AirflowSkipException("No champion is given")
        if problem := serving_problem("champion", champion):
            raise ValueError(problem)
        endpoint = self.hook.get_serving_endpoint(champion)
        self.log.info("The champion %s is asked at %s", champion, endpoint)
        summary = self.ask_suite(
            {"checkpoint_id": CHAMPION, "epoch": None, "step": None, "endpoint": endpoint}, context
        )
        if summary["unanswered"] and not summary["error"]:
            # Counted as failures they would make any checkpoint look better than what is in production.
            summary["error"] = f"{summary['unanswered']} of its prompts got no answer: {summary['results_uri']}"
        return summary
