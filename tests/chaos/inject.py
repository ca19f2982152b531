"""Does to a round what its plan says, when the moment has come."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import httpx
import psutil

from demo.processes import Process, send
from demo.stack import DAG_ID, EMULATOR, Stack
from tests.chaos.catalogue import Action, Phase
from tests.chaos.journal import Journal
from tests.chaos.plan import Fault, Plan

Json = dict[str, Any]
ENDED = ("success", "failed")
BEGUN = frozenset({"running", "deferred", "up_for_retry", "restarting", "success", "failed"})
WAITING = Phase.WAIT.value
SUPERVISOR, TASK = "airflow worker -- LocalExecutor: ", "airflow worker -- "  # process titles, a task's id follows


class RunView(NamedTuple):
    """A run as Airflow shows it now."""

    run_id: str
    state: str
    tasks: list[Json]


def reached(phase: Phase, view: RunView) -> bool:
    """Return whether a run is, or was, in a phase."""
    begun = BEGUN - {"running"} if phase is Phase.WAIT else BEGUN
    return phase is Phase.START or any(t["state"] in begun for t in view.tasks if t["task_id"] == phase.value)


@dataclass
class Pending:
    """A fault that has not come yet; ``due`` is when it does, once its phase was reached."""

    fault: Fault
    due: float | None = None


class Injector:
    """Carries out a plan, one :meth:`step` after the other; never blocks for long.

    :param journal: is read before the emulator forgets it.
    :param tell: writes one line about what is done.
    """

    def __init__(self, stack: Stack, plan: Plan, journal: Journal, tell: Callable[[str], None]) -> None:
        self.stack, self.plan, self.journal, self.tell = stack, plan, journal, tell
        self.done: list[Fault] = []
        self._pending = [Pending(fault) for fault in plan.faults]
        self._undo: list[tuple[float, Callable[[], None]]] = []
        self._stopped: list[psutil.Process] = []

    @property
    def missed(self) -> list[Fault]:
        """Faults whose moment did not come."""
        return [pending.fault for pending in self._pending]

    @property
    def busy(self) -> bool:
        """Whether something is stopped or away that will be back."""
        return bool(self._undo)

    def step(self, views: Sequence[RunView]) -> None:
        """Do what is due.

        :param views: the runs in the plan's order; none before they are started.
        """
        now = time.monotonic()
        for due, undo in [one for one in self._undo if one[0] <= now]:
            self._undo.remove((due, undo))
            undo()
        for pending in list(self._pending):
            view = views[pending.fault.run] if views else None
            if pending.due is None and self._is_reached(pending.fault, view):
                pending.due = now + pending.fault.delay
            if pending.due is not None and pending.due <= now and self._try(pending.fault, view):
                self._pending.remove(pending)
                self.done.append(pending.fault)

    def heal(self) -> None:
        """Bring everything back: nothing is stopped, nothing is away, nobody is left of an earlier life."""
        self._undo.clear()
        send(self._stopped, signal.SIGCONT)
        self._stopped.clear()
        for process in self.stack.processes.values():
            send(process.orphans(), signal.SIGKILL)
            self._bring_back(process)

    def _is_reached(self, fault: Fault, view: RunView | None) -> bool:
        if view is None:
            return fault.phase is Phase.START and fault.kind.action is Action.SERVICE
        return reached(fault.phase, view) and view.state not in ENDED

    def _try(self, fault: Fault, view: RunView | None) -> bool:
        """Do it and say so, or return False when it can't be done now."""
        try:
            done = self._do(fault, view)
        except httpx.HTTPError as error:
            self.tell(f"not yet, {fault.kind.name}: {error!r}")
            return False
        if done:
            self.tell(f"{fault.kind.name} ({done}), planned: {fault}")
        return bool(done)

    def _do(self, fault: Fault, view: RunView | None) -> str:
        """Return what was done to whom; empty when there is nobody to do it to."""
        action = fault.kind.action
        if action is Action.SERVICE:
            return self._add_rule(fault)
        if view is None or view.state in ENDED:
            return ""
        if action in (Action.MARK_RUN_FAILED, Action.MARK_TASK_FAILED, Action.CLEAR):
            return self._as_a_person(action, view.run_id)
        if action in (Action.KILL_TASK, Action.KILL_SUPERVISOR, Action.STOP_TASK, Action.STOP_SUPERVISOR):
            return self._to_task(fault, view)
        return " and ".join(self._to_process(fault, self.stack.processes[n]) for n in fault.kind.process.split())

    # ------------------------------------------------------------------------------------ processes

    def _to_process(self, fault: Fault, process: Process) -> str:
        if process.name == EMULATOR:
            self.journal.cut()
        action = fault.kind.action
        if action is Action.STOP:
            self._stop(process.family(), fault.lasts)
        elif action is Action.RESTART:
            process.terminate()
            self._later(fault.lasts, lambda: self._restart(process))
        else:
            process.kill(family=action is Action.KILL)
            self._later(fault.lasts, lambda: self._bring_back(process))
        return f"{process.name} {process.pid}"

    def _restart(self, process: Process) -> None:
        process.stop(patience=1)  # it was told when the fault came
        self._bring_back(process)

    def _bring_back(self, process: Process) -> None:
        if not process.alive:
            process.start()
            self.tell(f"{process.name} is back as {process.pid}")

    def _to_task(self, fault: Fault, view: RunView) -> str:
        """Kill or stop the processes of one running task of a run."""
        action = fault.kind.action
        prefix = TASK if action in (Action.KILL_TASK, Action.STOP_TASK) else SUPERVISOR
        scheduler = self.stack.processes["scheduler"]
        titles = {prefix + str(task["id"]): task for task in view.tasks if task["state"] == "running"}
        for process in [*scheduler.family(), *scheduler.orphans()]:
            if task := titles.get(_title(process)):
                if action in (Action.KILL_TASK, Action.KILL_SUPERVISOR):
                    send([process], signal.SIGKILL)
                else:
                    self._stop([process], fault.lasts)
                return f"{task['task_id']} {task['map_index']} of {view.run_id}, process {process.pid}"
        return ""

    def _stop(self, processes: list[psutil.Process], seconds: float) -> None:
        send(processes, signal.SIGSTOP)
        self._stopped += processes
        self._later(seconds, lambda: self._go_on(processes))

    def _go_on(self, processes: list[psutil.Process]) -> None:
        send(processes, signal.SIGCONT)
        self._stopped = [process for process in self._stopped if process not in processes]
        self.tell(f"{', '.join(str(process.pid) for process in processes)} go on")

    def _later(self, seconds: float, undo: Callable[[], None]) -> None:
        self._undo.append((time.monotonic() + seconds, undo))

    # ---------------------------------------------------------------------------- service and people

    def _add_rule(self, fault: Fault) -> str:
        process = self.stack.processes[EMULATOR]
        if not process.alive or any(stopped.pid == process.pid for stopped in self._stopped):
            return ""
        rule = dict(fault.kind.rule or {})
        if "outcome" in rule:
            rule["job"] = {"labels": {"chaos-run": self.plan.runs[fault.run].label}}
        if rule.get("times") == 0:
            rule["times"] = fault.times
        self.stack.emulator("POST", "/faults", rule)
        return str(rule)

    def _as_a_person(self, action: Action, run_id: str) -> str:
        run, http = f"/api/v2/dags/{DAG_ID}/dagRuns/{run_id}", self.stack.api.http
        if action is Action.MARK_RUN_FAILED:
            answer = http.patch(run, json={"state": "failed"})
        elif action is Action.MARK_TASK_FAILED:
            answer = http.patch(f"{run}/taskInstances/{WAITING}", json={"new_state": "failed"})
        else:
            what = {"dry_run": False, "dag_run_id": run_id, "task_ids": [WAITING], "only_failed": False}
            answer = http.post(f"/api/v2/dags/{DAG_ID}/clearTaskInstances", json=what)
        answer.raise_for_status()
        return run_id


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline()).strip()
    except psutil.Error:
        return ""
