"""What is known of the checkpoints of a run."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field

from gemini_tuning.core.xcom import (
    AssessmentXCom,
    CheckpointXCom,
    DecisionXCom,
    Id,
    Json,
    JsonModel,
    LossesXCom,
    MetricsXCom,
    SmokeTestXCom,
    Text,
    Whole,
)


class CheckpointReport(JsonModel):
    """What is known of a checkpoint, or of the champion."""

    checkpoint_id: Id
    epoch: Whole = None
    step: Whole = None
    endpoint: Text = None
    smoke_test: SmokeTestXCom | None = None
    losses: LossesXCom | None = None
    evaluation: Json = Field(default=None, description="metrics of the service's own evaluation")
    assessment: AssessmentXCom | None = None


def compare(
    results: Iterable[SmokeTestXCom],
    decision: DecisionXCom,
    metrics: MetricsXCom | None = None,
    listed: Iterable[CheckpointXCom] = (),
) -> list[CheckpointReport]:
    """Return what is known of each checkpoint: in the order of the decision, then those without an assessment.

    :param listed: checkpoints that have possibly not been tested yet.
    """
    others = {checkpoint.checkpoint_id: checkpoint for checkpoint in listed}
    tested = {result.checkpoint_id: result for result in results}
    assessed = {assessment.checkpoint_id: assessment for assessment in decision.checkpoints}
    losses = metrics.checkpoints if metrics else {}
    return [
        _checkpoint(tested.get(i), assessed.get(i), others.get(i), losses=losses.get(i))
        for i in dict.fromkeys([*assessed, *tested, *others])
    ]


def compare_champion(result: SmokeTestXCom | None, decision: DecisionXCom) -> CheckpointReport | None:
    """Return the same for the champion; ``None`` when it was not tested."""
    return _checkpoint(result, decision.champion) if result or decision.champion else None


def _checkpoint(
    result: SmokeTestXCom | None,
    assessment: AssessmentXCom | None,
    listed: CheckpointXCom | None = None,
    losses: LossesXCom | None = None,
) -> CheckpointReport:
    sources = [source for source in (listed, assessment, result) if source]
    facts = {
        name: value
        for source in sources  # the smoke test's come last and count
        for name in ("checkpoint_id", "epoch", "step", "endpoint")
        if (value := getattr(source, name, None)) not in (None, "")
    }
    evaluation = losses.evaluation if losses else None
    return CheckpointReport(smoke_test=result, losses=losses, evaluation=evaluation, assessment=assessment, **facts)
