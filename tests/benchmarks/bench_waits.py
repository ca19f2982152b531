"""One triggerer that holds 100, 1,000 and 10,000 waits

A process runs the triggers as Airflow's triggerer does, with its own `TriggerRunner.run_trigger`, for as many tuning
jobs at the local Vertex AI, at its real speed, for a little over two minutes. The jobs have been under way for some
minutes, and end all over the next ten. Ours share one poller; the peer is one trigger for each job with a client of
its own that polls every 60 s, as the provider's trigger for batch jobs does it, but with google-genai's async client,
so that it does not block the event loop.

Memory is what the process has grown by when all wait, over the number of waits: everything counts, Airflow's own share
too. Lag is how late a timer of 10 ms fires. API calls are the service's count of the requests per minute after all
jobs have been read once. From the job's end to the event counts jobs that ended early enough for a fixed poll to see.
The peer is not run with 10,000 waits, which would take it more memory than this machine has: its calls are one a minute
and wait, and its memory and lag are those with 1,000 waits.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

from tests.benchmarks.bench_vertex_emulator import PATH, request, send_all
from tests.benchmarks.table import Row
from vertex_emulator.process import Emulator

DATA = Path(__file__).resolve().parents[2] / "demo" / "data"
TRAINING = "gs://bucket/train.jsonl"
SIZES = {100: 3, 1_000: 2, 10_000: 2}  # waits: repetitions
PEER_SIZES = (100, 1_000)
POLL = 60.0  # seconds
BEFORE, AFTER = 30, 40  # epochs that jobs are under way when the waits begin, and that the longest goes on
# Ours with 10,000 waits to the peer: its memory a wait and its lag with 1,000, its calls and its delay with 10,000.
MIN_LESS_MEMORY, MAX_LAG_RATIO, MIN_FEWER_CALLS, MIN_SOONER = 10.0, 1.0, 20.0, 4.0


@dataclass(frozen=True)
class Scale:
    """How long everything takes, in seconds."""

    poll: float = POLL
    hold: float = 135.0
    epoch: float = 15.0


FULL, SMALL = Scale(), Scale(poll=4.0, hold=16.0, epoch=0.5)


@dataclass
class Found:
    """What one process found."""

    kilobytes: float  # a wait
    calls: float  # a minute
    lag: float  # milliseconds, p99
    late: list[float]  # seconds


def measure(*, small: bool) -> list[Row]:
    """Run both in turns."""
    rows: list[Row] = []
    peer: list[Found] = []  # of the last size that it was run with
    for waits, repetitions in ({20: 1} if small else SIZES).items():
        ours, peer_runs = [], []
        for _ in range(repetitions):
            ours.append(_run("ours", waits, SMALL if small else FULL))
            if small or waits in PEER_SIZES:
                peer_runs.append(_run("peer", waits, SMALL if small else FULL))
        peer = peer_runs or peer
        rows += _rows(waits, ours, peer, extrapolated=not peer_runs, judged=waits == max(SIZES))
    return rows


def _rows(waits: int, ours: list[Found], peer: list[Found], *, extrapolated: bool, judged: bool) -> list[Row]:
    calls = [waits * 60 / POLL] if extrapolated else [found.calls for found in peer]
    late = [median(f.late) for f in peer if f.late] or [POLL / 2]
    ends = f"{sum(len(f.late) for f in ours)} ends"

    def row(what: str, unit: str, our: list[float], their: list[float], bar: str, met: bool, note: str = "") -> Row:
        return Row(what, unit, our, their, bar if judged else "", met if judged else None, note)

    memory, lag = [f.kilobytes for f in ours], [f.lag for f in ours]
    peer_memory, peer_lag = [f.kilobytes for f in peer], [f.lag for f in peer]
    noticed, our_calls = [median(f.late) for f in ours if f.late], [f.calls for f in ours]
    at_1000 = "the peer: with 1,000 waits" if extrapolated else ""
    return [
        row(f"memory a wait, {waits:,} waits", "KB", memory, peer_memory, f"{MIN_LESS_MEMORY:g} times less",
            max(memory) * MIN_LESS_MEMORY <= min(peer_memory), at_1000),
        row("lag of the event loop, p99", "ms", lag, peer_lag, f"≤ {MAX_LAG_RATIO:g} times",
            max(lag) <= MAX_LAG_RATIO * max(peer_lag), at_1000),
        row("API calls a minute", "", our_calls, calls, f"{MIN_FEWER_CALLS:g} times fewer",
            median(calls) >= MIN_FEWER_CALLS * median(our_calls),
            "the peer: one a minute and wait" if extrapolated else ""),
        row("from the job's end to the event, p50", "s", noticed, late, f"{MIN_SOONER:g} times sooner",
            median(late) >= MIN_SOONER * median(noticed), f"{ends}; {at_1000}" if at_1000 else ends),
        Row("from the job's end to the event, p99", "s", [_p99(f.late) for f in ours if f.late],
            [_p99(f.late) for f in peer if f.late]),
    ]  # fmt: skip


def _p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)]


def _run(side: str, waits: int, scale: Scale) -> Found:
    """Create the jobs, have a process wait for them, and read what the service received."""
    before = BEFORE * scale.epoch
    with (
        Emulator(speed=1, seconds_per_epoch=scale.epoch, clock_start=_ago(before)) as emulator,
        tempfile.TemporaryDirectory() as folder,
    ):
        emulator.put_object(TRAINING, (DATA / "train.jsonl").read_text(encoding="utf-8"))
        _create(emulator, waits)
        emulator.advance(before)
        path = Path(folder) / "jobs.json"
        path.write_text(json.dumps([job["name"] for job in emulator.state()["tuningJobs"]]), encoding="utf-8")
        environment = os.environ | {
            "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": json.dumps(emulator.connection()),
            "GOOGLE_VERTEX_BASE_URL": f"{emulator.url}/vertex.googleapis.com",
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        command = [sys.executable, "-m", "tests.benchmarks.bench_waits", side, str(path), emulator.url]
        command += [str(scale.poll), str(scale.hold)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr[-3000:])
        found = json.loads(done.stdout.splitlines()[-1])
        ends = {
            job["name"]: datetime.fromisoformat(job["endTime"]).timestamp()
            for job in emulator.state()["tuningJobs"]
            if "endTime" in job
        }
    counted = {name: end for name, end in ends.items() if found["began"] < end < found["until"] - scale.poll * 1.1}
    late = [found["noticed"].get(name, time.time()) - end for name, end in counted.items()]
    return Found(found["kilobytes"], found["calls"], found["lag"], late)


def _ago(seconds: float) -> str:
    return datetime.fromtimestamp(time.time() - seconds, UTC).isoformat()


def _create(emulator: Emulator, count: int) -> None:
    """Create jobs of different lengths."""
    dice = Random(7)
    bodies = [
        json.dumps(
            {
                "baseModel": "gemini-2.5-flash",
                "supervisedTuningSpec": {
                    "trainingDatasetUri": TRAINING,
                    "hyperParameters": {"epochCount": str(BEFORE + dice.randint(1, AFTER))},
                },
            }
        )
        for _ in range(count)
    ]
    token = emulator.token()
    asyncio.run(send_all(emulator.port, iter([request("POST", PATH, token, body) for body in bodies]), float("inf")))


# ------------------------------------------------------------------------------------- the process that waits


def _triggers(side: str, names: list[str], poll: float) -> Iterator[Any]:
    if side == "peer":
        from tests.benchmarks.peers.polling_trigger import PollingTrigger

        return (PollingTrigger(name, poll) for name in names)
    from gemini_tuning.triggers.tuning_job import TuningJobTrigger

    return (
        TuningJobTrigger(
            name,
            gcp_conn_id="google_cloud_default",
            impersonation_chain=None,
            poll_interval=poll,
            deadline=time.time() + 86_400,
        )
        for name in names
    )


async def _hold(side: str, names: list[str], url: str, poll: float, seconds: float) -> dict[str, Any]:
    """Hold all waits for a while and return what was seen."""
    import httpx
    import psutil
    from airflow.jobs.triggerer_job_runner import TriggerRunner

    runner, process, noticed, lags = TriggerRunner(), psutil.Process(), _Noted(), _Noted()
    await asyncio.to_thread(__import__, "gemini_tuning.hooks.gemini_tuning")
    await asyncio.to_thread(__import__, "google.genai")
    runner.events = noticed  # type: ignore[assignment]
    before = process.memory_info().rss
    began = time.time()
    tasks = []
    for number, trigger in enumerate(_triggers(side, names, poll)):
        runner.triggers[number] = {"task": None, "is_watcher": False, "name": names[number], "events": 0}  # type: ignore[typeddict-item]
        tasks.append(asyncio.create_task(runner.run_trigger(number, trigger)))
        if number % 100 == 0:
            await asyncio.sleep(0)
    with _lag(lags):
        settle = poll * 1.1
        await asyncio.sleep(settle)
        async with httpx.AsyncClient(trust_env=False) as client:
            first = await _calls(client, url)
            await asyncio.sleep(seconds - settle)
            calls = await _calls(client, url) - first
    grown = process.memory_info().rss - before
    until = time.time()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return {
        "began": began,
        "until": until,
        "kilobytes": grown / 1024 / len(names),
        "calls": calls * 60 / (seconds - settle),
        "lag": _p99([lag for _, lag in lags]) * 1000,
        "noticed": {entry.event.payload["resource"]: at for at, entry in noticed},
    }


class _Noted(list[tuple[float, Any]]):
    """Remembers when each was appended."""

    def append(self, item: Any) -> None:
        """Note it."""
        super().append((time.time(), item))


@contextmanager
def _lag(lags: _Noted) -> Iterator[None]:
    """Note how late a timer fires."""

    async def look() -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.01)
            lags.append(time.perf_counter() - began - 0.01)

    task = asyncio.create_task(look())
    try:
        yield
    finally:
        task.cancel()


async def _calls(client: Any, url: str) -> int:
    """Return how many requests the service has had."""
    counts = (await client.get(f"{url}/_emulator/health")).json()
    return int(counts["requests"])


if __name__ == "__main__":
    _, _side, _path, _url, _poll, _seconds = sys.argv
    print(
        json.dumps(asyncio.run(_hold(_side, json.loads(Path(_path).read_text()), _url, float(_poll), float(_seconds))))
    )
