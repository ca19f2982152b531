"""Measures against numbers from elsewhere: by hand, and from rouge-score 0.1.2 (without stemming)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemini_tuning.smoke.checks.similarity import rouge_l, token_f1


@pytest.mark.parametrize(
    ("one", "other", "by_rouge_score"),
    [
        ("the cat was found under the bed", "the cat was under the bed", 0.923076923076923),
        ("police killed the gunman", "police kill the gunman", 0.75),
        ("police killed the gunman", "the gunman kill police", 0.5),
        ("The quick brown fox jumps over the lazy dog.", "The fast brown fox leaps over the dog!", 0.7058823529411765),
        ("a b c d", "a c b d e", 0.6666666666666665),
        ("Refunds take 5-7 days.", "refunds take 5 to 7 days", 0.9090909090909091),
        ("x", "y", 0.0),
    ],
)
def test_rouge_l(one, other, by_rouge_score):
    assert rouge_l(one, other) == pytest.approx(by_rouge_score, abs=1e-12)


def longest_common(one: list[str], other: list[str]) -> int:
    """The textbook's table, one row at a time."""
    row = [0] * (len(other) + 1)
    for word in one:
        above = row[:]
        for index, candidate in enumerate(other):
            row[index + 1] = above[index] + 1 if word == candidate else max(row[index], above[index + 1])
    return row[-1]


words = st.lists(st.sampled_from(["a", "b", "c", "dd", "7"]), min_size=1, max_size=12)


@given(words, words)
def test_rouge_l_is_what_its_definition_says(one, other):
    common = longest_common(one, other)
    expected = 2 * (common / len(one)) * (common / len(other)) / (common / len(one) + common / len(other) or 1)
    assert rouge_l(" ".join(one), ", ".join(other)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("one", "other", "by_hand"),
    [
        ("the cat sat", "A cat sat.", 1.0),
        ("Denver Broncos", "the Broncos", 2 / 3),  # precision 1, recall 1/2
        ("to be or not to be", "to be", 1 / 2),  # precision 1, recall 2/6
        ("don't", "dont", 1.0),
        ("x", "y", 0.0),
        ("a b b", "b b b", 4 / 5),  # without the article: 2 of 2 and 3
    ],
)
def test_token_f1(one, other, by_hand):
    assert token_f1(one, other) == pytest.approx(by_hand)
