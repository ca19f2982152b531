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
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, NoReturn, Self

from airflow.sdk import Context
from airflow.sdk.execution_time.context import NEVER_EXPIRE

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

SEND_TIMEOUT = 15.0  # seconds after it was saved within which a request is sent, or not at all
SEARCH_TIMEOUT = 75.0  # seconds after SEND_TIMEOUT within which the service lists the resource of a request
SEARCH_INTERVAL = 3.0  # seconds
FIRST_QUOTA_DELAY = 30.0  # seconds; doubled with each refusal, up to
MAX_QUOTA_DELAY = 600.0
QUOTA_XCOM = "quota_wait"
SUBMISSION_XCOM = "submission"  # of a create task: what the teardown finds the resource by


@dataclass(frozen=True)
class Submission:
    """One create request of a task, as it is saved in the task state store.

    ``sent_at`` is when the request was about to be sent; ``None`` if it was not sent, or refused: then nothing was
    created. Times are in seconds since 1970 (UTC).
    """

    request_id: str = field(default_factory=lambda: uuid.uuid4().hex[:16])
    attempt: int = 1  # plus one for each resource of this run that became unusable
    generation: int = 0  # the task's max_tries, which Airflow raises only when the task is cleared
    source: str | None = None  # the model that is copied
    sent_at: float | None = None
    resource: str | None = None  # full name of the created resource, once known
    queued_since: float | None = None  # when the service first refused the request for lack of quota
    refusals: int = 0  # for lack of quota

    @classmethod
    def from_json(cls, stored: Any) -> Self | None:
        """Return the submission that was stored as a mapping; anything else is an error: a guess could pay twice."""
        if stored is None:
            return None
        known = {field.name for field in fields(cls)}
        if not isinstance(stored, Mapping) or not stored.get("request_id") or set(stored) - known:
            problem = f"The task state store does not hold a submission: {short_repr(stored)}."
            raise InvalidInputError(problem, code="invalid_submission", hint="Start a new run.")
        return cls(**stored)

    @property
    def send_before(self) -> float | None:
        """When the request must have been sent, in seconds since 1970 (UTC)."""
        return None if self.sent_at is None else self.sent_at + SEND_TIMEOUT


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

    @abc.abstractmethod
    def load_or_start(self, context: Context) -> Submission:
        """Return the submission of an earlier try, or a new one."""

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

    def load(self, context: Context) -> Submission | None:
        """Return the submission of an earlier try, or of this one before it was deferred."""
        return Submission.from_json(context["task_state_store"].get(self.submission_key))

    def save(self, context: Context, submission: Submission) -> Submission:
        """Save a submission for as long as the run exists, through retries and clears, and return it.

        Airflow accepts writes from the current try only. A process of an earlier try that was considered lost and
        resumes fails here, before it can send a request.
        """
        context["task_state_store"].set(self.submission_key, asdict(submission), retention=NEVER_EXPIRE)
        return submission

    def resume(self, context: Context, stored: Submission) -> Submission:
        """Return the stored submission; its time-out for quota starts over if the task was cleared."""
        if stored.generation == generation(context):
            return stored
        return self.save(context, replace(stored, generation=generation(context), queued_since=None, refusals=0))

    def find_or_create(self, context: Context) -> Any:
        """Return this run's resource: the one of an earlier try, or a created one; and save its name."""
        submission = self.load_or_start(context)
        self.publish_request(context, submission)  # again: Airflow deletes the XComs of an earlier try
        resource = self.find_existing(submission)
        if resource is not None and (reason := self.unusable_reason(resource)):
            submission = self.save(context, self._next_attempt(submission, reason))
            resource = None
        if resource is None:
            resource = self._create(context, submission)
            self.log.info("Created %s %s", self.kind, resource.name)
        else:
            self.log.info("Reattached to %s %s of an earlier try", self.kind, resource.name)
        self.save(context, replace(self.load(context) or submission, resource=resource.name))
        return resource

    def find_existing(self, submission: Submission) -> Any | None:
        """Return the resource of a submission; search for it until ``lookup_timeout`` if its response was lost."""
        if submission.resource:
            return self.get_resource(submission.resource)
        if submission.sent_at is None:
            return None
        end = submission.sent_at + SEND_TIMEOUT + self.lookup_timeout
        left = max(end - time.time(), 0)
        self.log.info("The response of a create request was lost; searching for its %s for %.0f s", self.kind, left)
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
        number, limit = submission.attempt, self.max_attempts
        if number >= limit:
            raise RetryLimitExceededError(
                f"{number} of {limit} attempts at a {self.kind} failed. {reason}",
                field="max_attempts",
                resource=submission.resource or "",
                code="max_attempts_reached",
                hint="Fix the cause and start a new run.",
            )
        self.log.warning("%s Creating a new %s: attempt %d of %d", reason, self.kind, number + 1, limit)
        return Submission(attempt=number + 1, generation=submission.generation, source=submission.source)

    def _create(self, context: Context, submission: Submission) -> Any:
        self.check_needed(context)
        submission = replace(submission, sent_at=time.time())
        self.publish_request(context, submission)
        self.save(context, submission)
        try:
            return self.send(context, submission)
        except CreateOutcomeUnknownError as error:
            self.log.warning("%s", error)
            if (resource := self.find_existing(submission)) is not None:
                return resource
            error.add_hint("The next try searches once more, then sends the request again.")
            raise
        except (PermanentServiceError, NotSentError):
            self.publish_request(context, self.save(context, replace(submission, sent_at=None)))
            raise
        except TransientServiceError as error:  # 429; every other transient error has an unknown outcome
            self._wait_for_quota(context, submission, error)

    def _wait_for_quota(self, context: Context, submission: Submission, error: TransientServiceError) -> NoReturn:
        """Defer until the next try; the task holds no worker slot in between."""
        from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger

        now = time.time()
        since, refusals = submission.queued_since or now, submission.refusals + 1
        self.save(context, replace(submission, sent_at=None, queued_since=since, refusals=refusals))
        if now - since >= self.quota_timeout:
            problem = f"No quota for another {self.kind} within {now - since:.0f} s, so none was created. {error}"
            hint = "Clear the task to wait again, or request a higher quota."
            raise RetryLimitExceededError(problem, field="quota_timeout", code="quota_timeout", hint=hint)
        delay = min(FIRST_QUOTA_DELAY * 2.0 ** min(refusals - 1, 10), MAX_QUOTA_DELAY)
        delay = max(error.retry_after or 0.0, delay * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
        delay = min(delay, self.quota_timeout - (now - since))
        self.log.warning("No quota for another %s; retrying in %.0f s. %s", self.kind, delay, error)
        first, next_try = (datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds") for at in (since, now + delay))
        message = error.service_message or str(error)
        wait = {"since": first, "next_try": next_try, "refusals": refusals, "message": message}
        context["ti"].xcom_push(key=QUOTA_XCOM, value=wait)
        self.defer(trigger=TimeDeltaTrigger(timedelta(seconds=delay)), method_name="execute_after_quota_wait")

    def execute_after_quota_wait(self, context: Context, event: Any = None) -> Any:
        """Run again after a wait for quota."""
        return self.execute(context)


def generation(context: Context) -> int:
    """Return a number that changes when the task is cleared and stays the same when Airflow retries it."""
    return int(context["ti"].max_tries or 0)
