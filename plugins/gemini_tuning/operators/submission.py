"""What a run remembers of a resource it asked Google for, so that it asks once. Pure: no Airflow, no Google client.

Creating a tuning job has no request id, so each submission makes one up. It is stored, with the time, before the
request leaves, and goes along as a label or as part of the new resource's id. Whoever comes later (a retry, a cleared
task) finds it in the task state store and looks for the resource at Google before asking again. The id is random:
names of DAG and run alone would let two Airflow installations that share a project adopt each other's jobs.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

# A request leaves within this many seconds of being announced, or not at all. Until then, and for as long as Google may
# take to show what it made, a lost request is looked for.
SEND_WITHIN = 15.0
LOOK_FOR = 75.0


@dataclass(frozen=True)
class Submission:
    """One thing a task asks Google for.

    :param request_id: random, 16 hexadecimal digits.
    :param attempt: 1, and one more for each resource of this run that ended badly before.
    :param generation: the task's ``max_tries``, which Airflow raises when somebody clears it and at no other time.
    :param source: what is copied, for a copy.
    :param sent_at: when the request was about to leave, in seconds since 1970 (UTC); ``None``: it was not.
    :param resource: full name of what was made, once known.
    :param queued_since: when Google refused it first for want of quota, in seconds since 1970 (UTC).
    :param refusals: how often Google has refused it for want of quota.
    :param gave_way: how often it has let other runs go first.
    """

    request_id: str
    attempt: int = 1
    generation: int = 0
    source: str | None = None
    sent_at: float | None = None
    resource: str | None = None
    queued_since: float | None = None
    refusals: int = 0
    gave_way: int = 0

    @classmethod
    def new(cls, *, attempt: int = 1, generation: int = 0, source: str | None = None) -> Self:
        """Make up a request id."""
        return cls(uuid.uuid4().hex[:16], attempt, generation, source)

    @classmethod
    def from_json(cls, stored: Any) -> Self | None:
        """Read what :meth:`as_json` gave; ``None`` when there is nothing.

        :raises ValueError: when something else is stored: guessing could create a second job.
        """
        if stored is None:
            return None
        known = {field.name for field in fields(cls)}
        if not isinstance(stored, Mapping) or not stored.get("request_id") or set(stored) - known:
            raise ValueError(f"the task state store holds something else than a submission: {str(stored)[:200]!r}")
        return cls(**stored)

    def as_json(self) -> dict[str, Any]:
        """Return the form that goes to the task state store."""
        return asdict(self)

    def announced(self, now: float) -> Self:
        """Say that the request is about to leave."""
        return replace(self, sent_at=now)

    def made(self, resource: str) -> Self:
        """Say what came of it."""
        return replace(self, resource=resource)

    def refused(self, now: float) -> Self:
        """Say that Google had no room: nothing was made, and the same request may leave again later."""
        return replace(self, sent_at=None, queued_since=self.queued_since or now, refusals=self.refusals + 1)

    def not_made(self) -> Self:
        """Say that Google refused: nothing was made."""
        return replace(self, sent_at=None)

    def again(self) -> Self:
        """Return the submission that replaces one whose resource ended badly."""
        return type(self).new(attempt=self.attempt + 1, generation=self.generation, source=self.source)

    def cleared(self, generation: int) -> Self:
        """Say that somebody has cleared the task since: its patience begins anew."""
        return replace(self, generation=generation, queued_since=None, refusals=0, gave_way=0)

    @property
    def may_exist(self) -> bool:
        """Whether a request left, or may have left, without a known result."""
        return self.sent_at is not None and self.resource is None

    @property
    def send_before(self) -> float | None:
        """When the request must have left, in seconds since 1970 (UTC)."""
        return None if self.sent_at is None else self.sent_at + SEND_WITHIN

    def looked_for_until(self, patience: float = LOOK_FOR) -> float:
        """Return until when a lost request is looked for, in seconds since 1970 (UTC)."""
        return (self.sent_at or 0.0) + SEND_WITHIN + patience
