"""Worker-slot seconds and API calls of one tuning run

One job of ten minutes at the local Vertex AI, tuned by our `create_tuning_job` and deferred `wait_for_tuning_job`, and
by the provider's `GenAISupervisedFineTuningTrainOperator`, which creates the job, sleeps 60 s, asks, and so on. Both
are the operators as they are, in forked processes like Airflow's, in turns.

Time is virtual: it runs as fast as the real one, but a sleep, be it of a process or of an event loop, is over at once
and moves all clocks on by what it would have taken, that of the service too. So imports, requests and everything else
that takes time counts in full. Worker-slot seconds are those of the task processes, from the fork to the result: ours
has three (create, begin to wait, take over from the trigger), the provider's one. The triggerer's wait counts for
nothing there, its API calls do. What Airflow itself needs to start and end each process is left out; *end to end* has
it. API calls are all requests in the service's journal but those for tokens; those that
only the run's page needs are a row of their own. Both look every 60 s.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

from tests.benchmarks.table import Row
from tests.benchmarks.virtual_time import VirtualTime
from vertex_emulator.process import Emulator

DATA = Path(__file__).resolve().parents[2] / "demo" / "data"
EPOCHS = 4
SECONDS_PER_EPOCH = (144, 146, 148, 150, 152)  # in turns, and some around them: ten minutes, ending at any moment
POLL = 60.0  # seconds; the provider's is fixed
LEAST_RATIO = 50
TRAINING, VALIDATION = "gs://bucket/train.jsonl", "gs://bucket/validation.jsonl"


@dataclass
class Found:
    """What one run took."""

    slot_seconds: float
    calls: int
    losses: int
    """Of the calls, those that read the losses for the run's page."""
    noticed: float
    """Virtual seconds from the job's end to the result of the last task."""


def measure(*, small: bool) -> list[Row]:
    """Run both in turns."""
    import airflow.executors.local_executor
    import airflow.jobs.scheduler_job_runner
    import airflow.sdk.execution_time.task_runner  # noqa: F401 - before the fork, as in a LocalExecutor

    ours, peer = [], []
    for pace in SECONDS_PER_EPOCH[:1] if small else SECONDS_PER_EPOCH:
        with Emulator(speed=1, seconds_per_epoch=pace) as emulator:
            for uri in (TRAINING, VALIDATION):
                emulator.put_object(uri, (DATA / uri.rpartition("/")[2]).read_text(encoding="utf-8"))
            os.environ["AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT"] = json.dumps(emulator.connection())
            os.environ["GOOGLE_VERTEX_BASE_URL"] = f"{emulator.url}/vertex.googleapis.com"  # the provider's way there
            clock = VirtualTime(emulator)
            ours.append(_run(emulator, clock, _our_run))
            peer.append(_run(emulator, clock, _their_run))
    return _rows(ours, peer, judged=not small)


def _rows(ours: list[Found], peer: list[Found], *, judged: bool) -> list[Row]:
    fewer = median(f.slot_seconds for f in peer) / median(f.slot_seconds for f in ours)
    alike = [f.calls - f.losses for f in ours]
    no_more = median(alike) <= median(f.calls for f in peer)
    return [
        Row(
            "worker-slot seconds", "s", [f.slot_seconds for f in ours], [f.slot_seconds for f in peer],
            f"{LEAST_RATIO} times fewer", fewer >= LEAST_RATIO if judged else None, "three task processes against one",
        ),
        Row(
            "API calls to create the job and wait for it", "", alike, [f.calls for f in peer],
            "no more", no_more if judged else None, "ours looks for a job of the run before it creates one",
        ),
        Row("API calls for the losses on the run's page", "", [f.losses for f in ours], note="the provider shows none"),
        Row("from the job's end to the result", "s", [f.noticed for f in ours], [f.noticed for f in peer]),
    ]  # fmt: skip


def _run(emulator: Emulator, clock: VirtualTime, run: Callable[[VirtualTime], float]) -> Found:
    before = len(_calls(emulator))
    seconds = run(clock)
    job = max(emulator.state()["tuningJobs"], key=lambda job: str(job["createTime"]))
    assert job["state"] == "JOB_STATE_SUCCEEDED", job
    calls = _calls(emulator)[before:]
    ended = datetime.fromisoformat(job["endTime"]).timestamp()
    losses = sum("/tuningJobs" not in call["path"] for call in calls)
    return Found(seconds, len(calls), losses, clock.skipped + time.time() - ended)


def _calls(emulator: Emulator) -> list[dict[str, Any]]:
    return [request for request in emulator.requests() if request["path"].startswith(("/v1", "/vertex"))]


def _our_run(clock: VirtualTime) -> float:
    name, create = clock.in_a_process(_create)
    deferred, begin = clock.in_a_process(lambda: _begin_to_wait(name))
    event, _ = clock.in_a_process(lambda: clock.run(_wait(*deferred)))
    _, end = clock.in_a_process(lambda: _take_over(name, event))
    return create + begin + end


class _TaskInstance(SimpleNamespace):
    """Takes what a task pushes, and forgets it."""

    def xcom_push(self, key: str, value: Any) -> None:
        """Forget it."""

    def xcom_pull(self, *, key: str) -> None:
        """Return nothing."""


class _Store(dict[str, Any]):
    """A task state store for one task."""

    def set(self, key: str, value: Any, **_: Any) -> None:
        """Keep a value."""
        self[key] = value


def _context() -> Any:
    names = {"dag_id": "dag", "task_id": "task", "run_id": os.urandom(4).hex(), "map_index": -1}
    return {"ti": _TaskInstance(**names, try_number=1, max_tries=0), "task_state_store": _Store()}


def _create() -> str:
    from gemini_tuning.operators.create_tuning_job import GeminiCreateTuningJobOperator

    operator = GeminiCreateTuningJobOperator(
        task_id="create",
        tuning_request={
            "base_model": "gemini-2.5-flash",
            "training_dataset_uri": TRAINING,
            "validation_dataset_uri": VALIDATION,
            "epoch_count": EPOCHS,
        },
    )
    return operator.execute(_context())


def _sensor(name: str) -> Any:
    from gemini_tuning.sensors.tuning_job import GeminiTuningJobSensor

    return GeminiTuningJobSensor(task_id="wait", tuning_job=name, poll_interval=POLL, deferrable=True)


def _begin_to_wait(name: str) -> tuple[str, dict[str, Any]]:
    from airflow.sdk.exceptions import TaskDeferred

    try:
        _sensor(name).execute(_context())
    except TaskDeferred as deferred:
        return deferred.trigger.serialize()
    raise RuntimeError("the sensor did not defer")


async def _wait(path: str, arguments: dict[str, Any]) -> Any:
    """Do what the triggerer does; it has imported the hook long since."""
    from importlib import import_module

    from airflow.sdk.execution_time.xcom import XCom

    import_module("gemini_tuning.hooks.gemini_tuning")
    module, _, name = path.rpartition(".")
    trigger = getattr(import_module(module), name)(**arguments)
    trigger.task_instance = SimpleNamespace(dag_id="dag", task_id="wait", run_id="run", map_index=-1)
    XCom.set = lambda *_, **__: None
    try:
        async for event in trigger.run():
            return event.payload
    finally:
        await trigger.cleanup()


def _take_over(name: str, event: Any) -> None:
    _sensor(name).execute_complete(_context(), event)


def _their_run(clock: VirtualTime) -> float:
    return clock.in_a_process(_tune_as_the_provider)[1]


def _tune_as_the_provider() -> None:
    from airflow.providers.google.cloud.operators.gen_ai import GenAISupervisedFineTuningTrainOperator

    GenAISupervisedFineTuningTrainOperator(
        task_id="tune",
        project_id="demo-project",
        location="us-central1",
        source_model="gemini-2.5-flash",
        training_dataset={"gcs_uri": TRAINING},
        tuning_job_config={"epoch_count": EPOCHS, "validation_dataset": {"gcs_uri": VALIDATION}},
    ).execute(_context())
