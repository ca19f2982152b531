"""Which checkpoint wins, and why. Pure; no I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from gemini_tuning.evidence import CaseOutcome, Contender, ResultError
from gemini_tuning.gates import Policy
from gemini_tuning.overfitting import LossCurves
from gemini_tuning.smoke_results import contender_from, outcomes_from_lines

__all__ = [
    "Assessment",
    "CaseOutcome",
    "Contender",
    "Decision",
    "LossCurves",
    "Policy",
    "ResultError",
    "contender_from",
    "decide",
    "outcomes_from_lines",
]

Outcome = Literal["promote", "keep_champion", "nobody"]


@dataclass(frozen=True)
class Assessment:
    """One checkpoint, with what speaks for and against it.

    :param pass_rate: share of the cases passed, by weight, 0 to 1; ``None`` when it could not be asked.
    :param pass_rate_interval: 95 % interval of it.
    :param score: mean of the cases' scores, by weight, 0 to 1.
    :param score_interval: 95 % interval of it.
    :param passed_gates: whether it may be chosen, by the policy or by a person.
    :param speaks_for: short sentences with figures.
    :param speaks_against: the same.
    """

    checkpoint_id: str
    epoch: int | None
    step: int | None
    pass_rate: float | None
    pass_rate_interval: tuple[float, float] | None
    score: float | None
    score_interval: tuple[float, float] | None
    latency_p95_ms: float | None
    train_loss: float | None
    eval_loss: float | None
    passed_gates: bool
    speaks_for: tuple[str, ...]
    speaks_against: tuple[str, ...]


@dataclass(frozen=True)
class Decision:
    """Which checkpoint wins.

    :param winner: checkpoint id, or ``None`` when nothing is to be promoted.
    :param outcome: ``promote``; ``keep_champion`` when there is a champion and nobody to replace it; ``nobody`` when
        there is no champion and nobody is good enough.
    :param reason: the decision in words.
    :param assessments: all checkpoints, best first.
    :param champion: the same of the current production model, when one answered.
    :param overfitting: where it began, in words; ``None`` when the losses show none.
    :param missing: evidence that was not there, one sentence each.
    """

    winner: str | None
    outcome: Outcome
    reason: str
    assessments: tuple[Assessment, ...]
    champion: Assessment | None = None
    overfitting: str | None = None
    missing: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the form that goes to XCom: plain JSON, under 8 KB with 10 checkpoints."""
        raise NotImplementedError


def decide(
    contenders: Iterable[Contender],
    policy: Policy,
    champion: Contender | None = None,
    curves: LossCurves | None = None,
) -> Decision:
    """Choose a checkpoint.

    :param champion: the current production model, which answered the same suite.
    :param curves: losses over all steps; without them those of the checkpoints are looked at.
    :raises ResultError: when a checkpoint is there twice, or two did not answer the same suite.
    """
    raise NotImplementedError
