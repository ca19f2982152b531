"""One look-out for all waits of a process: those that ask the same project as the same account share it.

A wait of its own would have a client, a token and a poll; a thousand of them would ask the service a thousand times a
minute. Here they share all three. What is due is asked for one by one, or, where that takes fewer requests, with
``tuningJobs.list``, a page of which answers for a hundred jobs. Nothing waits for another's answer.

Airflow's own shared streams are for asset watchers: every event goes to every subscriber, and the stream does not
know who listens, so it could neither tell when a list may stop nor look closer at what is about to end.
"""

from __future__ import annotations

import abc
import asyncio
import contextlib
import contextvars
import importlib
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from gemini_tuning.core.exceptions import PermanentServiceError, ServiceError, TransientServiceError
from gemini_tuning.core.resources import Operation, Share, TuningJob
from gemini_tuning.triggers.shared_poller.cadence import NEAREST, Cadence
from gemini_tuning.triggers.shared_poller.rate_limit import RequestBudget

if TYPE_CHECKING:
    from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook

THREADS = 4  # for calls that block, of each watcher; made when needed
EARLY = 0.25  # of its pause that a wait's look may come too early, to go along with others
LONGEST_SLEEP = 5.0  # seconds, then it is looked whether a list hangs
FRESH = 60.0  # seconds; a refusal of what was made longer ago may be about credentials that were replaced since
REFUSED = frozenset({401, 403})

R = TypeVar("R", TuningJob, Operation)
T = TypeVar("T")
Seen = Callable[["GeminiTuningHook", Any], None]
Unanswered = Callable[[TransientServiceError], None]


class Wait:
    """One who waits for a resource.

    :param name: full name of the resource.
    :param seen: called with the hook and the resource whenever it has changed, in the context of who waits.
    :param unanswered: called with the error when the service does not answer.
    """

    __slots__ = (
        "asked", "cadence", "context", "due", "end", "facts", "is_listed", "name", "near", "seen", "told_at",
        "unanswered",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        cadence: Cadence,
        due: float,
        *,
        seen: Seen,
        unanswered: Callable[[TransientServiceError], None],
    ) -> None:
        self.name = name
        self.cadence = cadence
        self.due = self.near = due
        self.seen = seen
        self.unanswered = unanswered
        self.context = contextvars.copy_context()  # Airflow sends what is logged in it to the task's own log
        self.end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.asked = False  # a look is under way
        self.is_listed = True  # as far as is known
        self.facts: Any = None  # of the last list, see resources.ListedJob
        self.told_at = float("-inf")

    def postpone(self, pause: float, now: float) -> None:
        """Arrange the next look."""
        self.due, self.near = now + pause, now + pause * (1 - EARLY)


class Watcher(abc.ABC, Generic[R]):
    """Looks for all waits of one event loop that ask one project and location over one connection.

    :param budget: of the project.
    """

    is_short: ClassVar[bool] = False

    def __init__(
        self,
        gcp_conn_id: str,
        impersonation_chain: str | Sequence[str] | None,
        project: str,
        location: str,
        budget: RequestBudget,
    ) -> None:
        self.project, self.location = project, location
        self.waits: dict[str, list[Wait]] = {}  # by what tells their resources apart
        self.budget = budget
        self.threads = ThreadPoolExecutor(THREADS, thread_name_prefix="watcher")
        self._connection = (gcp_conn_id, impersonation_chain)
        self._hooks: list[GeminiTuningHook] = []  # the last one counts
        self._made_at = float("-inf")
        self._making = asyncio.Lock()
        self.news = asyncio.Event()  # somebody joined, or may be asked for again
        self._looks: set[asyncio.Task[None]] = set()  # the event loop itself keeps weak references only
        self._running: asyncio.Task[None] | None = None

    @classmethod
    @abc.abstractmethod
    def place(cls, name: str) -> tuple[str, str]:
        """Return project and location of a resource."""

    @classmethod
    def key(cls, name: str) -> str:
        """Return what tells a resource from its like, however its project is written."""
        return name

    @abc.abstractmethod
    async def ask(self, hook: GeminiTuningHook, name: str) -> R:
        """Ask for one resource once."""

    @staticmethod
    @abc.abstractmethod
    def is_over(resource: R) -> bool:
        """Return whether the wait for it is."""

    @staticmethod
    @abc.abstractmethod
    def share(resource: R) -> Share | None:
        """Return how much of the work is done."""

    @staticmethod
    def age(resource: R) -> float | None:  # noqa: ARG004
        """Return for how long the work has been under way, in seconds, as far as the service tells."""
        return None

    def nearest(self) -> float:
        """Return the shortest pause between two looks, as a part of ``poll_interval``."""
        return NEAREST

    def may_ask(self, wait: Wait) -> bool:
        """Return whether to ask for this one now."""
        return True

    def ask_many(self, due: Sequence[Wait]) -> Coroutine[Any, Any, None] | None:
        """Return how to ask for many at once, if that pays."""
        return None

    # ---------------------------------------------------------------------------------------------- waits

    def add(self, wait: Wait) -> None:
        """Look for one more."""
        self.waits.setdefault(self.key(wait.name), []).append(wait)
        self.budget.join(wait.cadence.poll_interval)
        self.news.set()
        if self._running is None:
            # Not in the context of the first who waits: its log may be closed long before this ends.
            self._running = asyncio.create_task(self._run(), context=contextvars.Context())
            self._running.add_done_callback(self._stopped)

    def remove(self, wait: Wait) -> None:
        """Look for one less."""
        alike = self.waits[self.key(wait.name)]
        alike.remove(wait)
        if not alike:
            del self.waits[self.key(wait.name)]
        self.budget.leave(wait.cadence.poll_interval)
        if not wait.end.cancel() and not wait.end.cancelled():
            wait.end.exception()  # seen, also when nobody asks for it any more

    async def aclose(self) -> None:
        """Stop looking, and close the clients."""
        under_way = [*self._looks, *([self._running] if self._running else [])]
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        self.threads.shutdown(wait=False, cancel_futures=True)
        for hook in self._hooks:
            await hook.aclose()

    # ---------------------------------------------------------------------------------------------- looks

    async def _run(self) -> None:
        while True:
            self.news.clear()
            first, _ = self._survey()
            left = first.due - self.now() if first else LONGEST_SLEEP
            if left > 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(left, LONGEST_SLEEP)):
                        await self.news.wait()
                continue
            await self.budget.take()
            first, near = self._survey()  # some may have left, or been answered
            if first and first.due <= self.now():
                self._start(self.ask_many(near) or self._look(self._mark_asked(first)))

    def _survey(self) -> tuple[Wait | None, list[Wait]]:
        """Return who is due first, and all that are due or nearly so."""
        now, first, near = self.now(), None, []
        for wait in self._free():
            if wait.near <= now:
                near.append(wait)
            if (first is None or wait.due < first.due) and self.may_ask(wait):
                first = wait
        return first, near

    def _stopped(self, running: asyncio.Task[None]) -> None:
        """Let nobody wait for what no longer looks."""
        if not running.cancelled() and (error := running.exception()):
            for wait in list(self._free()):
                _end(wait, error)

    def _free(self) -> Iterator[Wait]:
        return (wait for alike in self.waits.values() for wait in alike if not wait.asked and not wait.end.done())

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._looks.add(task)
        task.add_done_callback(self._looks.discard)

    def _mark_asked(self, wait: Wait) -> list[Wait]:
        """Return all who wait for the same."""
        alike = list(self.waits[self.key(wait.name)])
        for other in alike:
            other.asked = True
        return alike

    async def _look(self, alike: Sequence[Wait]) -> None:
        """Ask for one resource; all who wait for it hear the answer."""
        try:
            hook = await self.hook()
            answer: R = await self.ask(hook, alike[0].name)
        except ServiceError as error:
            if not await self.is_worth_another(error):
                for wait in alike:
                    self.tell_failure(wait, error)
        except Exception as error:  # whatever it is, each of them has to hear of it
            for wait in alike:
                _end(wait, error)
        else:
            for wait in alike:
                self.tell(wait, hook, answer)
        finally:
            for wait in alike:
                wait.asked = False
            self.news.set()

    def tell(self, wait: Wait, hook: GeminiTuningHook, answer: R) -> None:
        """Hand on what the service answered."""
        wait.told_at = self.now()
        self.arrange_next(wait, self.share(answer), self.age(answer))
        if wait.end.done():
            return
        try:
            wait.context.run(wait.seen, hook, answer)
        except Exception as error:
            _end(wait, error)
            return
        if self.is_over(answer):
            _end(wait)

    def arrange_next(self, wait: Wait, share: Share | None, age: float | None) -> None:
        """Take note of an answer."""
        now = self.now()
        wait.postpone(wait.cadence.answered(share, now, age, self.nearest()), now)

    def tell_failure(self, wait: Wait, error: ServiceError) -> None:
        """Hand on that it did not answer, or refused."""
        if not isinstance(error, TransientServiceError):
            _end(wait, error)
            return
        self.give_way(error)
        wait.postpone(wait.cadence.failed(error.retry_after), self.now())
        wait.context.run(wait.unanswered, error)

    def give_way(self, error: ServiceError) -> None:
        """Ask less of the whole project when that is what the service wants."""
        if error.code == 429:
            self.budget.refused()
        if isinstance(error, TransientServiceError) and error.retry_after:
            self.budget.pause(error.retry_after)

    # -------------------------------------------------------------------------------------------- clients

    async def hook(self) -> GeminiTuningHook:
        """Return the hook that all share."""
        async with self._making:
            if not self._hooks:
                await self._renew()
            return self._hooks[-1]

    async def is_worth_another(self, error: ServiceError) -> bool:
        """Return whether a refusal may be due to old credentials, and take the connection as it is now.

        A wait may last longer than a key: what was refused is asked once more with what the connection says today.
        """
        if not isinstance(error, PermanentServiceError) or error.code not in REFUSED:
            return False
        async with self._making:
            if self.now() - self._made_at < FRESH:
                return False
            with contextlib.suppress(Exception):  # what was refused counts, not why there is no connection
                await self._renew()
                return True
            return False

    async def _renew(self) -> None:
        # Importing Google's clients takes seconds; in a thread it does not stop the other triggers.
        module = await asyncio.to_thread(importlib.import_module, "gemini_tuning.hooks.gemini_tuning")
        self._hooks.append(await module.GeminiTuningHook.acreate(*self._connection))
        self._made_at = self.now()

    async def in_thread(self, call: Callable[..., T], *arguments: Any) -> T:
        """Run what blocks in a thread of this watcher: what hangs in one does not stop another."""
        return await asyncio.get_running_loop().run_in_executor(self.threads, call, *arguments)

    @staticmethod
    def now() -> float:
        """Return the event loop's clock, in seconds."""
        return asyncio.get_running_loop().time()


def _end(wait: Wait, error: BaseException | None = None) -> None:
    if wait.end.done():
        return
    if error is None:
        wait.end.set_result(None)
    else:
        wait.end.set_exception(error)
