"""Which checkpoint wins, and why. Pure; no I/O.

The point of checkpoints is to ship the best one, not the last one; the point of a champion is to ship something better
than what is there, or nothing. So, in this order:

1. **All answered the same suite.** Otherwise nothing can be compared, and that is an error, not a decision.
2. **Gates** (:mod:`~gemini_tuning.selection.gates`). A checkpoint must have been asked, reach the minimum pass rate,
   pass every critical case, be quick enough, and have no answer held back by the service. Where there is a champion, it
   must not lose a critical case to it, not be significantly worse, and score higher: ties go to the champion, because
   every change costs something. With ``require_improvement`` it must be significantly better. A champion that could not
   be asked stays, as nothing can be shown to be better.
3. **The highest score** among those that are left: the mean of the cases' scores by weight, which is the pass rate
   where no case gives part marks.
4. **Ties.** Those that the best one is not significantly better than (:mod:`~gemini_tuning.selection.paired_test`) are
as
   good as it: among them a higher score is luck. The lowest eval loss wins, a measure over far more text than a suite
   has, but only when all of them have one: to compare some would favour those. Else, or when losses are equal, the
   earlier one wins: a later one that is no better has only had more time to overfit.
5. **Words only:** where overfitting began, what speaks for and against each, what evidence was missing.

The order in which the checkpoints come makes no difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gemini_tuning.selection import explanations as words
from gemini_tuning.selection.candidate import Candidate
from gemini_tuning.selection.choosing import Choice, choose
from gemini_tuning.selection.decision import Assessment, Decision, Outcome
from gemini_tuning.selection.gates import Finding, Policy, champion_gates, own_gates
from gemini_tuning.selection.overfitting import LossCurves, Turn, find_turn
from gemini_tuning.selection.paired_test import Comparison, compare
from gemini_tuning.selection.same_suite import require_same_suite, require_unique


def decide(
    contenders: Iterable[Candidate],
    policy: Policy,
    champion: Candidate | None = None,
    curves: LossCurves | None = None,
) -> Decision:
    """Choose a checkpoint.

    :param champion: the current production model, which was asked the same suite.
    :param curves: losses over all steps, for where the checkpoints' own are not known.
    :raises ResultError: when a checkpoint is there twice, or two that answered did not answer the same suite.
    """
    field = sorted(contenders, key=lambda contender: contender.age)
    require_unique(field)
    require_same_suite(field, champion)
    entries = [_enter(contender, policy, champion) for contender in field]
    eligible = [entry.contender for entry in entries if entry.passed_gates]
    choice = choose(eligible, policy.significance) if eligible else None
    turn = find_turn(field, curves)
    ranking = sorted(entries, key=lambda entry: _rank(entry, choice))
    return Decision(
        winner=choice.winner.checkpoint_id if choice else None,
        outcome=_outcome(choice, champion),
        reason=_reason(ranking, choice, champion),
        assessments=tuple(_assessed(entry, _remarks(entry.contender, field, choice, turn)) for entry in ranking),
        champion=_assessed(_Entry(champion, tuple(own_gates(champion, policy)))) if champion else None,
        overfitting=turn.words if turn else None,
        missing=words.missing(field, policy, curves),
    )


@dataclass(frozen=True)
class _Entry:
    """A checkpoint after the gates.

    :param versus: it compared with the champion, when both answered.
    """

    contender: Candidate
    findings: tuple[Finding, ...]
    versus: Comparison | None = None

    @property
    def passed_gates(self) -> bool:
        return not any(finding.bars for finding in self.findings)


def _enter(contender: Candidate, policy: Policy, champion: Candidate | None) -> _Entry:
    findings = own_gates(contender, policy)
    if champion is None:
        return _Entry(contender, tuple(findings))
    versus = compare(contender, champion) if contender.asked and champion.asked else None
    return _Entry(contender, (*findings, *champion_gates(champion, policy, versus)), versus)


def _rank(entry: _Entry, choice: Choice | None) -> tuple[object, ...]:
    """Sorts the winner first, then those it could have been, then those barred, then those that could not be asked."""
    contender = entry.contender
    won = choice is not None and contender is choice.winner
    return not won, not entry.passed_gates, not contender.asked, -contender.score, contender.age


def _outcome(choice: Choice | None, champion: Candidate | None) -> Outcome:
    if choice is not None:
        return "promote"
    return "keep_champion" if champion is not None else "nobody"


def _reason(ranking: Sequence[_Entry], choice: Choice | None, champion: Candidate | None) -> str:
    if choice is not None:
        return words.promotion(choice, ranking[0].versus)
    barred_by = [finding.text for finding in ranking[0].findings if finding.bars] if ranking else []
    return words.nobody([entry.contender for entry in ranking], barred_by, champion)


def _remarks(
    contender: Candidate, field: Sequence[Candidate], choice: Choice | None, turn: Turn | None
) -> list[Finding]:
    return [*words.standing(contender, choice), *words.losses(contender, field), *words.age(contender, turn)]


def _assessed(entry: _Entry, remarks: Sequence[Finding] = ()) -> Assessment:
    contender = entry.contender
    asked = contender.asked
    findings = sorted((*entry.findings, *remarks), key=lambda finding: not finding.bars)  # what counts comes first
    return Assessment(
        checkpoint_id=contender.checkpoint_id,
        epoch=contender.epoch,
        step=contender.step,
        pass_rate=contender.pass_rate if asked else None,
        pass_rate_interval=contender.pass_rate_interval if asked else None,
        score=contender.score if asked else None,
        score_interval=contender.score_interval if asked else None,
        latency_p95_ms=contender.latency_p95_ms,
        train_loss=contender.train_loss,
        eval_loss=contender.eval_loss,
        passed_gates=entry.passed_gates,
        speaks_for=tuple(finding.text for finding in findings if finding.good),
        speaks_against=tuple(finding.text for finding in findings if not finding.good),
    )
