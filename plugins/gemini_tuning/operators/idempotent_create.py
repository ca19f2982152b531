"""Create a resource exactly once per run, even when a worker is killed between the request and its response.

Neither create method takes a request id (``tuningJobs.create``, ``models.copy``), so each request gets a random one. It
is saved in the task state store before the request is sent, and becomes a label of the tuning job, or part of the
copy's model id. Every later try of the task loads it and searches for its resource before it sends anything. The id is
random because two Airflow deployments that share a project may have the same DAG and run ids.

Airflow's ``ResumableJobMixin`` does the same with the external job's id, and is not used for two reasons. It saves the
id after the submit call has returned: a worker that is killed in between leaves a job that the next try cannot find,
so it creates, and pays for, a second one. And it is synchronous: the task would hold a worker slot for hours, where
ours defers.
"""

from __future__ import annotations

import abc
import random
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Protocol, Self

from gemini_tuning.core.exceptions import (
    CreateOutcomeUnknownError,
    InvalidInputError,
    NotSentError,
    PermanentServiceError,
    RetryLimitExceededError,
    TransientServiceError,
)
from gemini_tuning.core.text import short_repr
from gemini_tuning.operators.cloud_base import GeminiBaseOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

SEND_TIMEOUT = 15.0  # seconds after it was saved within which a request is sent, or not at all
SEARCH_TIMEOUT = 75.0  # seconds after SEND_TIMEOUT within which the service lists the resource of a request
SEARCH_INTERVAL = 3.0  # seconds
FIRST_QUOTA_DELAY = 30.0  # seconds; doubled with each refusal, up to
MAX_QUOTA_DELAY = 600.0
QUOTA_XCOM = "quota_wait"
SUBMISSION_XCOM = "submission"  # of a create task: what the teardown finds the resource by


class NamedResource(Protocol):
    """A created resource: a tuning job or the operation of a copy."""

    @property
    def name(self) -> str:
        """Full resource name."""


@dataclass(frozen=True)
class Submission:
    """One create request of a task, as it is saved in the task state store.

    :param request_id: random, 16 hexadecimal digits.
    :param attempt: 1, plus one for each resource of this run that became unusable.
    :param generation: the task's ``max_tries``, which Airflow raises only when the task is cleared.
    :param source: the model that is copied.
    :param sent_at: when the request was about to be sent, in seconds since 1970 (UTC); ``None`` if it was not sent.
    :param resource: full name of the created resource, once known.
    :param queued_since: when the service first refused the request for lack of quota, in seconds since 1970 (UTC).
    :param refusals: how many times it refused for lack of quota.
    """

    request_id: str
    attempt: int = 1
    generation: int = 0
    source: str | None = None
    sent_at: float | None = None
    resource: str | None = None
    queued_since: float | None = None
    refusals: int = 0

    @classmethod
    def new(cls, *, attempt: int = 1, generation: int = 0, source: str | None = None) -> Self:
        """Return a submission with a new request id."""
        return cls(uuid.uuid4().hex[:16], attempt, generation, source)

    @classmethod
    def from_json(cls, stored: Any) -> Self | None:
        """Return the submission that :meth:`as_json` wrote; ``None`` for ``None``.

        :raises InvalidInputError: for anything else, because a guess could create a second job.
        """
        if stored is None:
            return None
        known = {field.name for field in fields(cls)}
        if not isinstance(stored, Mapping) or not stored.get("request_id") or set(stored) - known:
            raise InvalidInputError(
                f"The task state store does not hold a submission: {short_repr(stored)}.",
                code="invalid_submission",
                hint="Start a new run.",
            )
        return cls(**stored)

    def as_json(self) -> dict[str, Any]:
        """Return the value for the task state store."""
        return asdict(self)

    def sending(self, now: float) -> Self:
        """Return the submission right before its request is sent."""
        return replace(self, sent_at=now)

    def created(self, resource: str) -> Self:
        """Return the submission with the name of its resource."""
        return replace(self, resource=resource)

    def over_quota(self, now: float) -> Self:
        """Return the submission after a 429: nothing was created, and the same request may be sent again."""
        return replace(self, sent_at=None, queued_since=self.queued_since or now, refusals=self.refusals + 1)

    def refused(self) -> Self:
        """Return the submission after the service refused it or it was not sent: nothing was created."""
        return replace(self, sent_at=None)

    def next_attempt(self) -> Self:
        """Return the submission that replaces one whose resource is unusable."""
        return type(self).new(attempt=self.attempt + 1, generation=self.generation, source=self.source)

    def after_clear(self, generation: int) -> Self:
        """Return the submission for a cleared task: its time-out for quota starts over."""
        return replace(self, generation=generation, queued_since=None, refusals=0)

    @property
    def may_exist(self) -> bool:
        """Whether the request was, or may have been, sent and its resource is not known."""
        return self.sent_at is not None and self.resource is None

    @property
    def send_before(self) -> float | None:
        """When the request must have been sent, in seconds since 1970 (UTC)."""
        return None if self.sent_at is None else self.sent_at + SEND_TIMEOUT

    def search_until(self, timeout: float = SEARCH_TIMEOUT) -> float:
        """Return how long to search for the resource of a lost response, in seconds since 1970 (UTC)."""
        return (self.sent_at or 0.0) + SEND_TIMEOUT + timeout


class SubmissionStore:
    """A task's submission in Airflow's task state store, which keeps it through retries and clears.

    Airflow accepts writes from the current try only. A process of an earlier try that was considered lost and resumes
    fails here, before it can send a request.
    """

    def __init__(self, context: Context, key: str) -> None:
        self._store = context["task_state_store"]
        self._key = key

    def load(self) -> Submission | None:
        """Return the submission of an earlier try, or of this one before it was deferred."""
        return Submission.from_json(self._store.get(self._key))

    def save(self, submission: Submission) -> Submission:
        """Save a submission for as long as the run exists, and return it."""
        from airflow.sdk.execution_time.context import NEVER_EXPIRE

        self._store.set(self._key, submission.as_json(), retention=NEVER_EXPIRE)
        return submission


class IdempotentCreateMixin(GeminiBaseOperator):
    """Base of the operators whose resource must not be created twice.

    XCom ``quota_wait``, while the task waits for quota: ``{"since", "next_try", "refusals", "message"}``, with times in
    ISO format (UTC) and the service's message.

    :param max_attempts: how many resources a run creates at most, each in place of one that became unusable.
    :param quota_timeout: seconds to wait for quota (429).
    :param lookup_timeout: seconds to search for the resource of a lost response before the request is sent again.
    """

    submission_key: ClassVar[str]  # in the task state store
    kind: ClassVar[str]  # in messages

    def __init__(
        self,
        *,
        max_attempts: int = 3,
        quota_timeout: float = 24 * 3600,
        lookup_timeout: float = SEARCH_TIMEOUT,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.max_attempts = max_attempts
        self.quota_timeout = quota_timeout
        self.lookup_timeout = lookup_timeout

    # ------------------------------------------------------------------------------ for each kind of resource

    @abc.abstractmethod
    def get_resource(self, name: str) -> Any:
        """Return the created resource by its full name."""

    @abc.abstractmethod
    def find_submitted(self, submission: Submission, *, last: bool) -> Any | None:
        """Search the service for the resource of a request.

        :param last: whether this is the last search before the request counts as never received.
        :raises TransientServiceError: when it cannot be known yet.
        """

    def check_needed(self, context: Context) -> None:
        """Raise when the resource would be of no use; called before each request."""

    def publish_request(self, context: Context, submission: Submission) -> None:
        """Push what other tasks can find the resource by, before the request is sent."""

    @abc.abstractmethod
    def send(self, context: Context, submission: Submission) -> Any:
        """Send the request, once."""

    @abc.abstractmethod
    def unusable_reason(self, resource: Any) -> str | None:
        """Return why a resource cannot be used any more; ``None`` when it can."""

    def load_or_start(self, context: Context, store: SubmissionStore) -> Submission:
        """Return the submission of an earlier try, or a new one."""
        return self.resume(context, store, store.load()) or store.save(Submission.new(generation=generation(context)))

    def resume(self, context: Context, store: SubmissionStore, stored: Submission | None) -> Submission | None:
        """Return the stored submission; its time-out for quota starts over if the task was cleared."""
        if stored is not None and stored.generation != generation(context):
            return store.save(stored.after_clear(generation(context)))
        return stored

    # ---------------------------------------------------------------------------------------- for all of them

    def find_or_create(self, context: Context) -> Any:
        """Return this run's resource: the one of an earlier try, or a created one; and save its name."""
        store = SubmissionStore(context, self.submission_key)
        submission = self.load_or_start(context, store)
        self.publish_request(context, submission)  # again: Airflow deletes the XComs of an earlier try
        resource = self.find_existing(submission)
        if resource is not None and (reason := self.unusable_reason(resource)):
            submission = store.save(self._next_attempt(submission, reason))
            resource = None
        if resource is None:
            resource = self._create(context, store, submission)
            self.log.info("Created %s %s", self.kind, resource.name)
        else:
            self.log.info("Reattached to %s %s of an earlier try", self.kind, resource.name)
        store.save((store.load() or submission).created(resource.name))
        return resource

    def find_existing(self, submission: Submission) -> Any | None:
        """Return the resource of a submission; search for it until ``lookup_timeout`` if its response was lost."""
        if submission.resource:
            return self.get_resource(submission.resource)
        if not submission.may_exist:
            return None
        end = submission.search_until(self.lookup_timeout)
        self.log.info(
            "The response of a create request was lost; searching for its %s for %.0f s",
            self.kind, max(end - time.time(), 0),
        )  # fmt: skip
        while True:
            last = time.time() >= end
            try:
                if (found := self.find_submitted(submission, last=last)) is not None or last:
                    return found
            except TransientServiceError as error:
                if last:
                    raise
                self.log.warning("%s", error)
            time.sleep(SEARCH_INTERVAL)

    def _next_attempt(self, submission: Submission, reason: str) -> Submission:
        if submission.attempt >= self.max_attempts:
            raise RetryLimitExceededError(
                f"{submission.attempt} of {self.max_attempts} attempts at a {self.kind} failed. {reason}",
                field="max_attempts",
                resource=submission.resource or "",
                code="max_attempts_reached",
                hint="Fix the cause and start a new run.",
            )
        self.log.warning(
            "%s Creating a new %s: attempt %d of %d",
            reason, self.kind, submission.attempt + 1, self.max_attempts,
        )  # fmt: skip
        return submission.next_attempt()

    def _create(self, context: Context, store: SubmissionStore, submission: Submission) -> Any:
        self.check_needed(context)
        self.publish_request(context, submission.sending(time.time()))
        submission = store.save(submission.sending(time.time()))
        try:
            return self.send(context, submission)
        except CreateOutcomeUnknownError as error:
            self.log.warning("%s", error)
            if (resource := self.find_existing(submission)) is None:
                raise _not_found(error) from error
            return resource
        except (PermanentServiceError, NotSentError):
            self.publish_request(context, store.save(submission.refused()))
            raise
        except TransientServiceError as error:  # 429; every other transient error has an unknown outcome
            self._wait_for_quota(context, store.save(submission.over_quota(time.time())), error)

    def _wait_for_quota(self, context: Context, submission: Submission, error: TransientServiceError) -> NoReturn:
        """Defer until the next try; the task holds no worker slot in between."""
        from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger

        now = time.time()
        since = submission.queued_since or now
        if now - since >= self.quota_timeout:
            raise RetryLimitExceededError(
                f"No quota for another {self.kind} within {now - since:.0f} s, so none was created. {error}",
                field="quota_timeout",
                code="quota_timeout",
                hint="Clear the task to wait again, or request a higher quota.",
            )
        delay = min(FIRST_QUOTA_DELAY * 2.0 ** min(submission.refusals - 1, 10), MAX_QUOTA_DELAY)
        delay = max(error.retry_after or 0.0, delay * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
        delay = min(delay, self.quota_timeout - (now - since))
        self.log.warning("No quota for another %s; retrying in %.0f s. %s", self.kind, delay, error)
        wait = {
            "since": _iso(since),
            "next_try": _iso(now + delay),
            "refusals": submission.refusals,
            "message": error.service_message or str(error),
        }
        context["ti"].xcom_push(key=QUOTA_XCOM, value=wait)
        self.defer(trigger=TimeDeltaTrigger(timedelta(seconds=delay)), method_name="execute_after_quota_wait")

    def execute_after_quota_wait(self, context: Context, event: Any = None) -> Any:
        """Run again after a wait for quota."""
        return self.execute(context)


def generation(context: Context) -> int:
    """Return a number that changes when the task is cleared and stays the same when Airflow retries it."""
    return int(context["ti"].max_tries or 0)


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _not_found(error: CreateOutcomeUnknownError) -> CreateOutcomeUnknownError:
    return CreateOutcomeUnknownError(
        f"{error} No resource of this request was found.",
        resource=error.resource,
        code=error.code,
        status=error.status,
        service_message=error.service_message,
        hint="The next try searches once more, then sends the request again.",
    )
