"""Polls tuning jobs: one by one, or with a list that serves many subscriptions."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TYPE_CHECKING

from gemini_tuning.core.exceptions import ServiceError
from gemini_tuning.core.names import ResourceName
from gemini_tuning.triggers.shared_poller.adaptive_interval import MIN_LISTED_INTERVAL_FACTOR, AdaptiveInterval
from gemini_tuning.triggers.shared_poller.poller import Poller, Subscription, now, start_task

if TYPE_CHECKING:
    from gemini_tuning.core.resources import ListedJob, TuningJob
    from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook

MANY = 10  # jobs
PAGE_SIZE = 100  # the service's maximum
PAGE_TIMEOUT = 10.0  # seconds
LIST_RETRY_DELAY = 60.0  # seconds after a list that failed; until then each job is read by its own request

_threads = ThreadPoolExecutor(4, thread_name_prefix="list_tuning_jobs")  # the event loop's are needed to cancel jobs
log = logging.getLogger(__name__)


class TuningJobPoller(Poller):
    """Polls tuning jobs."""

    _pages = 0  # that the last list took; 0: unknown
    _no_list_before = float("-inf")

    @staticmethod
    def identify(name: str) -> tuple[str, str, str]:
        """Return project, location and id of a job."""
        resource = ResourceName.parse(name, "tuningJobs")
        return resource.project, resource.location, resource.id

    async def get(self, hook: GeminiTuningHook, name: str) -> TuningJob:
        """Read one job, with a single request."""
        return await hook.aget_tuning_job(name)

    def next_pause(self, interval: AdaptiveInterval, resource: TuningJob) -> float:
        """Return the pause after a job was read."""
        if len(self.subscriptions) >= MANY:
            interval.min_factor = MIN_LISTED_INTERVAL_FACTOR
        began = datetime.fromisoformat(resource.start_time).timestamp() if resource.start_time else None
        return interval.next_pause(resource.share, now(), None if began is None else time.time() - began)

    async def poll(self, subscription: Subscription) -> None:
        """Start a list where that takes fewer requests than reading each job that is due, or nearly so."""
        due = self._due()
        pages = self._pages or -(-len(self.subscriptions) // PAGE_SIZE)
        if self.is_listing or len(due) <= pages or now() < self._no_list_before:
            await super().poll(subscription)
        else:
            self.is_listing = True
            start_task(self._list(subscription.name, due))

    def _due(self) -> set[object]:
        return {key for key, each in self.subscriptions.items() if each.is_listed and each.earliest <= now()}

    async def _list(self, name: str, due: set[object]) -> None:
        try:
            await self._read_pages(name, due)
        except Exception as error:
            log.info("Could not list tuning jobs: %r", error)
            self._no_list_before = now() + LIST_RETRY_DELAY
            if isinstance(error, ServiceError):
                self.rate_limit.slow_down(error)
        finally:
            self.is_listing = False
            for subscription in self.subscriptions.values():
                if subscription.is_due():
                    subscription.wake.set()

    async def _read_pages(self, name: str, due: set[object]) -> None:
        """Read pages until all jobs that are due were on one, or as many as reading each would take requests.

        Jobs are never deleted, so the list grows and the jobs that are due may be far back; how many pages it takes is
        learned from the last list.
        """
        project, location, _ = self.identify(name)
        source = (await self.hook()).tuning_job_pages(project, location, size=PAGE_SIZE, timeout=PAGE_TIMEOUT)
        limit, read = len(due), 0
        while due and read < limit and (read == 0 or await self.rate_limit.acquire(lambda: bool(self.subscriptions))):
            async with asyncio.timeout(PAGE_TIMEOUT):
                page = await asyncio.get_running_loop().run_in_executor(_threads, self._read_page, source, now())
            if page is None:
                for key in due & self._due():
                    self.subscriptions[key].is_listed = False
                break
            read += 1
            for subscription, result in page:
                subscription.receive(result)
            due &= self._due()
        self._pages = read * 2 if due and read == limit else read

    def _read_page(
        self, source: Iterator[list[ListedJob]], at: float
    ) -> list[tuple[Subscription, TuningJob | ServiceError]] | None:
        """Parse the jobs of the next page that are due, nearly so or have finished; ``None`` after the last page."""
        page = next(source, None)
        if page is None:
            return None
        found = [(self.subscriptions.get(job.id), job) for job in page]
        return [(one, _parse(job, one.name)) for one, job in found if one and (job.has_ended or one.earliest <= at)]


def _parse(job: ListedJob, name: str) -> TuningJob | ServiceError:
    try:
        return job.read(name)
    except ServiceError as error:
        return error
