"""Figures as people read them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

MINUTE, HOUR, DAY = 60, 3_600, 86_400
NOTHING = "–"  # noqa: RUF001 - a dash, as in a table


def percent(share: float | None) -> str:
    """Return a share of 0 to 1 in percent."""
    return NOTHING if share is None else f"{100 * share:.1f} %"


def figure(value: float | None) -> str:
    """Return a number with four significant digits."""
    return NOTHING if value is None else f"{value:.4g}"


def duration(seconds: float | None) -> str:
    """Return a duration: ``42 s``, ``3 min 5 s``, ``2 h 10 min``, ``3 d 4 h``."""
    if seconds is None:
        return NOTHING
    whole = max(round(seconds), 0)
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return f"{whole // MINUTE} min {whole % MINUTE} s"
    if whole < DAY:
        return f"{whole // HOUR} h {whole % HOUR // MINUTE} min"
    return f"{whole // DAY} d {whole % DAY // HOUR} h"


def moment(time: datetime | str | None) -> str:
    """Return a time in UTC."""
    if time is None:
        return NOTHING
    try:
        found = datetime.fromisoformat(time) if isinstance(time, str) else time
        return found.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError):
        return str(time)


def short_name(name: str | None) -> str:
    """Return the last part of a resource's name or of an address."""
    return NOTHING if not name else name.rstrip("/").rpartition("/")[2]


FILTERS: Mapping[str, Callable[..., str]] = {
    "percent": percent,
    "figure": figure,
    "duration": duration,
    "moment": moment,
    "short_name": short_name,
}
