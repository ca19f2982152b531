"""How long to wait before something is asked of the service again."""

from __future__ import annotations

from tenacity import RetryCallState, wait_random_exponential

from gemini_tuning.core.exceptions import TransientServiceError

MAX_BACKOFF = 30.0  # seconds between two attempts, unless the service asks for more


def backoff(state: RetryCallState) -> float:
    """Wait as long as the service asks for, else ever longer with jitter; in seconds."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, TransientServiceError) else None
    return max(asked or 0.0, wait_random_exponential(max=MAX_BACKOFF)(state))
