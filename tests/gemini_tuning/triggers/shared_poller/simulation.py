"""A simulated service of tuning jobs: its state at any moment, and the requests it received."""

import asyncio
import random
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

from gemini_tuning.core.exceptions import TransientServiceError
from gemini_tuning.core.resources import Checkpoint, ListedJob, TuningJob
from gemini_tuning.triggers.shared_poller.poller import Subscription, now
from gemini_tuning.triggers.shared_poller.tuning_jobs import TuningJobPoller

PARENT = "projects/1/locations/us-central1"
LATENCY = 0.1  # seconds


@dataclass
class SimulatedJob:
    """A job that begins at a moment, has epochs of equal length, and is deployed after the last one."""

    id: str
    begins: float
    epoch: float = 300.0
    epochs: int = 10
    preparation: float = 300.0
    deployment: float = 60.0
    steps: int | None = 10  # per epoch; None: the service reports epochs only

    @property
    def name(self):
        return f"{PARENT}/tuningJobs/{self.id}"

    @property
    def ends(self):
        return self.begins + self.preparation + self.epoch * self.epochs + self.deployment

    def at(self, moment):
        done = min(max((moment - self.begins - self.preparation) / self.epoch, 0.0), self.epochs)
        saved = (Checkpoint("1", 1, self.steps),) if done >= 1 and self.steps else ()
        return TuningJob(
            name=self.name,
            state="SUCCEEDED" if moment >= self.ends else "RUNNING",
            completed_epochs=int(done),
            completed_steps=int(done * self.steps) if self.steps else None,
            epoch_count=self.epochs,
            checkpoints=saved,
            start_time=datetime.fromtimestamp(time.time() - (moment - self.begins), UTC).isoformat(),
        )


@dataclass
class SimulatedService:
    """Takes the hook's place. Errors are raised, one per request, while there are any."""

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
        return self.jobs[name.rpartition("/")[2]].at(now())

    def tuning_job_pages(self, _project, _location, *, size, timeout):
        newest_first = list(reversed(self.jobs.values()))
        for start in range(0, len(newest_first), size):
            self.pages += 1
            if self.list_errors:
                raise self.list_errors.pop(0)
            yield [self._listed(job.at(now())) for job in newest_first[start : start + size]]

    @staticmethod
    def _listed(job):
        return ListedJob(job.name.rpartition("/")[2], job.has_ended, lambda _: job)

    async def aclose(self):
        """Nothing to close."""


def simulated(service, base=TuningJobPoller):
    """Return a poller class whose hook is a simulated service."""

    class SimulatedPoller(base):
        async def hook(self, refused=None):
            return service

    return SimulatedPoller


def subscribe(poller, job, poll_interval=60.0):
    return Subscription(
        poller, job.name, ("google_cloud_default", None), poll_interval=poll_interval, polled_ago=float("inf")
    )


async def wait_for(poller, job, *, updates=None, errors=None, entered=None):
    """Wait for a job, and return how late its end was noticed."""
    async with subscribe(poller, job) as subscription:
        if entered is not None:
            entered.append(subscription)
        while True:
            try:
                found = await subscription.next_update()
            except TransientServiceError as error:
                if errors is not None:
                    errors.append(error)
                continue
            if updates is not None:
                updates.append(found.state)
            if found.has_ended:
                return now() - job.ends


async def delays(jobs, *, others=0):
    """Wait for all jobs; return how late each end was noticed, and the service."""
    service = SimulatedService(
        {job.id: job for job in jobs} | {str(-i): SimulatedJob(str(-i), 0.0) for i in range(others)}
    )
    poller = simulated(service)
    return await asyncio.gather(*(wait_for(poller, job) for job in jobs)), service


def spread(number, seconds, **kind):
    """Return jobs that began at random moments of the past, so that their ends are spread over the coming time."""
    dice = random.Random(7)
    life = SimulatedJob("", 0.0, **kind).ends
    begins = sorted(-dice.uniform(0, min(life, seconds)) for _ in range(number))
    return [SimulatedJob(str(i), moment, **kind) for i, moment in enumerate(begins)]
