"""Start-up: worker task process to first API call

In a real Airflow (LocalExecutor, warm bytecode), three DAGs of one task each run in turns, alone: ours creates a tuning
job, the provider's creates a tuning job, and *bare* sends one request with nothing but the standard library. Counted is
the time from the fork of the task process, which Airflow keeps as the task's start, to its first request in the
service's journal that is not for a token. The service refuses the create (400), so that the provider's operator does
not wait. *Preload* is the setting `[gemini_tuning] preload`. What `bare` takes is Airflow's own: reading the DAG file,
asking for the task's context.
"""

from __future__ import annotations

import time
from datetime import datetime

from demo.processes import wait_until
from demo.stack import Stack
from tests.benchmarks.real_airflow import TIMEOUT, real_airflow, start
from tests.benchmarks.table import Row

REPETITIONS = 7
KINDS = ("bare", "ours", "provider")


def measure(*, small: bool) -> list[Row]:
    """Run the three in turns, in an Airflow that preloads and in one that does not."""
    rows = []
    for preload in (True,) if small else (True, False):
        found = _in_turns(1 if small else REPETITIONS, preload=preload)
        name = f"first request after the fork, {'with' if preload else 'without'} preload"
        note = "the provider's operator profits too" if preload else ""
        rows += [
            Row(name, "s", found["ours"], found["provider"], note=note),
            Row(f"{name}: bare", "s", found["bare"]),
        ]
    return rows


def _in_turns(times: int, *, preload: bool) -> dict[str, list[float]]:
    """Return the seconds to the first request, after a round that warms up."""
    found: dict[str, list[float]] = {kind: [] for kind in KINDS}
    with real_airflow("bench_start_up", "bench_start_up_provider", preload=preload) as stack:
        stack.emulator("POST", "/faults", [{"method": "POST", "path": "tuningJobs", "status": 400}])
        for turn in range(times + 1):
            for kind in KINDS:
                seconds = first_request(stack, f"bench_start_{kind}")
                if turn:
                    found[kind].append(seconds)
    return found


def first_request(stack: Stack, dag_id: str) -> float:
    """Run a DAG of one task; returns the seconds until that asks the service something."""
    began = time.time()
    run_id = start(stack, dag_id)
    stack.finish(dag_id, run_id, TIMEOUT)
    (task,) = stack.api.tasks(dag_id, run_id)
    forked = datetime.fromisoformat(task["start_date"]).timestamp()
    wait_until("its request", lambda: bool(_asked(stack, began)), list(stack.processes.values()), 10)
    return _asked(stack, began)[0] - forked


def _asked(stack: Stack, since: float) -> list[float]:
    requests = stack.emulator("GET", "/requests")["requests"]
    times = [datetime.fromisoformat(r["time"]).timestamp() for r in requests if "tuningJobs" in r["path"]]
    return [moment for moment in times if moment > since]
