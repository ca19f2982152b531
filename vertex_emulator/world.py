"""Everything the server knows, put together, and the one place where time passes."""

import re
import secrets
import time
from typing import Any

from .auth import ServiceAccount, load_key
from .buckets import Buckets
from .clock import Clock
from .deployment import Deployments
from .evaluations import Evaluations
from .experiments import Experiments
from .faults import BadReply, Faults, Prompted
from .files import Files
from .history import History
from .ids import Ids
from .journal import Journal
from .names import Projects
from .operations import Operations
from .records import Store
from .registry import Registry
from .serving import Serving
from .settings import Settings
from .traffic import Traffic
from .tuning import TuningJobs

_PROMPT = re.compile(r"/[^/]+/(projects/[^/]+/locations/[^/]+/endpoints/[^/:]+):\w+")
SEEDED_START = 1767225600.0
"""2026-01-01T00:00:00Z."""


class World:
    """The emulated services.

    The state is a function of time: nothing runs in the background, and every request calls :meth:`tick` first,
    which reads the clock and applies the events that have become due, each with its own time. Nothing is random but
    what the seed gives, the key and its tokens.

    :param seed: instead of the one in the settings.
    :param start: virtual time at the start, instead of what the settings say.
    """

    def __init__(self, settings: Settings, *, seed: str = "", start: float | None = None) -> None:
        self.settings = settings
        self.seed = seed or settings.seed or secrets.token_hex(8)
        self.clock = Clock(settings.speed, start=lambda: _start(settings) if start is None else start)
        self.account = ServiceAccount(
            load_key(settings.kept_key_file, settings.project), lifetime=settings.token_lifetime, plain=settings.token
        )
        self.history: History | None = None
        self.projects = Projects({settings.project: settings.project_number} if settings.project_number else {})
        self.journal = Journal(settings.journal)
        self._empty()

    def reset(self) -> None:
        """Forget all resources, faults and requests. The clock, the key and its tokens stay.

        A seed that was asked for gives the same ids again; otherwise they are new ones.
        """
        self.seed = self.settings.seed or self.store.ids.uuid()
        self._empty()
        if self.history:
            self.history.start_anew(self.seed, self.settings)

    def _empty(self) -> None:
        self.faults = Faults(self.seed)
        self.journal.clear()
        ids = Ids(self.seed)
        self.store = Store(ids)
        self.buckets = Buckets(ids)
        self.registry = Registry(self.store, self.projects)
        self.serving = Serving(self.store)
        self.traffic = Traffic()
        files = Files(self.store, self.buckets)
        self.jobs = TuningJobs(
            self.store,
            files=files,
            registry=self.registry,
            serving=self.serving,
            evaluations=Evaluations(self.store, self.buckets, self.serving),
            faults=self.faults,
            settings=self.settings,
        )
        self.experiments = Experiments(self.store)
        self.deployments = Deployments(self.store, self.registry, self.serving)
        self.operations = Operations(self.store, self.registry, self.deployments, self.faults)
        for name in self.settings.bucket:
            self.buckets.create(name, self.settings.project, self.clock.now())

    def tick(self) -> None:
        """Read the clock and apply all that is due."""
        for due in self.store.due(self.clock.tick()):
            if due.kind == "job":
                self.jobs.apply(due.name, due.at)
            else:
                self.operations.apply(due.name, due.at)

    def bad_reply(self, method: str, path: str) -> BadReply | None:
        """Decide whether a request is to be answered badly."""
        if not self.faults.replies:
            return None
        self.tick()
        before = self.faults.counts()
        found = self.faults.reply(method, path, lambda: self._prompted(path))
        if self.history and self.faults.counts() != before:
            self.history.fault(self.faults.counts())
        return found

    def _prompted(self, path: str) -> Prompted | None:
        """Find what a prompt goes to."""
        match = _PROMPT.fullmatch(path)
        name = match and self.projects.parse(match[1])
        endpoint = self.store.endpoints.get(name.unversioned) if name else None
        if endpoint is None or not endpoint.deployed:
            return None
        deployed = endpoint.deployed[0]
        return Prompted(f"{deployed.model}@{deployed.version_id}", deployed.display_name, deployed.checkpoint_id)

    def counts(self) -> dict[str, Any]:
        """How many resources there are."""
        states: dict[str, int] = {}
        for job in self.store.jobs.values():
            states[job.state] = states.get(job.state, 0) + 1
        return {
            "tuningJobs": len(self.store.jobs),
            "tuningJobsByState": states,
            "models": len(self.store.models),
            "endpoints": len(self.store.endpoints),
            "operations": len(self.store.operations),
            "buckets": len(list(self.buckets)),
        }


def _start(settings: Settings) -> float:
    """Virtual time at the start: with a seed a fixed one, or two runs would differ in their times."""
    if settings.clock_start is not None:
        return settings.clock_start
    return SEEDED_START if settings.seed else time.time()
