"""Which checkpoint wins, and why.

The purpose of checkpoints is to ship the best one, not the last one; the purpose of a champion is to ship something
better than the model in production, or nothing. The steps, in this order:

1. **One suite.** All candidates must have been tested with the same suite. Otherwise they cannot be compared, which is
   an error and not a decision.
2. **Gates** (:mod:`~gemini_tuning.selection.gates`). A checkpoint must have been tested, reach the minimum pass rate,
   pass every critical case, be fast enough, and have no blocked response. If there is a champion, it must not lose a
   critical case to it, not be significantly worse, and score higher: ties go to the champion, because every change has
   a cost. With ``require_improvement`` it must be significantly better. A champion that could not be tested stays,
   because nothing can be shown to be better.
3. **The highest score** among the eligible ones: the weighted mean of the scores of the cases, which is the pass rate
   where no case gives partial credit.
4. **Ties.** Checkpoints that the best one is not significantly better than
   (:mod:`~gemini_tuning.selection.paired_test`) are as good as it: a higher score among them is chance. The lowest eval
   loss wins, which measures far more text than a suite, but only when all of them have one, as otherwise those without
   would be at a disadvantage. Else, or when losses are equal, the earlier one wins: a later one that is no better has
   only had more time to overfit.
5. **Explanations**, which decide nothing: where overfitting began, the reasons for and against each checkpoint, and
   which evidence was missing.

The order of the candidates makes no difference.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from gemini_tuning.core.case_outcomes import ResultError
from gemini_tuning.core.formatting import name, names
from gemini_tuning.core.text import short_repr
from gemini_tuning.core.xcom import MetricsXCom
from gemini_tuning.selection import explanations
from gemini_tuning.selection.candidate import Candidate
from gemini_tuning.selection.decision import Assessment, Decision
from gemini_tuning.selection.explanations import Choice, Rule
from gemini_tuning.selection.gates import Policy, champion_gates, own_gates
from gemini_tuning.selection.overfitting import find_turning_point
from gemini_tuning.selection.paired_test import compare


def decide(
    candidates: Iterable[Candidate],
    policy: Policy,
    champion: Candidate | None = None,
    metrics: MetricsXCom | None = None,
) -> Decision:
    """Choose a checkpoint.

    :param champion: the model in production, tested with the same suite.
    :param metrics: losses over all steps, used where those of the checkpoints are unknown; and which are missing.
    :raises ResultError: when a checkpoint occurs twice, or two were tested with different suites.
    """
    field = sorted(candidates, key=lambda candidate: candidate.order)
    _require_unique(field)
    _require_same_suite(field, champion)
    assessments = [_assess(candidate, policy, champion) for candidate in field]
    eligible = [each.candidate for each in assessments if each.passed_gates]
    choice = choose(eligible, policy.significance) if eligible else None
    turning_point = find_turning_point(field, metrics)
    assessments.sort(key=lambda each: _rank(each, choice))
    return Decision(
        winner=choice.winner.checkpoint_id if choice else None,
        outcome="promote" if choice else "keep_champion" if champion else "no_winner",
        reason=_reason(assessments, choice, champion),
        assessments=tuple(
            replace(each, findings=each.findings + explanations.remarks(each.candidate, field, choice, turning_point))
            for each in assessments
        ),
        champion=Assessment(champion, tuple(own_gates(champion, policy))) if champion else None,
        overfitting=turning_point.explanation if turning_point else None,
        missing=explanations.missing(field, policy, metrics),
    )


def _assess(candidate: Candidate, policy: Policy, champion: Candidate | None) -> Assessment:
    findings = own_gates(candidate, policy)
    if champion is None:
        return Assessment(candidate, tuple(findings))
    versus = compare(candidate, champion) if candidate.was_tested and champion.was_tested else None
    return Assessment(candidate, (*findings, *champion_gates(champion, policy, versus)), versus)


def choose(eligible: Sequence[Candidate], significance: float) -> Choice:
    """Choose among at least one by score, then by the rules for ties."""
    best = min(eligible, key=lambda candidate: (-candidate.score, candidate.order))
    others = [candidate for candidate in eligible if candidate is not best]
    versus = {other.checkpoint_id: compare(best, other) for other in others}
    tied = [best, *(other for other in others if not versus[other.checkpoint_id].is_better(significance))]
    tied.sort(key=lambda candidate: candidate.order)
    winner, rule = _break_tie(tied)
    if len(tied) == 1:
        rule = "score" if others else "only one"
    return Choice(winner, best, rule, tuple(tied), versus, significance)


def _break_tie(tied: Sequence[Candidate]) -> tuple[Candidate, Rule]:
    """Return the one with the lowest eval loss, if all have one and one is the lowest; else the earliest."""
    losses = [candidate.eval_loss for candidate in tied if candidate.eval_loss is not None]
    if len(losses) < len(tied):
        return tied[0], "earliest"
    lowest = [candidate for candidate in tied if candidate.eval_loss == min(losses)]
    return lowest[0], "eval loss" if len(lowest) == 1 else "earliest"


def _rank(assessment: Assessment, choice: Choice | None) -> tuple[object, ...]:
    """Sort the winner first, then the other eligible ones, then the rejected ones, those without results last."""
    candidate = assessment.candidate
    won = choice is not None and candidate is choice.winner
    return not won, not assessment.passed_gates, not candidate.was_tested, -candidate.score, candidate.order


def _reason(ranking: Sequence[Assessment], choice: Choice | None, champion: Candidate | None) -> str:
    if choice is not None:
        return explanations.promotion(choice, ranking[0].versus)
    problems = [finding.text for finding in ranking[0].findings if finding.is_disqualifying] if ranking else []
    return explanations.no_winner([assessment.candidate for assessment in ranking], problems, champion)


def _require_unique(candidates: Iterable[Candidate]) -> None:
    counts = Counter(candidate.checkpoint_id for candidate in candidates)
    if twice := [identifier for identifier, count in counts.items() if count > 1]:
        what = f"results: duplicate checkpoint {short_repr(twice[0])}."
        raise ResultError(what, field="results", code="duplicate_checkpoint")


def _require_same_suite(candidates: Iterable[Candidate], champion: Candidate | None) -> None:
    tested = [(f"checkpoint {short_repr(c.checkpoint_id)}", c) for c in candidates if c.was_tested]
    if champion is not None and champion.was_tested:
        tested.append(("the champion", champion))
    for label, candidate in tested[1:]:
        if problem := _suite_difference(candidate, tested[0][1]):
            raise ResultError(
                f"results: {label} and {tested[0][0]} were tested with different suites: {problem}.",
                field="results",
                code="different_suites",
                hint="Clear the smoke tests of both, so that they run the current suite.",
            )


def _suite_difference(one: Candidate, other: Candidate) -> str | None:
    if only := [case for case in one.cases if case not in other.outcomes]:
        return f"only the first has {names(only)}"
    if only := [case for case in other.cases if case not in one.outcomes]:
        return f"only the second has {names(only)}"
    for case, outcome in one.outcomes.items():
        second = other.outcomes[case]
        if (outcome.weight, outcome.critical) != (second.weight, second.critical):
            return f"case {name(case)} differs in weight or critical"
    fingerprints = {one.suite_fingerprint, other.suite_fingerprint} - {None}
    return "their fingerprints differ" if len(fingerprints) > 1 else None
