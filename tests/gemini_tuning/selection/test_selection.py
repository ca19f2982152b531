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

from gemini_tuning.selection.candidate import Candidate, CaseOutcome, ResultError
from gemini_tuning.selection.decide import decide
from gemini_tuning.selection.gates import Policy
from gemini_tuning.selection.overfitting import LossCurves
from tests.gemini_tuning.selection.policy_examples import contender, unusable

ANY = Policy(min_pass_rate=0)


def the(decision, identifier):
    return next(a for a in decision.assessments if a.checkpoint_id == identifier)


def against(decision, identifier) -> str:
    return "; ".join(the(decision, identifier).speaks_against)


def favour(decision, identifier) -> str:
    return "; ".join(the(decision, identifier).speaks_for)


# -------------------------------------------------------------------------------------------- gates


def test_a_pass_rate_equal_to_the_minimum_is_enough():
    decision = decide([contender("1", "1111011110")], Policy(min_pass_rate=0.8))
    assert decision.winner == "1"
    assert favour(decision, "1").startswith("passes 80.0% (95%: 49.0% to 94.3%); minimum 80.0%")


def test_a_pass_rate_below_the_minimum_is_not():
    decision = decide([contender("1", "1110011110")], Policy(min_pass_rate=0.8))
    assert (decision.winner, decision.outcome) == (None, "nobody")
    assert not the(decision, "1").passed_gates
    assert against(decision, "1") == "passes 70.0% (95%: 39.7% to 89.2%); below the minimum 80.0%"
    assert decision.reason == (
        "No checkpoint wins: no checkpoint passed all gates. The best, checkpoint 1 (epoch 1), passes 70.0% "
        "(95%: 39.7% to 89.2%); below the minimum 80.0%."
    )


def test_a_case_counts_by_its_weight():
    """Weights 3 and 1: the heavy case alone is 75 %, the light one 25 %."""
    heavy, light = contender("1", "10", weights=(3, 1)), contender("2", "01", weights=(3, 1))
    assert decide([heavy, light], Policy(min_pass_rate=0.75)).winner == "1"
    assert the(decide([heavy, light], ANY), "2").pass_rate == 0.25


def test_figures_that_differ_are_written_so_that_they_differ():
    decision = decide([contender("1", "1" * 1999 + "0" * 501)], Policy(min_pass_rate=0.8))  # 79.96 %
    assert "passes 79.96% (95%: 78.3% to 81.5%); below the minimum 80.00%" in against(decision, "1")


def test_rounding_fails_nobody():
    """In floats eight times 0.7 by ten times 0.7 is less than 0.8."""
    assert sum([0.7] * 8) / sum([0.7] * 10) < 0.8
    assert decide([contender("1", "1111111100", weights=(0.7,) * 10)], Policy(min_pass_rate=0.8)).winner == "1"


def test_a_critical_case_bars_whatever_the_score():
    good, better = contender("1", "1" * 12 + "0" * 8, critical=(0, 1)), contender("2", "01" + "1" * 18, critical=(0, 1))
    decision = decide([good, better], ANY)
    assert decision.winner == "1"
    assert against(decision, "2").startswith("fails critical case: c0")
    assert "passes all critical cases (2)" in favour(decision, "1")


def test_many_critical_cases_are_counted_and_a_few_are_named():
    decision = decide([contender("1", "0" * 30, critical=range(30))], ANY)
    assert "fails critical cases (30): c0, c1, c10, c11, c12 and 25 more" in against(decision, "1")


@pytest.mark.parametrize(
    ("latency", "passes", "words"),
    [
        (2_999.0, True, "p95 latency 2,999 ms, limit 3,000 ms"),
        (3_000.0, True, "p95 latency 3,000 ms, limit 3,000 ms"),
        (3_000.4, False, "p95 latency 3,000.4 ms, above the limit 3,000.0 ms"),
        (None, False, "p95 latency not known; the limit is 3,000 ms"),
    ],
)
def test_latency(latency, passes, words):
    decision = decide([contender("1", "11", latency_p95_ms=latency)], Policy(max_latency_p95_ms=3_000))
    assert the(decision, "1").passed_gates is passes
    assert words in (favour if passes else against)(decision, "1")


def test_without_a_limit_latency_is_told_and_bars_nobody():
    assert "p95 latency 9,000 ms" in favour(decide([contender("1", "1", latency_p95_ms=9_000.0)], ANY), "1")
    assert decide([contender("1", "1")], ANY).winner == "1"


def test_an_answer_held_back_bars_unless_it_is_allowed():
    blocked = contender("1", "1111", blocked=(2,))
    decision = decide([blocked], ANY)
    assert decision.winner is None
    assert against(decision, "1") == "1 answer blocked by the service: c2"
    decision = decide([blocked], Policy(allow_blocked=True))
    assert decision.winner == "1"
    assert against(decision, "1") == "1 answer blocked by the service (allowed): c2"


def test_one_that_could_not_be_asked_does_not_stop_the_others():
    decision = decide([unusable("1"), contender("2", "1010")], ANY)
    assert decision.winner == "2"
    assert against(decision, "1") == "could not be asked: it is not deployed to an endpoint"
    assert (the(decision, "1").pass_rate, the(decision, "1").score) == (None, None)


def test_answers_of_one_with_an_error_count_for_nothing():
    broken = dataclasses.replace(contender("1", "1111"), error="gone")
    assert decide([broken, contender("2", "10")], ANY).winner == "2"


def test_nobody_could_be_asked():
    decision = decide([unusable("1"), unusable("2")], ANY)
    assert decision.outcome == "nobody"
    assert decision.reason == (
        "No checkpoint wins: no checkpoint could be asked. Checkpoint 1: it is not deployed to an endpoint."
    )


def test_there_is_nobody():
    assert decide([], ANY).reason == "No checkpoint wins: there are no results."
    assert decide([], ANY, champion=contender("p", "1")).outcome == "keep_champion"


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ({"min_pass_rate": 1.1}, "min_pass_rate: 1.1 is not between 0 and 1"),
        ({"min_pass_rate": float("nan")}, "min_pass_rate: nan"),
        ({"significance": 0}, "significance: 0 is not between 0 and 1, such as 0.05"),
        ({"significance": 1.0}, "significance: 1.0"),
        ({"max_latency_p95_ms": 0}, "max_latency_p95_ms: 0 is not above 0"),
        ({"max_latency_p95_ms": float("inf")}, "max_latency_p95_ms: inf"),
    ],
)
def test_a_policy_out_of_range(policy, said):
    with pytest.raises(ValueError, match="^" + said):
        Policy(**policy)


# ----------------------------------------------------------------------------------- the same suite


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (contender("2", "11"), "only the second has c2"),
        (contender("2", "1" * 10), "only the first has c3, c4, c5, c6, c7 and 2 more"),
        (contender("2", "111", weights=(1, 2, 1)), "case c1 differs in weight"),
        (contender("2", "111", critical=(2,)), "case c2 differs in weight or in being critical"),
        (contender("2", "111", suite_fingerprint="b"), "the suite was changed in between"),
    ],
)
def test_answers_to_different_questions_are_not_compared(other, said):
    first = contender("1", "111", suite_fingerprint="a")
    with pytest.raises(ResultError, match="results: checkpoint '2' and checkpoint '1' did not answer") as caught:
        decide([other, first], ANY)
    assert said in str(caught.value)
    assert "Clear the smoke tests" in str(caught.value)
    with pytest.raises(ResultError, match="the champion and checkpoint '1'"):
        decide([first], ANY, champion=other)


def test_one_that_could_not_be_asked_need_not_have_answered_the_same():
    assert decide([contender("1", "111"), unusable("2")], ANY, champion=unusable("9")).outcome == "keep_champion"


def test_two_results_of_one_checkpoint():
    with pytest.raises(ResultError, match="checkpoint '1' is there more than once"):
        decide([contender("1", "1"), contender("1", "0")], ANY)


# ------------------------------------------------------------------------------------ score and ties


def test_a_significantly_higher_score_wins_whatever_the_loss():
    """6 to 0: p = 2/64 = 0.03125."""
    early, late = contender("1", "1111000000", eval_loss=0.1), contender("2", "1111111111", eval_loss=0.9)
    decision = decide([early, late], ANY)
    assert decision.winner == "2"
    assert decision.reason == (
        "Checkpoint 2 (epoch 2) wins: it passes 100.0% of the suite (95%: 72.2% to 100.0%), score 1.000. "
        "It is significantly better than all others that passed the gates; next is checkpoint 1, 60.0 points behind "
        "(p = 0.0312, exact McNemar)."
    )
    assert "scores significantly less than checkpoint 2, by 60.0 points (p = 0.0312" in against(decision, "1")


def test_a_higher_score_by_chance_is_a_tie_and_the_earlier_wins():
    """5 to 0: p = 2/32 = 0.0625."""
    decision = decide([contender("1", "1111100000"), contender("2", "1111111111")], ANY)
    assert decision.winner == "1"
    assert decision.reason == (
        "Checkpoint 1 (epoch 1) wins: it passes 50.0% of the suite (95%: 23.7% to 76.3%), score 0.500. "
        "Checkpoint 2 scores 50.0 points more, but not significantly (p = 0.0625, exact McNemar); of those it is the "
        "earliest, the least likely to be overfitted (no eval loss is known of checkpoints 1, 2)."
    )
    assert [a.checkpoint_id for a in decision.assessments] == ["1", "2"]
    assert favour(decision, "2").endswith("highest score")
    assert "not significantly better than checkpoint 1, which is earlier" in against(decision, "2")


def test_significance_is_a_parameter():
    field = [contender("1", "1111100000"), contender("2", "1111111111")]
    assert decide(field, Policy(min_pass_rate=0, significance=0.07)).winner == "2"


def test_a_p_value_equal_to_the_significance_is_not_below_it():
    field = [contender("1", "1111000000"), contender("2", "1111111111")]
    assert decide(field, Policy(min_pass_rate=0, significance=0.03125)).winner == "1"


def test_of_a_tie_the_lower_eval_loss_wins():
    field = [
        contender("1", "1110", eval_loss=0.5),
        contender("2", "1101", eval_loss=0.3),
        contender("3", "1111", eval_loss=0.4),
    ]
    decision = decide(field, ANY)
    assert decision.winner == "2"
    assert "Checkpoint 3 scores 25.0 points more, but not significantly (p = 1, exact McNemar)" in decision.reason
    assert "nor is it better than checkpoint 1; of those it has the lowest eval loss, 0.3." in decision.reason
    assert (
        "as good as checkpoint 3 (p = 1, exact McNemar), but checkpoint 2 has the lowest eval loss of them"
        in against(decision, "1")
    )
    assert "eval loss 0.5; the lowest is 0.3, of checkpoint 2" in against(decision, "1")
    assert "lowest eval loss of the 3 with the best results" in favour(decision, "2")


def test_the_best_score_with_the_lowest_loss():
    decision = decide([contender("1", "10", eval_loss=0.5), contender("2", "11", eval_loss=0.3)], ANY)
    assert decision.winner == "2"
    assert "It is not significantly better than checkpoint 1; of those it has the lowest eval loss" in decision.reason
    assert "as good as checkpoint 2 (p = 1, exact McNemar), which has the lowest eval loss" in against(decision, "1")


def test_an_eval_loss_that_not_all_have_decides_nothing():
    field = [contender("1", "10"), contender("2", "11", eval_loss=0.3), contender("3", "11", eval_loss=0.2)]
    decision = decide(field, ANY)
    assert decision.winner == "1"
    assert "(no eval loss is known of checkpoint 1)" in decision.reason
    assert "No eval loss of checkpoint 1." in decision.missing


def test_the_eval_loss_of_one_outside_the_tie_is_not_needed():
    weak = contender("1", "0000000000")
    field = [weak, contender("2", "1111111110", eval_loss=0.3), contender("3", "1111111111", eval_loss=0.2)]
    assert decide(field, ANY).winner == "3"


def test_one_outside_the_tie_does_not_win_by_its_loss():
    weak = contender("1", "1111000000", eval_loss=0.01)
    field = [weak, contender("2", "1111111111", eval_loss=0.3), contender("3", "1111111111", eval_loss=0.4)]
    assert decide(field, ANY).winner == "2"


def test_of_equal_losses_the_earlier_wins():
    field = [
        contender("10", "11", eval_loss=0.3),
        contender("2", "11", eval_loss=0.3),
        contender("1", "11", eval_loss=0.4),
    ]
    decision = decide(field, ANY)
    assert decision.winner == "2"
    assert "Checkpoint 1 scores the same" in decision.reason
    assert "earliest, the least likely to be overfitted (more than one has the lowest eval loss)" in decision.reason


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
    assert decide([contender(pattern="1", **other), contender(pattern="1", **one)], ANY).winner == one["identifier"]


def test_part_marks_count():
    """12 of 20 cases half a mark better: the sign of twelve of one mind, p = 2/4096."""
    early, late = contender("1", "0" * 12 + "1" * 8), contender("2", "h" * 12 + "1" * 8)
    decision = decide([early, late], ANY)
    assert decision.winner == "2"
    assert the(decision, "2").score == 0.7
    assert "passes 40.0% (95%: 21.9% to 61.3%), score 0.700" in favour(decision, "2")


def test_weights_are_tested_by_bootstrap():
    """Two heavy cases against six light ones: McNemar alone would call the lighter side the better one (p = 0.03 with
    eight to two, which weights of 10 turn round); by weight it is 20 to 8 and no more than chance."""
    weights = (10, 10, *[1] * 10)
    heavy = contender("2", "11" + "0" * 8 + "11", weights=weights)
    light = contender("1", "00" + "1" * 8 + "11", weights=weights)
    decision = decide([heavy, light], ANY)
    assert the(decision, "2").score > the(decision, "1").score
    assert "paired bootstrap" in decision.reason
    assert decision.winner == "1"


def test_part_marks_won_by_losing_whole_cases_make_a_tie():
    """Score says 2 (50 of 100 half a mark better, 10 a whole one worse), passes say 1 (10 to 0, p = 2/1024)."""
    one, two = contender("1", "0" * 50 + "1" * 50), contender("2", "h" * 50 + "0" * 10 + "1" * 40)
    decision = decide([one, two], ANY)
    assert the(decision, "2").score == 0.65
    assert decision.winner == "1"
    assert "Checkpoint 2 scores 15.0 points more (p = 0.0" in decision.reason
    assert "but passes significantly fewer cases (p = 0.00195, exact McNemar); of those it is the" in decision.reason
    better = (
        contender("1", "0" * 50 + "1" * 50, eval_loss=0.5),
        contender("2", "h" * 50 + "0" * 10 + "1" * 40, eval_loss=0.4),
    )
    decision = decide(better, ANY)
    assert decision.winner == "2"
    assert "but passes significantly more cases (p = 0.00195, exact McNemar), which has the" in against(decision, "1")


# ----------------------------------------------------------------------------------------- champion


def test_better_than_the_champion_though_not_significantly_is_enough():
    decision = decide([contender("1", "1111")], ANY, champion=contender("7", "1110"))
    assert (decision.winner, decision.outcome) == ("1", "promote")
    assert "beats the champion by 25.0 points, but not significantly (p = 1" in favour(decision, "1")
    assert decision.reason.endswith("It scores 25.0 points more than the champion (p = 1, exact McNemar).")
    assert decision.champion.pass_rate == 0.75


def test_the_champion_wins_ties():
    decision = decide([contender("1", "1101")], ANY, champion=contender("1", "1110"))
    assert (decision.winner, decision.outcome) == (None, "keep_champion")
    assert against(decision, "1") == "scores the same as the champion, which wins ties"
    assert decision.reason == (
        "The champion stays: no checkpoint passed all gates. The best, checkpoint 1 (epoch 1), scores the same as the "
        "champion, which wins ties."
    )


def test_a_tie_is_a_tie_in_floats():
    """0.1 + 0.2 against 0.3."""
    weights = (0.1, 0.2, 0.3)
    for champion, candidate in (("110", "001"), ("001", "110")):
        decision = decide([contender("1", candidate, weights=weights)], ANY, contender("p", champion, weights=weights))
        assert decision.outcome == "keep_champion"


@pytest.mark.parametrize(("gained", "outcome"), [(5, "keep_champion"), (6, "promote")])
def test_with_require_improvement_it_must_be_significantly_better(gained, outcome):
    champion, candidate = contender("p", "0" * gained + "1" * 4), contender("1", "1" * (gained + 4))
    decision = decide([candidate], Policy(require_improvement=True), champion)
    assert decision.outcome == outcome
    if gained == 5:
        assert "but not significantly (p = 0.0625, exact McNemar), as is required" in against(decision, "1")
    else:
        assert "beats the champion significantly, by 60.0 points (p = 0.0312" in favour(decision, "1")


def test_without_a_champion_there_is_nothing_to_improve_on():
    assert decide([contender("1", "1111")], Policy(require_improvement=True)).outcome == "promote"


def test_worse_than_the_champion():
    decision = decide([contender("1", "1110")], ANY, champion=contender("p", "1111"))
    assert "scores less than the champion, by 25.0 points (p = 1, exact McNemar)" in against(decision, "1")
    decision = decide([contender("1", "0" * 10)], ANY, champion=contender("p", "1" * 10))
    assert "scores significantly less than the champion, by 100.0 points (p = 0.00195" in against(decision, "1")
    assert decision.outcome == "keep_champion"


def test_a_critical_case_lost_to_the_champion_is_named():
    candidate, champion = contender("1", "0111", critical=(0,)), contender("p", "1100", critical=(0,))
    decision = decide([candidate], ANY, champion)
    assert decision.outcome == "keep_champion"
    assert "fails critical case that the champion passes: c0" in against(decision, "1")


def test_a_champion_that_fails_a_critical_case_is_no_excuse():
    candidate, champion = contender("1", "0111", critical=(0,)), contender("p", "0100", critical=(0,))
    assert decide([candidate], ANY, champion).outcome == "keep_champion"


def test_part_marks_do_not_make_up_for_passes_lost_to_the_champion():
    """Score says 1, passes say the champion: 10 to 0, p = 2/1024."""
    candidate, champion = contender("1", "h" * 30 + "0" * 10 + "1" * 20), contender("p", "0" * 30 + "1" * 30)
    decision = decide([candidate], ANY, champion)
    assert the(decision, "1").score > decision.champion.score
    assert decision.outcome == "keep_champion"
    assert "passes significantly fewer cases than the champion: loses 10, gains 0 (p = 0.00195" in against(
        decision, "1"
    )


def test_a_champion_that_could_not_be_asked_stays():
    decision = decide([contender("1", "1111")], ANY, champion=unusable("p", "Error 503"))
    assert (decision.winner, decision.outcome) == (None, "keep_champion")
    assert decision.reason == (
        "The champion stays: it could not be asked, so nothing can be shown to be better: Error 503."
    )
    assert not the(decision, "1").passed_gates
    assert "cannot be shown to be better than the champion, which could not be asked" in against(decision, "1")
    assert decision.champion.speaks_against == ("could not be asked: Error 503",)


def test_a_champion_below_the_minimum_can_be_replaced_but_not_by_one_below_it():
    champion = contender("p", "1000")
    assert decide([contender("1", "1100")], Policy(min_pass_rate=0.5), champion).outcome == "promote"
    assert decide([contender("1", "1100")], Policy(min_pass_rate=0.8), champion).outcome == "keep_champion"


def test_only_those_that_beat_the_champion_are_in_the_tie():
    """Checkpoint 1 is earlier and not significantly worse than 2, but it does not beat the champion."""
    field = [contender("1", "1100"), contender("2", "1111")]
    decision = decide(field, ANY, champion=contender("p", "0011"))
    assert decision.winner == "2"
    assert "No other passed all gates." in decision.reason


# --------------------------------------------------------------------------------------------- words


def losses(*pairs):
    return [contender(str(n), "11", train_loss=t, eval_loss=e) for n, (t, e) in enumerate(pairs, 1)]


def test_overfitting_is_named_and_bars_nobody():
    decision = decide(losses((0.9, 0.8), (0.5, 0.6), (0.2, 0.7)), ANY)
    assert decision.overfitting == (
        "Overfitting after checkpoint 2 (step 20): eval loss turned up from 0.6 to 0.7 at step 30 while train loss "
        "still fell from 0.5 to 0.2."
    )
    assert "past step 20, where eval loss turned up" in against(decision, "3")
    assert the(decision, "3").passed_gates
    assert "past" not in against(decision, "1")


def test_the_curves_speak_where_the_checkpoints_do_not():
    curves = LossCurves(train=((5, 0.9), (15, 0.5), (25, 0.1)), eval=((10, 0.8), (20, 0.6), (30, 0.9)))
    decision = decide([contender("1", "1"), contender("2", "1"), contender("3", "1")], ANY, curves=curves)
    assert decision.overfitting.startswith("Overfitting after checkpoint 2 (step 20): eval loss turned up from 0.6")


def test_missing_evidence_is_named():
    field = [contender("1", "1" * 9, train_loss=0.5), contender("2", "1" * 9, latency_p95_ms=1.0), unusable("3")]
    decision = decide(field, ANY, curves=LossCurves(missing=("The experiment is gone.",)))
    assert decision.missing == (
        "No eval loss of any checkpoint (a job without a validation dataset has none).",
        "No train loss of checkpoint 2.",
        "No latency of checkpoint 1.",
        "The experiment is gone.",
    )


@pytest.mark.parametrize(("cases", "significance", "few"), [(5, 0.05, True), (6, 0.05, False), (7, 0.01, True)])
def test_a_suite_too_small_to_tell_anything_apart_is_named(cases, significance, few):
    decision = decide([contender("1", "1" * cases)], Policy(significance=significance))
    needed = {0.05: 6, 0.01: 8}[significance]
    sentence = (
        f"With {cases} cases no difference can be significant: for p < {significance} at least {needed} have to differ."
    )
    assert (sentence in decision.missing) is few


def test_the_ranking():
    field = [
        unusable("1"),
        contender("2", "0" * 10),
        contender("3", "1111111110", eval_loss=0.1),
        contender("4", "1111111111", eval_loss=0.3),
        contender("5", "1111111101", eval_loss=0.2),
    ]
    decision = decide(field, Policy(min_pass_rate=0.5))
    assert [a.checkpoint_id for a in decision.assessments] == ["3", "4", "5", "2", "1"]


def test_what_goes_to_xcom():
    decision = decide([contender("1", "1111011110", eval_loss=0.25)], Policy(), champion=contender("p", "0" * 10))
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
        contender(
            str(n),
            "1" * (80 + n) + "0" * (20 - n),
            eval_loss=0.3 + n / 100,
            train_loss=0.5 / n,
            latency_p95_ms=900.5,
            **cases,
        )
        for n in range(1, 11)
    ]
    decision = decide(field, Policy(), champion=contender("p", "1" * 70 + "0" * 30, latency_p95_ms=900.0, **cases))
    pushed = decision.as_dict()
    assert len(json.dumps(pushed)) < 7_700
    assert [c["speaks_for"] for c in pushed["checkpoints"]] == [[*a.speaks_for] for a in decision.assessments]
    assert [c["speaks_against"] for c in pushed["checkpoints"]] == [[*a.speaks_against] for a in decision.assessments]


# ---------------------------------------------------------------------------------- for any results


@st.composite
def fields(draw, max_contenders=5, letters="01hH", weights=(1, 1, 2, 5)):
    """A few checkpoints and maybe a champion that answered the same suite; small numbers, so that ties are common."""
    size = draw(st.integers(1, 16))
    weight = draw(st.lists(st.sampled_from(weights), min_size=size, max_size=size))
    critical = draw(st.sets(st.integers(0, size - 1), max_size=2)) if draw(st.booleans()) else set()
    # Most letters are 1, so that some get through the gates.
    pattern = st.lists(st.sampled_from(letters + "1" * 4), min_size=size, max_size=size).map("".join)

    def one(identifier):
        loss = st.none() | st.sampled_from([0.1, 0.2, 0.3])
        return contender(
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

    ids = draw(st.lists(st.integers(1, 20).map(str), unique=True, max_size=max_contenders))
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
    contenders, champion = field
    decision = decide(contenders, policy, champion)
    assert sorted(a.checkpoint_id for a in decision.assessments) == sorted(c.checkpoint_id for c in contenders)
    assert decision.outcome == ("promote" if decision.winner else "keep_champion" if champion else "nobody")
    for assessment, found in ((the(decision, c.checkpoint_id), c) for c in contenders):
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
    assert decision.assessments[0].checkpoint_id == decision.winner


@given(fields(), policies)
def test_never_over_a_better_champion(field, policy):
    """For the winner, and for whoever else a person could pick."""
    contenders, champion = field
    decision = decide(contenders, policy, champion)
    for found in contenders:
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
    contenders, champion = field
    eligible = [c for c in contenders if not bars(c, policy)]
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
    assert decide(contenders, policy, champion).winner == winner


@given(fields(), policies, st.randoms())
def test_the_order_of_the_list_and_of_the_cases_does_not_matter(field, policy, rng):
    contenders, champion = field
    decision = decide(contenders, policy, champion)
    mixed = []
    for found in rng.sample(contenders, len(contenders)):
        cases = list(found.outcomes.items())
        rng.shuffle(cases)
        mixed.append(dataclasses.replace(found, outcomes=dict(cases)))
    assert decide(mixed, policy, champion) == decision


@given(fields(max_contenders=3), policies)
def test_one_that_is_barred_changes_nothing_for_the_others(field, policy):
    contenders, champion = field
    decision = decide(contenders, policy, champion)
    barred = {a.checkpoint_id for a in decision.assessments if not a.passed_gates}
    left = [c for c in contenders if c.checkpoint_id not in barred]
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
        return Candidate(identifier, 2**62, 2**62 + number, failed, 1e300, 1e-300, 1e300 / (number + 1), why)

    contenders = [one(identifier, number) for number, identifier in enumerate(ids)]
    curves = LossCurves(missing=tuple(errors))
    decision = decide(contenders, Policy(max_latency_p95_ms=1.0), one("p" * 100, 9), curves)
    text = json.dumps(decision.as_dict(), allow_nan=False)
    assert len(text) < 7_700
    assert [c["checkpoint_id"] for c in json.loads(text)["checkpoints"]] == [
        a.checkpoint_id for a in decision.assessments
    ]


def test_more_checkpoints_have_more_room_but_not_more_each():
    field = [contender(str(n), "10" * 10, eval_loss=0.1 * n, latency_p95_ms=123.0) for n in range(1, 41)]
    pushed = decide(field, ANY, champion=contender("p", "0" * 20)).as_dict()
    assert len(pushed["checkpoints"]) == 40
    assert len(json.dumps(pushed)) < 32_000
    assert all(c["speaks_for"] for c in pushed["checkpoints"])


def test_secrets_in_an_error_are_not_repeated():
    decision = decide([unusable("1", "Authorization: Bearer SECRET")], ANY)
    assert "SECRET" not in json.dumps(decision.as_dict())


def test_thousands_of_cases():
    """Ten checkpoints, ten thousand cases with weights and part marks: all the tests there are, and all in words."""
    rng = random.Random(1)
    skill = [rng.random() for _ in range(10_000)]

    def one(identifier, level):
        return {
            f"c{n}": CaseOutcome(
                hard < level, round(max(0.0, min(1.0, level - hard + rng.random() / 2)), 3), 1.0 + n % 3
            )
            for n, hard in enumerate(skill)
        }

    field = [Candidate(str(n), n, n, one(str(n), 0.8 + n / 100)) for n in range(1, 11)]
    decision = decide(field, Policy(), Candidate("p", outcomes=one("p", 0.8)))
    assert decision.winner == "10"
    assert "paired bootstrap" in decision.reason
