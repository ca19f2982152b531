"""What the page shows of one run, except for the responses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import Field

from gemini_tuning.core import xcom
from gemini_tuning.core.console import console_link
from gemini_tuning.core.xcom import (
    ApprovalXCom,
    CheckpointXCom,
    CopyXCom,
    DecisionXCom,
    LossesXCom,
    MetricsXCom,
    PromotionXCom,
    ReportXCom,
    SmokeTestXCom,
    ValidationXCom,
)
from gemini_tuning.cost.estimate_text import estimate_line, estimate_total
from gemini_tuning.reporting.comparison import CheckpointReport, compare, compare_champion
from gemini_tuning.selection.candidate import Candidate
from gemini_tuning.selection.overfitting import find_turning_point
from gemini_tuning.ui import queries
from gemini_tuning.ui.overview import (
    DefaultCheckpoint,
    Defaults,
    RunLine,
    default_of,
    model_key,
    run_line,
    tuned_model,
)
from gemini_tuning.ui.queries import RunRecord

Json = dict[str, Any]
Points = list[list[float | int]]


@dataclass(frozen=True)
class LossChart:
    """Losses over the steps of the job.

    :param checkpoints: ``{"checkpoint_id", "epoch", "step", "badges"}`` of those whose step is known.
    :param turn: step after which the job overfits; ``None`` where the losses show none.
    """

    train: Points
    eval: Points
    checkpoints: list[Json]
    turn: int | None

    @property
    def has_points(self) -> bool:
        """Whether there is anything to draw."""
        return bool(self.train or self.eval)

    def rows(self) -> list[Json]:
        """Return the chart as a table, by step."""
        train, evals = ({int(step): value for step, value in points} for points in (self.train, self.eval))
        marks = {mark["step"]: mark["checkpoint_id"] for mark in self.checkpoints}
        return [
            {"step": step, "train": train.get(step), "eval": evals.get(step), "checkpoint": marks.get(step)}
            for step in sorted({*train, *evals, *marks})
        ]

    def as_dict(self) -> Json:
        """Return the input of the script that draws the chart."""
        return {"train": self.train, "eval": self.eval, "checkpoints": self.checkpoints, "turn": self.turn}


class CheckpointView(CheckpointReport):
    """A checkpoint, or the champion.

    :param label: its id, or ``champion``.
    :param console: link to its endpoint.
    :param badges: ``winner``, ``default``, ``previous default``.
    """

    label: str
    console: str | None = None
    badges: list[str] = Field(default_factory=list)


@dataclass(frozen=True)
class CopyView:
    """A copy of the model.

    :param verified: what ``verify_copy`` read back; ``None`` before.
    """

    model: str
    console: str | None
    verified: CopyXCom | None


@dataclass(frozen=True)
class RunView:
    """What the page shows.

    :param head: the run's line of the overview.
    :param checkpoints: by number.
    :param champion: the model in production.
    :param approval: ``None`` when no approval was required.
    :param cost: estimated cost, as an amount and in a sentence; ``None`` without an estimate.
    :param before: the default checkpoint before this run changed it, or the one that it found.
    :param after: the default that this run set; ``None`` when it set none.
    :param promotion: ``pending``, ``set``, ``failed``, or ``unchanged`` when the run finished without it.
    :param default: current default of the model.
    :param report: URI of the Markdown report.
    :param approval_task: id of the task that waits for an approver; ``None`` when none does.
    :param quota_wait: ``{"since", "next_try", "message"}`` while the create waits for quota; ``None`` otherwise.
    :param errors: ``{"step", "message"}`` of each failed step; ``message`` is ``None`` where only the log has it.
    """

    head: RunLine
    run: RunRecord
    model: str | None
    model_console: str | None
    losses: LossChart
    checkpoints: list[CheckpointView]
    champion: CheckpointView | None
    decision: DecisionXCom | None
    missing: list[str]
    approval: ApprovalXCom | None
    cost: tuple[str, str] | None
    before: str | None
    after: str | None
    promotion: str
    default: DefaultCheckpoint
    copies: list[CopyView]
    report: str | None
    approval_task: str | None
    quota_wait: Json | None
    errors: list[Json]

    def rows(self) -> list[CheckpointView]:
        """Return the checkpoints, and after them the champion."""
        return [*self.checkpoints, *([self.champion] if self.champion else [])]


def view(run: RunRecord, defaults: Defaults, copies: Iterable[CopyXCom], now: datetime) -> RunView:
    """Return what the page shows of a run.

    :param defaults: of :func:`~gemini_tuning.ui.overview.current_defaults`.
    :param copies: return values of ``verify_copy``, also those of other runs.
    """
    decision = run.value(DecisionXCom, queries.CHOOSE, queries.DECISION)
    metrics, promotion = run.value(MetricsXCom, queries.METRICS), run.value(PromotionXCom, queries.SET_DEFAULT)
    listed = xcom.text(run.xcom(queries.CHECKPOINTS, queries.DEFAULT_CHECKPOINT))
    model = tuned_model(run)
    head = run_line(run, defaults, now)
    default = default_of(run, model, defaults)
    checkpoints = _checkpoints(run, decision, metrics, head.winner, default)
    approval = run.value(ApprovalXCom, queries.APPROVE)
    return RunView(
        head=head,
        run=run,
        model=model,
        model_console=console_link(model),
        losses=_losses(run, metrics, checkpoints),
        checkpoints=checkpoints,
        champion=_champion(run, decision),
        decision=decision if run.xcom(queries.CHOOSE, queries.DECISION) else None,
        missing=xcom.joined([metrics.missing, decision.missing]),
        approval=approval if approval.required else None,
        cost=_cost(run),
        before=promotion.default_before if run.xcom(queries.SET_DEFAULT) else listed,
        after=promotion.default_after,
        promotion=_promotion_state(run),
        default=default,
        copies=_copies(model, run, copies),
        report=run.value(ReportXCom, queries.REPORT).report_markdown,
        approval_task=_approval_task(run),
        quota_wait=_quota_wait(run),
        errors=errors(run),
    )


def results_files(run: RunRecord) -> list[tuple[str, str]]:
    """Return the results files of a run: ``(checkpoint id or "champion", URI)``, by number."""
    tests = {test.checkpoint_id: test for test in _smoke_tests(run)}
    champion = run.value(SmokeTestXCom, queries.CHAMPION)
    named = [(test.checkpoint_id, test.results_uri) for test in sorted(tests.values(), key=_number)]
    return [(name, uri) for name, uri in (*named, ("champion", champion.results_uri)) if uri is not None]


def results_version(run: RunRecord) -> str:
    """Return a text that changes when the results files are written again."""
    smoke_tests = (queries.SMOKE_TEST, queries.CHAMPION)
    return repr([(step.map_index, step.end) for step in run.steps if step.operator in smoke_tests])


def errors(run: RunRecord) -> list[Json]:
    """Return the failed steps and why, without those that failed only because of them."""
    return [
        {"step": step.label or step.task_id, "message": xcom.text(step.xcoms.get(queries.ERROR))}
        for step in run.steps
        if step.state == "failed"
    ]


def _promotion_state(run: RunRecord) -> str:
    step = run.step(queries.SET_DEFAULT)
    state = step.state if step is not None else None
    if state in ("success", "failed"):
        return "set" if state == "success" else "failed"
    return "pending" if run.is_live else "unchanged"


def _checkpoints(
    run: RunRecord, decision: DecisionXCom, metrics: MetricsXCom, winner: str | None, default: DefaultCheckpoint
) -> list[CheckpointView]:
    """Return the checkpoints by their number, also those that are only listed."""
    found = compare(_smoke_tests(run), decision, metrics, _listed(run))
    return [
        CheckpointView(
            **dict(report),
            label=report.checkpoint_id,
            console=console_link(report.endpoint),
            badges=_badges(report.checkpoint_id, winner, default),
        )
        for report in sorted(found, key=_number)
    ]


def _smoke_tests(run: RunRecord) -> list[SmokeTestXCom]:
    results = (SmokeTestXCom.from_xcom(step.xcom()) for step in run.all_steps(queries.SMOKE_TEST))
    return [result for result in results if result is not None]


def _listed(run: RunRecord) -> Sequence[CheckpointXCom]:
    """Return the checkpoints that ``list_checkpoints`` returned, or that the job has so far."""
    listed = run.xcom(queries.CHECKPOINTS)
    found = map(CheckpointXCom.from_xcom, listed if isinstance(listed, list) else [])
    return list(filter(None, found)) or run.progress.checkpoints


def _badges(checkpoint_id: str, winner: str | None, default: DefaultCheckpoint) -> list[str]:
    badges = {
        "winner": checkpoint_id == winner,
        "default": checkpoint_id == default.current,
        "previous default": checkpoint_id == default.previous != default.current,
    }
    return [badge for badge, applies in badges.items() if applies]


def _number(report: CheckpointReport | SmokeTestXCom) -> tuple[int, str]:
    checkpoint_id = report.checkpoint_id
    return (int(checkpoint_id), "") if checkpoint_id.isdecimal() else (1 << 62, checkpoint_id)


def _losses(run: RunRecord, metrics: MetricsXCom, checkpoints: Sequence[CheckpointView]) -> LossChart:
    """Return the curves that ``read_tuning_metrics`` read, else those that the sensor has read so far."""
    train, evals = (
        metrics.train_loss or run.progress.train_loss,
        metrics.eval_loss or run.progress.eval_loss,
    )
    turn = find_turning_point(
        [_candidate(checkpoint) for checkpoint in checkpoints],
        MetricsXCom(train_loss=train, eval_loss=evals),
    )
    marked = [
        checkpoint.model_dump(include={"checkpoint_id", "epoch", "step", "badges"})
        for checkpoint in checkpoints
        if checkpoint.step is not None
    ]
    return LossChart(train=train, eval=evals, checkpoints=marked, turn=turn.step if turn else None)


def _candidate(checkpoint: CheckpointView) -> Candidate:
    losses = checkpoint.losses or LossesXCom()
    return Candidate(
        checkpoint.checkpoint_id,
        epoch=checkpoint.epoch,
        step=checkpoint.step,
        train_loss=losses.train_loss,
        eval_loss=losses.eval_loss,
    )


def _champion(run: RunRecord, decision: DecisionXCom) -> CheckpointView | None:
    report = compare_champion(SmokeTestXCom.from_xcom(run.xcom(queries.CHAMPION)), decision)
    if report is None:
        return None
    return CheckpointView(**dict(report), label="champion", console=console_link(report.endpoint))


def _cost(run: RunRecord) -> tuple[str, str] | None:
    cost = run.value(ValidationXCom, queries.VALIDATE).cost
    brief = estimate_total(cost)
    return (brief, estimate_line(cost)) if brief else None


def _copies(model: str | None, run: RunRecord, verified: Iterable[CopyXCom]) -> list[CopyView]:
    """Return the copies of a model that were verified, and the run's own as soon as it exists."""
    source = model_key(model)
    found = {
        copy.model: CopyView(copy.model, console_link(copy.model), copy)
        for copy in (*verified, run.value(CopyXCom, queries.VERIFY))
        if source and copy.model is not None and model_key(copy.source_model) == source
    }
    own = run.value(CopyXCom, queries.COPY).model
    if own is not None and own not in found:
        found[own] = CopyView(own, console_link(own), None)
    return list(found.values())


def _approval_task(run: RunRecord) -> str | None:
    step = run.step(queries.APPROVE)
    return step.task_id if step is not None and step.state == "awaiting_input" else None


def _quota_wait(run: RunRecord) -> Json | None:
    step, wait = run.step(queries.CREATE), run.xcom(queries.CREATE, queries.QUOTA_WAIT)
    if step is None or step.state != "deferred" or not isinstance(wait, Mapping):
        return None
    return {key: xcom.text(wait.get(key)) for key in ("since", "next_try", "message")}
