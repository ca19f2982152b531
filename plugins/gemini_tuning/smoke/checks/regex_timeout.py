"""Regular expressions with a time limit: catastrophic backtracking cannot be interrupted in Python's ``re``.

The ``regex`` package takes the same patterns and has a timeout. It is imported where it is used, because every DAG
file that uses our operators imports this module.
"""

from __future__ import annotations

from typing import Any

MATCH_SECONDS = 2.0  # a reasonable pattern takes microseconds
MAX_PATTERN = 10_000  # characters


class MatchTimeoutError(Exception):
    """A match took too long, so it is unknown whether the pattern matches."""


def problem(pattern: str) -> str | None:
    """Return why this is not a regular expression, or ``None``."""
    import regex

    if len(pattern) > MAX_PATTERN:
        return f"more than {MAX_PATTERN} characters"
    try:
        regex.compile(pattern)
    except (regex.error, ValueError, OverflowError, RecursionError, MemoryError) as error:
        return str(error) or type(error).__name__
    return None


def search(pattern: str, text: str) -> Any:
    """Return the first match, or ``None``.

    :raises MatchTimeoutError: after :data:`MATCH_SECONDS`.
    """
    import regex

    try:
        return regex.search(pattern, text, timeout=MATCH_SECONDS)
    except TimeoutError:
        raise MatchTimeoutError(f"the pattern took more than {MATCH_SECONDS:g} s on {len(text)} characters") from None
