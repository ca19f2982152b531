"""End to end in a real Airflow: what a run takes beyond the service itself

The demo's run (six epochs, six checkpoints, 24 prompts each, a copy), in turns as our pipeline, as a plain script with
Google's SDK, and as far as they go with the provider's operators; and *empty tasks*: a DAG of the pipeline's shape
whose tasks do nothing. Counted is the whole (the DAG run; the script from start to exit) less what the service itself
took: the tuning, the copy, and the prompts, as long as they must take with 8 at once and all checkpoints side by side.
The empty DAG is less the seconds that its two deferred tasks have to wait. The provider's DAG has fewer steps, which
its file names, and its one task that waits looks once a minute.

Where our run's time goes comes out of Airflow's own log of events: *between tasks* is when no task runs and none is
deferred, *task processes* when at least one runs, *noticed late* is what the deferred tasks rest longer than the
service works.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from demo.__main__ import CONF
from demo.stack import DAG_ID, REPOSITORY, Stack, seconds_between
from tests.benchmarks.real_airflow import TIMEOUT, covered, events, real_airflow, seconds_of, spans, start
from tests.benchmarks.table import Row
from vertex_emulator.environment import variables

SCRIPT = Path(__file__).resolve().parent / "peers" / "plain_script.py"
SUITE = REPOSITORY / "dags" / "config" / "smoke" / "ferry_support.yaml"
REPETITIONS, MAX_RATIO = 3, 1.5  # of what Airflow itself takes for empty tasks
AT_ONCE = 8  # prompts, the pipeline's default
SETTLE = 2  # seconds; see bench_floor


@dataclass
class Found:
    """What the repetitions took, in seconds beyond the service's own."""

    ours: list[float] = field(default_factory=list)
    between: list[float] = field(default_factory=list)
    processes: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    script: list[float] = field(default_factory=list)
    provider: list[float] = field(default_factory=list)
    floor: list[float] = field(default_factory=list)
    prompts: list[float] = field(default_factory=list)
    service: list[float] = field(default_factory=list)


def measure(*, small: bool) -> list[Row]:
    """Run all in turns; the first round warms up."""
    with real_airflow("bench_floor", "bench_provider") as stack:
        found = Found()
        for turn in range(1 if small else REPETITIONS + 1):
            if turn == 1:
                found = Found()
            _ours(stack, found)
            _script(stack, found)
            _floor(stack, found)
            if turn:  # it sleeps for a minute, so neither to warm up nor in the small size
                _provider(stack, found)
    return _rows(found, judged=not small)


def _rows(found: Found, *, judged: bool) -> list[Row]:
    met = median(found.ours) <= MAX_RATIO * median(found.floor) if judged else None
    return [
        Row("beyond the service, against a script", "s", found.ours, found.script),
        Row("beyond the service, against the provider's DAG", "s", found.ours, found.provider, note="has fewer steps"),
        Row(
            "beyond the service, against empty tasks",
            "s",
            found.ours,
            found.floor,
            f"≤ {MAX_RATIO:g} times",
            met,
            "what Airflow itself takes",
        ),
        Row("of ours: between tasks", "s", found.between),
        Row("of ours: task processes", "s", found.processes),
        Row("of ours: noticed late", "s", found.late),
        Row("the service itself", "s", found.service),
    ]


def _ours(stack: Stack, found: Found) -> None:
    """Run our pipeline."""
    service = _measured(stack, lambda: start_and_finish(stack, DAG_ID, CONF))
    total = seconds_of(stack, DAG_ID, service.result)
    running, deferred = spans(events(stack, service.result))
    prompts = _prompt_seconds(stack, service.result)
    found.prompts.append(prompts)
    found.service.append(service.seconds + prompts)
    found.ours.append(total - service.seconds - prompts)
    found.between.append(total - covered([*running, *deferred]))
    found.processes.append(covered(running) - prompts)
    found.late.append(covered(deferred, running) - service.seconds)


def start_and_finish(stack: Stack, dag_id: str, conf: dict[str, Any] | None = None) -> str:
    """Start a run and wait for its end; returns its id."""
    run_id = start(stack, dag_id, conf)
    state = stack.finish(dag_id, run_id, TIMEOUT)
    assert state == "success", f"{dag_id} {run_id}: {state}; logs: {stack.logs}"
    return run_id


@dataclass
class _Measured:
    result: Any
    seconds: float
    """That the service worked meanwhile."""


def _measured(stack: Stack, work: Callable[[], Any]) -> _Measured:
    before = _work(stack)
    result = work()
    return _Measured(result, sum(seconds for name, seconds in _work(stack).items() if name not in before))


def _work(stack: Stack) -> dict[str, float]:
    """Return what each job and copy took; the service's clock runs at the speed of ours."""
    state = stack.emulator("GET", "/state")
    took = {j["name"]: seconds_between(j["createTime"], j["endTime"]) for j in state["tuningJobs"] if j.get("endTime")}
    for operation in state["operations"]:
        times = operation["metadata"]["genericMetadata"]
        took[operation["name"]] = seconds_between(times["createTime"], times["updateTime"])
    return took


def _prompt_seconds(stack: Stack, run_id: str) -> float:
    """Return how long the prompts must take, by the latencies that the run has noted."""
    took = []
    for task in stack.api.tasks(DAG_ID, run_id):
        if task["task_id"] == "evaluate.smoke_test":
            pushed = stack.api.xcom(DAG_ID, run_id, "evaluate.smoke_test", map_index=task["map_index"])
            results = [json.loads(line) for line in stack.read(pushed["results_uri"]).splitlines()]
            took.append(sum(result["latency_ms"] for result in results if "latency_ms" in result) / 1000 / AT_ONCE)
    return max(took)


def _script(stack: Stack, found: Found) -> None:
    """Run the script."""
    key = stack.home / "key.json"
    key.write_text(json.dumps(stack.emulator("GET", "/key")), encoding="utf-8")
    env = os.environ | variables(stack.emulator_url, "demo-project", "us-central1", str(key))
    command = [sys.executable, str(SCRIPT), "demo-project", CONF["training_dataset_uri"].rpartition("/")[0], str(SUITE)]
    began = time.perf_counter()
    service = _measured(stack, lambda: subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL))
    found.script.append(time.perf_counter() - began - service.seconds - found.prompts[-1])


def _floor(stack: Stack, found: Found) -> None:
    """Run the DAG whose tasks do nothing."""
    run_id = start_and_finish(stack, "bench_floor", {"settle_seconds": SETTLE})
    found.floor.append(seconds_of(stack, "bench_floor", run_id) - 2 * SETTLE)


def _provider(stack: Stack, found: Found) -> None:
    """Run the provider's DAG; its 24 prompts go one after the other where they must, which is not taken off."""
    service = _measured(stack, lambda: start_and_finish(stack, "bench_provider"))
    found.provider.append(seconds_of(stack, "bench_provider", service.result) - service.seconds)
