"""Looks for tuning jobs: one by one, or with a list that answers for many."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Coroutine, Generator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from gemini_tuning.core.exceptions import ServiceError, TransientServiceError
from gemini_tuning.core.names import ResourceName
from gemini_tuning.core.resources import ListedJob, Share, TuningJob
from gemini_tuning.triggers.shared_poller.cadence import NEAREST, NEAREST_TOGETHER
from gemini_tuning.triggers.shared_poller.watcher import Wait, Watcher

if TYPE_CHECKING:
    from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook

MANY = 10  # waits
PAGE = 100  # jobs, the most that a page of a list has
LIST_TIMEOUT = 20.0  # seconds for a page
LIST_PATIENCE = 3.0  # seconds that a page may take before others stop waiting for it
LIST_PAUSE = 60.0  # seconds without a list after one that was not answered

News = TuningJob | ServiceError | None

log = logging.getLogger(__name__)


class TuningJobWatcher(Watcher[TuningJob]):
    """Looks for tuning jobs."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._pages = 0  # that the last list took; 0: not known yet
        self._no_list_before = float("-inf")
        self._page_asked_at: float | None = None  # while a list is being read

    @classmethod
    def place(cls, name: str) -> tuple[str, str]:
        """Return project and location of a tuning job."""
        resource = ResourceName.parse(name, "tuningJobs")
        return resource.project, resource.location

    @classmethod
    def key(cls, name: str) -> str:
        """Return the job's id: in a list the project is always its number."""
        return ResourceName.parse(name, "tuningJobs").id

    async def ask(self, hook: GeminiTuningHook, name: str) -> TuningJob:
        """Ask for one job once."""
        return await hook.aget_tuning_job(name)

    @staticmethod
    def is_over(resource: TuningJob) -> bool:
        """Return whether the job's state is final."""
        return resource.has_ended

    @staticmethod
    def share(resource: TuningJob) -> Share | None:
        """Return how much of the tuning is done."""
        return resource.share

    @staticmethod
    def age(resource: TuningJob) -> float | None:
        """Return for how long the job has been running."""
        return _age(resource.start_time)

    def nearest(self) -> float:
        """Look more closely where a page answers for many."""
        return NEAREST_TOGETHER if len(self.waits) >= MANY else NEAREST

    def may_ask(self, wait: Wait) -> bool:
        """Leave to a list that is being read whoever is in it, unless the list hangs."""
        return self._page_asked_at is None or not wait.is_listed or self.now() - self._page_asked_at > LIST_PATIENCE

    def ask_many(self, due: Sequence[Wait]) -> Coroutine[Any, Any, None] | None:
        """Return a list, when that takes fewer requests than asking for each job."""
        wanted = {self.key(wait.name) for wait in due if wait.is_listed}
        pages = self._pages or -(-len(self.waits) // PAGE)
        if len(wanted) <= pages or self.now() < self._no_list_before:
            return None
        self._no_list_before, self._page_asked_at = float("inf"), self.now()  # one list at a time
        return self._list(wanted)

    async def _list(self, wanted: set[str]) -> None:
        """Read pages until all that are due were seen, or as many as asking for each would have taken requests.

        Jobs are never deleted, so a list gets ever longer and those that are due may stand far back; what a list takes
        is learned from the last. Those that are not due but stand on a page get their answer too.
        """
        pause = LIST_PAUSE
        try:
            await self._read_pages(wanted)
            pause = 0.0
        except ServiceError as error:  # those that are due are asked for one by one then
            self.give_way(error)
            if await self.is_worth_another(error):
                pause = 0.0
            elif not isinstance(error, TransientServiceError):
                pause = float("inf")
            log.info("Tuning jobs are asked for one by one now: %s", error)
        finally:
            self._no_list_before, self._page_asked_at = self.now() + pause, None
            self.news.set()

    async def _read_pages(self, wanted: set[str]) -> None:
        hook = await self.hook()
        source = hook.tuning_job_pages(self.project, self.location, size=PAGE, timeout=LIST_TIMEOUT)
        most, read = len(wanted), 0
        try:
            while wanted and read < most:
                if read:
                    await self.budget.take()
                self._page_asked_at = self.now()
                page = await self.in_thread(self._read_page, source, self.now())
                if page is None:
                    for wait in [wait for key in wanted for wait in self.waits.get(key, ())]:
                        wait.is_listed = False
                    break
                read += 1
                for listed, news in page:
                    self._hand_on(listed, news, hook)
                    wanted.discard(listed.id)
                wanted &= self.waits.keys()  # some may have left
        finally:
            with contextlib.suppress(ValueError):  # its thread is still busy with it
                await self.in_thread(source.close)
        self._pages = read * 2 if wanted and read == most else read

    def _read_page(self, source: Generator[list[ListedJob]], now: float) -> list[tuple[ListedJob, News]] | None:
        """Read a page in a thread; of jobs that nobody waits for or that are as before, only the state is read.

        Reading a whole job takes longer than its part of the page, so epochs are told once in a ``poll_interval``.
        """
        page = next(source, None)
        if page is None:
            return None
        return [(listed, self._news_of(listed, now)) for listed in page if listed.id in self.waits]

    def _news_of(self, listed: ListedJob, now: float) -> News:
        waits = list(self.waits.get(listed.id, ()))
        if all(wait.facts == listed.facts and now - wait.told_at < wait.cadence.poll_interval for wait in waits):
            return None
        try:
            return listed.read(waits[0].name)
        except ServiceError as error:
            return error

    def _hand_on(self, listed: ListedJob, news: News, hook: GeminiTuningHook) -> None:
        for wait in list(self.waits.get(listed.id, ())):
            wait.facts = listed.facts
            if news is None:
                self.arrange_next(wait, listed.share, _age(listed.start_time))
            elif isinstance(news, ServiceError):
                self.tell_failure(wait, news)
            else:
                self.tell(wait, hook, news)


def _age(start_time: str | None) -> float | None:
    return None if start_time is None else time.time() - datetime.fromisoformat(start_time).timestamp()
