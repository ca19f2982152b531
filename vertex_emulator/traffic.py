"""How many prompts each endpoint has answered, and when: what Cloud Monitoring shows of it."""

from collections.abc import Iterator
from typing import NamedTuple

MINUTE = 60
KEPT = 42 * 24 * 60
"""Minutes: Google keeps these metrics for six weeks."""


class Asked(NamedTuple):
    """Prompts that an endpoint has answered until a (virtual) time, within a minute."""

    until: float
    prompts: int


class Traffic:
    """Counts prompts by endpoint and minute."""

    def __init__(self) -> None:
        self._minutes: dict[str, dict[int, int]] = {}

    def note(self, endpoint: str, now: float) -> None:
        """Count a prompt that was answered."""
        minutes = self._minutes.setdefault(endpoint, {})
        minute = int(now // MINUTE)
        minutes[minute] = minutes.get(minute, 0) + 1
        while (oldest := next(iter(minutes))) < minute - KEPT:
            del minutes[oldest]

    def endpoints(self) -> list[str]:
        """Name the endpoints that have been asked, also those that are gone by now."""
        return list(self._minutes)

    def of(self, endpoint: str, now: float) -> Iterator[Asked]:
        """Yield what an endpoint was asked, the latest first.

        :param now: virtual time: the present minute is not over yet.
        """
        for minute, prompts in reversed(self._minutes.get(endpoint, {}).items()):
            yield Asked(min((minute + 1) * MINUTE, now), prompts)
