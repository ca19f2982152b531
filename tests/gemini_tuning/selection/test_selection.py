"""The policy: every gate, tie rule and champion rule by a worked example; then what must hold for any results.

p-values by hand: of m cases that differ, k for the weaker one, 2 · (C(m,0) + … + C(m,k)) / 2^m. So 5 to 0 is 0.0625 and
6 to 0 is 0.03125: six cases of one mind are what it takes.
"""

import dataclasses
import json
import random
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats

from gemini_tuning.core.case_outcomes import CaseOutcome, ResultError
from gemini_tuning.core.exceptions import InvalidInputError
from gemini_tuning.core.xcom import MetricsXCom
from gemini_tuning.selection.candidate import Candidate
from gemini_tuning.selection.decide import decide
from gemini_tuning.selection.gates import Policy
from tests.gemini_tuning.selection.policy_examples import checkpoint, unusable

ANY = Policy(min_pass_rate=0)


def the(decision, identifier):
    return next(a for a in decision.assessments if a.candidate.checkpoint_id == identifier)


def against(decision, identifier) -> str:
    return "; ".join(the(decision, identifier).speaks_against)


def favour(decision, identifier) -> str:
    return "; ".join(the(decision, identifier).speaks_for)


# -------------------------------------------------------------------------------------------- gates


def test_a_pass_rate_equal_to_the_minimum_is_enough(snapshot):
    decision = decide([checkpoint("1", "1111011110")], Policy(min_pass_rate=0.8))
    assert decision.winner == "1"
    assert favour(decision, "1") == snapshot


def test_a_pass_rate_below_the_minimum_is_not(snapshot):
    decision = decide([checkpoint("1", "1110011110")], Policy(min_pass_rate=0.8))
    assert (decision.winner, decision.outcome) == (None, "no_winner")
    assert not the(decision, "1").passed_gates
    assert against(decision, "1") == snapshot
    assert decision.reason == snapshot


def test_a_case_counts_by_its_weight():
    """Weights 3 and 1: the heavy case alone is 75 %, the light one 25 %."""
    heavy, light = checkpoint("1", "10", weights=(3, 1)), checkpoint("2", "01", weights=(3, 1))
    assert decide([heavy, light], Policy(min_pass_rate=0.75)).winner == "1"
    assert the(decide([heavy, light], ANY), "2").candidate.pass_rate == 0.25


def test_figures_that_differ_are_written_so_that_they_differ(snapshot):
    decision = decide([checkpoint("1", "1" * 1999 + "0" * 501)], Policy(min_pass_rate=0.8))  # 79.96 %
    assert against(decision, "1") == snapshot


def test_rounding_fails_nobody():
    """In floats eight times 0.7 by ten times 0.7 is less than 0.8."""
    assert sum([0.7] * 8) / sum([0.7] * 10) < 0.8
    assert decide([checkpoint("1", "1111111100", weights=(0.7,) * 10)], Policy(min_pass_rate=0.8)).winner == "1"


def test_a_critical_case_bars_whatever_the_score(snapshot):
    good, better = (
        checkpoint("1", "1" * 12 + "0" * 8, critical=(0, 1)),
        checkpoint("2", "01" + "1" * 18, critical=(0, 1)),
    )
    decision = decide([good, better], ANY)
    assert decision.winner == "1"
    assert against(decision, "2") == snapshot
    assert favour(decision, "1") == snapshot


def test_many_critical_cases_are_counted_and_a_few_are_named(snapshot):
    decision = decide([checkpoint("1", "0" * 30, critical=range(30))], ANY)
    assert against(decision, "1") == snapshot


@pytest.mark.parametrize(("latency", "passes"), [(2_999.0, True), (3_000.0, True), (3_000.4, False), (None, False)])
def test_latency(latency, passes, snapshot):
    decision = decide([checkpoint("1", "11", latency_p95_ms=latency)], Policy(max_latency_p95_ms=3_000))
    assert the(decision, "1").passed_gates is passes
    assert (favour if passes else against)(decision, "1") == snapshot


def test_without_a_limit_latency_is_told_and_bars_nobody(snapshot):
    assert favour(decide([checkpoint("1", "1", latency_p95_ms=9_000.0)], ANY), "1") == snapshot
    assert decide([checkpoint("1", "1")], ANY).winner == "1"


def test_an_answer_held_back_bars_unless_it_is_allowed(snapshot):
    blocked = checkpoint("1", "1111", blocked=(2,))
    decision = decide([blocked], ANY)
    assert decision.winner is None
    assert against(decision, "1") == snapshot
    decision = decide([blocked], Policy(allow_blocked=True))
    assert decision.winner == "1"
    assert against(decision, "1") == snapshot


def test_one_that_could_not_be_asked_does_not_stop_the_others(snapshot):
    decision = decide([unusable("1"), checkpoint("2", "1010")], ANY)
    assert decision.winner == "2"
    assert against(decision, "1") == snapshot
    pushed = decision.as_dict()["checkpoints"][1]
    assert (pushed["checkpoint_id"], pushed["pass_rate"], pushed["score_interval"]) == ("1", None, None)


def test_answers_of_one_with_an_error_count_for_nothing():
    broken = dataclasses.replace(checkpoint("1", "1111"), error="gone")
    assert decide([broken, checkpoint("2", "10")], ANY).winner == "2"


def test_nobody_could_be_asked(snapshot):
    decision = decide([unusable("1"), unusable("2")], ANY)
    assert decision.outcome == "no_winner"
    assert decision.reason == snapshot


def test_there_is_nobody(snapshot):
    assert decide([], ANY).reason == snapshot
    assert decide([], ANY, champion=checkpoint("p", "1")).outcome == "keep_champion"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("min_pass_rate", 1.1),
        ("min_pass_rate", float("nan")),
        ("significance", 0),
        ("significance", 1.0),
        ("max_latency_p95_ms", 0),
        ("max_latency_p95_ms", float("inf")),
    ],
)
def test_policy_out_of_range_is_refused(field, value, snapshot):
    with pytest.raises(InvalidInputError) as error:
        Policy(**{field: value})
    assert (error.value.field, error.value.code) == (field, "out_of_range")
    assert str(error.value) == snapshot


# ----------------------------------------------------------------------------------- the same suite


@pytest.mark.parametrize(
    "other",
    [
        checkpoint("2", "11"),
        checkpoint("2", "1" * 10),
        checkpoint("2", "111", weights=(1, 2, 1)),
        checkpoint("2", "111", critical=(2,)),
        checkpoint("2", "111", suite_fingerprint="b"),
    ],
    ids=["fewer cases", "more cases", "weight", "critical", "fingerprint"],
)
def test_results_of_different_suites_are_not_compared(other, snapshot):
    first = checkpoint("1", "111", suite_fingerprint="a")
    with pytest.raises(ResultError) as error:
        decide([other, first], ANY)
    assert (error.value.field, error.value.code) == ("results", "different_suites")
    assert str(error.value) == snapshot
    with pytest.raises(ResultError) as error:
        decide([first], ANY, champion=other)
    assert error.value.code == "different_suites"
    assert str(error.value) == snapshot


def test_one_that_could_not_be_asked_need_not_have_answered_the_same():
    assert decide([checkpoint("1", "111"), unusable("2")], ANY, champion=unusable("9")).outcome == "keep_champion"


def test_two_results_of_one_checkpoint_are_refused(snapshot):
    with pytest.raises(ResultError) as error:
        decide([checkpoint("1", "1"), checkpoint("1", "0")], ANY)
    assert (error.value.field, error.value.code) == ("results", "duplicate_checkpoint")
    assert str(error.value) == snapshot


# ------------------------------------------------------------------------------------ score and ties


def test_a_significantly_higher_score_wins_whatever_the_loss(snapshot):
    """6 to 0: p = 2/64 = 0.03125."""
    early, late = checkpoint("1", "1111000000", eval_loss=0.1), checkpoint("2", "1111111111", eval_loss=0.9)
    decision = decide([early, late], ANY)
    assert decision.winner == "2"
    assert decision.reason == snapshot
    assert against(decision, "1") == snapshot


def test_a_higher_score_by_chance_is_a_tie_and_the_earlier_wins(snapshot):
    """5 to 0: p = 2/32 = 0.0625."""
    decision = decide([checkpoint("1", "1111100000"), checkpoint("2", "1111111111")], ANY)
    assert decision.winner == "1"
    assert decision.reason == snapshot
    assert [a.candidate.checkpoint_id for a in decision.assessments] == ["1", "2"]
    assert favour(decision, "2") == snapshot
    assert against(decision, "2") == snapshot


def test_significance_is_a_parameter():
    field = [checkpoint("1", "1111100000"), checkpoint("2", "1111111111")]
    assert decide(field, Policy(min_pass_rate=0, significance=0.07)).winner == "2"


def test_a_p_value_equal_to_the_significance_is_not_below_it():
    field = [checkpoint("1", "1111000000"), checkpoint("2", "1111111111")]
    assert decide(field, Policy(min_pass_rate=0, significance=0.03125)).winner == "1"


def test_of_a_tie_the_lower_eval_loss_wins(snapshot):
    field = [
        checkpoint("1", "1110", eval_loss=0.5),
        checkpoint("2", "1101", eval_loss=0.3),
        checkpoint("3", "1111", eval_loss=0.4),
    ]
    decision = decide(field, ANY)
    assert decision.winner == "2"
    assert decision.reason == snapshot
    assert against(decision, "1") == snapshot
    assert favour(decision, "2") == snapshot


def test_the_best_score_with_the_lowest_loss(snapshot):
    decision = decide([checkpoint("1", "10", eval_loss=0.5), checkpoint("2", "11", eval_loss=0.3)], ANY)
    assert decision.winner == "2"
    assert decision.reason == snapshot
    assert against(decision, "1") == snapshot


def test_an_eval_loss_that_not_all_have_decides_nothing(snapshot):
    field = [checkpoint("1", "10"), checkpoint("2", "11", eval_loss=0.3), checkpoint("3", "11", eval_loss=0.2)]
    decision = decide(field, ANY)
    assert decision.winner == "1"
    assert decision.reason == snapshot
    assert decision.missing == snapshot


def test_the_eval_loss_of_one_outside_the_tie_is_not_needed():
    weak = checkpoint("1", "0000000000")
    field = [weak, checkpoint("2", "1111111110", eval_loss=0.3), checkpoint("3", "1111111111", eval_loss=0.2)]
    assert decide(field, ANY).winner == "3"


def test_one_outside_the_tie_does_not_win_by_its_loss():
    weak = checkpoint("1", "1111000000", eval_loss=0.01)
    field = [weak, checkpoint("2", "1111111111", eval_loss=0.3), checkpoint("3", "1111111111", eval_loss=0.4)]
    assert decide(field, ANY).winner == "2"


def test_of_equal_losses_the_earlier_wins(snapshot):
    field = [
        checkpoint("10", "11", eval_loss=0.3),
        checkpoint("2", "11", eval_loss=0.3),
        checkpoint("1", "11", eval_loss=0.4),
    ]
    decision = decide(field, ANY)
    assert decision.winner == "2"
    assert decision.reason == snapshot


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"identifier": "9", "step": 10}, {"identifier": "2", "step": 20}),
        ({"identifier": "9", "step": 10}, {"identifier": "2", "step": None}),
        ({"identifier": "9", "step": None}, {"identifier": "10", "step": None}),
        ({"identifier": "2", "step": 10}, {"identifier": "9", "step": 10}),
    ],
    ids=["step", "unknown step", "shorter id", "id"],
)
def test_earlier_is_by_step_then_by_id(one, other):
    assert decide([checkpoint(pattern="1", **other), checkpoint(pattern="1", **one)], ANY).winner == one["identifier"]


def test_part_marks_count(snapshot):
    """12 of 20 cases half a mark better: the sign of twelve of one mind, p = 2/4096."""
    early, late = checkpoint("1", "0" * 12 + "1" * 8), checkpoint("2", "h" * 12 + "1" * 8)
    decision = decide([early, late], ANY)
    assert decision.winner == "2"
    assert the(decision, "2").candidate.score == 0.7
    assert favour(decision, "2") == snapshot


def test_weights_are_tested_by_bootstrap(snapshot):
    """Two heavy cases against six light ones: McNemar alone would call the lighter side the better one (p = 0.03 with
    eight to two, which weights of 10 turn round); by weight it is 20 to 8 and no more than chance."""
    weights = (10, 10, *[1] * 10)
    heavy = checkpoint("2", "11" + "0" * 8 + "11", weights=weights)
    light = checkpoint("1", "00" + "1" * 8 + "11", weights=weights)
    decision = decide([heavy, light], ANY)
    assert the(decision, "2").candidate.score > the(decision, "1").candidate.score
    assert decision.reason == snapshot
    assert decision.winner == "1"


def test_part_marks_won_by_losing_whole_cases_make_a_tie(snapshot):
    """By score 2 (50 of 100 half a mark better, 10 a whole one worse), by passes 1 (10 to 0, p = 2/1024)."""
    one, two = checkpoint("1", "0" * 50 + "1" * 50), checkpoint("2", "h" * 50 + "0" * 10 + "1" * 40)
    decision = decide([one, two], ANY)
    assert the(decision, "2").candidate.score == 0.65
    assert decision.winner == "1"
    assert decision.reason == snapshot
    better = (
        checkpoint("1", "0" * 50 + "1" * 50, eval_loss=0.5),
        checkpoint("2", "h" * 50 + "0" * 10 + "1" * 40, eval_loss=0.4),
    )
    decision = decide(better, ANY)
    assert decision.winner == "2"
    assert against(decision, "1") == snapshot


# ----------------------------------------------------------------------------------------- champion


def test_better_than_the_champion_though_not_significantly_is_enough(snapshot):
    decision = decide([checkpoint("1", "1111")], ANY, champion=checkpoint("7", "1110"))
    assert (decision.winner, decision.outcome) == ("1", "promote")
    assert favour(decision, "1") == snapshot
    assert decision.reason == snapshot
    assert decision.champion.candidate.pass_rate == 0.75


def test_the_champion_wins_ties(snapshot):
    decision = decide([checkpoint("1", "1101")], ANY, champion=checkpoint("1", "1110"))
    assert (decision.winner, decision.outcome) == (None, "keep_champion")
    assert against(decision, "1") == snapshot
    assert decision.reason == snapshot


def test_a_tie_is_a_tie_in_floats():
    """0.1 + 0.2 against 0.3."""
    weights = (0.1, 0.2, 0.3)
    for champion, candidate in (("110", "001"), ("001", "110")):
        decision = decide(
            [checkpoint("1", candidate, weights=weights)], ANY, checkpoint("p", champion, weights=weights)
        )
        assert decision.outcome == "keep_champion"


@pytest.mark.parametrize(("gained", "outcome"), [(5, "keep_champion"), (6, "promote")])
def test_with_require_improvement_it_must_be_significantly_better(gained, outcome, snapshot):
    champion, candidate = checkpoint("p", "0" * gained + "1" * 4), checkpoint("1", "1" * (gained + 4))
    decision = decide([candidate], Policy(require_improvement=True), champion)
    assert decision.outcome == outcome
    if gained == 5:
        assert against(decision, "1") == snapshot
    else:
        assert favour(decision, "1") == snapshot


def test_without_a_champion_there_is_nothing_to_improve_on():
    assert decide([checkpoint("1", "1111")], Policy(require_improvement=True)).outcome == "promote"


def test_worse_than_the_champion(snapshot):
    decision = decide([checkpoint("1", "1110")], ANY, champion=checkpoint("p", "1111"))
    assert against(decision, "1") == snapshot
    decision = decide([checkpoint("1", "0" * 10)], ANY, champion=checkpoint("p", "1" * 10))
    assert against(decision, "1") == snapshot
    assert decision.outcome == "keep_champion"


def test_a_critical_case_lost_to_the_champion_is_named(snapshot):
    candidate, champion = checkpoint("1", "0111", critical=(0,)), checkpoint("p", "1100", critical=(0,))
    decision = decide([candidate], ANY, champion)
    assert decision.outcome == "keep_champion"
    assert against(decision, "1") == snapshot


def test_a_champion_that_fails_a_critical_case_is_no_excuse():
    candidate, champion = checkpoint("1", "0111", critical=(0,)), checkpoint("p", "0100", critical=(0,))
    assert decide([candidate], ANY, champion).outcome == "keep_champion"


def test_part_marks_do_not_make_up_for_passes_lost_to_the_champion(snapshot):
    """By score 1, by passes the champion: 10 to 0, p = 2/1024."""
    candidate, champion = checkpoint("1", "h" * 30 + "0" * 10 + "1" * 20), checkpoint("p", "0" * 30 + "1" * 30)
    decision = decide([candidate], ANY, champion)
    assert the(decision, "1").candidate.score > decision.champion.candidate.score
    assert decision.outcome == "keep_champion"
    assert against(decision, "1") == snapshot


def test_a_champion_that_could_not_be_asked_stays(snapshot):
    decision = decide([checkpoint("1", "1111")], ANY, champion=unusable("p", "Error 503"))
    assert (decision.winner, decision.outcome) == (None, "keep_champion")
    assert decision.reason == snapshot
    assert not the(decision, "1").passed_gates
    assert against(decision, "1") == snapshot
    assert decision.champion.speaks_against == snapshot


def test_a_champion_below_the_minimum_can_be_replaced_but_not_by_one_below_it():
    champion = checkpoint("p", "1000")
    assert decide([checkpoint("1", "1100")], Policy(min_pass_rate=0.5), champion).outcome == "promote"
    assert decide([checkpoint("1", "1100")], Policy(min_pass_rate=0.8), champion).outcome == "keep_champion"


def test_only_those_that_beat_the_champion_are_in_the_tie(snapshot):
    """Checkpoint 1 is earlier and not significantly worse than 2, but it does not beat the champion."""
    field = [checkpoint("1", "1100"), checkpoint("2", "1111")]
    decision = decide(field, ANY, champion=checkpoint("p", "0011"))
    assert decision.winner == "2"
    assert decision.reason == snapshot


# --------------------------------------------------------------------------------------------- words


def losses(*pairs):
    return [checkpoint(str(n), "11", train_loss=t, eval_loss=e) for n, (t, e) in enumerate(pairs, 1)]


def test_overfitting_is_named_and_bars_nobody(snapshot):
    decision = decide(losses((0.9, 0.8), (0.5, 0.6), (0.2, 0.7)), ANY)
    assert decision.overfitting == snapshot
    assert against(decision, "3") == snapshot
    assert the(decision, "3").passed_gates
    assert against(decision, "1") == snapshot


def test_the_curves_speak_where_the_checkpoints_do_not(snapshot):
    curves = MetricsXCom(train_loss=((5, 0.9), (15, 0.5), (25, 0.1)), eval_loss=((10, 0.8), (20, 0.6), (30, 0.9)))
    decision = decide([checkpoint("1", "1"), checkpoint("2", "1"), checkpoint("3", "1")], ANY, metrics=curves)
    assert decision.overfitting == snapshot


def test_missing_evidence_is_named(snapshot):
    field = [checkpoint("1", "1" * 9, train_loss=0.5), checkpoint("2", "1" * 9, latency_p95_ms=1.0), unusable("3")]
    decision = decide(field, ANY, metrics=MetricsXCom(missing=("The experiment is gone.",)))
    assert decision.missing == snapshot


@pytest.mark.parametrize(("cases", "significance", "few"), [(5, 0.05, True), (6, 0.05, False), (7, 0.01, True)])
def test_suite_too_small_for_a_significant_difference_is_reported(cases, significance, few, snapshot):
    found = checkpoint("1", "1" * cases, train_loss=1.0, eval_loss=1.0, latency_p95_ms=1.0)
    decision = decide([found], Policy(significance=significance))
    assert len(decision.missing) == few
    assert decision.missing == snapshot


def test_the_ranking():
    field = [
        unusable("1"),
        checkpoint("2", "0" * 10),
        checkpoint("3", "1111111110", eval_loss=0.1),
        checkpoint("4", "1111111111", eval_loss=0.3),
        checkpoint("5", "1111111101", eval_loss=0.2),
    ]
    decision = decide(field, Policy(min_pass_rate=0.5))
    assert [a.candidate.checkpoint_id for a in decision.assessments] == ["3", "4", "5", "2", "1"]


def test_what_goes_to_xcom():
    decision = decide([checkpoint("1", "1111011110", eval_loss=0.25)], Policy(), champion=checkpoint("p", "0" * 10))
    pushed = decision.as_dict()
    assert pushed["winner"] == "1"
    assert pushed["outcome"] == "promote"
    assert pushed["reason"] == decision.reason
    assert pushed["champion"]["checkpoint_id"] == "p"
    (only,) = pushed["checkpoints"]
    assert only == {
        "checkpoint_id": "1", "epoch": 1, "step": 10,
        "pass_rate": 0.8, "pass_rate_interval": [0.4902, 0.9433], "score": 0.8, "score_interval": [0.4902, 0.9433],
        "latency_p95_ms": None, "train_loss": None, "eval_loss": 0.25, "passed_gates": True,
        "speaks_for": list(decision.assessments[0].speaks_for), "speaks_against": [],
    }  # fmt: skip


def test_ten_checkpoints_of_the_usual_kind_keep_all_their_words():
    cases = {"critical": range(3)}
    field = [
        checkpoint(
            str(n),
            "1" * (80 + n) + "0" * (20 - n),
            eval_loss=0.3 + n / 100,
            train_loss=0.5 / n,
            latency_p95_ms=900.5,
            **cases,
        )
        for n in range(1, 11)
    ]
    decision = decide(field, Policy(), champion=checkpoint("p", "1" * 70 + "0" * 30, latency_p95_ms=900.0, **cases))
    pushed = decision.as_dict()
    assert len(json.dumps(pushed)) < 7_700
    assert [c["speaks_for"] for c in pushed["checkpoints"]] == [[*a.speaks_for] for a in decision.assessments]
    assert [c["speaks_against"] for c in pushed["checkpoints"]] == [[*a.speaks_against] for a in decision.assessments]


# ---------------------------------------------------------------------------------- for any results


@st.composite
def fields(draw, max_candidates=5, letters="01hH", weights=(1, 1, 2, 5)):
    """A few checkpoints and maybe a champion that answered the same suite; small numbers, so that ties are common."""
    size = draw(st.integers(1, 16))
    weight = draw(st.lists(st.sampled_from(weights), min_size=size, max_size=size))
    critical = draw(st.sets(st.integers(0, size - 1), max_size=2)) if draw(st.booleans()) else set()
    # Most letters are 1, so that some get through the gates.
    pattern = st.lists(st.sampled_from(letters + "1" * 4), min_size=size, max_size=size).map("".join)

    def one(identifier):
        loss = st.none() | st.sampled_from([0.1, 0.2, 0.3])
        return checkpoint(
            identifier,
            draw(pattern),
            weights=weight,
            critical=critical,
            blocked=draw(st.sets(st.integers(0, size - 1), max_size=1)) if draw(st.integers(0, 4)) == 0 else (),
            step=draw(st.none() | st.integers(1, 4)),
            latency_p95_ms=draw(st.none() | st.sampled_from([500.0, 1_000.0, 1_500.0])),
            train_loss=draw(loss),
            eval_loss=draw(loss),
            error="gone" if draw(st.integers(0, 6)) == 0 else None,
        )

    ids = draw(st.lists(st.integers(1, 20).map(str), unique=True, max_size=max_candidates))
    return [one(i) for i in ids], one("p") if draw(st.booleans()) else None


policies = st.builds(
    Policy,
    min_pass_rate=st.sampled_from([0.0, 0.5, 0.8, 1.0]),
    max_latency_p95_ms=st.sampled_from([None, None, 1_000.0]),
    allow_blocked=st.booleans(),
    significance=st.sampled_from([0.05, 0.2, 0.5]),
    require_improvement=st.booleans(),
)


def share(found: Candidate, measure) -> Fraction:
    total = sum(Fraction(o.weight) for o in found.outcomes.values())
    return sum(Fraction(measure(o)) * Fraction(o.weight) for o in found.outcomes.values()) / total


def score(found: Candidate) -> Fraction:
    return share(found, lambda o: o.score)


def sign_test(one: Candidate, other: Candidate) -> float:
    """The p-value of passes, by scipy."""
    pairs = [(one.outcomes[case].passed, other.outcomes[case].passed) for case in one.outcomes]
    up, down = pairs.count((True, False)), pairs.count((False, True))
    return stats.binomtest(up, up + down).pvalue if up + down else 1.0


def bars(found: Candidate, policy: Policy) -> bool:
    """The gates that need no champion, counted once more."""
    cases = found.outcomes.values()
    return (
        found.error is not None
        or share(found, lambda o: o.passed) < Fraction(str(policy.min_pass_rate))
        or any(o.critical and not o.passed for o in cases)
        or (policy.max_latency_p95_ms is not None and not (found.latency_p95_ms or 9e9) <= policy.max_latency_p95_ms)
        or (any(o.blocked for o in cases) and not policy.allow_blocked)
    )


@given(fields(), policies)
def test_the_winner_passed_every_gate_and_is_one_of_them(field, policy):
    candidates, champion = field
    decision = decide(candidates, policy, champion)
    assessed = [a.candidate.checkpoint_id for a in decision.assessments]
    assert sorted(assessed) == sorted(c.checkpoint_id for c in candidates)
    assert decision.outcome == ("promote" if decision.winner else "keep_champion" if champion else "no_winner")
    for assessment, found in ((the(decision, c.checkpoint_id), c) for c in candidates):
        assert assessment.speaks_for or assessment.speaks_against
        if bars(found, policy):
            assert not assessment.passed_gates
            assert assessment.speaks_against
        elif champion is None:
            assert assessment.passed_gates
    if decision.winner is None:
        assert not any(a.passed_gates for a in decision.assessments)
        return
    assert the(decision, decision.winner).passed_gates
    assert assessed[0] == decision.winner


@given(fields(), policies)
def test_never_over_a_better_champion(field, policy):
    """For the winner, and for every other checkpoint that an approver could choose."""
    candidates, champion = field
    decision = decide(candidates, policy, champion)
    for found in candidates:
        if champion is None or not the(decision, found.checkpoint_id).passed_gates:
            continue
        assert champion.error is None
        assert score(found) > score(champion)
        for case, outcome in found.outcomes.items():
            assert not outcome.critical or outcome.passed >= champion.outcomes[case].passed
        fewer = sum(o.passed for o in found.outcomes.values()) < sum(o.passed for o in champion.outcomes.values())
        assert not (fewer and sign_test(found, champion) < policy.significance)


@given(fields(letters="01", weights=(1,)), policies)
def test_pass_and_fail_recounted(field, policy):
    """Where all is pass and fail and weighs the same, the whole policy again, in another way and with scipy."""
    candidates, champion = field
    eligible = [c for c in candidates if not bars(c, policy)]
    if champion is not None:
        eligible = [] if champion.error else [c for c in eligible if score(c) > score(champion)]
        if policy.require_improvement:
            eligible = [c for c in eligible if sign_test(c, champion) < policy.significance]
    winner = None
    if eligible:
        age = {c.checkpoint_id: (c.step or 1_000, int(c.checkpoint_id)) for c in eligible}
        best = max(score(c) for c in eligible)
        first = min((c for c in eligible if score(c) == best), key=lambda c: age[c.checkpoint_id])
        tied = [c for c in eligible if score(c) == best or sign_test(first, c) >= policy.significance]
        if all(c.eval_loss is not None for c in tied):
            lowest = min(c.eval_loss for c in tied)
            tied = [c for c in tied if c.eval_loss == lowest]
        winner = min((c.checkpoint_id for c in tied), key=age.get)
    assert decide(candidates, policy, champion).winner == winner


@given(fields(), policies, st.randoms())
def test_the_order_of_the_list_and_of_the_cases_does_not_matter(field, policy, rng):
    candidates, champion = field
    decision = decide(candidates, policy, champion)
    mixed = []
    for found in rng.sample(candidates, len(candidates)):
        cases = list(found.outcomes.items())
        rng.shuffle(cases)
        mixed.append(dataclasses.replace(found, outcomes=dict(cases)))
    assert decide(mixed, policy, champion) == decision


@given(fields(max_candidates=3), policies)
def test_one_that_is_barred_changes_nothing_for_the_others(field, policy):
    candidates, champion = field
    decision = decide(candidates, policy, champion)
    barred = {a.candidate.checkpoint_id for a in decision.assessments if not a.passed_gates}
    left = [c for c in candidates if c.checkpoint_id not in barred]
    assert decide(left, policy, champion).winner == decision.winner


long_ids = st.text("0123456789abcdef-_", min_size=60, max_size=100)
odd_words = st.text(min_size=300, max_size=900) | st.sampled_from(["\U0001f600" * 600, "\n" * 600, "x" * 5_000])


@given(
    st.lists(long_ids, min_size=10, max_size=10, unique=True),
    st.lists(st.text(min_size=1, max_size=200), min_size=6, max_size=6, unique=True),
    st.lists(odd_words, min_size=4, max_size=4),
    st.booleans(),
)
@example(
    [f"{n}" * 100 for n in range(10)], [f"{n}" + "\U0001f600" * 150 for n in range(6)], ["\U0001f600" * 600] * 4, True
)
def test_a_decision_stays_small(ids, cases, errors, blocked):
    def one(identifier, number):
        failed = {case: CaseOutcome(number % 2 == 0, 0.123456789, 1.0, True, blocked) for case in cases}
        why = errors[number] if number < len(errors) else None
        return Candidate(identifier, 2**62, 2**62 + number, 1e300, 1e-300, 1e300 / (number + 1), why, outcomes=failed)

    candidates = [one(identifier, number) for number, identifier in enumerate(ids)]
    curves = MetricsXCom(missing=tuple(errors))
    decision = decide(candidates, Policy(max_latency_p95_ms=1.0), one("p" * 100, 9), curves)
    text = json.dumps(decision.as_dict(), allow_nan=False)
    assert len(text) < 7_700
    assert [c["checkpoint_id"] for c in json.loads(text)["checkpoints"]] == [
        a.candidate.checkpoint_id for a in decision.assessments
    ]


def test_more_checkpoints_have_more_room_but_not_more_each():
    field = [checkpoint(str(n), "10" * 10, eval_loss=0.1 * n, latency_p95_ms=123.0) for n in range(1, 41)]
    pushed = decide(field, ANY, champion=checkpoint("p", "0" * 20)).as_dict()
    assert len(pushed["checkpoints"]) == 40
    assert len(json.dumps(pushed)) < 32_000
    assert all(c["speaks_for"] for c in pushed["checkpoints"])


def test_secrets_in_an_error_are_not_repeated():
    decision = decide([unusable("1", "Authorization: Bearer SECRET")], ANY)
    assert "SECRET" not in json.dumps(decision.as_dict())


def test_thousands_of_cases(snapshot):
    """Ten checkpoints, ten thousand cases with weights and part marks: with all tests and explanations."""
    rng = random.Random(1)
    skill = [rng.random() for _ in range(10_000)]

    def one(identifier, level):
        return {
            f"c{n}": CaseOutcome(
                hard < level, round(max(0.0, min(1.0, level - hard + rng.random() / 2)), 3), 1.0 + n % 3
            )
            for n, hard in enumerate(skill)
        }

    field = [Candidate(str(n), n, n, outcomes=one(str(n), 0.8 + n / 100)) for n in range(1, 11)]
    decision = decide(field, Policy(), Candidate("p", outcomes=one("p", 0.8)))
    assert decision.winner == "10"
    assert decision.reason == snapshot
