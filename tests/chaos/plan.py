"""What happens in a round: a pure function of one whole number, so that the number repeats it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from tests.chaos.catalogue import (
    CANCEL_KINDS,
    JOB_KINDS,
    PERSON_KINDS,
    PROCESS_KINDS,
    SERVICE_KINDS,
    Action,
    Kind,
    Phase,
)

EPOCHS = 3
LEARNING_RATE = "2"  # so that the last checkpoint has overfitted, and another one wins
MANY_EPOCHS = 60  # a job of three minutes: left running, it would still run when the round is looked at
DEADLINE = 24 * 3600
SHORT_DEADLINE = 60  # seconds, the least that the DAG takes
BURST = (2, 4)  # requests that a burst of errors takes; a trigger that is refused waits twice as long each time
FIRST = (*PROCESS_KINDS, *SERVICE_KINDS)
"""The n-th seed begins with the n-th of these, so that as many rounds in a row have seen each."""
GIVEN_UP = ("waiting task marked failed", "run marked failed")
JOB_ENDS_BADLY = ("job fails", "job stalls until the deadline")


@dataclass(frozen=True)
class RunPlan:
    """One run of a round.

    :param label: value of the run's own label ``chaos-run``, on its job, model and copy.
    :param fate: the fault that is meant for this run alone; empty for none.
    """

    label: str
    fate: str = ""
    copy: bool = False

    @property
    def given_up(self) -> bool:
        """Whether a person marks it failed."""
        return self.fate in GIVEN_UP

    @property
    def ending(self) -> str:
        """State that the run has to end in. Clearing a task that waits means: wait again, for the same job."""
        return "failed" if self.given_up or self.fate in JOB_ENDS_BADLY else "success"

    @property
    def epochs(self) -> int:
        """How long the job goes on when nobody ends it."""
        return MANY_EPOCHS if self.given_up else EPOCHS

    @property
    def deadline(self) -> int:
        """Seconds that the job may take."""
        return SHORT_DEADLINE if self.fate == "job stalls until the deadline" else DEADLINE


@dataclass(frozen=True)
class Fault:
    """A fault of a round.

    :param run: index of the run that has to be in the phase.
    :param delay: seconds after the phase was reached.
    :param lasts: seconds that a process is stopped or away.
    :param times: how many requests a burst takes.
    """

    kind: Kind
    run: int
    phase: Phase
    delay: float
    lasts: float
    times: int

    def __str__(self) -> str:
        where = f"{self.phase.value or 'the start'} of run {self.run + 1}"
        return f"{self.kind.name}: {self.delay:g} s after {where}, for {self.lasts:g} s or {self.times} requests"


@dataclass(frozen=True)
class Plan:
    """A round."""

    seed: int
    runs: tuple[RunPlan, ...]
    faults: tuple[Fault, ...]


def make_plan(seed: int) -> Plan:
    """Return the round of a seed."""
    random = Random(f"chaos/{seed}")
    fates = [None, *(_fate(random) for _ in range(random.choice((1, 2))))]
    # The first run is left alone by people and copies, so that there is always one that passes all phases.
    runs = tuple(
        RunPlan(f"s{seed}-{number}", fate.name if fate else "", copy=number == 1 or random.random() < 0.4)
        for number, fate in enumerate(fates, start=1)
    )
    kinds = [FIRST[seed % len(FIRST)], random.choice(PROCESS_KINDS), random.choice(SERVICE_KINDS)]
    faults = [_fault(random, kind, random.choice(_complete(runs))) for kind in kinds]
    faults += [_fault(random, kind, number) for number, kind in enumerate(fates) if kind]
    if any(run.given_up for run in runs) and random.random() < 0.3:
        faults.append(_fault(random, random.choice(CANCEL_KINDS), 0))
    return Plan(seed, runs, tuple(faults))


def _fate(random: Random) -> Kind | None:
    return random.choice((None, None, *PERSON_KINDS, *random.sample(JOB_KINDS, 1)))


def _complete(runs: Sequence[RunPlan]) -> list[int]:
    """Return the runs that pass all phases."""
    return [number for number, run in enumerate(runs) if run.ending == "success" and run.copy]


def _fault(random: Random, kind: Kind, run: int) -> Fault:
    phase, delay = random.choice(kind.phases), round(random.uniform(0, kind.delay), 1)
    return Fault(
        kind,
        run,
        phase,
        # Rules that the service has from the start must be there before the first request.
        delay=0.0 if kind.action is Action.SERVICE and phase is Phase.START else delay,
        lasts=round(random.uniform(*kind.lasts), 1),
        times=random.randint(*BURST),
    )
