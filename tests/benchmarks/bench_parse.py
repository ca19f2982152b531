"""Parse time and memory of the DAG files, over a bare `airflow.sdk` DAG

Each file is read with Airflow's own `BundleDagBag`, as the DAG processor and each task process do it, in a fresh
process with warm bytecode: a bare DAG first, then the file; what is counted is what the second adds, in time and in
resident memory. So the import of Airflow itself counts for nobody, nor does the collection of Airflow's own garbage:
what it has loaded is frozen, as in the DAG processor before it forks. The files take turns. *second bare DAG* is the
error of the method.

The peer is what a DAG with the Google provider's tuning operator imports: `peers/provider_tuning_dag.py` says where it
comes from. A DAG file is read again and again by the DAG processor, and once more at the start of each task.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import median

from tests.benchmarks.table import Row

ROOT = Path(__file__).resolve().parents[2]
PEERS = Path(__file__).resolve().parent / "peers"
OURS = sorted((ROOT / "dags").glob("*.py"))
PROVIDER, BARE = PEERS / "provider_tuning_dag.py", PEERS / "bare_dag.py"
REPETITIONS = 15
MIN_TIME_RATIO = 8.0  # how many times longer the provider's example takes
MAX_MEGABYTES, MIN_MEMORY_RATIO = 10.0, 5.0

READ = """
import gc, json, os, resource, sys, time
from airflow.dag_processing.dagbag import BundleDagBag

def read(path):
    folder = os.path.dirname(path)
    bag = BundleDagBag(path, safe_mode=False, load_op_links=False, bundle_path=folder, bundle_name="dags")
    assert bag.dags and not bag.import_errors, bag.import_errors

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1e6

read(sys.argv[1])
gc.freeze()
before = time.perf_counter(), time.process_time(), resident()
read(sys.argv[2])
after = time.perf_counter(), time.process_time(), resident()
print(json.dumps([b - a for a, b in zip(before, after)]))
"""


def measure(*, small: bool) -> list[Row]:
    """Read the files in turns."""
    found = _in_turns([BARE, *OURS, PROVIDER], 1 if small else REPETITIONS)
    rows = [_row(found, BARE, 0, "s", name="second bare DAG"), _row(found, BARE, 2, "MB", name="second bare DAG")]
    for path in OURS:
        rows.append(_row(found, path, 0, "s", min_ratio=0.0 if small else MIN_TIME_RATIO))
        rows.append(_row(found, path, 1, "s of CPU"))
        rows.append(_row(found, path, 2, "MB", MAX_MEGABYTES, min_ratio=0.0 if small else MIN_MEMORY_RATIO))
    return rows


def _in_turns(files: list[Path], times: int) -> dict[Path, list[list[float]]]:
    """Read the files in turns, each in a fresh process."""
    found: dict[Path, list[list[float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as home:
        for path in files:
            added(path, home)  # writes the bytecode
        for _ in range(times):
            for path in files:
                found[path].append(added(path, home))
    return found


def added(path: Path, home: str) -> list[float]:
    """Return what reading a file adds in a fresh process: seconds, seconds of CPU, megabytes."""
    unwanted = ("AIRFLOW", "PYTHONDONTWRITE", "PYTHONPATH")
    env = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    env |= {
        "AIRFLOW_HOME": home,
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "PYTHONPATH": str(ROOT / "plugins"),  # where Airflow puts them
    }
    command = [sys.executable, "-W", "ignore", "-c", READ, str(BARE), str(path)]
    done = subprocess.run(command, env=env, cwd=home, stdout=subprocess.PIPE, text=True, check=True)
    figures: list[float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def _row(
    found: dict[Path, list[list[float]]],
    path: Path,
    figure: int,
    unit: str,
    most: float = math.inf,
    *,
    min_ratio: float = 0.0,
    name: str = "",
) -> Row:
    """Return a row of one figure; the peer is the provider's."""
    ours, peer = ([values[figure] for values in found[which]] for which in (path, PROVIDER))
    if not min_ratio:
        return Row(name or path.stem, unit, ours, () if path == BARE else peer)
    met = median(ours) <= most and median(peer) >= min_ratio * median(ours)
    bar = f"{min_ratio:g} times less" + (f", and ≤ {most:g} {unit}" if most < math.inf else "")
    return Row(name or path.stem, unit, ours, () if path == BARE else peer, bar, met)
