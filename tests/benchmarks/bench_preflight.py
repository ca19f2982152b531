"""Preflight of one gigabyte, beside orjson reading the same lines

A file of examples of 200 to 2,000 characters, all different, is checked as the preflight does it (JSON, types, roles,
sizes, sha256, repetitions), and read line by line with orjson, which checks JSON alone: each in a fresh process, in
turns. The file is in the machine's cache for both. Memory is the most that was resident at once: of this process, and
of the others that help on the other cores.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from tests.benchmarks.table import Row

ROOT = Path(__file__).resolve().parents[2]
SIZE, SMALL_SIZE = 999_990_000, 1_000_000  # bytes; a billion is the limit
REPETITIONS = 5
LEAST_SPEED = 0.5  # of orjson's
MOST_MEGABYTES = 250.0

OURS = """
import json, os, resource, sys, time
sys.path.insert(0, "plugins")
from gemini_tuning.datasets.dataset_check import check_training_dataset
path = sys.argv[1]
begin = time.perf_counter()
with open(path, "rb") as file:
    report = check_training_dataset(iter(lambda: file.read(1 << 20), b""), size=os.path.getsize(path))
took = time.perf_counter() - begin
assert not report.problem_count and report.sha256
most = [resource.getrusage(who).ru_maxrss / 1e3 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
print(json.dumps([took, *most]))
"""
PEER = """
import json, sys, time
import orjson
begin = time.perf_counter()
with open(sys.argv[1], "rb") as file:
    for line in file:
        orjson.loads(line)
print(json.dumps([time.perf_counter() - begin]))
"""


def measure(*, small: bool) -> list[Row]:
    """Make a file and read it in turns."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.jsonl"
        _write(path, SMALL_SIZE if small else SIZE)
        rounds = [(_run(OURS, path), _run(PEER, path)) for _ in range(1 if small else REPETITIONS)]
    ours, peer = [mine[0] for mine, _ in rounds], [theirs[0] for _, theirs in rounds]
    fast = median(peer) >= LEAST_SPEED * median(ours)
    memory, of_helpers = ([mine[figure] for mine, _ in rounds] for figure in (1, 2))
    frugal = max(memory) <= MOST_MEGABYTES
    return [
        Row("check", "s", ours, peer, f"{LEAST_SPEED:g} of orjson's speed or more", None if small else fast),
        Row("memory", "MB", memory, (), f"≤ {MOST_MEGABYTES:g} MB", None if small else frugal),
        Row("memory of the largest helper", "MB", of_helpers),
    ]


def _write(path: Path, size: int) -> None:
    """Write examples, all different."""
    chance, words = random.Random(7), [f"word{number}" for number in range(5_000)]
    left = size
    with path.open("w", encoding="utf-8") as file:
        while left > 0:
            question, answer = (" ".join(chance.choices(words, k=chance.randint(12, 120))) for _ in range(2))
            turns = (("user", question), ("model", answer))
            contents = [{"role": role, "parts": [{"text": text}]} for role, text in turns]
            left -= file.write(json.dumps({"contents": contents}) + "\n")


def _run(program: str, path: Path) -> list[float]:
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    figures: list[float] = json.loads(done.stdout)
    return figures
