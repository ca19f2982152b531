"""What a checkpoint has shown: its answers to the cases of a suite, its losses, its speed. Pure; no I/O.

The results file is the evidence; a smoke test's summary on XCom says where it lies and what does not stand in it. Both
come from another task, maybe from another version of this code, so every field is looked at before it counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, Self

MAX_ERROR = 500  # characters of why a checkpoint could not be asked


class ResultError(ValueError):
    """The results of the smoke tests cannot be compared; the message names the file and line, or the field."""


@dataclass(frozen=True)
class CaseOutcome:
    """What came of one case of the suite for one checkpoint, its repeats joined.

    :param passed: whether it counts as passed.
    :param score: 0 to 1; with assertions that give no part marks it is 1 or 0.
    :param weight: above 0, the same for every checkpoint.
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
            raise ResultError(f"score: {self.score} is not between 0 and 1")
        if not 0 < self.weight < math.inf:
            raise ResultError(f"weight: {self.weight} is not above 0")


@dataclass(frozen=True)
class Contender:
    """A checkpoint, or the champion, with what it has shown.

    :param checkpoint_id: unique among the contenders; the champion's may be any.
    :param outcomes: by the case's id; empty when it could not be asked.
    :param latency_p95_ms: milliseconds that 95 % of its answers took at most; ``None`` when not measured.
    :param train_loss: at its step; ``None`` when not known.
    :param eval_loss: on the validation dataset at its step; ``None`` when not known.
    :param error: why it could not be asked; then its outcomes count for nothing.
    :param suite_fingerprint: of the suite that it answered, where known.
    :raises ResultError: when a number is not finite, or negative where it can't be.
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


def contender_from(
    summary: Mapping[str, Any], outcomes: Mapping[str, CaseOutcome], losses: Mapping[str, Any] | None = None
) -> Contender:
    """Read a smoke test's summary.

    :param summary: ``checkpoint_id``, ``epoch``, ``step``, ``cases``, ``latency_ms``, ``suite_fingerprint``, ``error``.
    :param outcomes: of its results file; may be empty when the summary has an error.
    :param losses: ``train_loss`` and ``eval_loss`` at its step, as far as they are known.
    :raises ResultError: naming the field.
    """
    raise NotImplementedError


def outcomes_from_lines(lines: Iterable[bytes], source: str) -> dict[str, CaseOutcome]:
    """Read a results file: one JSON object a line, one for each case and repeat.

    Repeats of a case are joined: it passes when more than half of its answers pass, a critical one only when all do;
    its score is their mean; it counts as blocked when one of them was.

    :param source: the file's address, for messages.
    :raises ResultError: naming file and line.
    """
    raise NotImplementedError
