"""Read the losses at each checkpoint's step and the service's evaluation of the checkpoints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from airflow.sdk import Context

from gemini_tuning.core.curves import SERIES, Curve, gaps_of_curves, gaps_of_steps, summary
from gemini_tuning.core.exceptions import PermanentServiceError
from gemini_tuning.core.names import ResourceNameError
from gemini_tuning.core.resources import Checkpoint, EvaluationRun, TuningJob
from gemini_tuning.links import gemini_tuning as links
from gemini_tuning.operators.cloud_base import GCP_FIELDS, GeminiBaseOperator, as_list, flag


class GeminiReadTuningMetricsOperator(GeminiBaseOperator):
    """Read train and eval loss at each checkpoint's step, and the service's own evaluation of the checkpoints.

    The selection can do without any of it: what does not exist, or what the account may not read, is listed in
    ``missing`` and the task succeeds. If the service is unavailable or over quota, the task fails and is retried.

    XCom, below 8 KB for ten checkpoints::

        {"checkpoints": {"2": {"train_loss": 0.31, "eval_loss": 0.52, "eval_accuracy": 0.84,
                               "from_step": {"eval_loss": 18}, "evaluation": {"exact_match/AVERAGE": 0.8}}},
         "train_loss": [[1, 2.1], …], "eval_loss": [[1, 2.2], …],
         "missing": ["eval loss is from the last step before the checkpoint's own: checkpoint 2 (step 18 for 20)"]}

    Each value is from the checkpoint's step, or from the last step before it, which is then in ``from_step``; a missing
    value is ``None``. The log lists everything that is missing, the XCom only as much as fits. The curves have at most
    50 points; the first, the last, the lowest and those of the checkpoints are among them.

    :param tuning_job: full name of the job. (templated)
    :param checkpoints: ``{"checkpoint_id", "epoch", "step", "endpoint"}`` from ``list_checkpoints``. (templated)
    :param evaluation_expected: whether the job has an evaluation config: lists a missing evaluation. (templated)
    :raises InvalidInputError: when a checkpoint is not an element of the XCom of ``list_checkpoints``.
    :raises PermanentServiceError: when the job cannot be read, or the connection's credentials are refused (401).
    :raises TransientServiceError: when the service is unavailable for a minute of retries.
    """

    template_fields: Sequence[str] = (*GCP_FIELDS, "tuning_job", "checkpoints", "evaluation_expected")
    operator_extra_links = (links.TUNING_JOB, links.RUN_PAGE)

    def __init__(
        self,
        *,
        tuning_job: str,
        checkpoints: Iterable[Mapping[str, Any]],
        evaluation_expected: bool | str = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.tuning_job = tuning_job
        self.checkpoints = checkpoints
        self.evaluation_expected = evaluation_expected

    def execute(self, context: Context) -> dict[str, Any]:
        """Read the job, its experiment and its evaluations, and push the values and the gaps."""
        checkpoints = [Checkpoint.from_mapping(item) for item in as_list(self.checkpoints, "checkpoints")]
        expected = flag(self.evaluation_expected, "evaluation_expected")
        job = self.hook.get_tuning_job(self.tuning_job)
        curves, gaps = self._curves(job, checkpoints)
        evaluations, evaluation_gaps = self._evaluations(job, checkpoints, expected=expected)
        missing = gaps + evaluation_gaps + gaps_of_steps(checkpoints, curves)
        for gap in missing:
            self.log.warning("%s", gap)
        result = summary(checkpoints, curves, evaluations, missing)
        for checkpoint_id, found in result["checkpoints"].items():
            self.log.info("Checkpoint %s: %s", checkpoint_id, found)
        return result

    def _curves(self, job: TuningJob, checkpoints: Sequence[Checkpoint]) -> tuple[dict[str, Curve], list[str]]:
        if not job.experiment:
            return {}, ["no train loss and no eval loss: the job has no experiment"]
        steps = {checkpoint.step for checkpoint in checkpoints if checkpoint.step is not None}
        try:
            found = self.hook.read_curves(job.experiment, list(SERIES.values()), steps)
        except (PermanentServiceError, ResourceNameError) as error:
            return {}, [f"no train loss and no eval loss: {_refusal(error)}"]
        curves = {name: found[series] for name, series in SERIES.items() if series in found}
        return curves, gaps_of_curves(curves, validated=job.validation_dataset_uri is not None)

    def _evaluations(
        self, job: TuningJob, checkpoints: Sequence[Checkpoint], *, expected: bool
    ) -> tuple[dict[str, Mapping[str, float]], list[str]]:
        if not job.evaluations:
            return {}, ["no evaluation: the job has no evaluation runs"] if expected else []
        only = checkpoints[0].checkpoint_id if len(checkpoints) == 1 else None  # of a run without a checkpoint
        runs = {checkpoint_id: run for run in job.evaluations if (checkpoint_id := run.checkpoint_id or only)}
        found: dict[str, Mapping[str, float]] = {}
        gaps = []
        for checkpoint_id in (checkpoint.checkpoint_id for checkpoint in checkpoints):
            run = runs.get(checkpoint_id)
            metrics, problem = self._evaluation(run) if run else ({}, "the job has no evaluation run for it")
            if metrics:
                found[checkpoint_id] = metrics
            else:
                gaps.append(f"no evaluation of checkpoint {checkpoint_id}: {problem}")
        return found, gaps

    def _evaluation(self, run: EvaluationRun) -> tuple[Mapping[str, float], str]:
        """Return the metrics of one evaluation and why they are missing: only its run has the names of its metrics."""
        if run.error:
            return {}, str(run.error)
        if not run.name:
            return run.metrics, "the job does not return the name of the evaluation run"
        try:
            itself = self.hook.get_evaluation_run(run.name)
        except PermanentServiceError as error:
            return run.metrics, _refusal(error)
        if itself.error:
            return {}, str(itself.error)
        return itself.metrics or run.metrics, f"its run is {itself.state or 'in an unknown state'} and has no metrics"


def _refusal(error: PermanentServiceError | ResourceNameError) -> str:
    """Return an error as the reason for a gap; refused credentials (401) fail the task."""
    if isinstance(error, PermanentServiceError) and error.code == 401:
        raise error
    return str(error)
