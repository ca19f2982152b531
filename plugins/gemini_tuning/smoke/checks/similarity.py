"""How near two texts are: edit distance, ROUGE-L, F1 of their tokens. Pure, and bounded for texts of any size."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

MAX_PAIRS = 10**10  # of tokens that the longest common subsequence compares (64 at once)
_WORD = re.compile(r"[^\W_]+")
_PUNCTUATION = re.compile(r"[^\w\s]|_")
_ARTICLES = frozenset({"a", "an", "the"})


class TooLongError(Exception):
    """Both texts are too long to be compared in a moment."""


def edit_distance(one: str, other: str, most: int) -> int:
    """Return the Levenshtein distance in characters, or ``most`` + 1 when it is more than ``most``."""
    from rapidfuzz.distance import Levenshtein

    return Levenshtein.distance(one, other, score_cutoff=most)


def rouge_l(expected: str, answer: str) -> float:
    """Return the F1 of ROUGE-L, 0 to 1: how much of one text's words stands in the other, in order.

    Words are runs of letters and digits, in lower case, without stemming (Lin 2004, with beta = 1).

    :raises TooLongError: when both texts have a hundred thousand words and more.
    """
    wanted, got = _WORD.findall(expected.casefold()), _WORD.findall(answer.casefold())
    if len(wanted) * len(got) > MAX_PAIRS:
        raise TooLongError(f"{len(wanted)} and {len(got)} words are too many to compare")
    from rapidfuzz.distance import LCSseq

    return _f1(LCSseq.similarity(wanted, got), wanted, got)


def token_f1(expected: str, answer: str) -> float:
    """Return the F1 of the tokens, 0 to 1, in any order: the measure of SQuAD (Rajpurkar et al. 2016).

    Tokens are separated by white space, in lower case, without punctuation and the articles a, an, the.
    """
    wanted, got = _squad_tokens(expected), _squad_tokens(answer)
    return _f1((Counter(wanted) & Counter(got)).total(), wanted, got)


def has_words(text: str) -> bool:
    """Whether a text has anything that these measures can find again."""
    return bool(_WORD.search(text)) and bool(_squad_tokens(text))


def _squad_tokens(text: str) -> list[str]:
    return [word for word in _PUNCTUATION.sub("", text.casefold()).split() if word not in _ARTICLES]


def _f1(common: int, wanted: Sequence[str], got: Sequence[str]) -> float:
    return 2 * common / (len(wanted) + len(got)) if common else 0.0
