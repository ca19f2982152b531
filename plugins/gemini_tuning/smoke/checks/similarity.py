"""Assertions on the similarity of texts: edit distance, ROUGE-L, F1 of the tokens. Bounded for texts of any size."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rapidfuzz.distance import LCSseq, Levenshtein

from gemini_tuning.smoke.checks.result import CheckResult, Condition, UndecidedError, short

if TYPE_CHECKING:
    from gemini_tuning.core.model_response import ModelResponse
    from gemini_tuning.smoke.checks.result import Check

MAX_DISTANCE = 5  # edits, unless the suite sets a threshold; promptfoo's default
MIN_SIMILARITY = 0.75  # unless the suite sets a threshold; promptfoo's default for rouge-n
MAX_PAIRS = 10**10  # of tokens that the longest common subsequence compares (64 at once)
_WORD = re.compile(r"[^\W_]+")
_PUNCTUATION = re.compile(r"[^\w\s]|_")
_ARTICLES = frozenset({"a", "an", "the"})


def levenshtein(assertion: Condition, answer: ModelResponse, _: object) -> CheckResult:
    """Whether at most ``threshold`` edits turn the answer into the value."""
    most = MAX_DISTANCE if assertion.threshold is None else int(assertion.threshold)
    one, other = answer.text.strip(), str(assertion.value).strip()
    distance = Levenshtein.distance(one, other, score_cutoff=most)  # above it: most + 1
    if distance > most:
        return CheckResult(False, f"more than {most} edits away from {short(assertion.value)}")
    return CheckResult(True, f"{distance} edits away from {short(assertion.value)}, at most {most}")


def at_least(measure: Callable[[str, str], float]) -> Check:
    """Return a check that the similarity of value and answer reaches the threshold; the similarity is the score."""

    def check(assertion: Condition, answer: ModelResponse, _: object) -> CheckResult:
        least = MIN_SIMILARITY if assertion.threshold is None else assertion.threshold
        score = measure(str(assertion.value), answer.text)
        holds = score >= least
        return CheckResult(holds, f"{score:.3f}, {'at least' if holds else 'less than'} {least:g}", score)

    return check


def words_problem(value: str) -> str | None:
    """Return why a text cannot be compared with, or ``None``: each measure must find words in it."""
    if _WORD.search(value) and _squad_tokens(value):
        return None
    return f"expected a text with words, not {short(value)}"


def rouge_l(expected: str, answer: str) -> float:
    """Return the F1 of ROUGE-L, 0 to 1: how many of one text's words are in the other, in the same order.

    Words are runs of letters and digits, in lower case, without stemming (Lin 2004, with beta = 1).
    """
    wanted, got = _WORD.findall(expected.casefold()), _WORD.findall(answer.casefold())
    if len(wanted) * len(got) > MAX_PAIRS:
        raise UndecidedError(f"{len(wanted)} and {len(got)} words are too many to compare")
    return _f1(LCSseq.similarity(wanted, got), wanted, got)


def token_f1(expected: str, answer: str) -> float:
    """Return the F1 of the tokens, 0 to 1, in any order: the measure of SQuAD (Rajpurkar et al. 2016).

    Tokens are separated by white space, in lower case, without punctuation and the articles a, an, the.
    """
    wanted, got = _squad_tokens(expected), _squad_tokens(answer)
    return _f1((Counter(wanted) & Counter(got)).total(), wanted, got)


def _squad_tokens(text: str) -> list[str]:
    return [word for word in _PUNCTUATION.sub("", text.casefold()).split() if word not in _ARTICLES]


def _f1(common: int, wanted: Sequence[str], got: Sequence[str]) -> float:
    return 2 * common / (len(wanted) + len(got)) if common else 0.0
