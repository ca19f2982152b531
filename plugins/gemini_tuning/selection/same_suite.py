"""Refuses to compare what can't be compared. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from gemini_tuning.core.text import short_repr
from gemini_tuning.selection.candidate import Candidate, ResultError
from gemini_tuning.selection.figures import name, names


def require_unique(contenders: Iterable[Candidate]) -> None:
    """Refuse two results of one checkpoint, as only one of them could count.

    :raises ResultError: naming the checkpoint.
    """
    counts = Counter(contender.checkpoint_id for contender in contenders)
    if twice := [identifier for identifier, count in counts.items() if count > 1]:
        raise ResultError(f"results: checkpoint {short_repr(twice[0])} is there more than once")


def require_same_suite(contenders: Iterable[Candidate], champion: Candidate | None) -> None:
    """Refuse to compare answers to different questions.

    :raises ResultError: naming the two, and the cases by which they differ.
    """
    asked = [(f"checkpoint {short_repr(c.checkpoint_id)}", c) for c in contenders if c.asked]
    if champion is not None and champion.asked:
        asked.append(("the champion", champion))
    for who, contender in asked[1:]:
        if problem := _suite_difference(contender, asked[0][1]):
            raise ResultError(
                f"results: {who} and {asked[0][0]} did not answer the same suite: {problem}. "
                "Clear the smoke tests of both, so that they ask the suite as it is now."
            )


def _suite_difference(one: Candidate, other: Candidate) -> str | None:
    if only := [case for case in one.cases if case not in other.outcomes]:
        return f"only the first has {names(only)}"
    if only := [case for case in other.cases if case not in one.outcomes]:
        return f"only the second has {names(only)}"
    for case, outcome in one.outcomes.items():
        theirs = other.outcomes[case]
        if (outcome.weight, outcome.critical) != (theirs.weight, theirs.critical):
            return f"case {name(case)} differs in weight or in being critical"
    known = {one.suite_fingerprint, other.suite_fingerprint} - {None}
    return "the suite was changed in between" if len(known) > 1 else None
