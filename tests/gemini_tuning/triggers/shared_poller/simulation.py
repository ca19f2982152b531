"""A service of tuning jobs as a program: what it answers at any moment, and what it was asked."""

import asyncio
import random
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

from gemini_tuning.core.resources import Checkpoint, ListedJob, TuningJob
from gemini_tuning.triggers.shared_poller.cadence import Cadence
from gemini_tuning.triggers.shared_poller.rate_limit import RequestBudget
from gemini_tuning.triggers.shared_poller.tuning_jobs import TuningJobWatcher
from gemini_tuning.triggers.shared_poller.watcher import Wait

PARENT = "projects/1/locations/us-central1"
LATENCY = 0.1  # seconds


@dataclass
class SimulatedJob:
    """A job that begins at a moment, has epochs of the same length, and then takes a while to deploy."""

    id: str
    begins: float
    epoch: float = 300.0
    epochs: int = 10
    preparation: float = 300.0
    deployment: float = 60.0
    steps: int | None = 10  # an epoch; None: the service tells epochs only

    @property
    def ends(self):
        return self.begins + self.preparation + self.epoch * self.epochs + self.deployment

    def at(self, now):
        done = min(max((now - self.begins - self.preparation) / self.epoch, 0.0), self.epochs)
        saved = (Checkpoint("1", 1, self.steps),) if done >= 1 and self.steps else ()
        return TuningJob(
            name=f"{PARENT}/tuningJobs/{self.id}",
            state="SUCCEEDED" if now >= self.ends else "RUNNING",
            completed_epochs=int(done),
            completed_steps=int(done * self.steps) if self.steps else None,
            epoch_count=self.epochs,
            checkpoints=saved,
            start_time=datetime.fromtimestamp(time.time() - (now - self.begins), UTC).isoformat(),
        )


@dataclass
class SimulatedService:
    """Stands where the hook does. Errors are raised, one for each request, as long as there are any."""

    jobs: dict[str, SimulatedJob]
    gets: int = 0
    pages: int = 0
    errors: list[Exception] = field(default_factory=list)
    list_errors: list[Exception] = field(default_factory=list)

    @property
    def requests(self):
        return self.gets + self.pages

    async def aget_tuning_job(self, name):
        self.gets += 1
        if self.errors:
            raise self.errors.pop(0)
        await asyncio.sleep(LATENCY)
        return self.jobs[name.rpartition("/")[2]].at(asyncio.get_running_loop().time())

    def tuning_job_pages(self, _project, _location, *, size, timeout):
        newest_first = list(reversed(self.jobs.values()))
        for start in range(0, len(newest_first), size):
            self.pages += 1
            if self.list_errors:
                raise self.list_errors.pop(0)
            now = asyncio.get_running_loop().time()
            yield [self._listed(job.at(now)) for job in newest_first[start : start + size]]

    @staticmethod
    def _listed(job):
        facts = (job.state,)
        return ListedJob(job.name.rpartition("/")[2], facts, job.share, job.start_time, lambda _: job)

    async def aclose(self):
        """Nothing to close."""


class SimulatedWatcher(TuningJobWatcher):
    """The watcher with a simulated service, and threads that take no time."""

    def __init__(self, service):
        super().__init__("google_cloud_default", None, "1", "us-central1", RequestBudget())
        self.service = service

    async def hook(self):
        return self.service

    async def is_worth_another(self, error):
        return False

    async def in_thread(self, call, *arguments):
        await asyncio.sleep(LATENCY)
        return call(*arguments)

    def wait_for(self, job, poll_interval=60.0, seen=lambda *_: None, unanswered=lambda *_: None):
        """Wait for a job."""
        cadence = Cadence(poll_interval, now=self.now())
        wait = Wait(
            f"{PARENT}/tuningJobs/{job.id}", cadence, self.now() + cadence.begin(), seen=seen, unanswered=unanswered
        )
        self.add(wait)
        return wait


async def delays(jobs, *, others=0):
    """Wait for jobs from now on until all are over; return how late each was noticed, and the service."""
    service = SimulatedService(
        {job.id: job for job in jobs} | {str(-i): SimulatedJob(str(-i), 0.0) for i in range(others)}
    )
    watcher = SimulatedWatcher(service)

    async def late(job):
        wait = watcher.wait_for(job)
        try:
            await wait.end
        finally:
            watcher.remove(wait)
        return watcher.now() - job.ends

    found = await asyncio.gather(*map(late, jobs))
    await watcher.aclose()
    return found, service


def spread(number, seconds, **kind):
    """Return jobs that began at random moments of the past, so that they end all over the coming time."""
    dice = random.Random(7)
    life = SimulatedJob("", 0.0, **kind).ends
    begins = sorted(-dice.uniform(0, min(life, seconds)) for _ in range(number))
    return [SimulatedJob(str(i), moment, **kind) for i, moment in enumerate(begins)]
