"""What a promotion tells others: version aliases on the model, and what the asset event carries. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from gemini_tuning.core import xcom
from gemini_tuning.core.resources import Model

CHAMPION, PREVIOUS = "champion", "previous"
SCORES = ("pass_rate", "score", "latency_p95_ms", "train_loss", "eval_loss")  # of an assessment


class AliasChange(NamedTuple):
    """One request for aliases.

    :param name: full name of a model version.
    :param alias: to give; with ``-`` before it, to take away.
    """

    name: str
    alias: str

    @property
    def words(self) -> str:
        """What is changed, for a message."""
        verb = "take" if self.alias.startswith("-") else "give"
        return f"{verb} {self.alias.removeprefix('-')!r} {'from' if verb == 'take' else 'to'} {self.name}"


def next_change(versions: Sequence[Model], champion: str) -> AliasChange | None:
    """Return the next thing to do until :data:`CHAMPION` and :data:`PREVIOUS` are where they belong.

    It follows from what the service shows alone, so that every try goes on where the last one has stopped: the old
    champion is marked as previous before the new one takes its place. Whether the service itself takes an alias away
    from the version that had it is not documented; both ways come to the same.

    :param versions: all of the model's.
    :param champion: full name of the version that is to be the champion.
    :returns: ``None`` when all is as it should be.
    """
    champions, previous = _holders(versions, CHAMPION), _holders(versions, PREVIOUS)
    if champion not in champions:
        if champions:
            old = champions[0]
            if old not in previous:
                return AliasChange(old, PREVIOUS)
            if others := [name for name in previous if name != old]:
                return AliasChange(others[0], f"-{PREVIOUS}")
        return AliasChange(champion, CHAMPION)
    if others := [name for name in champions if name != champion]:
        return AliasChange(others[0], f"-{CHAMPION}")
    return AliasChange(champion, f"-{PREVIOUS}") if champion in previous else None


def holder(versions: Iterable[Model], alias: str) -> str | None:
    """Return the id of the version that has an alias."""
    return next((version.resource_name.version for version in versions if alias in version.aliases), None)


def _holders(versions: Iterable[Model], alias: str) -> list[str]:
    return [version.name for version in versions if alias in version.aliases]


def scores_of(checkpoint_id: str | None, decision: Mapping[str, Any]) -> dict[str, float | int]:
    """Return the figures of a checkpoint, as the choice assessed them; what is not known is left out.

    :param decision: what the choice pushed.
    """
    assessments = decision.get("checkpoints")
    for found in assessments if isinstance(assessments, list | tuple) else ():
        if isinstance(found, Mapping) and xcom.text(found.get("checkpoint_id")) == checkpoint_id:
            return known_scores(found)
    return {}


def known_scores(scores: Mapping[str, Any]) -> dict[str, float | int]:
    """Return those of :data:`SCORES` that are numbers."""
    return {name: number for name in SCORES if (number := xcom.number(scores.get(name))) is not None}
