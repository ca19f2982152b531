"""The report of a run as one JSON document, for audits. Its JSON Schema is in ``report.schema.json``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from gemini_tuning.core import xcom
from gemini_tuning.core.console import console_link
from gemini_tuning.core.exceptions import InvalidInputError
from gemini_tuning.core.text import redact
from gemini_tuning.cost.estimate_text import CostReport, cost_report
from gemini_tuning.reporting.markdown_templates import render

SCHEMA = Path(__file__).with_name("report.schema.json")

RunOutcome = Literal[
    "promoted", "already default", "rejected", "timed out", "champion kept", "no winner", "not promoted"
]

OUTCOMES = {
    "promoted": "The winner is now the default checkpoint.",
    "already default": "The winner was the default checkpoint already.",
    "rejected": "Rejected: nothing was promoted.",
    "timed out": "The approval request timed out: nothing was promoted.",
    "champion kept": "The model in production stays: nothing was promoted.",
    "no winner": "No checkpoint is eligible: nothing was promoted.",
    "not promoted": "The winner was not set as the default checkpoint.",
}


class RunReport(xcom.JsonModel):
    """The run in Airflow."""

    dag_id: xcom.Text = None
    run_id: xcom.Text = None
    run_type: xcom.Text = None
    logical_date: xcom.Text = None
    run_after: xcom.Text = None
    start_date: xcom.Text = None
    triggered_by: xcom.Text = None
    parameters: Any = Field(default={}, description="without secrets")
    given_parameters: xcom.Texts = Field(
        default=[], description="names of those that were given when the run was triggered"
    )


class DatasetsReport(xcom.JsonModel):
    """The datasets of the job."""

    training: xcom.DatasetXCom | None = None
    validation: xcom.DatasetXCom | None = None


class ResourceReport(xcom.JsonModel):
    """A resource and its page in the Google Cloud console."""

    name: xcom.Text = None
    console: str | None = None


class LossesReport(xcom.JsonModel):
    """Loss curves, thinned: step and loss."""

    train: xcom.Curve = Field(default=[])
    eval: xcom.Curve = Field(default=[])


class CheckpointReport(xcom.JsonModel):
    """What is known of a checkpoint, or of the champion."""

    checkpoint_id: xcom.Id
    epoch: xcom.Whole = None
    step: xcom.Whole = None
    endpoint: xcom.Text = None
    smoke_test: xcom.SmokeTestXCom | None = None
    losses: xcom.LossesXCom | None = None
    evaluation: xcom.Json = Field(default=None, description="metrics of the service's own evaluation")
    assessment: xcom.AssessmentXCom | None = None


class PromotionReport(xcom.JsonModel):
    """The default checkpoint: as it was read back, or as it was found and left unchanged."""

    winner: xcom.Text = Field(default=None, description="checkpoint id: by the rules, or the approver's choice")
    read_back: bool = Field(default=False, description="whether the default was set in this run and read back")
    earlier_try: bool = Field(
        default=False, description="whether that was in an earlier try, which has been cleared since"
    )
    default_before: xcom.Text = None
    default_after: xcom.Text = None
    endpoint_before: xcom.Text = None
    endpoint_after: xcom.Text = None


class CopyReport(xcom.CopyXCom):
    """The copy of the model."""

    console: str | None = None


class Report(xcom.JsonModel):
    """A run of the tuning DAG: what it did and why."""

    schema_version: Literal[3] = 3
    outcome: RunOutcome
    run: RunReport
    datasets: DatasetsReport
    cost: CostReport | None
    tuning_job: ResourceReport
    tuned_model: ResourceReport
    checkpoints: list[CheckpointReport] = Field(description="best first, in the order of the decision")
    champion: CheckpointReport | None = Field(description="the model in production, tested with the same suite")
    losses: LossesReport
    decision: xcom.DecisionXCom
    approval: xcom.ApprovalXCom | None = Field(description="null when no approval was required")
    promotion: PromotionReport
    copied_model: CopyReport | None = Field(serialization_alias="copy")
    missing_evidence: xcom.Texts = Field(description="what was missing or could not be read")

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON document."""
        return self.model_dump(by_alias=True)

    def as_bytes(self) -> bytes:
        """Return the JSON file."""
        text = json.dumps(self.as_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        return text.encode("utf-8", "replace")

    def as_markdown(self) -> str:
        """Return the Markdown file."""
        has_eval_loss = self.losses.eval or any(entry.losses and entry.losses.eval_loss for entry in self.checkpoints)
        no_overfitting = "the losses show none" if has_eval_loss else "unknown, because there is no eval loss"
        overfitting = self.decision.overfitting or no_overfitting
        return render("report.md.j2", report=self, outcome=OUTCOMES[self.outcome], overfitting=overfitting)

    def summary(self) -> list[str]:
        """Return the outcome and the comparison, in lines of Markdown that are also readable in a log."""
        return render("summary.md.j2", report=self, outcome=OUTCOMES[self.outcome]).splitlines()


def build(
    *,
    run: Mapping[str, Any],
    tuning_job: object,
    model: object,
    results: Iterable[object],
    decision: object,
    datasets: object = None,
    champion: object = None,
    metrics: object = None,
    approval: object = None,
    promotion: object = None,
    copy: object = None,
    billed: object = None,
    mask: Callable[[str], str] = redact,
) -> Report:
    """Return the report of a run.

    The parameters are the XComs that :class:`GeminiTuningReportOperator` names, ``None`` for a task that was skipped.

    :param run: the fields of :class:`RunReport`.
    :param mask: removes secrets from the text of a DAG parameter.
    :raises InvalidInputError: naming the parameter that is not a mapping.
    """
    chosen, measured = require_decision(decision), xcom.MetricsXCom.from_input(metrics, "metrics")
    validated = xcom.ValidationXCom.from_input(datasets, "datasets") or xcom.ValidationXCom()
    data = DatasetsReport(training=validated.training, validation=validated.validation)
    checkpoints = compare(read_results(results), chosen, measured)
    decided = xcom.ApprovalXCom.from_input(approval, "approval")
    if decided and decided.proposed != chosen.winner:  # Airflow keeps the XCom of an earlier try of a skipped task
        decided = None
    promoted = _promotion(xcom.PromotionXCom.from_input(promotion, "promotion"), chosen, decided)
    copied = xcom.CopyXCom.from_input(copy, "copy")
    missing = [measured.missing if measured else [], chosen.missing, _gaps(data, checkpoints, measured)]
    return Report(
        outcome=_outcome(chosen, decided, promoted),
        run=RunReport(**{**run, "parameters": xcom.anything(dict(run.get("parameters") or {}), mask)}),
        datasets=data,
        cost=cost_report(validated.cost, xcom.BilledTokensXCom.from_input(billed, "billed")),
        tuning_job=_resource(tuning_job),
        tuned_model=_resource(model),
        checkpoints=checkpoints,
        champion=compare_champion(xcom.SmokeTestXCom.from_input(champion, "champion"), chosen),
        losses=LossesReport(train=measured.train_loss, eval=measured.eval_loss) if measured else LossesReport(),
        decision=chosen,
        approval=decided,
        promotion=promoted,
        copied_model=CopyReport(**copied.model_dump(), console=console_link(copied.model)) if copied else None,
        missing_evidence=xcom.joined(missing),
    )


def compare(
    results: Iterable[xcom.SmokeTestXCom],
    decision: xcom.DecisionXCom,
    metrics: xcom.MetricsXCom | None = None,
    listed: Iterable[xcom.CheckpointXCom] = (),
) -> list[CheckpointReport]:
    """Return what is known of each checkpoint: in the order of the decision, then those without an assessment."""
    others = {checkpoint.checkpoint_id: checkpoint for checkpoint in listed}
    tested = {result.checkpoint_id: result for result in results}
    assessed = {assessment.checkpoint_id: assessment for assessment in decision.checkpoints}
    losses = metrics.checkpoints if metrics else {}
    return [
        _checkpoint(tested.get(i), assessed.get(i), others.get(i), losses=losses.get(i))
        for i in dict.fromkeys([*assessed, *tested, *others])
    ]


def compare_champion(result: xcom.SmokeTestXCom | None, decision: xcom.DecisionXCom) -> CheckpointReport | None:
    """Return the same for the champion; ``None`` when it was not tested."""
    return _checkpoint(result, decision.champion) if result or decision.champion else None


def require_decision(decision: object) -> xcom.DecisionXCom:
    """Return the decision; an empty one is an error."""
    if found := xcom.DecisionXCom.from_input(decision, "decision"):
        return found
    what = "decision: expected the XCom of choose, which is empty."
    raise InvalidInputError(what, field="decision", code="missing")


def read_results(results: Iterable[object]) -> list[xcom.SmokeTestXCom]:
    """Return the results of the smoke tests; an error names the one that is not a mapping."""
    found = (xcom.SmokeTestXCom.from_input(result, f"results[{number}]") for number, result in enumerate(results))
    return [result for result in found if result is not None]


def _checkpoint(
    result: xcom.SmokeTestXCom | None,
    assessment: xcom.AssessmentXCom | None,
    listed: xcom.CheckpointXCom | None = None,
    losses: xcom.LossesXCom | None = None,
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


def _resource(name: object) -> ResourceReport:
    return ResourceReport(name=name, console=console_link(name))  # type: ignore[arg-type] # the field reads any value


def _promotion(
    promotion: xcom.PromotionXCom | None, decision: xcom.DecisionXCom, approval: xcom.ApprovalXCom | None
) -> PromotionReport:
    winner = approval.checkpoint_id if approval else decision.winner
    before = decision.default_checkpoint_id
    if promotion is None:
        return PromotionReport(winner=winner, default_before=before, default_after=before)
    found = promotion.model_dump(exclude={"model"})
    found["default_before"] = before or promotion.default_before
    return PromotionReport(winner=winner, read_back=True, earlier_try=promotion.default_after != winner, **found)


def _outcome(decision: xcom.DecisionXCom, approval: xcom.ApprovalXCom | None, promotion: PromotionReport) -> RunOutcome:
    if promotion.read_back and not promotion.earlier_try:
        return "promoted" if promotion.default_after != promotion.default_before else "already default"
    if approval and approval.outcome == "rejected":
        return "rejected"
    if approval and approval.outcome == "timed out":
        return "timed out"
    if promotion.winner is not None:
        return "already default" if promotion.winner == promotion.default_before else "not promoted"
    return "champion kept" if decision.outcome == "keep_champion" else "no winner"


def _gaps(
    datasets: DatasetsReport, checkpoints: Sequence[CheckpointReport], metrics: xcom.MetricsXCom | None
) -> list[str]:
    parts = {"training": datasets.training, "validation": datasets.validation}
    gaps = [f"the sha256 of the {part} dataset" for part, data in parts.items() if data and not data.sha256]
    if not datasets.training:
        gaps.append("the training dataset")
    gaps += [f"a smoke test of checkpoint {c.checkpoint_id}" for c in checkpoints if not c.smoke_test]
    gaps += [f"an assessment of checkpoint {c.checkpoint_id}" for c in checkpoints if not c.assessment]
    if metrics is None:
        gaps.append("the losses: the metrics of the job were not read")
    return gaps
