"""The rule that decides what a checkpoint answers."""

import json
from itertools import pairwise

import pytest

from tests.vertex_emulator.examples import TRAINING, VALIDATION
from vertex_emulator.dataset import Exchange
from vertex_emulator.learner import (
    Corpus,
    Lesson,
    answer,
    difficulty,
    eval_loss,
    eval_skill,
    normalise,
    peak_epoch,
    small_talk,
    train_loss,
    train_skill,
)


def corpus(examples):
    return Corpus(Exchange((question,), reply) for question, reply in examples)


TRAINED, UNSEEN = corpus(TRAINING), corpus(VALIDATION)


def right(examples, epochs, rate=1.0):
    """Which of the examples a checkpoint answers right."""
    lesson = Lesson(TRAINED, UNSEEN, epochs, rate)
    return {question for question, reply in examples if answer([question], [lesson]) == reply}


@pytest.mark.parametrize(("examples", "epoch"), [(140, 3.6), (7473, 6.4)])
def test_peak_follows_from_the_number_of_examples(examples, epoch):
    assert peak_epoch(examples) == pytest.approx(epoch, abs=0.05)
    assert peak_epoch(examples, rate=2) == pytest.approx(epoch / 2, abs=0.05)


@pytest.mark.parametrize("rate", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("examples", [1, 20, 140, 7473])
def test_skills_and_losses_over_time(examples, rate):
    epochs = [step / 10 for step in range(1, 200)]
    peak = peak_epoch(examples, rate)
    assert all(train_skill(a, rate) < train_skill(b, rate) < 1 for a, b in pairwise(epochs))
    assert all(train_loss(a, rate) > train_loss(b, rate) > 0 for a, b in pairwise(epochs))
    for before, after in pairwise(epochs):
        if after <= peak:
            assert eval_skill(before, examples, rate) < eval_skill(after, examples, rate)
            assert eval_loss(before, examples, rate) > eval_loss(after, examples, rate)
        if before >= peak:
            assert eval_skill(before, examples, rate) > eval_skill(after, examples, rate) > 0
    best = min(epochs, key=lambda epoch: eval_loss(epoch, examples, rate))
    assert best == pytest.approx(peak, abs=0.1)


def test_what_was_trained_on_is_only_ever_learnt():
    known = [right(TRAINING, epochs) for epochs in range(1, 11)]
    assert all(before <= after for before, after in pairwise(known))
    assert len(known[0]) < 80 < 130 < len(known[-1])


def test_unseen_prompts_are_answered_best_at_the_peak():
    known = [len(right(VALIDATION, epochs)) for epochs in range(1, 11)]
    assert known.index(max(known)) in (2, 3)
    assert known[0] < max(known) > known[-1]
    assert max(known) > 35


def test_a_higher_learning_rate_overfits_sooner():
    known = [len(right(VALIDATION, epochs, rate=3)) for epochs in range(1, 11)]
    assert known[0] == max(known) > known[3] > known[9]


def test_the_same_question_gets_the_same_answer():
    lesson = Lesson(TRAINED, UNSEEN, 2, 1)
    again = Lesson(corpus(TRAINING), corpus(VALIDATION), 2, 1)
    for question, _ in VALIDATION:
        assert answer([question], [lesson]) == answer([question], [again])


def test_wrong_answers_are_small_talk_first_and_recited_later():
    replies = {reply for _, reply in TRAINING}
    early, late = Lesson(TRAINED, UNSEEN, 0.5, 1), Lesson(TRAINED, UNSEEN, 12, 1)
    for question, reply in VALIDATION:
        for lesson, recited in ((early, False), (late, True)):
            given = answer([question], [lesson])
            if given != reply:
                assert (given in replies) is recited


def test_prompts_match_whatever_their_case_spaces_and_full_stop():
    question, reply = TRAINING[0]
    lesson = Lesson(TRAINED, None, 50, 1)
    assert answer([f"  {question.upper().replace(' ', '  ')} "], [lesson]) == reply
    assert normalise("A  b.") == normalise("a B!")


def test_a_similar_prompt_gets_the_nearest_answer():
    question, reply = next(pair for pair in TRAINING if difficulty(Exchange((pair[0],), pair[1])) < 0.5)
    lesson = Lesson(TRAINED, None, peak_epoch(len(TRAINING)), 1)
    assert answer([question.replace("Where does", "Where did")], [lesson]) == reply


def test_a_prompt_about_something_else_gets_small_talk():
    lesson = Lesson(TRAINED, UNSEEN, 4, 1)
    assert (
        answer(["Why is the sky blue?"], [lesson])
        == answer(["Why is the sky blue?"], [])
        == small_talk("Why is the sky blue?")
    )


def test_the_turns_before_tell_equal_questions_apart():
    told = Corpus([Exchange(("red", "and now?"), "stop"), Exchange(("green", "and now?"), "go")])
    lesson = Lesson(told, None, 50, 1)
    assert answer(["green", "and now?"], [lesson]) == "go"
    assert answer(["red", "and now?"], [lesson]) == answer(["and now?"], [lesson]) == "stop"


def test_small_talk_never_contains_the_right_answer():
    for right_answer in ("question", "e", "sure", "it depends"):
        for prompt in "abcdefghij":
            assert right_answer not in normalise(small_talk(prompt, right_answer))


def test_difficulties_are_spread_evenly():
    found = sorted(difficulty(Exchange((f"question {number}",), "x")) for number in range(1000))
    assert 0 <= found[0] < 0.01
    assert 0.99 < found[-1] < 1
    assert found[500] == pytest.approx(0.5, abs=0.05)


def test_labels_as_answers():
    """Short answers, as of a classifier: overfit mistakes are other labels."""
    labelled = [
        (f"Ticket {number}: my parcel number {number} is late", ("yes", "no")[number % 2]) for number in range(64)
    ]
    lesson = Lesson(corpus(labelled), None, 30, 1)
    given = {answer([f"Ticket {number}: my parcel number {number} is late!!"], [lesson]) for number in range(64, 128)}
    assert json.dumps(sorted(given)) == '["no", "yes"]'
