"""The decision as the report, the approver and the next tasks read it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from gemini_tuning.core.text import shorten

Outcome = Literal["promote", "keep_champion", "no_winner"]
NextStep = Literal["approve", "set_default", "publish", "report"]

MAX_BYTES = 7_700  # of the XCom with up to 10 checkpoints, to which the operator adds up to 300
CHECKPOINTS = 10  # each further one may add a tenth of that
# Sentences a side, characters of each, characters of the reason: the first that fits is taken.
_SIZES = (
    (12, 400, 1_500), (8, 240, 1_000), (8, 160, 800), (8, 120, 600), (7, 100, 500), (7, 80, 400), (6, 70, 350),
    (5, 60, 300), (3, 50, 250), (2, 40, 200), (0, 0, 80),
)  # fmt: skip

_DIGITS = {  # in the XCom
    "pass_rate": 4,
    "pass_rate_interval": 4,
    "score": 4,
    "score_interval": 4,
    "latency_p95_ms": 1,
    "train_loss": 5,
    "eval_loss": 5,
}


@dataclass(frozen=True)
class Assessment:
    """One checkpoint, with the reasons for and against it.

    :param pass_rate: weighted share of the cases that passed, 0 to 1; ``None`` when it could not be tested.
    :param pass_rate_interval: its 95 % interval.
    :param score: weighted mean of the scores, 0 to 1.
    :param score_interval: its 95 % interval.
    :param passed_gates: whether it is eligible, for the policy and for an approver.
    :param speaks_for: reasons for it: short sentences with figures, without their subject.
    :param speaks_against: reasons against it.
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

    def as_dict(self, sentences: int, characters: int) -> dict[str, Any]:
        """Return the XCom; the id is never cut, because later tasks need it."""
        return {
            **asdict(self),
            **{field: _rounded(getattr(self, field), digits) for field, digits in _DIGITS.items()},
            "speaks_for": _first(self.speaks_for, sentences, characters),
            "speaks_against": _first(self.speaks_against, sentences, characters),
        }


@dataclass(frozen=True)
class Decision:
    """Which checkpoint wins.

    :param winner: checkpoint id, or ``None`` when nothing is to be promoted.
    :param outcome: ``promote``; ``keep_champion`` when no checkpoint replaces the champion; ``no_winner`` when there is
        no champion and no eligible checkpoint.
    :param reason: explanation of the decision.
    :param assessments: all checkpoints, best first.
    :param champion: assessment of the model in production, if there is one.
    :param overfitting: where it began; ``None`` when the losses show none.
    :param missing: evidence that was missing, a sentence each.
    """

    winner: str | None
    outcome: Outcome
    reason: str
    assessments: tuple[Assessment, ...]
    champion: Assessment | None = None
    overfitting: str | None = None
    missing: tuple[str, ...] = ()

    def next_step(self, default_checkpoint_id: str | None, *, require_approval: bool) -> NextStep:
        """Return how the run continues.

        :param default_checkpoint_id: the model's current default checkpoint.
        :returns: ``report`` without a winner, ``approve`` when an approval is required, ``publish`` when the winner is
            already the default, else ``set_default``.
        """
        if self.winner is None:
            return "report"
        if require_approval:
            return "approve"
        return "publish" if self.winner == default_checkpoint_id else "set_default"

    def as_dict(self) -> dict[str, Any]:
        """Return the XCom: plain JSON, under 8 KB with 10 checkpoints and the champion.

        It has the figures of every checkpoint. When the explanations are too long, the last sentences of each list are
        left out and the longest are cut.
        """
        room = MAX_BYTES * max(CHECKPOINTS, len(self.assessments)) // CHECKPOINTS
        for size in _SIZES:
            found = self._as_dict(*size)
            if len(json.dumps(found)) < room:
                break
        return found

    def _as_dict(self, sentences: int, characters: int, of_reason: int) -> dict[str, Any]:
        return {
            "winner": self.winner,
            "outcome": self.outcome,
            "reason": shorten(self.reason, of_reason),
            "overfitting": shorten(self.overfitting, of_reason) if self.overfitting else None,
            "missing": _first(self.missing, sentences, characters),
            "champion": self.champion.as_dict(sentences, characters) if self.champion else None,
            "checkpoints": [assessment.as_dict(sentences, characters) for assessment in self.assessments],
        }


def _first(texts: tuple[str, ...], sentences: int, characters: int) -> list[str]:
    return [text if len(text) <= characters else f"{text[: characters - 1]}…" for text in texts[:sentences]]


def _rounded(value: float | tuple[float, ...] | None, digits: int) -> float | list[float] | None:
    if isinstance(value, tuple):
        return [round(bound, digits) for bound in value]
    return None if value is None else round(value, digits)
