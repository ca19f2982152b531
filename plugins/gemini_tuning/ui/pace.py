"""How far a tuning job is, and how long it may still take. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gemini_tuning.core import xcom


@dataclass(frozen=True)
class Pace:
    """How far a job is.

    :param share: 0 to 1; ``None`` while the service does not tell epochs.
    :param seconds_left: at the pace so far; ``None`` before the first epoch is done.
    :param words: for example ``epoch 2 of 6, step 21``.
    """

    share: float | None
    seconds_left: float | None
    words: str


def pace_of(known: Mapping[str, Any], since: datetime | None, now: datetime) -> Pace | None:
    """Return how far a job is; ``None`` before anything is known.

    :param known: the XCom ``progress``.
    :param since: when the wait began, by Airflow's clock as the time of the look.
    """
    if not known:
        return None
    done, epochs, step = (xcom.whole(known.get(key)) for key in ("completed_epochs", "epoch_count", "completed_steps"))
    share = min(done / epochs, 1.0) if done is not None and done >= 0 and epochs and epochs > 0 else None
    return Pace(
        share=share,
        seconds_left=_left(_time(known.get("at")), share, since, now),
        words=_words(known, done, epochs, step),
    )


def _left(looked: datetime | None, share: float | None, since: datetime | None, now: datetime) -> float | None:
    """Return the rest at the pace up to the last look: an epoch that is under way does not stretch it."""
    if not share or since is None or looked is None or looked <= since:
        return None
    return max((looked - since).total_seconds() / share - (now - since).total_seconds(), 0.0)


def _words(known: Mapping[str, Any], done: int | None, epochs: int | None, step: int | None) -> str:
    parts = []
    if done is not None:
        parts.append(f"epoch {done} of {epochs}" if epochs else f"epoch {done}")
    if step is not None:
        parts.append(f"step {step}")
    phase = xcom.text(known.get("phase"))
    if not parts and phase:
        parts.append(phase.lower().replace("_", " "))
    return ", ".join(parts)


def _time(value: object) -> datetime | None:
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return found if found is not None and found.tzinfo is not None else None
