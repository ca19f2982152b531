"""Progress of a run: tasks and tuning job, live on a terminal, else one line per change."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

STYLES = {
    "success": "green",
    "failed": "bold red",
    "upstream_failed": "red",
    "running": "yellow",
    "deferred": "magenta",
    "skipped": "dim",
}
NOTES = {"deferred": "no worker slot is held", "skipped": "not needed"}
PIPELINE = (
    "validate",
    "tune.create_tuning_job", "tune.wait_for_tuning_job",
    "evaluate.list_checkpoints", "evaluate.smoke_test", "evaluate.smoke_test_champion", "evaluate.read_metrics",
    "choose", "route",
    "promote.approve", "promote.set_default", "promote.publish",
    "copy.copy_model", "copy.verify_copy",
    "report",
)  # fmt: skip


@dataclass(frozen=True)
class Progress:
    """The tuning job as the emulator reports it."""

    state: str = "-"
    epoch: int = 0
    epochs: int = 0
    step: int = 0

    @classmethod
    def of(cls, job: Mapping[str, Any] | None) -> Progress:
        """Read the job's JSON; ``None`` is a job that is not there yet."""
        if job is None:
            return cls()
        done = job.get("tuningJobMetadata") or {}
        parameters = (job.get("supervisedTuningSpec") or {}).get("hyperParameters") or {}
        return cls(
            state=str(job["state"]).removeprefix("JOB_STATE_"),
            epoch=int(done.get("completedEpochCount") or 0),
            epochs=int(parameters.get("epochCount") or 0),
            step=int(done.get("completedStepCount") or 0),
        )

    def __str__(self) -> str:
        return f"{self.state}, epoch {self.epoch} of {self.epochs or '?'}, step {self.step}"


def task_states(instances: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return each task's state in the pipeline's order; mapped tasks as ``success 3/6``."""
    grouped: dict[str, list[str]] = {task: [] for task in PIPELINE}
    for instance in instances:
        grouped.setdefault(instance["task_id"], []).append(instance["state"] or "waiting")
    return {task: _joint_state(states) for task, states in grouped.items()}


def _joint_state(states: list[str]) -> str:
    if len(states) <= 1:
        return states[0] if states else "waiting"
    done = states.count("success")
    worst = next((s for s in ("failed", "upstream_failed", "running", "deferred", "queued") if s in states), None)
    return f"{worst or ('success' if done == len(states) else 'waiting')} {done}/{len(states)}"


class View:
    """Shows a run.

    :param console: where to.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._started = time.monotonic()
        self._live: Live | None = None
        self._shown: dict[str, str] = {}

    @contextmanager
    def showing(self) -> Iterator[None]:
        """Keep the live display on the terminal during the run."""
        if not self.console.is_terminal:
            yield
            return
        with Live(console=self.console, refresh_per_second=8, transient=False) as self._live:
            yield
        self._live = None

    def update(self, tasks: Mapping[str, str], progress: Progress) -> None:
        """Show the present state."""
        if self._live is not None:
            self._live.update(self._picture(tasks, progress))
            return
        for name, state in tasks.items():
            self._line(name, state, state)
        if progress.state != "-":
            self._line("tuning job", str(progress), f"{progress.state} {progress.epoch}")

    def _line(self, name: str, text: str, change: str) -> None:
        if self._shown.get(name, "waiting") != change:
            self.console.print(f"[{time.monotonic() - self._started:5.1f} s] {name}: {text}", markup=False)
        self._shown[name] = change

    def _picture(self, tasks: Mapping[str, str], progress: Progress) -> RenderableType:
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        for task, state in tasks.items():
            word = state.split()[0]
            table.add_row(task, Text(state, style=STYLES.get(word, "")), Text(NOTES.get(word, ""), style="dim"))
        bar = Table.grid(padding=(0, 2))
        bar.add_row(
            "tuning job", ProgressBar(total=max(progress.epochs, 1), completed=progress.epoch, width=40), str(progress)
        )
        return Group(table, Text(), bar)


def checkpoint_table(summary: Mapping[str, Any]) -> Table:
    """Return the checkpoints with what is known of them."""
    table = Table(title="Checkpoints", title_justify="left")
    for heading in ("", "epoch", "step", "passed", "score (95 %)", "p95", "eval loss", ""):
        table.add_column(heading, justify="left" if heading in ("", "score (95 %)") else "right")
    for c in summary["checkpoints"]:
        marks = [
            word
            for word, key in (("winner", "winner"), ("default before", "default_before"), ("default", "default_after"))
            if c["checkpoint_id"] == summary[key]
        ]
        row = (
            c["checkpoint_id"],
            str(c["epoch"]),
            str(c["step"]),
            f"{c['passed']}/{c['cases']}",
            _score(c),
            f"{c['latency_ms']['p95']:.0f} ms" if c["latency_ms"]["p95"] is not None else "-",
            "-" if c["eval_loss"] is None else f"{c['eval_loss']:.3f}",
            ", ".join(marks),
        )
        table.add_row(*row, style="bold green" if c["checkpoint_id"] == summary["winner"] else "")
    return table


def _score(checkpoint: Mapping[str, Any]) -> str:
    if checkpoint["score"] is None:
        return "-"
    low, high = checkpoint["score_interval"]
    return f"{checkpoint['score']:.1%} ({low:.0%} to {high:.0%})"
