"""A decision in words: why this one, why not the others, what was not known. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from gemini_tuning.selection.candidate import Candidate
from gemini_tuning.selection.choosing import Choice
from gemini_tuning.selection.figures import (
    capital,
    counted,
    label,
    name,
    names,
    p_value,
    percent,
    points,
    tested,
    why_not_asked,
)
from gemini_tuning.selection.gates import Finding, Policy
from gemini_tuning.selection.overfitting import LossCurves, Turn
from gemini_tuning.selection.paired_test import Comparison

# ---------------------------------------------------------------------------------------- the whole


def promotion(choice: Choice, versus_champion: Comparison | None) -> str:
    """Say why the winner won."""
    winner = choice.winner
    low, high = winner.pass_rate_interval
    sentences = [
        f"{capital(label(winner, epoch=True))} wins: it passes {percent(winner.pass_rate)} of the suite "
        f"(95%: {percent(low)} to {percent(high)}), score {winner.score:.3f}.",
        _why(choice),
    ]
    if versus_champion is not None:
        sentences.append(
            f"It scores {points(versus_champion.difference)} more than the champion ({tested(versus_champion)})."
        )
    return " ".join(sentences)


def nobody(ranking: Sequence[Candidate], barred_by: Sequence[str], champion: Candidate | None) -> str:
    """Say why no checkpoint won.

    :param ranking: the best first.
    :param barred_by: the gates that the best one failed, in words.
    """
    begin = "The champion stays" if champion else "No checkpoint wins"
    if champion is not None and not champion.asked:
        return f"{begin}: it could not be asked, so nothing can be shown to be better: {why_not_asked(champion)}."
    if not ranking:
        return f"{begin}: there are no results."
    best = ranking[0]
    if not best.asked:
        return f"{begin}: no checkpoint could be asked. {capital(label(best))}: {why_not_asked(best)}."
    return f"{begin}: no checkpoint passed all gates. The best, {label(best, epoch=True)}, {'; '.join(barred_by)}."


def missing(field: Sequence[Candidate], policy: Policy, curves: LossCurves | None) -> tuple[str, ...]:
    """Name the evidence that was not there.

    :param field: all checkpoints; one that could not be asked is named elsewhere.
    """
    return (*_too_few(field, policy), *_unknown(field), *(curves.missing if curves else ()))


def _too_few(field: Sequence[Candidate], policy: Policy) -> list[str]:
    """Say when a suite is so small that nothing can come of it but a tie: m cases give no p-value below 2 in 2^m."""
    cases = max((len(contender.cases) for contender in field), default=0)
    needed = 1
    while 2.0 ** (1 - needed) >= policy.significance:
        needed += 1
    if not cases or cases >= needed:
        return []
    few, below = counted(cases, "case"), f"p < {policy.significance:g}"
    return [f"With {few} no difference can be significant: for {below} at least {needed} have to differ."]


def _unknown(field: Sequence[Candidate]) -> list[str]:
    asked = [contender for contender in field if contender.asked]
    lacks = {
        "eval loss": [contender for contender in asked if contender.eval_loss is None],
        "train loss": [contender for contender in asked if contender.train_loss is None],
        "latency": [contender for contender in asked if contender.latency_p95_ms is None],
    }
    hints = {"eval loss": " (a job without a validation dataset has none)"}
    return [
        f"No {what} of any checkpoint{hints.get(what, '')}."
        if len(without) == len(asked)
        else f"No {what} of {_checkpoints(without)}."
        for what, without in lacks.items()
        if without
    ]


def _why(choice: Choice) -> str:
    if choice.rule == "only one":
        return "No other passed all gates."
    if choice.rule == "score":
        second = min(choice.versus, key=lambda i: (choice.versus[i].difference, len(i), i))
        versus = choice.versus[second]
        return (
            "It is significantly better than all others that passed the gates; next is "
            f"checkpoint {name(second)}, {points(versus.difference)} behind ({tested(versus)})."
        )
    return f"{_tie(choice)}; of those it {_tie_rule(choice)}."


def _tie(choice: Choice) -> str:
    """Name those that the winner was tied with."""
    if choice.winner is choice.best:
        others = [contender for contender in choice.tied if contender is not choice.winner]
        return f"It is not significantly better than {_checkpoints(others)}"
    best, versus = capital(label(choice.best)), choice.versus[choice.winner.checkpoint_id]
    if not versus.difference:
        found = f"{best} scores the same"
    elif versus.p >= choice.significance:
        found = f"{best} scores {points(versus.difference)} more, but not significantly ({tested(versus)})"
    else:
        found = f"{best} scores {points(versus.difference)} more ({tested(versus)}), {_but_passes(versus, 'fewer')}"
    more = [contender for contender in choice.tied if contender not in (choice.winner, choice.best)]
    return f"{found}, nor is it better than {_checkpoints(more)}" if more else found


def _tie_rule(choice: Choice) -> str:
    if choice.rule == "eval loss":
        return f"has the lowest eval loss, {choice.winner.eval_loss:.4g}"
    without = [contender for contender in choice.tied if contender.eval_loss is None]
    why = f"no eval loss is known of {_checkpoints(without)}" if without else "more than one has the lowest eval loss"
    return f"is the earliest, the least likely to be overfitted ({why})"


# ----------------------------------------------------------------------------------- one checkpoint


def losses(contender: Candidate, field: Sequence[Candidate]) -> list[Finding]:
    """Say how its eval loss compares."""
    if contender.eval_loss is None:
        return []
    known = [other for other in field if other.eval_loss is not None]
    lowest = min(known, key=lambda other: (other.eval_loss, other.age))
    train = "" if contender.train_loss is None else f" (train {contender.train_loss:.4g})"
    text = f"eval loss {contender.eval_loss:.4g}{train}"
    if contender.eval_loss == lowest.eval_loss:
        return [Finding(f"{text}, the lowest" if len(known) > 1 else text, good=True)]
    return [Finding(f"{text}; the lowest is {lowest.eval_loss:.4g}, of {label(lowest)}", good=False)]


def age(contender: Candidate, turn: Turn | None) -> list[Finding]:
    """Say whether it comes after overfitting began."""
    if turn is None or contender.step is None or contender.step <= turn.step:
        return []
    return [Finding(f"past step {turn.step}, where eval loss turned up", good=False)]


def standing(contender: Candidate, choice: Choice | None) -> list[Finding]:
    """Say how it did among those that passed the gates."""
    if choice is None or (contender is not choice.best and contender.checkpoint_id not in choice.versus):
        return []
    if contender is choice.winner:
        return [_won(choice)]
    if contender is choice.best:
        return [
            Finding("highest score", good=True),
            Finding(f"not significantly better than {label(choice.winner)}, {_preferred(choice)}", good=False),
        ]
    versus = choice.versus[contender.checkpoint_id]
    if contender not in choice.tied:
        text = f"scores significantly less than {label(choice.best)}, by {points(versus.difference)} ({tested(versus)})"
        return [Finding(text, good=False)]
    text = f"as good as {label(choice.best)} ({tested(versus)})"
    if versus.p < choice.significance:
        text = f"scores less than {label(choice.best)} ({tested(versus)}), {_but_passes(versus, 'more')}"
    if choice.winner is choice.best:
        return [Finding(f"{text}, {_preferred(choice)}", good=False)]
    what = "has the lowest eval loss" if choice.rule == "eval loss" else "is the earliest"
    return [Finding(f"{text}, but {label(choice.winner)} {what} of them", good=False)]


def _but_passes(versus: Comparison, how_many: str) -> str:
    """Say why a significant score is not enough: see :mod:`gemini_tuning.selection.paired_test`."""
    return f"but passes significantly {how_many} cases ({p_value(versus.passes_p)}, exact McNemar)"


def _won(choice: Choice) -> Finding:
    if choice.rule == "only one":
        return Finding("the only one that passed all gates", good=True)
    if choice.rule == "score":
        return Finding("highest score, significantly", good=True)
    what = "lowest eval loss" if choice.rule == "eval loss" else "earliest"
    return Finding(f"{what} of the {len(choice.tied)} with the best results", good=True)


def _preferred(choice: Choice) -> str:
    return "which has the lowest eval loss" if choice.rule == "eval loss" else "which is earlier"


def _checkpoints(contenders: Sequence[Candidate]) -> str:
    ids = names([contender.checkpoint_id for contender in contenders])
    return f"checkpoint{'' if len(contenders) == 1 else 's'} {ids}"
