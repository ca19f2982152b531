"""Concurrent prompts of the smoke test runner

One emulator process whose endpoints take 200 ms for each response; suites are run with several limits of concurrency,
in turns with the peer: google-genai alone, with a semaphore of the same size and without results, assertions or
retries. For each: seconds; the longest block of the event loop; the median latency of a response; and the bytes of
results per case. With 32 concurrent prompts the process is busy half of the time: google-genai computes for about 2 ms
on each.

*10 checkpoints* is a whole step, one checkpoint after the other.
"""

import asyncio
import json
import math
import os
import tempfile
import time
from statistics import median
from typing import Any

from support import fill, finished_job

from gemini_tuning.core.files import Files
from gemini_tuning.hooks.base import ClientOptions
from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook
from gemini_tuning.smoke.results import ResultsFile
from gemini_tuning.smoke.session import Session
from gemini_tuning.smoke.suite import Suite, parse_suite
from tests.benchmarks.table import Row
from vertex_emulator.process import Emulator

ANSWER_SECONDS = 0.2
SMALL_PLAN = ((8, 4),)
PLAN = ((50, 1), (400, 8), (800, 16), (1_600, 32), (3_200, 32))
MAX_RATIO, MAX_BLOCK_RATIO = 1.2, 2.0  # to google-genai alone
CHECKPOINTS, CASES, AT_ONCE, REPETITIONS = 10, 100, 8, 3


def suite(cases: int) -> Suite:
    """Return a suite of ``cases`` cases with two assertions each."""
    lines = [
        "defaults: {assert: [{type: not-contains, value: zebra}, {type: not-regex, value: '(?i)giraffe'}]}",
        "cases:",
    ]
    return parse_suite(
        "\n".join(lines + [f"- {{id: case-{n}, prompt: 'Question {n}'}}" for n in range(cases)]), "bench"
    )


async def longest_block(stop: asyncio.Event) -> float:
    """Return the longest time that the loop kept a timer of 5 ms waiting, in seconds."""
    longest = 0.0
    while not stop.is_set():
        started = time.perf_counter()
        await asyncio.sleep(0.005)
        longest = max(longest, time.perf_counter() - started - 0.005)
    return longest


async def run(endpoint: str, cases: int, concurrency: int) -> dict[str, Any]:
    """Run a suite once."""
    tested, stop = suite(cases), asyncio.Event()
    watch = asyncio.create_task(longest_block(stop))
    with tempfile.TemporaryDirectory() as folder:
        results = ResultsFile(Files(), f"{folder}/results.jsonl")
        hook = GeminiTuningHook()
        session = Session(
            hook=hook,
            suite=tested,
            endpoint=endpoint,
            results=results,
            concurrency=concurrency,
            project_id=None,
            location="us-central1",
        )
        started = time.perf_counter()
        await session.run()
        seconds = time.perf_counter() - started
    stop.set()
    return {
        "cases": cases,
        "concurrency": concurrency,
        "seconds": round(seconds, 2),
        "longest_block": round(await watch, 3),
        "answer_ms": median(json.loads(line)["latency_ms"] for line in results.lines),
        "bytes_per_case": sum(map(len, results.lines)) // cases,
    }


async def run_plainly(endpoint: str, cases: int, concurrency: int) -> dict[str, float]:
    """Do the same with nothing but google-genai."""
    project, location = endpoint.split("/")[1:4:2]
    client = GeminiTuningHook()._client(ClientOptions(project, location)).aio
    free, stop = asyncio.Semaphore(concurrency), asyncio.Event()
    watch = asyncio.create_task(longest_block(stop))

    async def one(number: int) -> None:
        async with free:
            await client.models.generate_content(model=endpoint, contents=f"Question {number}")

    started = time.perf_counter()
    await asyncio.gather(*map(one, range(cases)))
    seconds = time.perf_counter() - started
    stop.set()
    await client.aclose()
    return {"seconds": seconds, "longest_block": await watch}


def whole_step(endpoint: str, *, small: bool) -> Row:
    """Run the suite against all checkpoints, with the runner and with google-genai alone in turns."""
    checkpoints, cases = (2, 16) if small else (CHECKPOINTS, CASES)
    ours, peer = [], []
    for _ in range(1 if small else REPETITIONS):
        ours.append(sum(asyncio.run(run(endpoint, cases, AT_ONCE))["seconds"] for _ in range(checkpoints)))
        peer.append(sum(asyncio.run(run_plainly(endpoint, cases, AT_ONCE))["seconds"] for _ in range(checkpoints)))
    ideal = checkpoints * math.ceil(cases / AT_ONCE) * ANSWER_SECONDS
    name = f"{checkpoints} checkpoints of {cases} prompts, {AT_ONCE} at once"
    return _row(name, ours, peer, MAX_RATIO, f"without any computing: {ideal:.1f} s", small=small)


def _row(what: str, ours: list[float], peer: list[float], most: float, note: str = "", *, small: bool) -> Row:
    met = None if small else median(ours) <= most * median(peer)
    return Row(what, "s", ours, peer, f"≤ {most:g} times google-genai alone", met, note)


def measure(*, small: bool) -> list[Row]:
    """Run all suites and compare with the bars."""
    with Emulator(speed=1_000_000) as emulator:
        fill(emulator)
        os.environ["AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT"] = json.dumps(emulator.connection())
        endpoint = finished_job(emulator).endpoint
        emulator.faults([{"path": "generateContent", "delay": ANSWER_SECONDS}])
        found = [whole_step(endpoint, small=small)]
        for cases, concurrency in SMALL_PLAN if small else PLAN:
            ours = asyncio.run(run(endpoint, cases, concurrency))
            peer = asyncio.run(run_plainly(endpoint, cases, concurrency))
            name = f"{cases} prompts, {concurrency} at once"
            note = f"a response took {ours['answer_ms']} ms; {ours['bytes_per_case']} bytes a case"
            blocks = [ours["longest_block"]], [peer["longest_block"]]
            found.append(_row(name, [ours["seconds"]], [peer["seconds"]], MAX_RATIO, note, small=small))
            found.append(_row("longest block of the event loop", *blocks, MAX_BLOCK_RATIO, small=small))
    return found
