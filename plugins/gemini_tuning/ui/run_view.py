"""What the overview and the page of a run show, except for the responses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, NamedTuple

from gemini_tuning.core import xcom
from gemini_tuning.cost.estimate_text import estimate_line, estimate_total
from gemini_tuning.reporting.report import CheckpointReport, compare, compare_champion
from gemini_tuning.selection.candidate import Candidate
from gemini_tuning.selection.overfitting import find_turning_point
from gemini_tuning.ui import queries
from gemini_tuning.ui.defaults import DefaultCheckpoint, Defaults, current_defaults, model_key
from gemini_tuning.ui.queries import RunRecord

TERMINAL_JOB_STATES = frozenset({"SUCCEEDED", "PARTIALLY_SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED"})
CHAMPION = "champion"


class JobProgress(NamedTuple):
    """The progress of a tuning job."""

    share: float | None  # 0 to 1; None: the service does not report epochs yet
    seconds_left: float | None  # estimated from the time so far; None: the first epoch is not complete
    text: str  # for example: epoch 2 of 6, step 21


@dataclass(frozen=True)
class RunView:
    """A run as the templates show it; everything else is read from it when it is shown."""

    run: RunRecord
    defaults: Defaults = field(default_factory=dict)
    verified_copies: Sequence[xcom.CopyXCom] = ()  # return values of verify_copy, also those of other runs
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def base_model(self) -> str:
        """Name of the base model; empty where unknown."""
        return queries.model_names(self.run.conf, self.run.progress)[0]

    @property
    def display_name(self) -> str:
        """Display name of the tuned model; empty where unknown."""
        return queries.model_names(self.run.conf, self.run.progress)[1]

    @property
    def dataset(self) -> str | None:
        """URI of the training dataset."""
        return xcom.text(self.run.conf.get("training_dataset_uri"))

    @property
    def seconds(self) -> float | None:
        """Duration of the run so far."""
        return ((self.run.end or self.now) - self.run.start).total_seconds() if self.run.start else None

    # ----------------------------------------------------------------------------------------------- the tuning job

    @property
    def job(self) -> str | None:
        """Full name of the tuning job."""
        return self.run.progress.name or xcom.text(self.run.xcom(queries.CREATE))

    @property
    def job_progress(self) -> JobProgress | None:
        """Progress of the tuning job; ``None`` before the first poll and after it has finished."""
        step, job = self.run.step(queries.WAIT), self.run.progress
        if step is None or not step.xcom(queries.PROGRESS) or not self.run.is_live or job.state in TERMINAL_JOB_STATES:
            return None
        return job_progress(job, step.start, self.now)

    @property
    def quota_wait(self) -> dict[str, str | None] | None:
        """``since``, ``next_try`` and ``message`` while the create waits for quota."""
        step, wait = self.run.step(queries.CREATE), self.run.xcom(queries.CREATE, queries.QUOTA_WAIT)
        if step is None or step.state != "deferred" or not isinstance(wait, Mapping):
            return None
        return {key: xcom.text(wait.get(key)) for key in ("since", "next_try", "message")}

    @property
    def cost(self) -> tuple[str, str] | None:
        """Estimated cost, as an amount and in a sentence."""
        cost = self.run.value(xcom.ValidationXCom, queries.VALIDATE).cost
        brief = estimate_total(cost)
        return (brief, estimate_line(cost)) if brief else None

    @cached_property
    def losses(self) -> dict[str, Any]:
        """Input of the script that draws the chart: the curves of ``read_tuning_metrics``, or else of the sensor.

        ``checkpoints`` are those whose step is known; ``turn`` is the step after which the job overfits.
        """
        train = self._metrics.train_loss or self.run.progress.train_loss
        evals = self._metrics.eval_loss or self.run.progress.eval_loss
        candidates = []
        for found in self.checkpoints:
            place = found.model_dump(include={"checkpoint_id", "epoch", "step"})
            losses = found.losses.model_dump(include={"train_loss", "eval_loss"}) if found.losses else {}
            candidates.append(Candidate(**place, **losses))
        turn = find_turning_point(candidates, xcom.MetricsXCom(train_loss=train, eval_loss=evals))
        marks = [
            {**found.model_dump(include={"checkpoint_id", "epoch", "step"}), "badges": self.badges(found.checkpoint_id)}
            for found in self.checkpoints
            if found.step is not None
        ]
        return {"train": train, "eval": evals, "checkpoints": marks, "turn": turn.step if turn else None}

    def loss_rows(self) -> list[tuple[int, float | None, float | None, str | None]]:
        """Return the chart as a table: step, train loss, eval loss, checkpoint."""
        train, evals = ({int(step): value for step, value in self.losses[name]} for name in ("train", "eval"))
        marks = {mark["step"]: mark["checkpoint_id"] for mark in self.losses["checkpoints"]}
        steps = sorted({*train, *evals, *marks})
        return [(step, train.get(step), evals.get(step), marks.get(step)) for step in steps]

    # ------------------------------------------------------------------------------------------------- checkpoints

    @cached_property
    def checkpoints(self) -> list[CheckpointReport]:
        """The checkpoints by number, also those that are only listed, or that the job has so far."""
        listed = list(filter(None, map(xcom.CheckpointXCom.from_xcom, self._listed_checkpoints or ())))
        found = compare(self._smoke_tests, self._decision, self._metrics, listed or self.run.progress.checkpoints)
        return sorted(found, key=_number)

    @property
    def champion(self) -> CheckpointReport | None:
        """The model in production."""
        return compare_champion(xcom.SmokeTestXCom.from_xcom(self.run.xcom(queries.CHAMPION)), self._decision)

    def rows(self) -> list[tuple[str, CheckpointReport, list[str]]]:
        """Return each checkpoint with its label and badges, and after them the champion."""
        rows = [(found.checkpoint_id, found, self.badges(found.checkpoint_id)) for found in self.checkpoints]
        return [*rows, (CHAMPION, champion, [])] if (champion := self.champion) else rows

    def badges(self, checkpoint_id: str) -> list[str]:
        """Return which of ``winner``, ``default`` and ``previous default`` a checkpoint is."""
        badges = {
            "winner": checkpoint_id == self.winner,
            "default": checkpoint_id == self.default.current,
            "previous default": checkpoint_id == self.default.previous != self.default.current,
        }
        return [badge for badge, applies in badges.items() if applies]

    @property
    def checkpoint_count(self) -> int | None:
        """Number of checkpoints, or of those that the job has so far; ``None`` where unknown."""
        if self._listed_checkpoints is not None:
            return len(self._listed_checkpoints)
        return len(self.run.progress.checkpoints) if self.run.xcom(queries.WAIT, queries.PROGRESS) else None

    @property
    def results_files(self) -> list[tuple[str, str]]:
        """The results files: ``(checkpoint id or "champion", URI)``, by number."""
        tests = {test.checkpoint_id: test for test in self._smoke_tests}
        champion = self.run.value(xcom.SmokeTestXCom, queries.CHAMPION)
        named = [(test.checkpoint_id, test.results_uri) for test in sorted(tests.values(), key=_number)]
        return [(name, uri) for name, uri in (*named, (CHAMPION, champion.results_uri)) if uri is not None]

    @property
    def results_version(self) -> str:
        """Changes when the results files are written again."""
        smoke_tests = (queries.SMOKE_TEST, queries.CHAMPION)
        return repr([(step.map_index, step.end) for step in self.run.steps if step.operator in smoke_tests])

    # --------------------------------------------------------------------------------------- decision and promotion

    @property
    def decision(self) -> xcom.DecisionXCom | None:
        """The decision; ``None`` before it."""
        return self._decision if self.run.xcom(queries.CHOOSE, queries.DECISION) else None

    @property
    def missing(self) -> list[str]:
        """Missing evidence."""
        return xcom.joined([self._metrics.missing, self._decision.missing])

    @property
    def approval(self) -> xcom.ApprovalXCom | None:
        """The response; ``None`` when no approval was required."""
        approval = self.run.value(xcom.ApprovalXCom, queries.APPROVE)
        return approval if approval.required else None

    @property
    def approval_task(self) -> str | None:
        """Id of the task that waits for an approver."""
        step = self.run.step(queries.APPROVE)
        return step.task_id if step is not None and step.state == "awaiting_input" else None

    @property
    def winner(self) -> str | None:
        """The checkpoint that was promoted, or else chosen."""
        return self.promoted.default_after or self._decision.winner

    @property
    def pass_rate(self) -> float | None:
        """Share of the cases that the winner passed, 0 to 1."""
        return next((c.pass_rate for c in self._decision.checkpoints if c.checkpoint_id == self.winner), None)

    @property
    def before(self) -> str | None:
        """The default checkpoint before this run changed it, or the one that it found."""
        return self.promoted.default_before if self.run.xcom(queries.SET_DEFAULT) else self._listed_default

    @property
    def promotion(self) -> str:
        """``pending``, ``set``, ``failed``, or ``unchanged`` when the run finished without it."""
        step = self.run.step(queries.SET_DEFAULT)
        found = {"success": "set", "failed": "failed"}.get(step.state or "") if step else None
        return found or ("pending" if self.run.is_live else "unchanged")

    @cached_property
    def default(self) -> DefaultCheckpoint:
        """The current default of the model; before the first promotion, the one that ``list_checkpoints`` found."""
        key, step = model_key(self.model), self.run.step(queries.SET_DEFAULT)
        if step is not None and step.state == "failed" and key not in self.defaults:
            return DefaultCheckpoint()  # it may have been set, and only the read-back failed
        own = current_defaults([self.promoted])
        return self.defaults.get(key) or own.get(key) or DefaultCheckpoint(self._listed_default)

    # ------------------------------------------------------------------------------------- model, copies and report

    @property
    def model(self) -> str | None:
        """Full name of the tuned model, from ``list_checkpoints`` or else from the job."""
        return xcom.text(self.run.xcom(queries.CHECKPOINTS, queries.TUNED_MODEL)) or self.run.progress.model

    @property
    def copied_model(self) -> str | None:
        """Full name of the copy that this run created."""
        return self.run.value(xcom.CopyXCom, queries.COPY).model

    @property
    def copies(self) -> list[tuple[str, xcom.CopyXCom | None]]:
        """The copies of the model: names, and what ``verify_copy`` read back; ``None`` before."""
        source = model_key(self.model)
        found: dict[str, xcom.CopyXCom | None] = {
            copy.model: copy
            for copy in (*self.verified_copies, self.run.value(xcom.CopyXCom, queries.VERIFY))
            if source and copy.model is not None and model_key(copy.source_model) == source
        }
        if self.copied_model is not None:
            found.setdefault(self.copied_model, None)
        return list(found.items())

    @property
    def report(self) -> str | None:
        """URI of the Markdown report."""
        return self.run.value(xcom.ReportXCom, queries.REPORT).report_markdown

    # --------------------------------------------------------------------------------------------------------- XComs

    @cached_property
    def _decision(self) -> xcom.DecisionXCom:
        return self.run.value(xcom.DecisionXCom, queries.CHOOSE, queries.DECISION)

    @cached_property
    def _metrics(self) -> xcom.MetricsXCom:
        return self.run.value(xcom.MetricsXCom, queries.METRICS)

    @cached_property
    def promoted(self) -> xcom.PromotionXCom:
        """What was read back after this run set the default."""
        return self.run.value(xcom.PromotionXCom, queries.SET_DEFAULT)

    @cached_property
    def _smoke_tests(self) -> list[xcom.SmokeTestXCom]:
        pushed = (step.xcom() for step in self.run.all_steps(queries.SMOKE_TEST))
        return list(filter(None, map(xcom.SmokeTestXCom.from_xcom, pushed)))

    @property
    def _listed_checkpoints(self) -> list[Any] | None:
        listed = self.run.xcom(queries.CHECKPOINTS)
        return listed if isinstance(listed, list) else None

    @property
    def _listed_default(self) -> str | None:
        return xcom.text(self.run.xcom(queries.CHECKPOINTS, queries.DEFAULT_CHECKPOINT))


def job_progress(job: xcom.ProgressXCom, since: datetime | None, now: datetime) -> JobProgress:
    """Return the progress of a job; the sensor started at ``since``, by Airflow's clock, as polls are."""
    done, epochs = job.completed_epochs, job.epoch_count
    share = min(done / epochs, 1.0) if done is not None and done >= 0 and epochs and epochs > 0 else None
    parts = []
    if done is not None:
        parts.append(f"epoch {done} of {epochs}" if epochs else f"epoch {done}")
    if job.completed_steps is not None:
        parts.append(f"step {job.completed_steps}")
    if not parts and job.phase:
        parts.append(job.phase.lower().replace("_", " "))
    left = None
    if share and since and job.at and job.at > since:
        # from the share at the last poll, so that an epoch that takes long does not change the estimate
        left = max((job.at - since).total_seconds() / share - (now - since).total_seconds(), 0.0)
    return JobProgress(share, left, ", ".join(parts))


def _number(report: CheckpointReport | xcom.SmokeTestXCom) -> tuple[int, str]:
    checkpoint_id = report.checkpoint_id
    return (int(checkpoint_id), "") if checkpoint_id.isdecimal() else (1 << 62, checkpoint_id)
