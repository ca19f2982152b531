"""Where a tuning began to overfit, by its losses.

Reported, but never a gate: the loss is an average over tokens, and a checkpoint is chosen for its responses.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gemini_tuning.core.xcom import MetricsXCom
from gemini_tuning.selection.candidate import Candidate

TOLERANCE = 0.01  # a rise of the eval loss by less than this share of it is noise


@dataclass(frozen=True)
class TurningPoint:
    """Where the eval loss was lowest before it rose while the train loss still fell."""

    step: int  # of the lowest eval loss
    explanation: str  # one sentence with figures


class _Point(NamedTuple):
    step: int
    train: float
    eval: float


def find_turning_point(checkpoints: Sequence[Candidate], curves: MetricsXCom | None = None) -> TurningPoint | None:
    """Find where overfitting began; ``None`` when the losses show none, or are too few.

    By the losses at the checkpoints; by the curves when fewer than two checkpoints have both losses.
    """
    points = _at_checkpoints(checkpoints)
    if len(points) < 2 and curves is not None:
        points = _at_evaluations(curves)
    if len(points) < 2:
        return None
    lowest = min(points, key=lambda point: (point.eval, point.step))
    last = points[-1]
    if last.eval - lowest.eval <= TOLERANCE * abs(lowest.eval) or last.train >= lowest.train:
        return None
    return TurningPoint(
        lowest.step,
        f"Overfitting after {_where(lowest.step, checkpoints)}: eval loss rose from {lowest.eval:.4g} to "
        f"{last.eval:.4g} at step {last.step} while train loss still fell from {lowest.train:.4g} to {last.train:.4g}.",
    )


def _at_checkpoints(checkpoints: Iterable[Candidate]) -> list[_Point]:
    points = [
        _Point(c.step, c.train_loss, c.eval_loss)
        for c in checkpoints
        if c.step is not None and c.train_loss is not None and c.eval_loss is not None
    ]
    return sorted(points, key=lambda point: (point.step, point.eval))


def _at_evaluations(curves: MetricsXCom) -> list[_Point]:
    """Pair each eval loss with the train loss last known at its step."""
    train = sorted(curves.train_loss)
    steps = [step for step, _ in train]
    known = [(int(step), loss, bisect_right(steps, step)) for step, loss in sorted(curves.eval_loss)]
    return [_Point(step, train[before - 1][1], loss) for step, loss, before in known if before]


def _where(step: int, checkpoints: Iterable[Candidate]) -> str:
    reached = [c for c in checkpoints if c.step is not None and c.step <= step]
    if not reached:
        return f"step {step}, before the first checkpoint"
    last = max(reached, key=lambda c: c.order)
    if last.step == step:
        return f"{last.label} (step {step})"
    return f"step {step}, past {last.label} (step {last.step})"
