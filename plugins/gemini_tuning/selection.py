"""Which checkpoint wins, and why: pure functions, no I/O.

The rule: the highest score among the checkpoints whose pass rate reaches the minimum; of equal scores the earlier
checkpoint, because a later one that is no better has only had more time to overfit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from gemini_tuning.resources import checkpoint_id
from gemini_tuning.wording import said, shown

MAX_ERROR = 500  # characters of a checkpoint's error in the decision


class ResultError(ValueError):
    """The results of the smoke tests cannot be ranked; the message names the result and the field."""


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
        """Read what the smoke test pushed.

        :raises ResultError: naming the field.
        """
        if not isinstance(result, Mapping):
            raise ResultError(f"expected what the smoke test pushed, not {shown(result)}")
        try:
            identifier = checkpoint_id(result.get("checkpoint_id"), "result")
        except ValueError as error:
            raise ResultError(str(error)) from None
        why = result.get("error")
        return cls(
            checkpoint_id=identifier,
            epoch=_whole(result, "epoch"),
            step=_whole(result, "step"),
            score=_share(result),
            error=None if why is None else said(why, MAX_ERROR),
        )

    @property
    def has_score(self) -> bool:
        """Whether it was asked and scored; one that failed has none that counts."""
        return self.error is None and self.score is not None and 0 <= self.score <= 1

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


def read_results(results: object) -> list[Candidate]:
    """Read what the smoke tests pushed.

    :raises ResultError: naming the result, counted from 1, and its field.
    """
    if not isinstance(results, Iterable) or isinstance(results, str | bytes | Mapping):
        raise ResultError(f"results: expected a list of what the smoke tests pushed, not {shown(results)}")
    candidates = []
    for number, result in enumerate(results, 1):
        try:
            candidates.append(Candidate.from_mapping(result))
        except ResultError as error:
            raise ResultError(f"results, number {number}: {error}") from None
    return candidates


def choose(candidates: Iterable[Candidate], *, min_pass_rate: float) -> Decision:
    """Choose a checkpoint.

    :param min_pass_rate: 0 to 1; a checkpoint below it cannot win.
    :raises ResultError: when a checkpoint is there twice: which of its results would count?
    """
    ranking = tuple(sorted(candidates, key=_rank))
    if twice := [name for name, count in Counter(c.checkpoint_id for c in ranking).items() if count > 1]:
        raise ResultError(f"results: checkpoint {shown(twice[0])} is there more than once")
    passing = [c for c in ranking if c.has_score and c.score is not None and c.score >= min_pass_rate]
    if not ranking:
        return Decision(None, "No checkpoint wins: there are no results.", ranking)
    if not passing:
        return Decision(None, _nobody(ranking, min_pass_rate), ranking)
    winner = passing[0]
    return Decision(winner.checkpoint_id, _why(winner, ranking, min_pass_rate), ranking)


def _rank(candidate: Candidate) -> tuple[float, tuple[int, int, str]]:
    return (-candidate.score if candidate.has_score and candidate.score is not None else 1.0), candidate.age


def _whole(result: Mapping[str, Any], field: str) -> int | None:
    value = result.get(field)
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63):
        return value
    raise ResultError(f"{field}: {shown(value)} is not a whole number")


def _share(result: Mapping[str, Any]) -> float | None:
    value = result.get("score")
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
        return float(value)
    raise ResultError(f"score: {shown(value)} is not between 0 and 1")


def _label(candidate: Candidate) -> str:
    epoch = f" (epoch {candidate.epoch})" if candidate.epoch is not None else ""
    return f"checkpoint {candidate.checkpoint_id}{epoch}"


def _score(candidate: Candidate) -> str:
    return f"{candidate.score:.1%}" if candidate.has_score else "no answer"


def _nobody(ranking: tuple[Candidate, ...], min_pass_rate: float) -> str:
    best = ranking[0]
    if not best.has_score:
        return f"No checkpoint wins: none could be asked. C{_label(best)[1:]}: {best.error or 'no reason given'}."
    return f"No checkpoint wins: the best, {_label(best)}, scores {_score(best)}; the minimum is {min_pass_rate:.1%}."


def _why(winner: Candidate, ranking: tuple[Candidate, ...], min_pass_rate: float) -> str:
    others = [c for c in ranking if c is not winner]
    said = f"C{_label(winner)[1:]} wins with {_score(winner)} (minimum {min_pass_rate:.1%})"
    if not others:
        return f"{said}; it is the only checkpoint."
    tied = [c for c in others if c.has_score and c.score == winner.score]
    if tied:
        names = ", ".join(_label(c) for c in tied)
        return f"{said}. C{names[1:]} scores the same; the earlier one is less likely to be overfitted."
    last = max(ranking, key=lambda c: c.age)
    text = f"{said}; next is {_label(others[0])} with {_score(others[0])}."
    if last is not winner and last is not others[0]:
        text += f" The last one, {_label(last)}, scores {_score(last)}."
    return text
