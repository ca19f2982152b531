"""When to look again at something that is waited for. Pure: times come in as arguments, in seconds.

Far from the end a look is wasted; near it, each second until the next look is a second too late. So the next look is
aimed at a little before the end that the job's pace lets expect, and from there on the looks come closely. Against one
look every ``poll_interval`` this notices the end three times sooner with half the requests
(``tests/benchmarks/bench_waits.py``).
"""

from __future__ import annotations

import random

from gemini_tuning.core.resources import Share

NEAREST = 1 / 4  # of poll_interval: fifteen seconds of a minute
NEAREST_TOGETHER = 1 / 12  # the same where one request answers for many
FARTHEST = 5.0  # times poll_interval: a job may also fail early
AIM = 0.9  # of the time that is left: the pace is an estimate
BEGIN = 1.5  # times poll_interval, while no epoch is done: nothing ends so soon ...
GROWTH = 1.0  # ... or as long again as it has been waited for: a job that has not begun after an hour is not done soon
CAREFUL = 0.3  # of the time that is left by the job's age alone, before two looks have shown its pace
OVERDUE = 0.05  # of the time since the expected end: the model is uploaded and deployed after the last epoch
SHORT = 0.25  # of the time waited for so far, for what takes minutes at most and tells nothing
MAX_BACKOFF = 60.0  # seconds between two looks at a service that does not answer; more only where it asks for it
JITTER = 0.1  # of a pause, so that many waits don't come at once


class Cadence:
    """The pauses between the looks of one wait.

    :param poll_interval: seconds; the pauses of a job are between a quarter and five times of it. What tells no
        progress at all is looked at every ``poll_interval``.
    :param is_short: of something that tells no progress and takes minutes at most: the first looks come quickly, and
        the pauses grow to ``poll_interval``.
    :param now: when the wait begins.
    """

    __slots__ = ("_failures", "_first", "_is_short", "_last", "_looked", "_share", "_since", "poll_interval")

    def __init__(self, poll_interval: float, *, is_short: bool = False, now: float = 0.0) -> None:
        self.poll_interval = poll_interval
        self._is_short = is_short
        self._since = self._looked = now
        self._share: Share | None = None
        self._first: tuple[float, float] | None = None  # share and time of the first change that was seen
        self._last: tuple[float, float] | None = None
        self._failures = 0

    def begin(self, looked_ago: float | None = None) -> float:
        """Return the pause before the first look: a moment, in which other waits may begin too.

        :param looked_ago: seconds since somebody else looked and found it under way.
        """
        moment = self.poll_interval * NEAREST * random.random()  # noqa: S311 - jitter
        if looked_ago is None or self._is_short:
            return moment
        return max(self.poll_interval * BEGIN - looked_ago, 0.0) + moment

    def answered(self, share: Share | None, now: float, age: float | None = None, nearest: float = NEAREST) -> float:
        """Take note of an answer, and return the pause until the next look.

        :param share: how much of the work is done; ``None`` where the service does not tell.
        :param age: seconds since the work began, as far as the service tells.
        :param nearest: the shortest pause, as a part of ``poll_interval``.
        """
        self._failures = 0
        self._mark(share, now)
        self._share, self._looked = share, now
        return self._pause(now, age, nearest) * random.uniform(1 - JITTER, 1.0)  # noqa: S311

    def _mark(self, share: Share | None, now: float) -> None:
        """Remember when a share was reached: now, or, where only whole epochs are told, since the last look."""
        if share is None or not share.done:
            return
        if share.is_exact:
            mark = (share.done, now)
        elif self._share is not None and share.done > self._share.done:
            mark = (share.done, (self._looked + now) / 2)
        else:
            return
        self._first = self._first or mark
        if self._last is None or mark[0] > self._last[0]:
            self._last = mark

    def failed(self, asked: float | None = None) -> float:
        """Take note of a look that brought no answer, and return the pause: as the service asks, else ever longer.

        :param asked: seconds that the service wants to be left alone.
        """
        self._failures += 1
        longest = max(self.poll_interval, MAX_BACKOFF)
        pause = min(self.poll_interval * 2.0 ** min(self._failures, 20), longest)
        return max(pause * random.uniform(0.5, 1.0), asked or 0.0)  # noqa: S311 - jitter

    def expected_end(self) -> float | None:
        """Return when the work should be done, at the pace so far; ``None`` while too little was seen of it."""
        if self._first is None or self._last is None:
            return None
        if self._last[0] >= 1.0:
            return self._last[1]
        if self._last[0] <= self._first[0]:
            return None
        (first, began), (last, reached) = self._first, self._last
        return reached + (1.0 - last) * (reached - began) / (last - first)

    def _pause(self, now: float, age: float | None, nearest: float) -> float:
        usual, waited = self.poll_interval, now - self._since
        if self._share is None:
            return min(max(usual * nearest, waited * SHORT), usual) if self._is_short else usual
        end, longest = self.expected_end(), usual * FARTHEST
        if end is not None and end <= now:
            pause, longest = (now - end) * OVERDUE, usual
        elif end is not None:
            pause = (end - now) * AIM
        elif self._share.done and age is not None and age > 0:
            pause = age / self._share.done * (1 - self._share.done) * CAREFUL
        else:
            pause = max(usual * BEGIN, waited * GROWTH)
        return min(max(pause, usual * nearest), longest)
