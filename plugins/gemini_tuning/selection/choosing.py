"""Picks among the checkpoints that passed the gates; :mod:`gemini_tuning.selection` says why it is done so. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from gemini_tuning.selection.candidate import Candidate
from gemini_tuning.selection.paired_test import Comparison, compare

Rule = Literal["only one", "score", "eval loss", "age"]


@dataclass(frozen=True)
class Choice:
    """Who won, and over whom.

    :param best: the one with the highest score; of equal ones the earliest.
    :param rule: what told the winner from those it was tied with.
    :param tied: those that ``best`` is not significantly better than, with itself, the earliest first.
    :param versus: ``best`` compared with each other one, by checkpoint id.
    :param significance: by which they were told apart.
    """

    winner: Candidate
    best: Candidate
    rule: Rule
    tied: tuple[Candidate, ...]
    versus: Mapping[str, Comparison]
    significance: float


def choose(eligible: Sequence[Candidate], significance: float) -> Choice:
    """Pick one.

    :param eligible: at least one; all answered the same cases.
    """
    best = min(eligible, key=lambda contender: (-contender.score, contender.age))
    others = [contender for contender in eligible if contender is not best]
    versus = {other.checkpoint_id: compare(best, other) for other in others}
    tied = [best, *(other for other in others if not versus[other.checkpoint_id].is_better(significance))]
    tied.sort(key=lambda contender: contender.age)
    winner, rule = _settle(tied)
    if len(tied) == 1:
        rule = "score" if others else "only one"
    return Choice(winner, best, rule, tuple(tied), versus, significance)


def _settle(tied: Sequence[Candidate]) -> tuple[Candidate, Rule]:
    """Return the one with the lowest eval loss, where all have one and one is the lowest; else the earliest."""
    losses = [contender.eval_loss for contender in tied if contender.eval_loss is not None]
    if len(losses) < len(tied):
        return tied[0], "age"
    lowest = [contender for contender in tied if contender.eval_loss == min(losses)]
    return lowest[0], "eval loss" if len(lowest) == 1 else "age"
