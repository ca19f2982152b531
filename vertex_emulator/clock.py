"""Virtual time: the clock that jobs, copies and every reported time follow."""

import time
from collections.abc import Callable
from datetime import UTC, datetime


class Clock:
    """A clock that starts at the real time and then runs ``speed`` times as fast.

    :param speed: virtual seconds per real second; 0 stops the clock, so that only :meth:`advance` moves it.
    :param real: elapsed real time in seconds, monotonic.
    """

    def __init__(self, speed: float, real: Callable[[], float] = time.monotonic) -> None:
        self.speed = speed
        self._real = real
        self._real_start = real()
        self._start = time.time()
        self._advanced = 0.0

    def now(self) -> float:
        """Virtual seconds since the Unix epoch."""
        return self._start + (self._real() - self._real_start) * self.speed + self._advanced

    def advance(self, seconds: float) -> None:
        """Move virtual time on by this many seconds (never back: events already applied stay applied)."""
        if seconds < 0:
            raise ValueError("time moves forward only")
        self._advanced += seconds


def timestamp(seconds: float) -> str:
    """Write seconds since the Unix epoch as the API does: UTC with microseconds and ``Z``."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
