"""What a checkpoint has shown: its answers to the cases of a suite, its losses, its speed. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

from gemini_tuning.core.stats import score_interval, weighted_mean
from gemini_tuning.core.text import short_repr

MAX_WEIGHT = 1e9  # and its reciprocal: sums of weights stay exact enough
_DIGITS = 9  # of a share: 0.1 + 0.2 is no better than 0.3


class ResultError(ValueError):
    """The results of the smoke tests cannot be compared; the message names the file and line, or the field."""


@dataclass(frozen=True)
class CaseOutcome:
    """What came of one case of the suite for one checkpoint, its repeats joined.

    :param passed: whether it counts as passed.
    :param score: 0 to 1; with assertions that give no part marks it is 1 or 0.
    :param weight: 1e-9 to 1e9, the same for every checkpoint.
    :param critical: a checkpoint that fails it cannot be chosen.
    :param blocked: the service held back the prompt or an answer.
    :raises ResultError: when a number is outside its range.
    """

    passed: bool
    score: float
    weight: float = 1.0
    critical: bool = False
    blocked: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.score <= 1:
            raise ResultError(f"score: {short_repr(self.score)} is not between 0 and 1")
        if not 1 / MAX_WEIGHT <= self.weight <= MAX_WEIGHT:
            raise ResultError(f"weight: {short_repr(self.weight)} is not between {1 / MAX_WEIGHT:g} and {MAX_WEIGHT:g}")


@dataclass(frozen=True)
class Candidate:
    """A checkpoint, or the champion, with what it has shown.

    :param checkpoint_id: unique among the contenders; the champion's may be any.
    :param outcomes: by the case's id; empty when it could not be asked.
    :param latency_p95_ms: milliseconds that 95 % of its answers took at most; ``None`` when not measured.
    :param train_loss: at its step; ``None`` when not known.
    :param eval_loss: on the validation dataset at its step; ``None`` when not known.
    :param error: why it could not be asked; then its outcomes count for nothing.
    :param suite_fingerprint: of the suite that it answered, where known.
    :raises ResultError: when a loss or the latency is not a finite number.
    """

    checkpoint_id: str
    epoch: int | None = None
    step: int | None = None
    outcomes: Mapping[str, CaseOutcome] = field(default_factory=lambda: MappingProxyType({}))
    latency_p95_ms: float | None = None
    train_loss: float | None = None
    eval_loss: float | None = None
    error: str | None = None
    suite_fingerprint: str | None = None

    def __post_init__(self) -> None:
        for name in ("latency_p95_ms", "train_loss", "eval_loss"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise ResultError(
                    f"checkpoint {short_repr(self.checkpoint_id)}: {name}: {value} is not a finite number"
                )

    @property
    def asked(self) -> bool:
        """Whether there are answers that count."""
        return self.error is None and bool(self.outcomes)

    @property
    def age(self) -> tuple[int, int, str]:
        """Sorts the earlier checkpoint first; unknown steps go last, shorter ids before longer ones."""
        step = self.step if self.step is not None else 2**63
        return step, len(self.checkpoint_id), self.checkpoint_id

    @cached_property
    def cases(self) -> tuple[str, ...]:
        """Ids of the cases in an order that depends on nothing else."""
        return tuple(sorted(self.outcomes))

    @cached_property
    def pass_rate(self) -> float:
        """Share of the cases passed, by weight, 0 to 1; 0 when there are none."""
        return self._mean([float(outcome.passed) for outcome in self._in_order])

    @cached_property
    def score(self) -> float:
        """Mean of the cases' scores, by weight, 0 to 1; without part marks the same as the pass rate."""
        return self._mean([outcome.score for outcome in self._in_order])

    @cached_property
    def pass_rate_interval(self) -> tuple[float, float]:
        """95 % interval of the pass rate, see :func:`gemini_tuning.core.stats.score_interval`."""
        return score_interval([float(outcome.passed) for outcome in self._in_order], self._weights)

    @cached_property
    def score_interval(self) -> tuple[float, float]:
        """95 % interval of the score."""
        return score_interval([outcome.score for outcome in self._in_order], self._weights)

    @cached_property
    def failed_critical(self) -> tuple[str, ...]:
        """Ids of the critical cases it fails."""
        return tuple(i for i in self.cases if self.outcomes[i].critical and not self.outcomes[i].passed)

    @cached_property
    def blocked(self) -> tuple[str, ...]:
        """Ids of the cases whose prompt or answer was held back."""
        return tuple(i for i in self.cases if self.outcomes[i].blocked)

    @cached_property
    def _in_order(self) -> tuple[CaseOutcome, ...]:
        return tuple(self.outcomes[i] for i in self.cases)

    @cached_property
    def _weights(self) -> list[float]:
        return [outcome.weight for outcome in self._in_order]

    def _mean(self, values: list[float]) -> float:
        return round(weighted_mean(values, self._weights), _DIGITS) if values else 0.0
