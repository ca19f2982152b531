"""Poll until a change is visible: what was not read back is not reported."""

from __future__ import annotations

import time
from collections.abc import Callable

from gemini_tuning.core.exceptions import VerificationError

INTERVAL = 2.0  # seconds


def wait_until_visible(
    missing: Callable[[], str | None], timeout: float, change: str, *, resource: str, hint: str
) -> None:
    """Poll until a change is visible.

    :param missing: reads the resource and returns what is not visible yet, or ``None``.
    :param timeout: seconds.
    :param change: the change, for the message.
    :raises VerificationError: when it is not visible in time.
    """
    end = time.monotonic() + timeout
    while (found := missing()) is not None:
        if time.monotonic() >= end:
            raise VerificationError(
                f"{change}, but after {timeout:g} s {found}.", resource=resource, code="not_visible", hint=hint
            )
        time.sleep(INTERVAL)
