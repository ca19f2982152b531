"""Everything the server knows, put together, and the one place where time passes."""

from typing import Any

from .auth import ServiceAccount, load_key
from .buckets import Buckets
from .clock import Clock
from .deployment import Deployments
from .evaluations import Evaluations
from .experiments import Experiments
from .faults import Faults
from .files import Files
from .journal import Journal
from .names import Projects
from .operations import Operations
from .records import Store
from .registry import Registry
from .serving import Serving
from .settings import Settings
from .tuning import TuningJobs


class World:
    """The emulated services.

    The state is a function of time: nothing runs in the background, and every request calls :meth:`tick` first,
    which applies the events that have become due, each with its own time.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clock = Clock(settings.speed)
        self.account = ServiceAccount(load_key(settings.key_file, settings.project))
        self.projects = Projects({settings.project: settings.project_number} if settings.project_number else {})
        self.faults = Faults()
        self.journal = Journal(settings.journal)
        self.reset()

    def reset(self) -> None:
        """Forget all resources, faults and requests. The clock, the key and its tokens stay."""
        self.faults.clear()
        self.journal.clear()
        self.store = Store()
        self.buckets = Buckets()
        self.registry = Registry(self.store, self.projects)
        self.serving = Serving(self.store)
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
        self.operations = Operations(self.store, self.registry, self.deployments)
        for name in self.settings.bucket:
            self.buckets.create(name, self.settings.project, self.clock.now())

    def tick(self) -> None:
        """Apply all that is due."""
        for due in self.store.due(self.clock.now()):
            if due.kind == "job":
                self.jobs.apply(due.name, due.at)
            else:
                self.operations.apply(due.name, due.at)

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
