"""The checkpoints of a run side by side: what is known of each, and the table for the approver and the report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pydantic import Field

from gemini_tuning.core.formatting import percent
from gemini_tuning.core.markdown import linked, or_dash, plain, table
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

MAX_CELL = 300  # characters
HEADINGS = (
    "checkpoint",
    "epoch",
    "step",
    "pass rate",
    "score",
    "critical failures",
    "p50 / p95",
    "eval loss",
    "remarks",
    "for",
    "against",
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


Named = Sequence[tuple[str, CheckpointReport]]


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


def comparison(
    checkpoints: Sequence[CheckpointReport],
    champion: CheckpointReport | None = None,
    *,
    marks: Mapping[str, str | None],
    reasons: bool = True,
) -> list[str]:
    """Return the lines of the table.

    :param marks: remarks and the checkpoints that get them: ``{"winner": "4", "default before": "6"}``.
    :param reasons: whether it has the reasons for and against each checkpoint, which make long lines.
    """
    rows = [_row(entry, plain(entry.checkpoint_id), marks) for entry in checkpoints]
    if champion:
        rows.append(_row(champion, "champion", {}))
    width = None if reasons else -2
    return table([HEADINGS[:width], *(row[:width] for row in rows)])


def named(checkpoints: Iterable[CheckpointReport], champion: CheckpointReport | None) -> Named:
    """Return each with a name in Markdown; the champion may have the id of a checkpoint."""
    pairs = [(f"checkpoint {plain(entry.checkpoint_id)}", entry) for entry in checkpoints]
    return [*pairs, ("champion", champion)] if champion else pairs


def result_links(entries: Named) -> list[str]:
    """Return a line for each with links to its results and its endpoint."""
    lines = []
    for name, entry in entries:
        places = {"results": entry.smoke_test.results_uri if entry.smoke_test else None, "endpoint": entry.endpoint}
        links = [f"{what} {linked(address, address)}" for what, address in places.items() if address]
        lines.append(f"- {name}: {', '.join(links) or 'no results, no endpoint'}")
    return lines


def _checkpoint(
    result: SmokeTestXCom | None,
    assessment: AssessmentXCom | None,
    listed: CheckpointXCom | None = None,
    losses: LossesXCom | None = None,
) -> CheckpointReport:
    sources = [source for source in (result, assessment, listed) if source]
    addresses = [source.endpoint for source in (result, listed) if source]
    return CheckpointReport(
        checkpoint_id=sources[0].checkpoint_id,
        epoch=next((source.epoch for source in sources if source.epoch is not None), None),
        step=next((source.step for source in sources if source.step is not None), None),
        endpoint=next(filter(None, addresses), None),
        smoke_test=result,
        losses=losses,
        evaluation=losses.evaluation if losses else None,
        assessment=assessment,
    )


def _row(entry: CheckpointReport, name: str, marks: Mapping[str, str | None]) -> list[str]:
    test, assessment = entry.smoke_test or SmokeTestXCom(), entry.assessment or AssessmentXCom()
    rates = test if assessment.pass_rate is None else assessment
    remarks = [mark for mark, identifier in marks.items() if identifier == entry.checkpoint_id]
    if test.error and not entry.assessment:
        remarks.append(plain(test.error, MAX_CELL))
    return [
        name,
        or_dash(entry.epoch),
        or_dash(entry.step),
        percent(rates.pass_rate) + _between(rates.pass_rate_interval),
        "-" if rates.score is None else f"{rates.score:.3f}",
        or_dash(test.critical_failures),
        _latency(test, assessment),
        _loss((entry.losses or assessment).eval_loss),
        ", ".join(remarks) or "-",
        or_dash("; ".join(assessment.speaks_for) or None),
        or_dash("; ".join(assessment.speaks_against) or None),
    ]


def _between(bounds: Sequence[float] | None) -> str:
    return f" ({percent(bounds[0])} to {percent(bounds[1])})" if bounds else ""


def _latency(test: SmokeTestXCom, assessment: AssessmentXCom) -> str:
    both = (test.latency_ms.p50, test.latency_ms.p95 or assessment.latency_p95_ms)
    return "-" if both == (None, None) else " / ".join("-" if ms is None else f"{ms:.0f} ms" for ms in both)


def _loss(loss: float | None) -> str:
    return "-" if loss is None else f"{loss:.4g}"
