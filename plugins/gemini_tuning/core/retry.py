"""Retries of requests that are safe to repeat."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_before_delay, wait_random_exponential

from gemini_tuning.core.exceptions import TransientServiceError

T = TypeVar("T")

MAX_BACKOFF = 30.0  # seconds between two attempts, unless the service requests more
READ_TIMEOUT = 60.0  # seconds after which a read is not retried again


def backoff(state: RetryCallState) -> float:
    """Return the seconds to wait: those of the ``Retry-After`` header, else an exponential backoff with jitter."""
    error = state.outcome.exception() if state.outcome else None
    retry_after = error.retry_after if isinstance(error, TransientServiceError) else None
    return max(retry_after or 0.0, wait_random_exponential(max=MAX_BACKOFF)(state))


def retry_transient(call: Callable[[], T]) -> T:
    """Call until there is no transient error, for at most :data:`READ_TIMEOUT`."""
    return Retrying(
        retry=retry_if_exception_type(TransientServiceError),
        wait=backoff,
        stop=stop_before_delay(READ_TIMEOUT),
        reraise=True,
    )(call)
