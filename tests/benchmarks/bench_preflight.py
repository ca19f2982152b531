"""Preflight of one gigabyte, beside orjson reading the same lines

A file of examples of 200 to 2,000 characters, all different, is checked as the preflight does it (JSON, types, roles,
sizes, sha256, duplicates), and read line by line with orjson, which checks JSON alone: each in a fresh process, in
turns. Both use one core: times are processor time, which other processes on the machine hardly change. Memory is the
peak of what was resident, of the whole file and of a tenth of it.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.table import Row

ROOT = Path(__file__).resolve().parents[2]
SIZE, SMALL_SIZE = 999_990_000, 1_000_000  # bytes; a billion is the limit
REPETITIONS = 3
MIN_SPEED = 125.0  # megabytes a second: a network of one gigabit
MAX_GROWTH = 0.02  # bytes of memory for each byte of the file: keys of duplicates

OURS = """
import json, resource, sys, time
sys.path.insert(0, "plugins")
from gemini_tuning.datasets.dataset_check import check_training_dataset
begin = time.process_time()
with open(sys.argv[1], "rb") as file:
    report = check_training_dataset(iter(lambda: file.read(1 << 20), b""))
took = time.process_time() - begin
assert not report.problem_count and report.sha256
print(json.dumps([took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3]))
"""
PEER = """
import json, sys, time
import orjson
begin = time.process_time()
with open(sys.argv[1], "rb") as file:
    for line in file:
        orjson.loads(line)
print(json.dumps([time.process_time() - begin]))
"""


def measure(*, small: bool) -> list[Row]:
    """Write a file and read it in turns."""
    size = SMALL_SIZE if small else SIZE
    with tempfile.TemporaryDirectory() as folder:
        path, tenth = Path(folder) / "train.jsonl", Path(folder) / "tenth.jsonl"
        _write(path, size)
        _write(tenth, size // 10)
        rounds = [(_run(OURS, path), _run(PEER, path)) for _ in range(1 if small else REPETITIONS)]
        memory_of_tenth = _run(OURS, tenth)[1]
    ours, peer = [mine[0] for mine, _ in rounds], [theirs[0] for _, theirs in rounds]
    memory = [mine[1] for mine, _ in rounds]
    fast = size / 1e6 / min(ours) >= MIN_SPEED
    constant = (max(memory) - memory_of_tenth) * 1e6 <= MAX_GROWTH * size
    return [
        Row("check", "s of one core", ours, peer, f"{MIN_SPEED:g} MB/s or more", None if small else fast),
        Row("memory", "MB", memory, (), f"at most {MAX_GROWTH:.0%} of the file above that of a tenth of it",
            None if small else constant),
        Row("memory for a tenth of the file", "MB", [memory_of_tenth]),
    ]  # fmt: skip


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
