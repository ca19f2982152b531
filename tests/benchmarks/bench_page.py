"""Response times of the page in Airflow's UI

Airflow's API application in this process, on an SQLite file with 500 finished runs and their XComs; the newest run has
the results of ten checkpoints with ten thousand cases each. For each page the median of some requests, one after
another. The first matrix of a run reads its results files. It is measured in turns with a plain read of the same files
(each line read and decoded from JSON), and takes at most 1.5 times as long; the other figures depend on the machine and
have no bar.
"""

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

from tests.benchmarks.table import Row

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "gemini_tuning" / "ui"))

RUNS, REQUESTS = 500, 20
CHECKPOINTS, CASES = 10, 10_000
MAX_RATIO, ROUNDS = 1.5, 9  # of the first matrix to a plain read


def prepare(home: str) -> None:
    """Create an empty Airflow."""
    os.environ |= {
        "AIRFLOW_HOME": home,
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "ada:admin",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__API_AUTH__JWT_SECRET": "only for this benchmark, and long enough for its purpose " * 2,
    }
    tempfile.tempdir = home  # where the page keeps results
    from airflow.utils.db import initdb

    initdb()


def fill(home: str, count: int, cases: int) -> str:
    """Insert the runs, the newest with results on this machine; return its id."""
    import tuning_runs as runs
    from airflow.utils.session import create_session

    from gemini_tuning.ui import queries
    from gemini_tuning.ui.actions import PROMOTION_DAG, PROMPT_DAG

    with create_session() as session:
        runs.save_dag(session, runs.DAG, queries.TAG)
        for dag_id in (PROMOTION_DAG, PROMPT_DAG):
            runs.save_dag(session, dag_id, queries.ACTIONS_TAG)
        curve = [[step, 1 / step] for step in range(1, 51)]
        waited = replace(
            runs.WAITED, xcoms={"progress": {**runs.ENDED, "train_loss": curve, "eval_loss": curve}}
        )  # as much as the task keeps
        steps = [waited if step is runs.WAITED else step for step in runs.ALL if step not in runs.TESTED]
        for number in range(count - 1):
            tested = runs.smoke_tests(*(runs.summary(str(n)) for n in range(1, CHECKPOINTS + 1)))
            began = runs.BEGAN + timedelta(minutes=number)
            runs.save(session, runs.run(*steps, *tested, run_id=f"run-{number}", run_after=began))
        tested = runs.smoke_tests(
            *(runs.summary(str(n), results_uri=write(home, n, cases)) for n in range(1, CHECKPOINTS + 1))
        )
        runs.save(session, runs.run(*steps, *tested, run_id="newest", run_after=runs.BEGAN + timedelta(days=1)))
    return "newest"


def write(home: str, checkpoint: int, cases: int) -> str:
    """Write the results of a checkpoint; return the path."""
    import tuning_runs as runs

    path = Path(home) / f"checkpoint-{checkpoint}.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for number in range(cases):
            answer = f"The ferry of case {number} leaves at {(number + checkpoint) % 24}:00. " * 5
            found = runs.result(f"case-{number}", (number + checkpoint) % 13 > 0, answer=answer)
            file.write(json.dumps(found) + "\n")
    return str(path)


def sign_in() -> Any:
    """Return a client of a signed-in user."""
    from airflow.api_fastapi.app import create_app, get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from starlette.testclient import TestClient

    client = TestClient(create_app(apps="core"))
    client.cookies.set("_token", get_auth_manager().generate_jwt(SimpleAuthManagerUser(username="ada", role="ADMIN")))
    return client


def pages(run_id: str, count: int, cases: int) -> Iterator[tuple[str, str, dict[str, Any], int]]:
    """Yield name, path, query and number of requests."""
    import tuning_runs as runs

    run = {"dag_id": runs.DAG, "run_id": run_id}
    yield "/", "/", {}, REQUESTS
    yield "/?base_model=flash", "/", {"base_model": "flash"}, REQUESTS
    yield "/?base_model=flash, last page", "/", {"base_model": "flash", "page": max(count // 25, 1)}, REQUESTS
    yield "/run", "/run", run, REQUESTS
    yield "/matrix", "/matrix", run, REQUESTS
    yield "/matrix, differs, last page", "/matrix", {**run, "show": "differs", "page": cases}, REQUESTS
    yield "/case", "/case", {**run, "case_id": f"case-{cases // 2}"}, REQUESTS


def request(client: Any, name: str, path: str, query: dict[str, Any], times: int, *, most: int) -> Row:
    """Request a page some times."""
    took = []
    for _ in range(min(times, most)):
        started = time.perf_counter()
        response = client.get(f"/gemini-tuning{path}", params=query)
        took.append((time.perf_counter() - started) * 1000)
        assert response.status_code == 200, response.text
    return Row(name, "ms", took, note=f"{len(response.content)} bytes")


def plain_read(home: str) -> float:
    """Read and decode each line of the results files; return how long it took in milliseconds."""
    import msgspec

    from gemini_tuning.core.files import Files

    decode = msgspec.json.Decoder().decode
    started = time.perf_counter()
    for checkpoint in range(1, CHECKPOINTS + 1):
        for line in Files().read_lines(f"{home}/checkpoint-{checkpoint}.jsonl"):
            decode(line)
    return (time.perf_counter() - started) * 1000


def first_matrix(client: Any, home: str, run_id: str, *, small: bool) -> Row:
    """Request the first matrix of a run in turns with a plain read of its results files."""
    import tuning_runs as runs

    ours, peer = [], []
    for _ in range(1 if small else ROUNDS):
        for cache in Path(home).glob("gemini-tuning-page-*"):
            shutil.rmtree(cache)
        peer.append(plain_read(home))
        ours += request(client, "", "/matrix", {"dag_id": runs.DAG, "run_id": run_id}, 1, most=1).ours
    return Row(
        "/matrix, first request of a run",
        "ms",
        ours,
        peer,
        bar=f"at most {MAX_RATIO} times a plain read of the results files",
        met=None if small else median(ours) <= MAX_RATIO * median(peer),
    )


def measure(*, small: bool) -> list[Row]:
    """Request all pages."""
    runs, cases, times = (5, 50, 1) if small else (RUNS, CASES, REQUESTS)
    with tempfile.TemporaryDirectory() as home:
        prepare(home)
        run_id = fill(home, runs, cases)
        client = sign_in()
        client.get("/gemini-tuning/")  # the first request of a process imports and compiles
        client.get("/gemini-tuning/run", params={"dag_id": "-", "run_id": "-"})
        first = first_matrix(client, home, run_id, small=small)
        return [first, *(request(client, *page, most=times) for page in pages(run_id, runs, cases))]
