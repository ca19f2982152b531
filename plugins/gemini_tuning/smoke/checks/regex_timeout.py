"""Regular expressions that end: a pattern or an answer can make one run for years, and nothing can stop Python's own.

The ``regex`` package reads the same patterns and gives up after a time. It is imported where it is used: every DAG
file that names our operators imports this module.
"""

from __future__ import annotations

from typing import Any

MATCH_SECONDS = 2.0  # an honest pattern needs microseconds
MAX_PATTERN = 10_000  # characters


class MatchTimeoutError(Exception):
    """A match took too long, so nobody knows whether there is one."""


def problem(pattern: str) -> str | None:
    """Return why this is no regular expression, or ``None``."""
    import regex

    if len(pattern) > MAX_PATTERN:
        return f"more than {MAX_PATTERN} characters"
    try:
        regex.compile(pattern)
    except (regex.error, ValueError, OverflowError, RecursionError, MemoryError) as error:
        return str(error) or type(error).__name__
    return None


def found(pattern: str, text: str) -> Any:
    """Return the first match, or ``None``.

    :raises MatchTimeoutError: after :data:`MATCH_SECONDS`.
    """
    import regex

    try:
        return regex.search(pattern, text, timeout=MATCH_SECONDS)
    except TimeoutError:
        raise MatchTimeoutError(f"the pattern took more than {MATCH_SECONDS:g} s on {len(text)} characters") from None
