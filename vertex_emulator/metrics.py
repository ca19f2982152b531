"""The metrics of a tuning job, step by step. Pure functions.

Names: the guide's list of tuning metrics. The values follow the learner's rule, so a run looks like one that learns
and then overfits; nothing was measured.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from . import learner

MAX_POINTS = 1000
"""Points of a series in one reply; of longer ones, as many are picked (discovery document: maxDataPoints)."""


@dataclass(frozen=True, slots=True)
class Course:
    """What the curves of a job depend on.

    :param start: (virtual) time of the first step, in seconds since the epoch; ``end`` that of the last.
    :param earlier: epochs that the model had seen of the same file before.
    :param examples: of the training file.
    :param predictions: tokens predicted in a step.
    :param eval_predictions: the same in an evaluation; none without a validation dataset.
    """

    start: float
    end: float
    steps: int
    epochs: int
    earlier: float
    rate: float
    examples: int
    predictions: float
    eval_predictions: float | None

    def epochs_at(self, step: int) -> float:
        """Count the passes over the file that are completed after a step."""
        return self.earlier + self.epochs * step / self.steps

    def time_at(self, step: int) -> float:
        """When a step is done."""
        return self.start + (self.end - self.start) * step / self.steps


class Point(NamedTuple):
    """A value of a series."""

    at: float
    step: int
    value: float


Metric = Callable[[Course, int], float]

_TRAIN: Mapping[str, Metric] = {
    "/train_total_loss": lambda course, step: learner.train_loss(course.epochs_at(step), course.rate),
    "/train_fraction_of_correct_next_step_preds": lambda course, step: learner.train_skill(
        course.epochs_at(step), course.rate
    ),
    "/train_num_predictions": lambda course, _step: course.predictions,
}
_EVAL: Mapping[str, Metric] = {
    "/eval_total_loss": lambda course, step: learner.eval_loss(course.epochs_at(step), course.examples, course.rate),
    "/eval_fraction_of_correct_next_step_preds": lambda course, step: learner.eval_skill(
        course.epochs_at(step), course.examples, course.rate
    ),
    "/eval_num_predictions": lambda course, _step: course.eval_predictions or 0.0,
}


def series(course: Course) -> Mapping[str, Metric]:
    """Metrics by name; those of the evaluation only with a validation dataset (guide)."""
    return {**_TRAIN, **_EVAL} if course.eval_predictions is not None else _TRAIN


def points(course: Course, metric: Metric, steps: int, most: int) -> list[Point]:
    """Values of a metric at the steps done so far, the latest always among them.

    :param steps: number of steps done.
    :param most: how many points at most.
    """
    stride = max(1, -(-steps // most))
    chosen = range(steps, 0, -stride)
    return [Point(course.time_at(step), step, metric(course, step)) for step in reversed(chosen)]
