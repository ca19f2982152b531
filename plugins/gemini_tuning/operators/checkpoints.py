"""The steps that look at checkpoints: list them, smoke-test each, choose one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.bases.branch import BaseBranchOperator

from gemini_tuning.exceptions import CheckpointError, ServiceError
from gemini_tuning.operators.base import GCP_FIELDS, GoogleCloudFields, optional_float, optional_int
from gemini_tuning.resources import Answer, Checkpoint, Model, TuningJob
from gemini_tuning.selection import Decision, choose, read_results
from gemini_tuning.smoke.runner import CaseResult, NoAnswerError, run_suite, summarize, unusable
from gemini_tuning.smoke.suite import Case, Suite, load_suite
from gemini_tuning.wording import shown

if TYPE_CHECKING:
    from airflow.sdk import Context


NO_ACCESS = (401, 403)


class GeminiListCheckpointsOperator(GoogleCloudFields):
    """Push the checkpoints of a tuning job that is over.

    Also of a job that FAILED after it had made a model: its checkpoints then come from the Model Registry, without
    endpoints. With ``export_last_checkpoint_only`` the list has one element.

    XCom ``return_value``: a list of ``{"checkpoint_id", "epoch", "step", "endpoint"}``, ready for ``.expand``;
    ``endpoint`` is ``None`` where a checkpoint is not deployed. XCom ``tuned_model``: full name of the model with its
    version. XCom ``default_checkpoint_id``: the model's default checkpoint.

    :param tuning_job: full name of the job. (templated)
    :raises CheckpointError: when the job is not over, has no model, or the model has no checkpoint.
    """

    template_fields: Sequence[str] = (*GCP_FIELDS, "tuning_job")

    def __init__(self, *, tuning_job: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tuning_job = tuning_job

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Read the job and its model, push the list."""
        job = self.hook.get_tuning_job(self.tuning_job)
        if not job.has_ended:
            raise CheckpointError(f"Tuning job {job.name} is {job.state}; its checkpoints are final when it is over.")
        if not job.model:
            raise CheckpointError(f"{job.describe_failure()} It made no model, so there are no checkpoints.")
        model = self.hook.get_model(job.model)
        checkpoints = merge_checkpoints(job, model)
        if not checkpoints:
            raise CheckpointError(
                f"Tuning job {job.name} has no checkpoints, and neither has its model {job.model}. Was the base model "
                "one that supports checkpoints?"
            )
        ti = context["ti"]
        ti.xcom_push(key="tuned_model", value=job.model)
        ti.xcom_push(key="default_checkpoint_id", value=model.default_checkpoint_id)
        for checkpoint in checkpoints:
            mark = " (default)" if checkpoint.checkpoint_id == model.default_checkpoint_id else ""
            self.log.info("%s%s", checkpoint, mark)
        return [checkpoint.as_dict() for checkpoint in checkpoints]


def merge_checkpoints(job: TuningJob, model: Model) -> list[Checkpoint]:
    """Return the job's checkpoints; where the job lists none, the model's, with the endpoint of the default one.

    The API fills the job's list only for jobs that save intermediate checkpoints.
    """
    if job.checkpoints:
        return list(job.checkpoints)
    return [
        Checkpoint(
            c.checkpoint_id,
            c.epoch,
            c.step,
            job.endpoint if c.checkpoint_id == model.default_checkpoint_id else None,
        )
        for c in model.checkpoints
    ]


class GeminiSmokeTestCheckpointOperator(GoogleCloudFields):
    """Ask one checkpoint the prompts of a suite, concurrently, and score its answers; map it over the list.

    A checkpoint without an endpoint, or one whose endpoint refuses every prompt, gets no score and an error; the task
    succeeds, so that the other checkpoints can still win. A service that is away or over quota fails the task, so
    that Airflow's retries apply: it would be wrong to hold that against the checkpoint.

    XCom: ``{"checkpoint_id", "epoch", "step", "endpoint", "suite", "score", "passed", "total", "error", "cases":
    [{"id", "passed", "answer", "finish_reason", "failures", "error", "latency_ms", "weight"}]}``. ``score`` is the
    weighted pass rate, 0 to 1.

    Example::

        smoke_test = GeminiSmokeTestCheckpointOperator.partial(
            task_id="smoke_test",
            map_index_template="checkpoint {{ task.checkpoint['checkpoint_id'] }}",
            suite="ferry_support",
            suite_folder=SUITES,
        ).expand(checkpoint=list_checkpoints.output)

    :param checkpoint: ``{"checkpoint_id", "epoch", "step", "endpoint"}``. (templated)
    :param suite: path of a suite file, or its name in ``suite_folder``; ``.yaml`` may be left out. (templated)
    :param suite_folder: folder that the suite must lie in. (templated)
    :param concurrency: prompts under way at once. (templated)
    :raises SuiteError: when the suite is not acceptable.
    :raises PermanentServiceError: when the connection's account is refused (401, 403).
    :raises TransientServiceError: when the service does not answer although each prompt was repeated.
    """

    template_fields: Sequence[str] = (*GCP_FIELDS, "checkpoint", "suite", "suite_folder", "concurrency")

    def __init__(
        self,
        *,
        checkpoint: Mapping[str, Any],
        suite: str,
        suite_folder: str | None = None,
        concurrency: int | str = 8,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.checkpoint = checkpoint
        self.suite = suite
        self.suite_folder = suite_folder
        self.concurrency = concurrency

    def execute(self, context: Context) -> dict[str, Any]:
        """Run the suite and push the checkpoint's result."""
        checkpoint = Checkpoint.from_mapping(self.checkpoint)
        suite = load_suite(self.suite, self.suite_folder, read_lines=self.hook.read_lines)
        if not checkpoint.endpoint:
            self.log.warning("Checkpoint %s is not deployed to an endpoint", checkpoint.checkpoint_id)
            return unusable(suite, checkpoint, "it is not deployed to an endpoint")
        concurrency = 1 if (number := optional_int(self.concurrency, "concurrency")) is None else number
        if concurrency < 1:
            raise ValueError(f"concurrency: {concurrency} is not above 0")
        results = asyncio.run(self._ask_all(suite, checkpoint.endpoint, concurrency))
        for result in results:
            why = "; ".join(result.failures) or result.error or ""
            self.log.info("%s %s %s", "PASS" if result.passed else "FAIL", result.case.id, why)
        summary = summarize(suite, checkpoint, results)
        self.log.info(
            "Checkpoint %s: %d of %d passed, score %s",
            checkpoint.checkpoint_id, summary["passed"], summary["total"], summary["score"],
        )  # fmt: skip
        return summary

    async def _ask_all(self, suite: Suite, endpoint: str, concurrency: int) -> list[CaseResult]:
        hook = self.hook

        async def ask(case: Case) -> Answer:
            try:
                return await hook.agenerate(
                    endpoint,
                    case.prompt,
                    system_instruction=case.system_instruction,
                    temperature=case.temperature,
                    max_output_tokens=case.max_output_tokens,
                )
            except ServiceError as error:
                if error.retryable or error.code in NO_ACCESS:
                    raise  # it says nothing about the checkpoint
                raise NoAnswerError(str(error)) from error

        try:
            return await run_suite(suite, ask, concurrency=concurrency)
        finally:
            await hook.aclose()


class GeminiChooseCheckpointOperator(BaseBranchOperator):
    """Choose the checkpoint to ship and branch on what is to be done.

    The winner is not the default: branch to ``set_default_task_id``. It is the default already: to ``copy_task_id``.
    Nobody is good enough: to ``no_winner_task_id``. The rule is :func:`gemini_tuning.selection.choose`.

    XCom ``return_value``: the id of the chosen task (Airflow's branching). XCom ``decision``: ``{"winner", "reason",
    "default_checkpoint_id", "min_pass_rate", "ranking": [{"checkpoint_id", "epoch", "score"}]}``. XCom ``winner``:
    the checkpoint id, or ``None``.

    :param results: what the smoke tests pushed. (templated)
    :param default_checkpoint_id: the default before. (templated)
    :param min_pass_rate: 0 to 1; no checkpoint below it can win. (templated)
    :param set_default_task_id: direct downstream task.
    :param copy_task_id: direct downstream task.
    :param no_winner_task_id: direct downstream task.
    :raises ValueError: when ``min_pass_rate`` is not between 0 and 1, or a result is not what the smoke test pushes.
    """

    template_fields: Sequence[str] = ("results", "default_checkpoint_id", "min_pass_rate")

    def __init__(
        self,
        *,
        results: Iterable[Mapping[str, Any]],
        default_checkpoint_id: str | None,
        min_pass_rate: float | str = 0.8,
        set_default_task_id: str = "set_default",
        copy_task_id: str = "copy_model",
        no_winner_task_id: str = "report",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.results = results
        self.default_checkpoint_id = default_checkpoint_id
        self.min_pass_rate = min_pass_rate
        self.set_default_task_id = set_default_task_id
        self.copy_task_id = copy_task_id
        self.no_winner_task_id = no_winner_task_id

    def choose_branch(self, context: Context) -> str:
        """Decide, push the decision, return the task to go on with."""
        min_pass_rate = optional_float(self.min_pass_rate, "min_pass_rate")
        if min_pass_rate is None or not 0 <= min_pass_rate <= 1:
            raise ValueError(f"min_pass_rate: {shown(self.min_pass_rate)} is not between 0 and 1")
        decision = choose(read_results(self.results), min_pass_rate=min_pass_rate)
        self.log.info("%s", decision.reason)
        context["ti"].xcom_push(key="decision", value=self._decision(decision, min_pass_rate))
        context["ti"].xcom_push(key="winner", value=decision.winner)
        if decision.winner is None:
            return self.no_winner_task_id
        return self.copy_task_id if decision.winner == self.default_checkpoint_id else self.set_default_task_id

    def _decision(self, decision: Decision, min_pass_rate: float) -> dict[str, Any]:
        return {
            "winner": decision.winner,
            "reason": decision.reason,
            "default_checkpoint_id": self.default_checkpoint_id,
            "min_pass_rate": min_pass_rate,
            "ranking": [
                {"checkpoint_id": c.checkpoint_id, "epoch": c.epoch, "score": c.score, "error": c.error}
                for c in decision.ranking
            ],
        }
