"""Counts what was done and what held, and shows it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from rich.table import Table

from tests.chaos.catalogue import CANCEL_KINDS, JOB_KINDS, PERSON_KINDS, PROCESS_KINDS, SERVICE_KINDS
from tests.chaos.invariants import INVARIANTS
from tests.chaos.rounds import Outcome

KINDS = {
    "processes": PROCESS_KINDS,
    "the service": (*SERVICE_KINDS, *CANCEL_KINDS),
    "jobs": JOB_KINDS,
    "people": PERSON_KINDS,
}


@dataclass
class Tally:
    """Counts over all rounds."""

    done: Counter[str] = field(default_factory=Counter)
    missed: Counter[str] = field(default_factory=Counter)
    violated: Counter[str] = field(default_factory=Counter)
    endings: Counter[str] = field(default_factory=Counter)
    rounds: int = 0
    failed_seeds: list[int] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Count a round; an invariant is violated once a round, however often."""
        self.rounds += 1
        self.done.update(fault.kind.name for fault in outcome.done)
        self.missed.update(fault.kind.name for fault in outcome.missed)
        self.violated.update({violation.invariant for violation in outcome.violations})
        self.endings.update(run.state for run in outcome.evidence.runs)
        if outcome.violations:
            self.failed_seeds.append(outcome.plan.seed)

    def faults(self) -> Table:
        """Return the table of faults."""
        table = Table("against", "fault", title="Faults")
        table.add_column("injected", justify="right")
        table.add_column("moment did not come", justify="right")
        for against, kinds in KINDS.items():
            for kind in kinds:
                done, missed = self.done[kind.name], self.missed[kind.name]
                if done or missed:
                    table.add_row(against, kind.name, str(done), str(missed or ""))
            table.add_section()
        table.add_row("", "all", str(self.done.total()), str(self.missed.total()))
        return table

    def invariants(self) -> Table:
        """Return the table of what held."""
        table = Table("invariant", title="Invariants")
        table.add_column("held in rounds", justify="right")
        table.add_column("violated", justify="right")
        for name in INVARIANTS:
            violated = self.violated[name]
            table.add_row(name, str(self.rounds - violated), f"[red]{violated}[/]" if violated else "0")
        return table


def line(number: int, of: int, outcome: Outcome) -> str:
    """Return a round as one line, and one more for each violation."""
    kinds = ", ".join(fault.kind.name for fault in outcome.done)
    ends = ", ".join(f"{run.state}{f' ({run.plan.fate})' if run.plan.fate else ''}" for run in outcome.evidence.runs)
    held = "VIOLATED" if outcome.violations else "held"
    first = f"{number}/{of} seed {outcome.plan.seed}: {held}, {outcome.seconds:.0f} s; {kinds}; runs: {ends}"
    return "\n".join([first, *(f"    {v.invariant}: {v.text}" for v in outcome.violations)])
