"""When to poll next: rarely while a job has long to run, often near its end.

The next poll is timed shortly before the end that the job's pace predicts. Compared with a fixed ``poll_interval`` this
notices the end three times sooner with half the requests (``tests/benchmarks/bench_waits.py``).
"""

from __future__ import annotations

import random

from gemini_tuning.core.exceptions import ServiceError

MIN_INTERVAL_FACTOR = 1 / 4  # of poll_interval
MIN_LISTED_INTERVAL_FACTOR = 1 / 12  # where one list request serves many subscriptions
MAX_INTERVAL_FACTOR = 5.0  # a job may also fail early
START_FACTOR = 1.5  # nothing finishes before its first epoch has
TARGET_FRACTION = 0.9  # of the time left, which is an estimate
TARGET_FRACTION_BY_AGE = 0.3  # until two polls have shown the pace, and only the job's age is known
OVERDUE_FRACTION = 0.05  # of the time since the predicted end: the model is deployed after the last epoch
SILENT_FRACTION = 0.25  # of the time waited so far, where no progress is reported
MAX_BACKOFF = 60.0  # seconds
JITTER = 0.1


class AdaptiveInterval:
    """The pauses between the polls of one resource, in seconds.

    :param poll_interval: while progress is reported, a pause is between a quarter and five times of it; otherwise it
        grows from a quarter up to it.
    :param now: when the wait begins.
    """

    __slots__ = ("_failures", "_first", "_last", "_since", "min_factor", "poll_interval")

    def __init__(self, poll_interval: float, now: float = 0.0) -> None:
        self.poll_interval = poll_interval
        self.min_factor = MIN_INTERVAL_FACTOR
        self._since = now
        self._first: tuple[float, float] | None = None  # share and time of the first progress that was observed
        self._last: tuple[float, float] | None = None
        self._failures = 0

    def first(self, polled_ago: float = float("inf")) -> float:
        """Return the pause before the first poll, with jitter; ``polled_ago``: since the task itself read it."""
        jitter = self.poll_interval * MIN_INTERVAL_FACTOR * random.random()  # noqa: S311
        return max(self.poll_interval * START_FACTOR - polled_ago, 0.0) + jitter

    def next_pause(self, share: float | None, now: float, age: float | None = None) -> float:
        """Return the pause after a response, with jitter.

        :param share: how much of the work is done, 0 to 1; ``None`` where the service does not report it.
        :param age: seconds since the work began.
        """
        self._failures = 0
        if share and (self._last is None or share > self._last[0]):
            self._last = (share, now)
            self._first = self._first or self._last
        return self._pause(share, now, age) * random.uniform(1 - JITTER, 1.0)  # noqa: S311

    def _pause(self, share: float | None, now: float, age: float | None) -> float:
        usual, waited, end = self.poll_interval, now - self._since, self.predicted_end()
        longest = usual * MAX_INTERVAL_FACTOR
        if share is None:
            pause, longest = waited * SILENT_FRACTION, usual
        elif end is not None and end <= now:
            pause, longest = (now - end) * OVERDUE_FRACTION, usual
        elif end is not None:
            pause = (end - now) * TARGET_FRACTION
        elif share and age is not None and age > 0:
            pause = age * (1 / share - 1) * TARGET_FRACTION_BY_AGE
        else:
            pause = max(usual * START_FACTOR, waited)
        return min(max(pause, usual * self.min_factor), longest)

    def predicted_end(self) -> float | None:
        """Return when the work will be done at its pace so far; ``None`` while that is unknown."""
        if self._first is None or self._last is None:
            return None
        (first, began), (last, reached) = self._first, self._last
        if last >= 1.0:
            return reached
        return reached + (1.0 - last) * (reached - began) / (last - first) if last > first else None

    def backoff(self, error: ServiceError) -> float:
        """Return the pause after a request without a usable response: exponential, at least its ``Retry-After``."""
        self._failures += 1
        pause = min(self.poll_interval * 2.0 ** min(self._failures, 20), max(self.poll_interval, MAX_BACKOFF))
        return max(pause * random.uniform(0.5, 1.0), error.retry_after or 0.0)  # noqa: S311
