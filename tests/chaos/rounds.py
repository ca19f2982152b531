"""One round: start the runs, disturb them, let everything recover, look at what is left."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from demo.processes import DemoError, wait_until
from demo.stack import BUCKET, DAG_ID, REPOSITORY, Stack
from tests.chaos.evidence import Evidence, gather
from tests.chaos.inject import ENDED, Injector, RunView
from tests.chaos.invariants import ENDED_JOB, Violation, violations
from tests.chaos.journal import Journal
from tests.chaos.plan import LEARNING_RATE, Fault, Plan, RunPlan

ROUND_TIMEOUT = 420.0  # seconds; a run that has not ended by then has not ended as it should
GRACE = 60.0  # seconds after the last run in which jobs have to be over: the triggerer may be away first
RECOVERY = 120.0  # seconds
LOOK = 0.3  # seconds between two looks


@dataclass(frozen=True)
class Outcome:
    """A round that was played."""

    plan: Plan
    done: tuple[Fault, ...]
    missed: tuple[Fault, ...]
    evidence: Evidence
    violations: tuple[Violation, ...]
    seconds: float


class Round:
    """A round in a stack that is up; :meth:`play` it once.

    :param folder: for what it leaves behind: ``events.log``, ``evidence.json``.
    """

    def __init__(self, stack: Stack, plan: Plan, folder: Path) -> None:
        self.stack, self.plan, self.folder = stack, plan, folder
        folder.mkdir(parents=True, exist_ok=True)
        self.journal = Journal(stack)
        self.injector = Injector(stack, plan, self.journal, self.tell)
        self.run_ids: list[str] = []

    def play(self) -> Outcome:
        """Start, disturb, heal, look.

        :raises DemoError: when Airflow or the emulator do not come back.
        """
        begin = time.monotonic()
        self.stack.emulator("POST", "/reset")
        self.stack.upload(REPOSITORY / "demo" / "data", "ferry_support")
        self.injector.step([])
        self.run_ids = [self._start(run) for run in self.plan.runs]
        try:
            self._disturb(begin + ROUND_TIMEOUT)
        finally:
            self.injector.heal()
        self._recover()
        evidence = self._settled()
        evidence.save(self.folder / "evidence.json")
        found = tuple(violations(evidence))
        for violation in found:
            self.tell(f"VIOLATED {violation.invariant}: {violation.text}")
        done, missed = tuple(self.injector.done), tuple(self.injector.missed)
        return Outcome(self.plan, done, missed, evidence, found, time.monotonic() - begin)

    def tell(self, line: str) -> None:
        """Write down what happens, with the time as Airflow's logs have it."""
        with (self.folder / "events.log").open("a", encoding="utf-8") as log:
            log.write(f"{datetime.now(UTC).isoformat(timespec='milliseconds')} {line}\n")

    def _start(self, run: RunPlan) -> str:
        conf: dict[str, Any] = {
            "training_dataset_uri": f"gs://{BUCKET}/ferry_support/train.jsonl",
            "validation_dataset_uri": f"gs://{BUCKET}/ferry_support/validation.jsonl",
            "epoch_count": run.epochs,
            "learning_rate_multiplier": LEARNING_RATE,
            "tuned_model_display_name": f"chaos-{run.label}",
            "labels": {"chaos-run": run.label},
            "copy_location": "europe-west4" if run.copy else None,
            "poll_interval": 1,
            "deadline_seconds": run.deadline,
        }
        run_id = f"chaos__{run.label}"
        processes = list(self.stack.processes.values())
        wait_until(f"the start of {run_id}", lambda: self._is_started(run_id, conf), processes, RECOVERY)
        self.tell(f"run {run.label} is {run_id}; fate: {run.fate or 'left alone'}; copy: {run.copy}")
        return run_id

    def _is_started(self, run_id: str, conf: dict[str, Any]) -> bool:
        """Ask for a run, if need be again.

        On SQLite the API server blocks itself while it logs a request as another run's task starts, until SQLite's
        time-out; then the request fails and nothing has happened.
        """
        try:
            answer = self.stack.api.trigger(DAG_ID, conf, run_id)
        except httpx.HTTPError as error:
            self.tell(f"not started yet, {run_id}: {error!r}")
            return False
        if answer.is_client_error and answer.status_code != 409:
            raise DemoError(f"Airflow refused to start {run_id}: {answer.status_code} {answer.text}")
        return not answer.is_server_error

    def _disturb(self, end: float) -> None:
        while time.monotonic() < end:
            if views := self._look():
                self.injector.step(views)
                if not self.injector.busy and all(view.state in ENDED for view in views):
                    return
            time.sleep(LOOK)
        self.tell("the round takes too long")

    def _look(self) -> list[RunView] | None:
        """Ask Airflow; None when it does not answer, as SQLite may be busy."""
        api = self.stack.api
        try:
            return [
                RunView(run_id, str(api.run(DAG_ID, run_id)["state"]), api.tasks(DAG_ID, run_id))
                for run_id in self.run_ids
            ]
        except httpx.HTTPError as error:
            self.tell(f"Airflow does not answer: {error!r}")
            return None

    def _recover(self) -> None:
        processes = list(self.stack.processes.values())
        wait_until("the local Vertex AI", self.stack.emulator_healthy, processes, RECOVERY)
        self.stack.emulator("DELETE", "/faults")
        wait_until("a healthy Airflow", self.stack.airflow_healthy, processes, RECOVERY)

    def _settled(self) -> Evidence:
        """Return what there is when all jobs are over and all slots are free, or when the time for that is."""
        end = time.monotonic() + GRACE
        while True:
            evidence = gather(self.stack, self.plan, self.run_ids, self.journal)
            over = all(job["state"] in ENDED_JOB for job in evidence.jobs) and not any(evidence.slots.values())
            if over or time.monotonic() > end:
                return evidence
            time.sleep(LOOK)


def try_round(stack: Stack, plan: Plan, folder: Path, say: Callable[[str], None]) -> Outcome | None:
    """Play a round; None, said aloud, when the systems themselves did not come back."""
    this = Round(stack, plan, folder)
    try:
        return this.play()
    except (DemoError, httpx.HTTPError) as error:
        this.tell(f"not played to its end: {error!r}")
        say(f"  seed {plan.seed} could not be played to its end: {error!r}")
        return None
