"""``make bench``: run the benches one after the other, each in a process of its own, and keep what they found.

``.bench/results.json`` and ``.bench/results.md`` have the last figures of every bench that was run. The exit status is
1 when a bar was missed; small sizes are judged by nothing but whether they run.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.benchmarks.table import machine, markdown

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
NAMES = sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))


def main() -> int:
    """Run what was asked for."""
    options = _options()
    if options.only and len(options.only) == 1:
        return _run(options.only[0], options.home, small=options.small)
    missed = [name for name in options.only or NAMES if _in_a_process(name, options)]
    print(f"\n{options.home / 'results.md'}" + (f"\nmissed or failed: {', '.join(missed)}" if missed else ""))
    return int(bool(missed))


def _in_a_process(name: str, options: argparse.Namespace) -> int:
    """Run a bench for itself: some set up an Airflow of their own, and none shall pay for another's imports."""
    command = [sys.executable, "-m", "tests.benchmarks", "--only", name, "--home", str(options.home)]
    return subprocess.run(command + ["--small"] * options.small, cwd=ROOT, check=False).returncode


def _run(name: str, home: Path, *, small: bool) -> int:
    """Run a bench here, print its rows, and add them to the results."""
    sys.path[:0] = [str(ROOT / "plugins"), str(ROOT / "tests")]
    with _own_airflow():
        bench = importlib.import_module(f"tests.benchmarks.bench_{name}")
        title, _, method = str(bench.__doc__).strip().partition("\n\n")
        print(f"\n{title}", flush=True)
        began = time.perf_counter()
        rows = bench.measure(small=small)
    found: dict[str, Any] = {
        "title": title,
        "method": method,
        "measured_at": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "seconds": round(time.perf_counter() - began),
        "small": small,
        "rows": [row.as_dict() for row in rows],
    }
    keep(home, name, found)
    print(markdown({"machine": machine(), "benches": {name: found}}).partition(method)[2].strip(), flush=True)
    return int(not small and any(row.met is False for row in rows))


@contextmanager
def _own_airflow() -> Iterator[None]:
    """Let nothing of the user's configuration count, and leave nothing behind."""
    for variable in [name for name in os.environ if name.startswith(("AIRFLOW", "GOOGLE_", "VERTEX_", "STORAGE_EMU"))]:
        del os.environ[variable]
    with tempfile.TemporaryDirectory(prefix="bench-") as airflow:
        os.environ |= {
            "AIRFLOW_HOME": airflow,
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
            "NO_PROXY": "127.0.0.1,localhost",
        }
        yield


def keep(home: Path, name: str, found: dict[str, Any]) -> None:
    """Put a bench's results beside the others'."""
    home.mkdir(parents=True, exist_ok=True)
    path = home / "results.json"
    here = machine()
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    benches = kept.get("benches", {}) if kept.get("machine") == here else {}  # another machine's would mislead
    results = {"machine": here, "benches": dict(sorted((benches | {name: found}).items()))}
    path.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (home / "results.md").write_text(markdown(results), encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--only", nargs="*", choices=NAMES, metavar="NAME", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--small", action="store_true", help="see that they work; the figures mean little")
    parser.add_argument("--home", type=Path, default=ROOT / ".bench", help="for the results; default .bench")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
