"""Regular expressions with a time limit: catastrophic backtracking cannot be interrupted in Python's ``re``."""

from __future__ import annotations

from typing import Any

import regex

from gemini_tuning.smoke.checks.result import UndecidedError, short

MATCH_SECONDS = 2.0  # a reasonable pattern takes microseconds
MAX_PATTERN = 10_000  # characters


def problem(pattern: str) -> str | None:
    """Return why this is not a regular expression, or ``None``."""
    if len(pattern) > MAX_PATTERN:
        return f"expected a regular expression of at most {MAX_PATTERN} characters, not {short(pattern)}"
    try:
        regex.compile(pattern)
    except (regex.error, ValueError, OverflowError, RecursionError, MemoryError) as error:
        return f"{short(pattern)} is not a regular expression: {str(error) or type(error).__name__}"
    return None


def search(pattern: str, text: str) -> Any:
    """Return the first match, or ``None``; raise UndecidedError after :data:`MATCH_SECONDS`."""
    try:
        return regex.search(pattern, text, timeout=MATCH_SECONDS)
    except regex.error as error:  # a JSON Schema's, which was checked by Python's re
        raise UndecidedError(f"{short(pattern)} is not a regular expression: {error}") from None
    except TimeoutError:
        raise UndecidedError(f"the pattern took more than {MATCH_SECONDS:g} s on {len(text)} characters") from None
