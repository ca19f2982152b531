"""Virtual time: the clock that jobs, copies and every reported time follow."""

import time
from collections.abc import Callable
from datetime import UTC, datetime


class Clock:
    """A clock that starts at the real time, or another, and then runs ``speed`` times as fast.

    It is read with :meth:`tick`, once for each request: in between time stands still, so that all that one request
    does has one time, which a log of the requests can name.

    :param speed: virtual seconds per real second; 0 stops the clock, so that only :meth:`advance` moves it.
    :param real: elapsed real time in seconds, monotonic.
    :param start: virtual time at the start, in seconds since the Unix epoch.
    """

    def __init__(
        self, speed: float, real: Callable[[], float] = time.monotonic, start: Callable[[], float] = time.time
    ) -> None:
        self.speed = speed
        self._real = real
        self._now = start()
        self._held = False
        self.go_on(self._now)

    def now(self) -> float:
        """Virtual seconds since the Unix epoch, when the clock was last read."""
        return self._now

    def tick(self) -> float:
        """Read the clock."""
        if not self._held:
            self._now = max(self._now, self._base + (self._real() - self._real_base) * self.speed)
        return self._now

    def advance(self, seconds: float) -> None:
        """Move virtual time on by this many seconds (never back: events already applied stay applied)."""
        if seconds < 0:
            raise ValueError("time moves forward only")
        self._base += seconds
        self._now += seconds

    def hold(self, at: float) -> None:
        """Stand at a time until :meth:`go_on`: for doing again what was done then."""
        self._held = True
        self._now = self._base = at

    def go_on(self, at: float) -> None:
        """Run on from a time, or from where the clock stands when that is later."""
        self._held = False
        self._base = self._now = max(self._now, at)
        self._real_base = self._real()


def timestamp(seconds: float) -> str:
    """Write seconds since the Unix epoch as the API does: UTC with microseconds and ``Z``."""
    # A reply holds five and more of them, and strftime takes over twice as long.
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"
