"""Regular expressions with a time limit: catastrophic backtracking cannot be interrupted in Python's ``re``."""

from __future__ import annotations

from typing import Any

import regex

from gemini_tuning.smoke.checks.result import UndecidedError

MATCH_SECONDS = 2.0  # a reasonable pattern takes microseconds
MAX_PATTERN = 10_000  # characters


def problem(pattern: str) -> str | None:
    """Return why this is not a regular expression, or ``None``."""
    if len(pattern) > MAX_PATTERN:
        return f"more than {MAX_PATTERN} characters"
    try:
        regex.compile(pattern)
    except (regex.error, ValueError, OverflowError, RecursionError, MemoryError) as error:
        return str(error) or type(error).__name__
    return None


def search(pattern: str, text: str) -> Any:
    """Return the first match, or ``None``; raise after :data:`MATCH_SECONDS`."""
    try:
        return regex.search(pattern, text, timeout=MATCH_SECONDS)
    except TimeoutError:
        raise UndecidedError(f"the pattern took more than {MATCH_SECONDS:g} s on {len(text)} characters") from None
