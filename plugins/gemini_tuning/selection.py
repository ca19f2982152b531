"""Which checkpoint wins, and why: pure functions, no I/O.

The rule: the highest score among the checkpoints whose pass rate reaches the minimum; of equal scores the earlier
checkpoint, because a later one that is no better has only had more time to overfit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True)
class Candidate:
    """A checkpoint with what the smoke test found.

    :param score: weighted pass rate, 0 to 1; ``None`` when the checkpoint could not be asked.
    :param error: why it could not be asked.
    """

    checkpoint_id: str
    epoch: int | None
    step: int | None
    score: float | None
    error: str | None = None

    @classmethod
    def from_mapping(cls, result: Mapping[str, Any]) -> Self:
        """Read what the smoke test pushed."""
        return cls(
            checkpoint_id=str(result["checkpoint_id"]),
            epoch=result.get("epoch"),
            step=result.get("step"),
            score=result.get("score"),
            error=result.get("error"),
        )

    @property
    def age(self) -> tuple[int, int, str]:
        """Sorts the earlier checkpoint first; ids of unknown steps go last, shorter ones before longer ones."""
        step = self.step if self.step is not None else 2**63
        return step, len(self.checkpoint_id), self.checkpoint_id


@dataclass(frozen=True)
class Decision:
    """Which checkpoint wins.

    :param winner: checkpoint id, or ``None`` when no checkpoint is good enough.
    :param reason: the whole decision in words.
    :param ranking: all candidates, best first.
    """

    winner: str | None
    reason: str
    ranking: tuple[Candidate, ...]


def choose(candidates: Iterable[Candidate], *, min_pass_rate: float) -> Decision:
    """Choose a checkpoint.

    :param min_pass_rate: 0 to 1; a checkpoint below it cannot win.
    """
    ranking = tuple(sorted(candidates, key=lambda c: (-(c.score if c.score is not None else -1.0), c.age)))
    passing = [c for c in ranking if c.score is not None and c.score >= min_pass_rate]
    if not ranking:
        return Decision(None, "No checkpoint wins: there are no results.", ranking)
    if not passing:
        return Decision(None, _nobody(ranking, min_pass_rate), ranking)
    winner = passing[0]
    return Decision(winner.checkpoint_id, _why(winner, ranking, min_pass_rate), ranking)


def _label(candidate: Candidate) -> str:
    epoch = f" (epoch {candidate.epoch})" if candidate.epoch is not None else ""
    return f"checkpoint {candidate.checkpoint_id}{epoch}"


def _score(candidate: Candidate) -> str:
    return "no answer" if candidate.score is None else f"{candidate.score:.1%}"


def _nobody(ranking: tuple[Candidate, ...], min_pass_rate: float) -> str:
    best = ranking[0]
    if best.score is None:
        return f"No checkpoint wins: none could be asked. C{_label(best)[1:]}: {best.error or 'no reason given'}."
    return f"No checkpoint wins: the best, {_label(best)}, scores {_score(best)}; the minimum is {min_pass_rate:.1%}."


def _why(winner: Candidate, ranking: tuple[Candidate, ...], min_pass_rate: float) -> str:
    others = [c for c in ranking if c is not winner]
    said = f"C{_label(winner)[1:]} wins with {_score(winner)} (minimum {min_pass_rate:.1%})"
    if not others:
        return f"{said}; it is the only checkpoint."
    tied = [c for c in others if c.score == winner.score]
    if tied:
        names = ", ".join(_label(c) for c in tied)
        return f"{said}. C{names[1:]} scores the same; the earlier one is less likely to be overfitted."
    last = max(ranking, key=lambda c: c.age)
    text = f"{said}; next is {_label(others[0])} with {_score(others[0])}."
    if last is not winner and last is not others[0]:
        text += f" The last one, {_label(last)}, scores {_score(last)}."
    return text
