"""A real Airflow with the project's DAGs and the benches', and what its database tells of a run."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

from demo.processes import free_port, wait_until
from demo.stack import REPOSITORY, Stack

DAGS = Path(__file__).resolve().parent / "airflow_dags"
DATA = REPOSITORY / "demo" / "data"
TIMEOUT = 300.0  # seconds
Span = tuple[float, float]


@contextmanager
def real_airflow(*names: str, preload: bool = True) -> Iterator[Stack]:
    """Start Airflow as the demo does, with further DAG files, and the local Vertex AI at demo pace.

    :param names: of files in ``airflow_dags``.
    :param preload: whether the scheduler imports for the tasks, the peer's too, as the demo has it.
    """
    port = free_port()
    service = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        dags = Path(folder) / "dags"
        dags.mkdir()
        (dags / "project").symlink_to(REPOSITORY / "dags")
        for name in names:
            (dags / f"{name}.py").symlink_to(DAGS / f"{name}.py")
        env = {
            "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
            "GOOGLE_VERTEX_BASE_URL": f"{service}/vertex.googleapis.com",  # the provider's operators know no other way
            "BENCH_SERVICE": service,
            "AIRFLOW__GEMINI_TUNING__PRELOAD": str(preload),
        }
        with Stack(Path(folder) / "stack", emulator_port=port, airflow_env=env) as stack:
            stack.upload(DATA, "ferry_support")
            wait_until("the benches' DAGs", lambda: _are_read(stack, names), list(stack.processes.values()), TIMEOUT)
            yield stack


def _are_read(stack: Stack, names: Sequence[str]) -> bool:
    files = {dag["fileloc"].rpartition("/")[2] for dag in stack.api.get("/dags", limit=100)["dags"]}
    return files.issuperset(f"{name}.py" for name in names)


def start(stack: Stack, dag_id: str, conf: dict[str, Any] | None = None) -> str:
    """Start a run; returns its id."""
    run_id = f"bench__{uuid4()}"

    def taken() -> bool:  # on SQLite the API server sometimes blocks itself and answers 500
        return stack.api.trigger(dag_id, conf or {}, run_id).status_code in (200, 409)

    wait_until(f"{dag_id} to be taken", taken, list(stack.processes.values()), TIMEOUT)
    return run_id


def seconds_of(stack: Stack, dag_id: str, run_id: str) -> float:
    """Return how long a run took."""
    run = stack.api.run(dag_id, run_id)
    return _seconds(run["end_date"]) - _seconds(run["start_date"])


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def events(stack: Stack, run_id: str) -> list[tuple[float, str, str]]:
    """Return what Airflow noted of a run's tasks: when, which (with its map index), what."""
    path = stack.home / "airflow" / "airflow.db"
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
        rows = database.execute(
            "SELECT dttm, task_id || map_index, event FROM log WHERE run_id = ? AND task_id IS NOT NULL ORDER BY id",
            (run_id,),
        ).fetchall()
    return [(datetime.fromisoformat(f"{when}+00:00").timestamp(), task, event) for when, task, event in rows]


def spans(noted: Sequence[tuple[float, str, str]]) -> tuple[list[Span], list[Span]]:
    """Return when tasks ran, and when they were deferred."""
    running: list[Span] = []
    deferred: list[Span] = []
    began: dict[str, tuple[float, str]] = {}
    for when, task, event in noted:
        since, what = began.pop(task, (0.0, ""))
        if what:
            (running if what == "running" else deferred).append((since, when))
        if event in ("running", "deferred"):
            began[task] = when, event
    return running, deferred


def covered(some: Sequence[Span], but: Sequence[Span] = ()) -> float:
    """Return the seconds that spans cover together, less those that others cover."""
    edges = sorted({edge for span in (*some, *but) for edge in span})
    return sum(
        end - begin
        for begin, end in pairwise(edges)
        if any(a <= begin and end <= b for a, b in some) and not any(a <= begin and end <= b for a, b in but)
    )
