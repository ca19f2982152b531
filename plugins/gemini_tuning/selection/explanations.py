"""Explanations of a decision: why this checkpoint, why not the others, what was unknown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from gemini_tuning.core.formatting import capitalize, counted, name, names, percent, points
from gemini_tuning.core.xcom import MetricsXCom
from gemini_tuning.selection.candidate import Candidate
from gemini_tuning.selection.gates import GateFinding, Policy, favorable, unfavorable
from gemini_tuning.selection.overfitting import TurningPoint
from gemini_tuning.selection.paired_test import Comparison

Rule = Literal["only one", "score", "eval loss", "earliest"]


@dataclass(frozen=True)
class Choice:
    """The winner among the eligible checkpoints."""

    winner: Candidate
    best: Candidate  # the one with the highest score; of equal ones the earliest
    rule: Rule  # what distinguishes the winner from those it was tied with
    tied: tuple[Candidate, ...]  # those that `best` is not significantly better than, and itself, the earliest first
    versus: Mapping[str, Comparison]  # `best` compared with each of the others, by checkpoint id
    significance: float  # level of the tests


def promotion(choice: Choice, versus_champion: Comparison | None) -> str:
    """Return why the winner won."""
    winner = choice.winner
    low, high = winner.pass_rate_interval
    sentences = [
        f"{capitalize(winner.label_with_epoch)} wins: it passes {percent(winner.pass_rate)} of the suite "
        f"(95%: {percent(low)} to {percent(high)}), score {winner.score:.3f}.",
        _why(choice),
    ]
    if versus_champion is not None:
        more = points(versus_champion.difference)
        sentences.append(f"It scores {more} more than the champion ({versus_champion.test}).")
    return " ".join(sentences)


def no_winner(ranking: Sequence[Candidate], problems: Sequence[str], champion: Candidate | None) -> str:
    """Return why no checkpoint won; the ranking has the best first, and the problems are what disqualifies it."""
    begin = "The champion stays" if champion else "No checkpoint wins"
    if champion is not None and not champion.was_tested:
        return f"{begin}: it could not be tested, so nothing can be shown to be better: {champion.failure}."
    if not ranking:
        return f"{begin}: there are no results."
    best = ranking[0]
    if not best.was_tested:
        return f"{begin}: no checkpoint could be tested. {capitalize(best.label)}: {best.failure}."
    return f"{begin}: no checkpoint passed all gates. The best, {best.label_with_epoch}, {'; '.join(problems)}."


def missing(field: Sequence[Candidate], policy: Policy, metrics: MetricsXCom | None) -> tuple[str, ...]:
    """Return the evidence that was missing, a sentence each; what could not be tested is reported elsewhere."""
    return (*_too_few_cases(field, policy), *_unknown(field), *(metrics.missing if metrics else ()))


def _too_few_cases(field: Sequence[Candidate], policy: Policy) -> list[str]:
    """Report a suite that is too small for a significant difference: m cases give no p-value below 2 in 2^m."""
    cases = max((len(candidate.cases) for candidate in field), default=0)
    needed = 1
    while 2.0 ** (1 - needed) >= policy.significance:
        needed += 1
    if not cases or cases >= needed:
        return []
    return [
        f"With {counted(cases, 'case')} no difference can be significant: p < {policy.significance:g} requires "
        f"differences in at least {needed} cases."
    ]


def _unknown(field: Sequence[Candidate]) -> list[str]:
    tested = [candidate for candidate in field if candidate.was_tested]
    lacks = {
        "eval loss": [candidate for candidate in tested if candidate.eval_loss is None],
        "train loss": [candidate for candidate in tested if candidate.train_loss is None],
        "latency": [candidate for candidate in tested if candidate.latency_p95_ms is None],
    }
    hints = {"eval loss": " (a job without a validation dataset has none)"}
    return [
        f"No {what} of any checkpoint{hints.get(what, '')}."
        if len(without) == len(tested)
        else f"No {what} of {_checkpoints(without)}."
        for what, without in lacks.items()
        if without
    ]


def _why(choice: Choice) -> str:
    if choice.rule == "only one":
        return "No other checkpoint passed all gates."
    if choice.rule == "score":
        second = min(choice.versus, key=lambda i: (choice.versus[i].difference, len(i), i))
        versus = choice.versus[second]
        return (
            "It is significantly better than all other eligible checkpoints; next is "
            f"checkpoint {name(second)}, {points(versus.difference)} behind ({versus.test})."
        )
    return f"{_tie(choice)}; of these it {_tie_rule(choice)}."


def _tie(choice: Choice) -> str:
    if choice.winner is choice.best:
        others = [candidate for candidate in choice.tied if candidate is not choice.winner]
        return f"It is not significantly better than {_checkpoints(others)}"
    best, versus = capitalize(choice.best.label), choice.versus[choice.winner.checkpoint_id]
    if not versus.difference:
        found = f"{best} scores the same"
    elif versus.p >= choice.significance:
        found = f"{best} scores {points(versus.difference)} more, but not significantly ({versus.test})"
    else:
        found = f"{best} scores {points(versus.difference)} more ({versus.test}), {_but_passes(versus, 'fewer')}"
    more = [candidate for candidate in choice.tied if candidate not in (choice.winner, choice.best)]
    return f"{found}, nor is it better than {_checkpoints(more)}" if more else found


def _tie_rule(choice: Choice) -> str:
    if choice.rule == "eval loss":
        return f"has the lowest eval loss, {choice.winner.eval_loss:.4g}"
    without = [candidate for candidate in choice.tied if candidate.eval_loss is None]
    why = f"the eval loss of {_checkpoints(without)} is unknown" if without else "several have the lowest eval loss"
    return f"is the earliest and the least likely to be overfitted ({why})"


def _but_passes(versus: Comparison, how_many: str) -> str:
    """Return why a significant score is not enough: see :mod:`gemini_tuning.selection.paired_test`."""
    return f"but passes significantly {how_many} cases ({versus.passes_test})"


def remarks(
    candidate: Candidate, field: Sequence[Candidate], choice: Choice | None, turning_point: TurningPoint | None
) -> tuple[GateFinding, ...]:
    """Return what else is known of a checkpoint of the field beside the gates."""
    found = _standing(candidate, choice) + _loss(candidate, field)
    if turning_point is not None and candidate.step is not None and candidate.step > turning_point.step:
        found.append(unfavorable(f"past step {turning_point.step}, after which eval loss rose"))
    return tuple(found)


def _loss(candidate: Candidate, field: Sequence[Candidate]) -> list[GateFinding]:
    if candidate.eval_loss is None:
        return []
    known = [other for other in field if other.eval_loss is not None]
    lowest = min(known, key=lambda other: (other.eval_loss, other.order))
    train = "" if candidate.train_loss is None else f" (train {candidate.train_loss:.4g})"
    text = f"eval loss {candidate.eval_loss:.4g}{train}"
    if candidate.eval_loss == lowest.eval_loss:
        return [favorable(f"{text}, the lowest" if len(known) > 1 else text)]
    return [unfavorable(f"{text}; the lowest is {lowest.eval_loss:.4g}, of {lowest.label}")]


def _standing(candidate: Candidate, choice: Choice | None) -> list[GateFinding]:
    if choice is None or (candidate is not choice.best and candidate.checkpoint_id not in choice.versus):
        return []
    winner, best = choice.winner.label, choice.best.label
    by_loss = choice.rule == "eval loss"
    preferred = "which has the lowest eval loss" if by_loss else "which is earlier"
    if candidate is choice.winner:
        return [favorable(_won(choice))]
    if candidate is choice.best:
        return [favorable("highest score"), unfavorable(f"not significantly better than {winner}, {preferred}")]
    versus = choice.versus[candidate.checkpoint_id]
    if candidate not in choice.tied:
        return [unfavorable(f"scores significantly less than {best}, by {points(versus.difference)} ({versus.test})")]
    text = f"as good as {best} ({versus.test})"
    if versus.p < choice.significance:
        text = f"scores less than {best} ({versus.test}), {_but_passes(versus, 'more')}"
    if choice.winner is choice.best:
        return [unfavorable(f"{text}, {preferred}")]
    what = "has the lowest eval loss" if by_loss else "is the earliest"
    return [unfavorable(f"{text}, but {winner} {what} of them")]


def _won(choice: Choice) -> str:
    if choice.rule == "only one":
        return "the only one that passed all gates"
    if choice.rule == "score":
        return "highest score, significantly"
    what = "lowest eval loss" if choice.rule == "eval loss" else "earliest"
    return f"{what} of the {len(choice.tied)} with the best results"


def _checkpoints(candidates: Sequence[Candidate]) -> str:
    ids = names([candidate.checkpoint_id for candidate in candidates])
    return f"checkpoint{'' if len(candidates) == 1 else 's'} {ids}"
