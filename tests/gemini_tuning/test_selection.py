import itertools

from gemini_tuning.selection import Candidate, choose


def candidate(identifier, score, epoch=None, error=None):
    epoch = int(identifier) if epoch is None else epoch
    return Candidate(identifier, epoch, epoch * 10, score, error)


def test_the_best_score_wins():
    decision = choose([candidate("1", 0.5), candidate("2", 0.9), candidate("3", 0.7)], min_pass_rate=0.6)
    assert decision.winner == "2"
    assert [c.checkpoint_id for c in decision.ranking] == ["2", "3", "1"]
    assert decision.reason == (
        "Checkpoint 2 (epoch 2) wins with 90.0% (minimum 60.0%); next is checkpoint 3 (epoch 3) with 70.0%."
    )


def test_the_last_one_is_named_when_it_is_far_behind():
    decision = choose([candidate("1", 0.8), candidate("2", 0.9), candidate("3", 0.6)], min_pass_rate=0)
    assert "The last one, checkpoint 3 (epoch 3), scores 60.0%." in decision.reason


def test_of_equal_scores_the_earlier_wins():
    decision = choose([candidate("10", 0.9), candidate("2", 0.9), candidate("3", 0.9)], min_pass_rate=0.5)
    assert decision.winner == "2"
    assert "less likely to be overfitted" in decision.reason


def test_the_order_of_the_list_does_not_matter():
    candidates = [candidate("1", 0.9), candidate("2", 0.9), candidate("3", None, error="gone"), candidate("4", 0.1)]
    decisions = {choose(order, min_pass_rate=0.5) for order in itertools.permutations(candidates)}
    assert len(decisions) == 1


def test_a_score_equal_to_the_minimum_is_enough():
    assert choose([candidate("1", 0.8)], min_pass_rate=0.8).winner == "1"


def test_nobody_reaches_the_minimum():
    decision = choose([candidate("1", 0.5), candidate("2", 0.7)], min_pass_rate=0.8)
    assert decision.winner is None
    assert "the best, checkpoint 2 (epoch 2), scores 70.0%; the minimum is 80.0%" in decision.reason


def test_nobody_could_be_asked():
    decision = choose([candidate("1", None, error="it is not deployed to an endpoint")], min_pass_rate=0)
    assert decision.winner is None
    assert "it is not deployed to an endpoint" in decision.reason


def test_no_candidates_at_all():
    assert choose([], min_pass_rate=0).winner is None


def test_a_checkpoint_without_a_score_never_wins_over_a_poor_one():
    assert choose([candidate("1", None), candidate("2", 0.0)], min_pass_rate=0).winner == "2"


def test_candidates_come_from_what_the_smoke_test_pushed():
    pushed = {"checkpoint_id": "2", "epoch": 2, "step": 20, "endpoint": "e", "score": 0.5, "error": None, "cases": []}
    assert Candidate.from_mapping(pushed) == Candidate("2", 2, 20, 0.5)
