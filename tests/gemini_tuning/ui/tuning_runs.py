"""Tuning runs as the page finds them in Airflow: in memory, and as rows in Airflow's own tables."""

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from airflow.models.dag import DagModel, DagTag
from airflow.models.dagbundle import DagBundleModel
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from gemini_tuning.ui import queries
from gemini_tuning.ui.queries import RunRecord, Step
from gemini_tuning.ui.run_view import RunView
from tests.gemini_tuning.reporting.run_values import (
    APPROVED,
    COPY,
    COST,
    JOB,
    METRICS,
    MODEL,
    PARENT,
    PROMOTION,
    decision,
    summary,
)

SHOWN = (property, cached_property)
DAG = "gemini_checkpoint_tuning"
BEGAN = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
NOW = BEGAN + timedelta(minutes=10)
CONF = {
    "training_dataset_uri": "gs://bucket/train.jsonl",
    "base_model": "gemini-2.5-flash",
    "tuned_model_display_name": "ferry",
}
RUNNING = {
    "name": JOB,
    "display_name": "ferry",
    "base_model": "gemini-2.5-flash",
    "state": "RUNNING",
    "phase": "TUNING",
    "completed_epochs": 2,
    "epoch_count": 6,
    "completed_steps": 21,
    "error": None,
    "model": None,
    "checkpoints": [{"checkpoint_id": "1", "epoch": 1, "step": 10, "endpoint": f"{PARENT}/endpoints/1"}],
    "train_loss": [[1, 2.1], [10, 0.5]],
    "eval_loss": [[10, 0.6]],
    "at": (BEGAN + timedelta(minutes=4)).isoformat(),
}
ENDED = {**RUNNING, "state": "SUCCEEDED", "completed_epochs": 6, "model": MODEL}
CHECKPOINTS = [
    {"checkpoint_id": n, "epoch": int(n), "step": 10 * int(n), "endpoint": f"{PARENT}/endpoints/{n}"} for n in "123"
]
LISTED = {"return_value": CHECKPOINTS, "tuned_model": MODEL, "default_checkpoint_id": "3"}
CHAMPION = {**summary("9", 18), "results_uri": "gs://bucket/results/champion.jsonl"}


def step(
    operator: str,
    returned: Any = None,
    *,
    state: str | None = "success",
    task_id: str | None = None,
    map_index: int = -1,
    label: str | None = None,
    end: datetime | None = NOW,
    **xcoms: Any,
) -> Step:
    """Return a task of a run."""
    xcoms = xcoms if returned is None else {"return_value": returned, **xcoms}
    return Step(task_id or operator.lower(), map_index, operator, state, label, BEGAN, end, xcoms)


def smoke_tests(*summaries: Any) -> list[Step]:
    """Return the smoke tests of checkpoints."""
    return [
        step(queries.SMOKE_TEST, found, task_id="smoke_test", map_index=n, label=f"checkpoint {n + 1}")
        for n, found in enumerate(summaries)
    ]


VALIDATED = step(queries.VALIDATE, {"results_uri": "gs://bucket/results", "cost": COST}, task_id="validate")
CREATED = step(queries.CREATE, JOB, task_id="create_tuning_job")
WAITED = step(queries.WAIT, task_id="wait_for_tuning_job", progress=ENDED)
WAITING = replace(WAITED, state="deferred", xcoms={"progress": RUNNING})
LISTS = Step("list_checkpoints", -1, queries.CHECKPOINTS, "success", None, BEGAN, NOW, LISTED)
TESTED = smoke_tests(summary("1", 10), summary("2", 22), summary("3", 21))
MEASURED = step(queries.METRICS, METRICS, task_id="read_metrics")
CHOSEN = step(queries.CHOOSE, task_id="choose", decision=decision(), winner="2")
ASKED = step(queries.APPROVE, APPROVED, task_id="approve")
PROMOTED = step(queries.SET_DEFAULT, PROMOTION, task_id="set_default")
COPIED = step(queries.COPY, {"model": COPY["model"], "operation": "…"}, task_id="copy_model")
CHECKED = step(queries.VERIFY, COPY, task_id="verify_copy")
REPORTED = step(queries.REPORT, {"report_markdown": "gs://bucket/results/report.md"}, task_id="report")
ALL = (
    VALIDATED, CREATED, WAITED, LISTS, *TESTED, MEASURED, CHOSEN, ASKED, PROMOTED, COPIED, CHECKED, REPORTED,
)  # fmt: skip


GROUPS = {
    "tune": (queries.CREATE, queries.WAIT),
    "evaluate": (queries.CHECKPOINTS, queries.SMOKE_TEST, queries.CHAMPION, queries.METRICS),
    "promote": (queries.APPROVE, queries.SET_DEFAULT),
    "copy": (queries.COPY, queries.VERIFY),
}


def in_groups(*steps: Step, prefix: str = "") -> list[Step]:
    """Return steps as tasks of task groups, whose ids begin with the group's id.

    :param prefix: of a group around these groups.
    """
    group_of = {operator: f"{group}." for group, operators in GROUPS.items() for operator in operators}
    return [replace(found, task_id=f"{prefix}{group_of.get(found.operator, '')}{found.task_id}") for found in steps]


def run(*steps: Step, **change: Any) -> RunRecord:
    """Return a run; steps that have not started can be left out."""
    given = {
        "id": 1,
        "dag_id": DAG,
        "run_id": "manual__1",
        "run_type": "manual",
        "state": "success",
        "run_after": BEGAN,
        "start": BEGAN,
        "end": NOW,
        "started_by": "ada",
        "conf": CONF,
        **change,
    }
    if given["state"] in queries.UNFINISHED_STATES:
        given["end"] = None
    return RunRecord(**given, steps=steps)


def read_all(view: RunView) -> dict[str, Any]:
    """Return everything that a page can show of a run."""
    return {name: getattr(view, name) for name, kind in vars(RunView).items() if isinstance(kind, SHOWN)}


def save_dag(session: Session, dag_id: str, *tags: str, stale: bool = False, paused: bool = False) -> None:
    """Insert a DAG with its tags."""
    if session.scalar(select(DagBundleModel.name).where(DagBundleModel.name == "page-tests")) is None:
        session.execute(insert(DagBundleModel).values(name="page-tests"))
    session.execute(
        insert(DagModel).values(
            dag_id=dag_id,
            bundle_name="page-tests",
            is_stale=stale,
            is_paused=paused,
            max_active_tasks=16,
            max_consecutive_failed_dag_runs=0,
            has_task_concurrency_limits=False,
            fileloc=f"/dags/{dag_id}.py",
        )
    )
    for tag in tags:
        session.execute(insert(DagTag).values(name=tag, dag_id=dag_id))


def save(session: Session, found: RunRecord, pushed_at: datetime = NOW) -> int:
    """Insert a run with its task instances and XComs; return its id.

    :param pushed_at: time of the XComs.
    """
    row = session.execute(
        insert(DagRun).values(
            dag_id=found.dag_id,
            run_id=found.run_id,
            run_type=found.run_type,
            _state=found.state,
            run_after=found.run_after,
            start_date=found.start,
            end_date=found.end,
            triggering_user_name=found.started_by,
            conf=found.conf,
            logical_date=None,
        )
    )
    run_id: int = row.inserted_primary_key[0]
    key = {"dag_id": found.dag_id, "run_id": found.run_id}
    tasks, xcoms = [], []
    for each in found.steps:
        place = {**key, "task_id": each.task_id, "map_index": each.map_index}
        tasks.append(
            {
                **place,
                "state": each.state,
                "operator": each.operator,
                "start_date": each.start,
                "end_date": each.end,
                "_rendered_map_index": each.label,
                "pool": "default_pool",
            }
        )
        xcoms += [
            {**place, "dag_run_id": run_id, "key": name, "value": value, "timestamp": pushed_at}
            for name, value in each.xcoms.items()
        ]
    if tasks:
        session.execute(insert(TaskInstance), tasks)
    if xcoms:
        session.execute(insert(XComModel), xcoms)
    return run_id


def empty(session: Session) -> None:
    """Remove all runs and all DAGs, with what hangs on them."""
    for table in (DagRun, DagModel):
        session.execute(delete(table).execution_options(synchronize_session=False))


def result(case_id: Any, passed: Any = True, *, repeat: Any = 1, answer: Any = "Yes.", **change: Any) -> dict[str, Any]:
    """Return a line of a results file."""
    return {
        "case_id": case_id,
        "repeat": repeat,
        "passed": passed,
        "critical": False,
        "contents": [{"role": "user", "parts": [{"text": "A ticket?"}]}],
        "answer": answer,
        "verdicts": [{"type": "contains", "passed": passed, "reason": "contains 'Yes'", "expected": "Yes"}],
        "finish_reason": "STOP",
        "latency_ms": 120.5,
        "error": None,
        **change,
    }


def lines(results: Iterable[Any]) -> list[bytes]:
    """Return results as the lines of a file."""
    return [json.dumps(found).encode() + b"\n" for found in results]
