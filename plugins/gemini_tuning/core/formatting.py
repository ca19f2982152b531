"""Numbers, times and names as sentences, tables and pages show them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from gemini_tuning.core.text import short_repr

MAX_NAMES = 5
MAX_NAME = 40  # characters
MINUTE, HOUR, DAY = 60, 3_600, 86_400  # seconds


def percent(share: float | None, digits: int = 1) -> str:
    """Return a share of 0 to 1 as a percentage: 0.912 -> ``91.2%``; ``-`` for ``None``."""
    return "-" if share is None else f"{share:.{digits}%}"


def milliseconds(time: float, digits: int = 0) -> str:
    """Return ``1,234 ms``."""
    return f"{time:,.{digits}f} ms"


def distinct(one: float, other: float, form: Callable[[float, int], str], digits: int) -> tuple[str, str]:
    """Format two numbers with as many digits as it takes to see which is greater: never *80.0% is below 80.0%*."""
    texts = form(one, digits), form(other, digits)
    while texts[0] == texts[1] and one != other and digits < 9:
        digits += 1
        texts = form(one, digits), form(other, digits)
    return texts


def points(difference: float) -> str:
    """Return a difference of two scores in percentage points, without its sign: 0.031 -> ``3.1 points``."""
    return f"{distinct(abs(difference), 0, lambda share, digits: f'{100 * share:.{digits}f}', 1)[0]} points"


def p_value(p: float) -> str:
    """Return ``p = 0.0123``, or ``p < 0.001``."""
    return f"p = {p:.3g}" if p >= 0.001 else "p < 0.001"


def name(text: str) -> str:
    """Return an id so that it fits in a sentence: one line, at most 40 characters."""
    clean = text if text.isprintable() else short_repr(text)
    return clean if len(clean) <= MAX_NAME else f"{clean[: MAX_NAME - 1]}…"


def names(ids: Sequence[str]) -> str:
    """Return the first five of many ids, and how many more there are."""
    more = f" and {len(ids) - MAX_NAMES} more" if len(ids) > MAX_NAMES else ""
    return ", ".join(name(i) for i in ids[:MAX_NAMES]) + more


def counted(number: int, thing: str) -> str:
    """Return ``1 case``, ``2 cases``."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def capitalize(sentence: str) -> str:
    """Capitalize the first letter; unlike ``str.capitalize`` it keeps the others."""
    return sentence[:1].upper() + sentence[1:]


def significant(value: float | None) -> str:
    """Return a number with four significant digits; ``-`` for ``None``."""
    return "-" if value is None else f"{value:.4g}"


def duration(seconds: float | None) -> str:
    """Return ``42 s``, ``3 min 5 s``, ``2 h 10 min`` or ``3 d 4 h``; ``-`` for ``None``."""
    if seconds is None:
        return "-"
    whole = max(round(seconds), 0)
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return f"{whole // MINUTE} min {whole % MINUTE} s"
    if whole < DAY:
        return f"{whole // HOUR} h {whole % HOUR // MINUTE} min"
    return f"{whole // DAY} d {whole % DAY // HOUR} h"


def utc(time: datetime | str | None) -> str:
    """Return ``2026-11-20 08:00 UTC``; a text that is not a time unchanged; ``-`` for ``None``."""
    if time is None:
        return "-"
    try:
        found = datetime.fromisoformat(time) if isinstance(time, str) else time
        return found.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError):
        return str(time)


def last_segment(path: str | None) -> str:
    """Return the last segment of a resource name or URI; ``-`` for ``None``."""
    return "-" if not path else path.rstrip("/").rpartition("/")[2]
