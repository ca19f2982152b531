"""Concurrent prompts of the smoke test runner

One emulator process whose endpoints take 200 ms for each answer; suites are run with several limits of concurrency. For
each: seconds, against the bound of 1.2 * n / k * 0.2 s + 1 s; the longest block of the event loop; the median latency
of an answer; and the bytes sent and received per case. With 32 concurrent prompts the process is busy half of the time:
google-genai computes for about 2 ms on each.

*10 checkpoints* is a whole step, one checkpoint after the other, against the ideal: 100 prompts are 13 rounds of 8, and
a round is 200 ms. The peer is google-genai alone, with a semaphore of 8: no results, no assertions, nothing repeated.
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
LONGEST_BLOCK = 0.1  # seconds
CHECKPOINTS, CASES, AT_ONCE, MOST_OVER_IDEAL, REPETITIONS = 10, 100, 8, 1.2, 3


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
        "bound": round(1.2 * cases / concurrency * ANSWER_SECONDS + 1, 2),
        "longest_block": round(await watch, 3),
        "answer_ms": median(json.loads(line)["latency_ms"] for line in results.lines),
        "bytes_per_case": sum(map(len, results.lines)) // cases,
    }


async def run_plainly(endpoint: str, cases: int, concurrency: int) -> float:
    """Do the same with nothing but google-genai; return the seconds."""
    project, location = endpoint.split("/")[1:4:2]
    client = GeminiTuningHook()._client(ClientOptions(project, location)).aio
    free = asyncio.Semaphore(concurrency)

    async def one(number: int) -> None:
        async with free:
            await client.models.generate_content(model=endpoint, contents=f"Question {number}")

    started = time.perf_counter()
    await asyncio.gather(*map(one, range(cases)))
    seconds = time.perf_counter() - started
    await client.aclose()
    return seconds


def whole_step(endpoint: str, *, small: bool) -> Row:
    """Run the suite against all checkpoints, with the runner and with google-genai alone in turns."""
    checkpoints, cases = (2, 16) if small else (CHECKPOINTS, CASES)
    ideal = checkpoints * math.ceil(cases / AT_ONCE) * ANSWER_SECONDS
    ours, peer = [], []
    for _ in range(1 if small else REPETITIONS):
        ours.append(sum(asyncio.run(run(endpoint, cases, AT_ONCE))["seconds"] for _ in range(checkpoints)) / ideal)
        peer.append(sum(asyncio.run(run_plainly(endpoint, cases, AT_ONCE)) for _ in range(checkpoints)) / ideal)
    met = None if small else median(ours) <= MOST_OVER_IDEAL
    name = f"{checkpoints} checkpoints of {cases} prompts, {AT_ONCE} at once, over the ideal"
    return Row(name, "times", ours, peer, f"≤ {MOST_OVER_IDEAL}", met, f"the ideal is {ideal:.1f} s")


def rows(small: bool) -> tuple[list[dict[str, Any]], Row]:
    """Run all suites."""
    with Emulator(speed=1_000_000) as emulator:
        fill(emulator)
        os.environ["AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT"] = json.dumps(emulator.connection())
        endpoint = finished_job(emulator).endpoint
        emulator.faults([{"path": "generateContent", "delay": ANSWER_SECONDS}])
        plan = SMALL_PLAN if small else PLAN
        return [asyncio.run(run(endpoint, *step)) for step in plan], whole_step(endpoint, small=small)


def measure(*, small: bool) -> list[Row]:
    """Run all suites and compare with the bars."""
    steps, whole = rows(small)
    found = [whole]
    for row in steps:
        name = f"{row['cases']} prompts, {row['concurrency']} at once"
        in_time = None if small else row["seconds"] <= row["bound"]
        free = None if small else row["longest_block"] <= LONGEST_BLOCK
        found.append(Row(name, "s", [row["seconds"]], bar=f"≤ {row['bound']} s", met=in_time))
        note = f"an answer took {row['answer_ms']} ms; {row['bytes_per_case']} bytes a case"
        found.append(Row("longest block", "s", [row["longest_block"]], bar=f"≤ {LONGEST_BLOCK} s", met=free, note=note))
    return found
