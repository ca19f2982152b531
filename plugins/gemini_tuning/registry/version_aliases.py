"""Version aliases of a promoted model, and the scores in its asset event."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from gemini_tuning.core.resources import Model
    from gemini_tuning.core.xcom import AssessmentXCom, DecisionXCom

CHAMPION, PREVIOUS = "champion", "previous"
SCORES = ("pass_rate", "score", "latency_p95_ms", "train_loss", "eval_loss")  # of an assessment


class AliasChange(NamedTuple):
    """A request that adds an alias to a model version or removes it."""

    name: str  # full name of the model version
    alias: str  # with a leading - to remove it

    @property
    def description(self) -> str:
        """The change, for a message."""
        if self.alias.startswith("-"):
            return f"remove alias {self.alias[1:]!r} from {self.name}"
        return f"add alias {self.alias!r} to {self.name}"


def next_change(versions: Sequence[Model], champion: str) -> AliasChange | None:
    """Return the next change until the aliases ``champion`` and ``previous`` are on the right versions.

    It depends only on the current aliases, so a retry continues where the last try stopped: the old champion becomes
    ``previous`` before the new one becomes ``champion``. It is not documented whether the service removes an alias from
    the version that had it; the result is the same in both cases.

    :param versions: all versions of the model.
    :param champion: full name of the version that becomes the champion.
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


def scores_of(checkpoint_id: str | None, decision: DecisionXCom | None) -> dict[str, float | int]:
    """Return the scores of a checkpoint in the decision; those that are unknown are left out."""
    checkpoints = decision.checkpoints if decision else []
    return next((known_scores(found) for found in checkpoints if found.checkpoint_id == checkpoint_id), {})


def known_scores(scores: AssessmentXCom | None) -> dict[str, float | int]:
    """Return those of :data:`SCORES` that are known."""
    return {name: value for name in SCORES if (value := getattr(scores, name, None)) is not None}
