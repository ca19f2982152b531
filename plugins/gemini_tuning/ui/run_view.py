"""Everything that the page shows of one run, but for its answers. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gemini_tuning.core import xcom
from gemini_tuning.core.console import console_link
from gemini_tuning.core.xcom import CheckpointXCom, DecisionXCom, MetricsXCom, SmokeTestXCom
from gemini_tuning.cost.estimate_text import in_brief, in_words, read_cost
from gemini_tuning.reporting.comparison_table import compare, compare_champion
from gemini_tuning.selection.candidate import Candidate
from gemini_tuning.selection.overfitting import LossCurves, find_turning_point
from gemini_tuning.ui import queries
from gemini_tuning.ui.overview import Default, Defaults, Line, default_of, line, model_key
from gemini_tuning.ui.queries import Run

Json = dict[str, Any]
Points = list[list[float | int]]


@dataclass(frozen=True)
class Losses:
    """The chart.

    :param checkpoints: ``{"checkpoint_id", "epoch", "step", "badges"}`` of those whose step is known.
    :param turn: step after which the tuning overfits; ``None`` where the losses show none.
    """

    train: Points
    eval: Points
    checkpoints: list[Json]
    turn: int | None

    @property
    def are_there(self) -> bool:
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
        """Return what the script draws."""
        return {"train": self.train, "eval": self.eval, "checkpoints": self.checkpoints, "turn": self.turn}


@dataclass(frozen=True)
class RunView:
    """What the page shows.

    :param head: the run's line of the overview.
    :param checkpoints: as :func:`~gemini_tuning.reporting.comparison_table.compare` gives them, by their number, each
        with
        ``badges`` and ``console``.
    :param champion: the same of the model in production.
    :param cost: what the run was to cost, in brief and in a sentence; ``None`` when nothing was estimated.
    :param before: the default checkpoint before this run changed it, or found it.
    :param after: the default that this run set; ``None`` when it set none.
    :param promotion: what became of setting the default: ``set``, ``failed``, ``left`` when the run is over without it,
        else ``to come``.
    :param default: of the model now.
    :param copies: ``{"model", "console", "checked", "checkpoints", "default_checkpoint_id"}`` of the model.
    :param report: address of the Markdown report.
    :param waits_for_approval: the task that asks; ``None`` when nobody is asked now.
    :param quota_wait: ``{"since", "next_try", "message"}`` while the create waits for quota; ``None`` otherwise.
    :param errors: ``{"step", "said"}`` of what failed; ``said`` is ``None`` where only the log says why.
    """

    head: Line
    run: Run
    model: str | None
    model_console: str | None
    losses: Losses
    checkpoints: list[Json]
    champion: Json | None
    decision: Json | None
    missing: list[str]
    approval: Json | None
    cost: tuple[str, str] | None
    before: str | None
    after: str | None
    promotion: str
    default: Default
    copies: list[Json]
    report: str | None
    waits_for_approval: str | None
    quota_wait: Json | None
    errors: list[Json]

    def everybody(self) -> list[Json]:
        """Return the checkpoints, and after them the champion, each with a ``label``."""
        rows = [{**entry, "label": entry["checkpoint_id"]} for entry in self.checkpoints]
        return [*rows, {**self.champion, "label": "champion"}] if self.champion else rows

    @property
    def results(self) -> list[tuple[str, str]]:
        """Who has a results file: ``(checkpoint id or "champion", address)``."""
        entries = [(entry["checkpoint_id"], entry) for entry in self.checkpoints]
        if self.champion:
            entries.append(("champion", self.champion))
        return [
            (name, uri)
            for name, entry in entries
            if entry["smoke_test"] and (uri := entry["smoke_test"]["results_uri"]) is not None
        ]

    @property
    def results_version(self) -> str:
        """What changes when the results files are written anew."""
        asking = (queries.SMOKE_TEST, queries.CHAMPION)
        return repr([(step.map_index, step.end) for step in self.run.steps if step.operator in asking])


def view(run: Run, defaults: Defaults, copies: Iterable[Mapping[str, Any]], now: datetime) -> RunView:
    """Return what the page shows of a run.

    :param defaults: of :func:`~gemini_tuning.ui.overview.defaults_now`.
    :param copies: what the checks of copies pushed, in other runs too.
    """
    known, decision = run.mapping(queries.WAIT, "progress"), run.mapping(queries.CHOOSE, "decision")
    metrics, promotion = run.mapping(queries.METRICS), run.mapping(queries.SET_DEFAULT)
    model = xcom.text(run.pushed(queries.CHECKPOINTS, "tuned_model") or known.get("model"))
    head = line(run, defaults, now)
    default = default_of(run, model, defaults)
    checkpoints = _checkpoints(_entries(run, known, decision, metrics), head.winner, default)
    return RunView(
        head=head,
        run=run,
        model=model,
        model_console=console_link(model),
        losses=_losses(known, metrics, checkpoints),
        checkpoints=checkpoints,
        champion=_champion(run, decision),
        decision=_decision(decision),
        missing=xcom.joined([xcom.texts(metrics.get("missing")), xcom.texts(decision.get("missing"))]),
        approval=_approval(run.mapping(queries.APPROVE)),
        cost=_cost(run.mapping(queries.PREFLIGHT)),
        before=xcom.text(promotion.get("default_before", run.pushed(queries.CHECKPOINTS, "default_checkpoint_id"))),
        after=xcom.text(promotion.get("default_after")),
        promotion=_promotion_state(run),
        default=default,
        copies=_copies(model, run.mapping(queries.COPY), [*copies, run.mapping(queries.VERIFY)]),
        report=xcom.text(run.mapping(queries.REPORT).get("report_markdown")),
        waits_for_approval=_waiting(run),
        quota_wait=_quota_wait(run),
        errors=errors(run),
    )


def _promotion_state(run: Run) -> str:
    step = run.step(queries.SET_DEFAULT)
    state = step.state if step is not None else None
    if state in ("success", "failed"):
        return "set" if state == "success" else "failed"
    return "to come" if run.is_live else "left"


def errors(run: Run) -> list[Json]:
    """Return what failed and why, without what failed only because of it."""
    return [
        {"step": step.label or step.task_id, "said": xcom.text(step.pushed.get("error"))}
        for step in run.steps
        if step.state == "failed"
    ]


def _entries(run: Run, known: Mapping[str, Any], decision: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[Json]:
    results = [SmokeTestXCom.from_xcom(step.get()) for step in run.all_steps(queries.SMOKE_TEST)]
    entries = compare(
        [result for result in results if result],
        DecisionXCom.from_xcom(decision) or DecisionXCom(),
        MetricsXCom.from_xcom(metrics),
        listed=[checkpoint for item in _listed(run, known) if (checkpoint := CheckpointXCom.from_xcom(item))],
    )
    return [entry.model_dump() for entry in entries]


def _checkpoints(entries: Sequence[Json], winner: str | None, default: Default) -> list[Json]:
    """Return the checkpoints by their number."""
    return [
        {
            **entry,
            "console": console_link(entry["endpoint"]),
            "badges": _badges(entry["checkpoint_id"], winner, default),
        }
        for entry in sorted(entries, key=_number)
    ]


def _listed(run: Run, known: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the checkpoints that the run has listed, or that the job has so far."""
    found = run.pushed(queries.CHECKPOINTS) or known.get("checkpoints")
    return [item for item in found if isinstance(item, Mapping)] if isinstance(found, list) else []


def _badges(identifier: str, winner: str | None, default: Default) -> list[str]:
    badges = {
        "winner": identifier == winner,
        "default": identifier == default.now,
        "previous default": identifier == default.previous != default.now,
    }
    return [badge for badge, is_it in badges.items() if is_it]


def _number(entry: Mapping[str, Any]) -> tuple[int, str]:
    identifier = entry["checkpoint_id"]
    return (int(identifier), "") if identifier.isdecimal() else (1 << 62, identifier)


def _losses(known: Mapping[str, Any], metrics: Mapping[str, Any], checkpoints: Sequence[Json]) -> Losses:
    """Return the curves as the run read them, else as they were while the job ran."""
    train, evals = (
        xcom.curve(metrics.get(name)) or xcom.curve(known.get(name)) for name in ("train_loss", "eval_loss")
    )
    marked = [
        {key: entry[key] for key in ("checkpoint_id", "epoch", "step", "badges")}
        for entry in checkpoints
        if entry["step"] is not None
    ]
    turn = find_turning_point(
        [_contender(entry) for entry in checkpoints],
        LossCurves(train=tuple((int(s), v) for s, v in train), eval=tuple((int(s), v) for s, v in evals)),
    )
    return Losses(train=train, eval=evals, checkpoints=marked, turn=turn.step if turn else None)


def _contender(entry: Mapping[str, Any]) -> Candidate:
    losses = entry["losses"] or {}
    return Candidate(
        entry["checkpoint_id"],
        epoch=entry["epoch"],
        step=entry["step"],
        train_loss=losses.get("train_loss"),
        eval_loss=losses.get("eval_loss"),
    )


def _champion(run: Run, decision: Mapping[str, Any]) -> Json | None:
    result = SmokeTestXCom.from_xcom(run.mapping(queries.CHAMPION))
    entry = compare_champion(result, DecisionXCom.from_xcom(decision) or DecisionXCom())
    return {**entry.model_dump(), "console": console_link(entry.endpoint), "badges": []} if entry else None


def _decision(decision: Mapping[str, Any]) -> Json | None:
    if not decision:
        return None
    return {
        **{key: xcom.text(decision.get(key)) for key in ("winner", "outcome", "reason", "overfitting")},
        "policy": xcom.anything(decision.get("policy")),
    }


def _approval(approval: Mapping[str, Any]) -> Json | None:
    """Return who decided; ``None`` when nobody had to."""
    if not approval or approval.get("required") is not True:
        return None
    by = xcom.part(approval, "by")
    return {
        **{key: xcom.text(approval.get(key)) for key in ("outcome", "checkpoint_id", "proposed", "at")},
        "by": xcom.text(by.get("name") or by.get("id")),
    }


def _cost(checked: Mapping[str, Any]) -> tuple[str, str] | None:
    estimate = read_cost(xcom.part(checked, "cost"))
    brief = in_brief(estimate)
    return (brief, in_words(estimate)) if brief else None


def _copies(model: str | None, made: Mapping[str, Any], checked: Iterable[Mapping[str, Any]]) -> list[Json]:
    """Return the copies of a model: those that were checked, and the run's own as soon as it is there."""
    source = model_key(model)
    found = {
        name: {
            "model": name,
            "console": console_link(name),
            "checked": True,
            "checkpoints": xcom.whole(copy.get("checkpoints")),
            "default_checkpoint_id": xcom.text(copy.get("default_checkpoint_id")),
        }
        for copy in checked
        if source
        and model_key(xcom.text(copy.get("source_model"))) == source
        and (name := xcom.text(copy.get("model"))) is not None
    }
    own = xcom.text(made.get("model"))
    if own is not None and own not in found:
        found[own] = {"model": own, "console": console_link(own), "checked": False}
    return list(found.values())


def _quota_wait(run: Run) -> Json | None:
    step, wait = run.step(queries.CREATE), run.mapping(queries.CREATE, "quota_wait")
    if step is None or step.state != "deferred" or not wait:
        return None
    return {key: xcom.text(wait.get(key)) for key in ("since", "next_try", "message")}


def _waiting(run: Run) -> str | None:
    step = run.step(queries.APPROVE)
    return step.task_id if step is not None and step.state == "awaiting_input" else None
