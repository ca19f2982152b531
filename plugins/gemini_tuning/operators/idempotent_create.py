"""How a task asks Google for something at most once, whatever dies meanwhile."""

from __future__ import annotations

import abc
import random
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Protocol

from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger

from gemini_tuning.core.exceptions import (
    CreateOutcomeUnknownError,
    NotSentError,
    PermanentServiceError,
    RetryLimitExceededError,
    TransientServiceError,
)
from gemini_tuning.operators.base import GeminiBaseOperator
from gemini_tuning.operators.submission import LOOK_FOR, Submission

if TYPE_CHECKING:
    from airflow.sdk import Context

LOOK_INTERVAL = 3.0  # seconds between two looks for what a lost request made
FIRST_QUOTA_DELAY = 30.0  # seconds; doubled with each refusal, up to
MAX_QUOTA_DELAY = 600.0


class NamedResource(Protocol):
    """What Google makes on request: a tuning job, an operation."""

    @property
    def name(self) -> str:
        """Full resource name."""


class SubmissionMemory:
    """A task's submission in Airflow's task state store, which survives retries and clears.

    Airflow gives each try an id of its own, and takes entries of the current one only: a try that was taken for dead
    and wakes up fails here, before it can ask Google for anything.
    """

    def __init__(self, context: Context, key: str) -> None:
        self._store = context["task_state_store"]
        self._key = key

    def recall(self) -> Submission | None:
        """Return what an earlier try, or an earlier part of this one, has kept."""
        return Submission.from_json(self._store.get(self._key))

    def keep(self, submission: Submission) -> Submission:
        """Store a submission for as long as the run exists, and return it."""
        from airflow.sdk.execution_time.context import NEVER_EXPIRE

        self._store.set(self._key, submission.as_json(), retention=NEVER_EXPIRE)
        return submission


class IdempotentCreateMixin(GeminiBaseOperator):
    """An operator that creates something which must not be created twice.

    :param max_attempts: how often something new is made in all in place of what ended badly.
    :param quota_timeout: seconds to wait for room at Google (429).
    :param lookup_timeout: seconds that a request whose answer was lost is looked for before it is sent again.
    """

    submission_key: ClassVar[str]  # in the task state store
    kind: ClassVar[str]  # in messages

    def __init__(
        self,
        *,
        max_attempts: int = 3,
        quota_timeout: float = 24 * 3600,
        lookup_timeout: float = LOOK_FOR,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.max_attempts = max_attempts
        self.quota_timeout = quota_timeout
        self.lookup_timeout = lookup_timeout

    # ------------------------------------------------------------------------ what a kind of resource has to tell

    @abc.abstractmethod
    def read(self, name: str) -> Any:
        """Read what was made, by its full name."""

    @abc.abstractmethod
    def look(self, submission: Submission, *, last: bool) -> Any | None:
        """Look at Google for what a request made.

        :param last: whether this is the last look before the request is taken for lost.
        :raises TransientServiceError: when that can't be told yet.
        """

    def give_way(self, context: Context, memory: SubmissionMemory, submission: Submission) -> None:
        """Let others go first who have waited longer."""

    def announce(self, context: Context, submission: Submission) -> None:
        """Tell other tasks what was asked for, or is about to be."""

    @abc.abstractmethod
    def send(self, context: Context, submission: Submission) -> Any:
        """Send the request, once."""

    @abc.abstractmethod
    def why_lost(self, made: Any) -> str | None:
        """Say why what was made is of no use any more; ``None`` when it is."""

    def begin(self, context: Context, memory: SubmissionMemory) -> Submission:
        """Return what this task has asked for before, or begin anew."""
        return self.go_on(context, memory, memory.recall()) or memory.keep(
            Submission.new(generation=generation(context))
        )

    def go_on(self, context: Context, memory: SubmissionMemory, stored: Submission | None) -> Submission | None:
        """Go on with what an earlier try has stored; with new patience when somebody has cleared the task since."""
        if stored is not None and stored.generation != generation(context):
            return memory.keep(stored.cleared(generation(context)))
        return stored

    # --------------------------------------------------------------------------------------------- what all share

    def submit(self, context: Context) -> Any:
        """Find what this task has asked for before, or ask for it, and remember its name."""
        memory = SubmissionMemory(context, self.submission_key)
        submission = self.begin(context, memory)
        self.announce(context, submission)  # again: Airflow has deleted what an earlier try has pushed
        made = self.find(submission)
        if made is not None and (why := self.why_lost(made)):
            submission = memory.keep(self._replace(submission, why))
            made = None
        if made is None:
            made = self._send(context, memory, submission)
            self.log.info("Created %s %s", self.kind, made.name)
        else:
            self.log.info("Attached to %s %s, which this run has asked for", self.kind, made.name)
        memory.keep((memory.recall() or submission).made(made.name))
        return made

    def find(self, submission: Submission) -> Any | None:
        """Return what was made; look for it for a while where the answer is not known."""
        if submission.resource:
            return self.read(submission.resource)
        if not submission.may_exist:
            return None
        end = submission.looked_for_until(self.lookup_timeout)
        self.log.info(
            "Looking for the %s of a request whose answer was lost, for %.0f s", self.kind, max(end - time.time(), 0)
        )
        while True:
            last = time.time() >= end
            try:
                if (found := self.look(submission, last=last)) is not None or last:
                    return found
            except TransientServiceError as error:
                if last:
                    raise
                self.log.warning("%s", error)
            time.sleep(LOOK_INTERVAL)

    def _replace(self, submission: Submission, why: str) -> Submission:
        if submission.attempt >= self.max_attempts:
            raise RetryLimitExceededError(
                f"This task has made {submission.attempt} of {self.max_attempts} attempts (max_attempts) at a "
                f"{self.kind}. {why}"
            )
        self.log.warning(
            "%s A new %s is asked for: attempt %d of at most %d",
            why, self.kind, submission.attempt + 1, self.max_attempts,
        )  # fmt: skip
        return submission.again()

    def _send(self, context: Context, memory: SubmissionMemory, submission: Submission) -> Any:
        self.give_way(context, memory, submission)
        self.announce(context, submission.announced(time.time()))
        submission = memory.keep(submission.announced(time.time()))
        try:
            return self.send(context, submission)
        except CreateOutcomeUnknownError as error:
            self.log.warning("%s", error)
            if (made := self.find(submission)) is None:
                raise _not_found(error) from error
            return made
        except (PermanentServiceError, NotSentError):
            self.announce(context, memory.keep(submission.not_made()))
            raise
        except TransientServiceError as error:  # over quota: whatever else is transient has an unknown outcome
            self._wait_for_quota(memory.keep(submission.refused(time.time())), error)

    def _wait_for_quota(self, submission: Submission, error: TransientServiceError) -> NoReturn:
        """Free the worker and try again later; the task keeps its slot in a pool that counts deferred tasks."""
        waited = time.time() - (submission.queued_since or time.time())
        if waited >= self.quota_timeout:
            raise RetryLimitExceededError(
                f"No room for another {self.kind} in {waited:.0f} s; nothing was made. {error}"
            )
        delay = min(FIRST_QUOTA_DELAY * 2.0 ** min(submission.refusals - 1, 10), MAX_QUOTA_DELAY)
        delay = max(error.retry_after or 0.0, delay * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
        delay = min(delay, self.quota_timeout - waited)
        self.log.warning("No room for another %s: next try in %.0f s. %s", self.kind, delay, error)
        self.defer(trigger=TimeDeltaTrigger(timedelta(seconds=delay)), method_name="execute_again")

    def execute_again(self, context: Context, event: Any = None) -> Any:
        """Go on after a wait for room at Google."""
        return self.execute(context)


def generation(context: Context) -> int:
    """Return a number that changes when somebody clears the task, and stays when Airflow tries it again."""
    return int(context["ti"].max_tries or 0)


def _not_found(error: CreateOutcomeUnknownError) -> CreateOutcomeUnknownError:
    return CreateOutcomeUnknownError(
        f"{error} It was looked for and not found; the next try of this task looks again, then sends it again.",
        resource=error.resource,
        code=error.code,
        status=error.status,
        service_message=error.service_message,
    )
