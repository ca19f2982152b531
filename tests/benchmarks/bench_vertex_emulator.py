"""How fast and how big one emulator process is

Measured over loopback, on whatever else the machine does at the time:

- tuningJobs.get a second, of a server with 10,000 finished jobs in it. The load comes from another process with
  several keep-alive connections that have one request under way at a time; it shares the cores with the server.
- resident memory of that server.
- creates a second, without and with ``--state``, and the time of a restart with that state.

The peer is a bare Starlette application on uvicorn that returns a constant object of the same size under the same load.
The bars are a quarter of its requests per second, and 300 MB.
"""

import asyncio
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from demo.processes import free_port, wait_until
from tests.benchmarks.table import Row
from tests.vertex_emulator.examples import TRAINING, jsonl
from vertex_emulator.process import Emulator

JOBS = 10_000
SMALL_JOBS = 50
SECONDS = 4.0
PROCESSES = 1
CONNECTIONS = 8
MIN_SHARE = 1 / 4  # of the requests per second of a bare Starlette application
MAX_MEGABYTES = 300
ROOT = Path(__file__).resolve().parents[2]
PATH = "/v1beta1/projects/demo-project/locations/us-central1/tuningJobs"
BODY = json.dumps(
    {
        "baseModel": "gemini-2.5-flash",
        "supervisedTuningSpec": {
            "trainingDatasetUri": "gs://data/train.jsonl",
            "hyperParameters": {"epochCount": "4"},
        },
    }
)


def request(method: str, path: str, token: str, body: str = "") -> bytes:
    """A request as bytes: a client library would be slower than the server it measures."""
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: 127.0.0.1",
        f"Authorization: Bearer {token}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    return ("\r\n".join(lines) + f"\r\n\r\n{body}").encode()


async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, message: bytes) -> bytes:
    """Send a request and read the whole reply, which must be 200."""
    writer.write(message)
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(head.decode())
    length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
    return await reader.readexactly(length)


async def send_all(port: int, messages: Iterator[bytes], until: float) -> list[float]:
    """Send requests over several connections, until the time is over or there are none left.

    :return: how long each took, in seconds.
    """
    took: list[float] = []

    async def one_connection() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for message in messages:
            start = time.perf_counter()
            if start > until:
                break
            await exchange(reader, writer, message)
            took.append(time.perf_counter() - start)
        writer.close()

    await asyncio.gather(*(one_connection() for _ in range(CONNECTIONS)))
    return took


def repeat(messages: list[bytes], offset: int) -> Iterator[bytes]:
    """Without end, from somewhere in the middle on."""
    while True:
        yield from messages[offset:]
        offset = 0


def load(port: int, messages: list[bytes], offset: int) -> list[float]:
    """What one load process does."""
    return asyncio.run(send_all(port, repeat(messages, offset), time.perf_counter() + SECONDS))


def create(emulator: Emulator, count: int) -> float:
    """Make jobs; returns how many a second."""
    emulator.put_object("gs://data/train.jsonl", jsonl(TRAINING))
    message = request("POST", PATH, emulator.token(), BODY)
    start = time.perf_counter()
    asyncio.run(send_all(emulator.port, iter([message] * count), start + 600))
    return count / (time.perf_counter() - start)


def measure_gets(emulator: Emulator) -> dict[str, Any]:
    """Ask for all jobs in turn."""
    jobs = emulator.state()["tuningJobs"]
    messages = [request("GET", f"/v1beta1/{job['name']}", emulator.token()) for job in jobs]
    size = len(emulator.request("GET", f"/v1beta1/{jobs[0]['name']}").content)
    start = time.perf_counter()
    took = under_load(emulator.port, messages)
    return {
        "gets_per_second": round(len(took) / SECONDS),
        "gets": len(took),
        "bytes_of_a_reply": size,
        "median_ms": round(took[len(took) // 2] * 1000, 2),
        "p99_ms": round(took[len(took) * 99 // 100] * 1000, 2),
        "seconds": round(time.perf_counter() - start, 1),
    }


def under_load(port: int, messages: list[bytes]) -> list[float]:
    """Return the sorted durations of all requests that were answered in :data:`SECONDS`."""
    step = len(messages) // PROCESSES
    with multiprocessing.Pool(PROCESSES) as pool:
        parts = pool.starmap(load, [(port, messages, step * number) for number in range(PROCESSES)])
    return sorted(duration for part in parts for duration in part)


def gets_of_a_plain_server(size: int) -> int:
    """Return the requests per second of the peer."""
    port = free_port()
    command = [sys.executable, "-m", "tests.benchmarks.peers.plain_server", str(port), str(size)]
    with subprocess.Popen(command, cwd=ROOT) as server:
        try:
            wait_until("the plain server", lambda: accepts(port), [], 30)
            return round(len(under_load(port, [request("GET", "/v1beta1/x", "none")])) / SECONDS)
        finally:
            server.terminate()


def accepts(port: int) -> bool:
    """Return whether a server accepts connections."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def megabytes(pid: int) -> float:
    """Resident memory of a process (Linux)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)


def figures(jobs: int) -> dict[str, Any]:
    """Measure everything."""
    results: dict[str, Any] = {"jobs": jobs}
    start = time.perf_counter()
    with Emulator(speed=0) as emulator:
        results["start_seconds"] = round(time.perf_counter() - start, 2)
        results["megabytes_empty"] = megabytes(emulator.pid)
        results["creates_per_second"] = round(create(emulator, jobs))
        emulator.advance(3600)
        results["megabytes"] = megabytes(emulator.pid)
        results |= measure_gets(emulator)
        results["gets_per_second_of_a_plain_server"] = gets_of_a_plain_server(results["bytes_of_a_reply"])
        results["megabytes_after_gets"] = megabytes(emulator.pid)
    with tempfile.TemporaryDirectory() as directory:
        emulator = Emulator(speed=0, state=directory).start()
        results["creates_per_second_with_state"] = round(create(emulator, jobs))
        emulator.advance(3600)
        results["gets_per_second_with_state"] = measure_gets(emulator)["gets_per_second"]
        results["megabytes_of_state"] = round((Path(directory) / "log").stat().st_size / 1e6, 1)
        emulator.kill()
        start = time.perf_counter()
        with emulator:
            results["restart_seconds_with_state"] = round(time.perf_counter() - start, 2)
    return results


def measure(*, small: bool) -> list[Row]:
    """Measure everything, and judge."""
    results = figures(SMALL_JOBS if small else JOBS)
    bars = {
        "gets_per_second": (
            f"≥ {MIN_SHARE:.2g} of a plain server's",
            results["gets_per_second"] >= MIN_SHARE * results["gets_per_second_of_a_plain_server"],
        ),
        "megabytes": (f"≤ {MAX_MEGABYTES}", results["megabytes"] <= MAX_MEGABYTES),
        "megabytes_after_gets": (f"≤ {MAX_MEGABYTES}", results["megabytes_after_gets"] <= MAX_MEGABYTES),
    }
    rows = []
    for name, value in results.items():
        bar, met = bars.get(name, ("", None))
        rows.append(Row(name.replace("_", " "), "", [value], bar=bar, met=None if small else met))
    return rows
