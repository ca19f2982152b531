"""Train and eval loss at each checkpoint's step, and the service's own evaluation of the checkpoints.

The names of the metrics are those of Google's guide to tuning metrics
(https://cloud.google.com/vertex-ai/generative-ai/docs/models/gemini-use-supervised-tuning#tuning_metrics). Missing
values are listed, one sentence each.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from gemini_tuning.core.text import shorten

if TYPE_CHECKING:
    from gemini_tuning.core.resources import Checkpoint

SERIES: Mapping[str, str] = {
    "train_loss": "/train_total_loss",
    "eval_loss": "/eval_total_loss",
    "eval_accuracy": "/eval_fraction_of_correct_next_step_preds",
}
"""Names of the metrics in this package and of their time series in the service."""
NO_VALIDATION = "no eval loss: the job has no validation dataset"
MAX_BYTES = 7_500  # of the XCom, as JSON
MAX_METRICS = 20  # of an evaluation, for each checkpoint
MAX_POINTS, MIN_POINTS = 50, 10  # of each curve
MAX_GAPS, MAX_GAP = 20, 480  # sentences, and characters of each
DIGITS = 6  # significant ones of a value on XCom


class Point(NamedTuple):
    """A metric's value after a training step. It may be infinite or NaN: training can diverge."""

    step: int
    value: float


@dataclass(frozen=True)
class Curve:
    """A metric over the training steps."""

    points: tuple[Point, ...] = ()  # by step, ascending, each step once, as :meth:`of` returns them

    @classmethod
    def of(cls, points: Iterable[tuple[int, float]]) -> Curve:
        """Return a curve of points as they were written; of a step that was written twice, the later value counts."""
        by_step = {step: Point(step, value) for step, value in points if step >= 0}
        return cls(tuple(by_step[step] for step in sorted(by_step)))

    def at(self, step: int | None) -> Point | None:
        """Return the point of a step, else the last one before it; ``None`` when the curve begins later."""
        if step is None:
            return None
        index = bisect_right(self.points, step, key=lambda point: point.step)
        return self.points[index - 1] if index else None

    def lacks(self, steps: Iterable[int]) -> bool:
        """Whether one of these steps has no point of its own."""
        return not {point.step for point in self.points}.issuperset(steps)

    def thinned(self, most: int, keep: Collection[int] = ()) -> list[Point]:
        """Return at most ``most`` finite points, evenly spread; first, last and lowest are always among them.

        Then come those of the steps to keep. With the lowest, a curve that rises again still shows it.
        """
        points = [point for point in self.points if math.isfinite(point.value)]
        if len(points) <= most:
            return points
        last = len(points) - 1
        lowest = min(range(len(points)), key=lambda index: points[index].value)
        kept = [index for index, point in enumerate(points) if point.step in keep]
        chosen = list(dict.fromkeys([0, last, lowest, *kept]))[:most]
        room = most - len(chosen)
        chosen += [last * number // (room + 1) for number in range(1, room + 1)]
        return [points[index] for index in sorted(set(chosen))]

    def pairs(self, most: int, keep: Collection[int] = ()) -> list[list[float]]:
        """Return the :meth:`thinned` points as they go to XCom: ``[[step, value], …]``."""
        return [[step, _rounded(value)] for step, value in self.thinned(most, keep)]


def summary(
    checkpoints: Sequence[Checkpoint],
    curves: Mapping[str, Curve],
    evaluations: Mapping[str, Mapping[str, float]],
    missing: Sequence[str],
) -> dict[str, Any]:
    """Return the XCom, below :data:`MAX_BYTES` for about ten checkpoints; ``missing`` also lists what did not fit.

    :param curves: available metrics by their names in :data:`SERIES`.
    :param evaluations: metrics of the service's own evaluation, by checkpoint id.
    :param missing: what is missing, one sentence each; the most important first.
    """
    result: dict[str, Any] = {}
    steps = {c.step for c in checkpoints if c.step is not None}
    for share in (1, 2, 4, 8):  # all that it may contain, a half, a quarter …, of the metrics even less
        metrics, points, gaps = MAX_METRICS // share**2, max(MAX_POINTS // share, MIN_POINTS), MAX_GAPS // share
        named = [shorten(gap, MAX_GAP // share) for gap in missing[:gaps]]
        if (cut := max(map(len, evaluations.values()), default=0) - metrics) > 0:
            named.append(f"{cut} more metrics of each evaluation, which do not fit")
        if len(missing) > gaps:
            named.append(f"{len(missing) - gaps} more, which do not fit")
        lines = {c.checkpoint_id: _line(c, curves, evaluations.get(c.checkpoint_id), metrics) for c in checkpoints}
        losses = {name: curves.get(name, Curve()).pairs(points, steps) for name in ("train_loss", "eval_loss")}
        result = {"checkpoints": lines, **losses, "missing": named}
        if len(json.dumps(result)) <= MAX_BYTES:
            break
    return result


def gaps_of_curves(curves: Mapping[str, Curve], *, validated: bool) -> list[str]:
    """Return a sentence for each metric that an experiment does not have."""
    gaps = []
    absent = {name: series for name, series in SERIES.items() if not (name in curves and curves[name].points)}
    for name, series in absent.items():
        if name.startswith("eval_") and not validated:
            gaps.append(NO_VALIDATION)
        elif name not in curves:
            gaps.append(f"no {_words(name)}: the job's experiment has no series {series}")
        else:
            gaps.append(f"no {_words(name)}: the series {series} of the job's experiment has no points")
    return list(dict.fromkeys(gaps))


def gaps_of_steps(checkpoints: Sequence[Checkpoint], curves: Mapping[str, Curve]) -> list[str]:
    """Return a sentence for the checkpoints without a value, or with the value of an earlier step."""
    without = [c.checkpoint_id for c in checkpoints if c.step is None]
    gaps = [f"no losses of checkpoint {', '.join(without)}: the service returned no step"] if without else []
    for name, curve in curves.items():
        if curve.points:
            gaps += _gaps_of_curve(checkpoints, _words(name), curve)
    return gaps


def _line(
    checkpoint: Checkpoint, curves: Mapping[str, Curve], evaluation: Mapping[str, float] | None, most: int
) -> dict[str, Any]:
    points = {name: curves.get(name, Curve()).at(checkpoint.step) for name in SERIES}
    there = {name: point for name, point in points.items() if point is not None and math.isfinite(point.value)}
    averages_first = sorted(evaluation or (), key=lambda name: not name.endswith("/AVERAGE"))[:most]
    return {
        **{name: _rounded(there[name].value) if name in there else None for name in SERIES},
        "from_step": {name: point.step for name, point in there.items() if point.step != checkpoint.step},
        "evaluation": {name: _rounded(evaluation[name]) for name in averages_first} if evaluation else None,
    }


def _gaps_of_curve(checkpoints: Sequence[Checkpoint], metric: str, curve: Curve) -> list[str]:
    early, odd = (
        f"no {metric}, as its curve begins at step {curve.points[0].step}",
        f"no {metric}, as it is not a finite number",
    )
    before = f"{metric} is from the last step before the checkpoint's own"
    found: dict[str, list[str]] = {early: [], odd: [], before: []}
    for each in (checkpoint for checkpoint in checkpoints if checkpoint.step is not None):
        point = curve.at(each.step)
        if point is None:
            found[early].append(f"checkpoint {each.checkpoint_id} (step {each.step})")
        elif not math.isfinite(point.value):
            found[odd].append(f"checkpoint {each.checkpoint_id} ({point.value} at step {point.step})")
        elif point.step != each.step:
            found[before].append(f"checkpoint {each.checkpoint_id} (step {point.step} for {each.step})")
    return [f"{what}: {', '.join(which)}" for what, which in found.items() if which]


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _words(name: str) -> str:
    return name.replace("_", " ")
