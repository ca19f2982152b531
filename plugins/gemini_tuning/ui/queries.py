"""Tuning runs in Airflow's database: DAG runs, their task instances and XComs.

A step is found by the class of its operator, which Airflow stores with each task instance: task ids differ from DAG to
DAG, and begin with the id of the task group where there is one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from itertools import islice
from typing import Any, TypeVar

from airflow.models.dag import DagModel, DagTag
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XCOM_RETURN_KEY, XComModel
from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from gemini_tuning.core.xcom import ProgressXCom, XCom, text
from gemini_tuning.triggers import progress

TAG = "gemini-tuning"  # of the DAGs whose runs are shown
ACTIONS_TAG = "gemini-tuning-actions"  # of the DAGs that the actions of the page trigger
PROGRESS = progress.XCOM_KEY
DECISION, DEFAULT_CHECKPOINT, ERROR, TUNED_MODEL = "decision", "default_checkpoint_id", "error", "tuned_model"
QUOTA_WAIT = "quota_wait"
XCOM_KEYS = (XCOM_RETURN_KEY, PROGRESS, QUOTA_WAIT, DECISION, DEFAULT_CHECKPOINT, ERROR, TUNED_MODEL)
UNFINISHED_STATES = frozenset({"queued", "running"})
MAX_SEARCHED = 2_000  # newest runs that a search for a model covers

CREATE = "GeminiCreateTuningJobOperator"
WAIT = "GeminiTuningJobSensor"
VALIDATE = "GeminiValidateTuningOperator"
CHECKPOINTS = "GeminiListCheckpointsOperator"
SMOKE_TEST = "GeminiSmokeTestCheckpointOperator"
CHAMPION = "GeminiSmokeTestChampionOperator"
METRICS = "GeminiReadTuningMetricsOperator"
CHOOSE = "GeminiChooseCheckpointOperator"
APPROVE = "GeminiApproveCheckpointOperator"
SET_DEFAULT = "GeminiSetDefaultCheckpointOperator"
COPY = "GeminiCopyModelOperator"
VERIFY = "GeminiVerifyModelCopyOperator"
PROMPT = "GeminiPromptCheckpointsOperator"
REPORT = "GeminiTuningReportOperator"

# Airflow deletes the XComs of a task when its next try starts, and not when it is cleared: in the other states they
# are those of an earlier try.
STATES_WITH_XCOMS = frozenset(
    {"running", "deferred", "awaiting_input", "up_for_retry", "up_for_reschedule", "restarting", "success", "failed"}
)

Value = TypeVar("Value", bound=XCom)


@dataclass(frozen=True)
class Step:
    """A task instance.

    :param operator: name of the operator's class.
    :param label: rendered map index of a mapped task.
    :param xcoms: by key, those of :data:`XCOM_KEYS`.
    """

    task_id: str
    map_index: int
    operator: str
    state: str | None
    label: str | None
    start: datetime | None
    end: datetime | None
    xcoms: Mapping[str, Any] = field(default_factory=dict)

    def xcom(self, key: str = XCOM_RETURN_KEY) -> Any:
        """Return an XCom of the current try, or ``None``."""
        return self.xcoms.get(key) if self.state in STATES_WITH_XCOMS else None


@dataclass(frozen=True)
class RunRecord:
    """A run of a tuning DAG.

    :param conf: the parameters that were given, without those that have their default value.
    :param started_by: the user who triggered it; ``None`` for a scheduled run.
    """

    id: int
    dag_id: str
    run_id: str
    run_type: str
    state: str
    run_after: datetime | None
    start: datetime | None
    end: datetime | None
    started_by: str | None
    conf: Mapping[str, Any]
    steps: tuple[Step, ...] = ()

    @property
    def is_live(self) -> bool:
        """Whether it has not finished."""
        return self.state in UNFINISHED_STATES

    @property
    def has_several_jobs(self) -> bool:
        """Whether it tunes more than one model, which the page cannot show separately."""
        return len(list(self.all_steps(CREATE))) > 1

    @property
    def connection(self) -> dict[str, str | None]:
        """Return ``gcp_conn_id`` and ``impersonation_chain``: those that the sensor used, else those in ``conf``."""
        job = self.xcom(WAIT, PROGRESS)
        known = {**self.conf, **(job if isinstance(job, Mapping) else {})}
        chain = known.get("impersonation_chain")
        names = [chain] if isinstance(chain, str) else chain if isinstance(chain, list) else []
        conn_id = known.get("gcp_conn_id")
        return {
            "gcp_conn_id": conn_id if isinstance(conn_id, str) else None,
            "impersonation_chain": ",".join(name for name in names if isinstance(name, str)) or None,
        }

    @property
    def is_action(self) -> bool:
        """Whether it only does something with a model that another run tuned."""
        return self.step(CREATE) is None and any(self.step(operator) for operator in (SET_DEFAULT, PROMPT))

    def step(self, operator: str) -> Step | None:
        """Return the step of an operator, the first one if there are several."""
        return next(self.all_steps(operator), None)

    def all_steps(self, operator: str) -> Iterator[Step]:
        """Yield the steps of an operator."""
        return (step for step in self.steps if step.operator == operator)

    def xcom(self, operator: str, key: str = XCOM_RETURN_KEY) -> Any:
        """Return an XCom of a step's current try, or ``None``."""
        step = self.step(operator)
        return step.xcom(key) if step is not None else None

    def value(self, kind: type[Value], operator: str, key: str = XCOM_RETURN_KEY) -> Value:
        """Return the same as a typed value; without an XCom all its fields are empty."""
        return kind.from_xcom(self.xcom(operator, key)) or kind()

    @cached_property
    def progress(self) -> ProgressXCom:
        """What is known of the tuning job."""
        return self.value(ProgressXCom, WAIT, PROGRESS)


@dataclass(frozen=True)
class RunQuery:
    """A filter for runs.

    :param states: of the DAG runs; empty: all.
    :param base_model: part of its name.
    :param display_name: part of the tuned model's display name.
    :param page: from 1.
    """

    states: tuple[str, ...] = ()
    base_model: str = ""
    display_name: str = ""
    page: int = 1
    page_size: int = 25


def dag_ids_tagged(session: Session, *tags: str) -> set[str]:
    """Return the DAGs with one of these tags, also those whose file was deleted: their runs still exist."""
    return set(session.scalars(select(DagTag.dag_id).where(DagTag.name.in_(tags))))


def active_dag_ids_tagged(session: Session, tag: str) -> set[str]:
    """Return the DAGs with a tag that can be triggered: their file exists."""
    tagged = select(DagTag.dag_id).join(DagModel, DagModel.dag_id == DagTag.dag_id)
    return set(session.scalars(tagged.where(DagTag.name == tag, DagModel.is_stale.is_(False))))


def find_runs(session: Session, dag_ids: Collection[str], query: RunQuery) -> tuple[list[RunRecord], bool]:
    """Return the runs of one page, newest first, with their steps; and whether there are more."""
    newest = _newest(dag_ids, query.states)
    first, size = (query.page - 1) * query.page_size, query.page_size
    if query.base_model or query.display_name:
        ids = list(islice(_matching(session, newest, query), first, first + size + 1))
    else:
        ids = list(session.scalars(newest.offset(first).limit(size + 1)))
    return load_runs(session, ids[:size]), len(ids) > size


def get_run(session: Session, dag_id: str, run_id: str) -> RunRecord | None:
    """Return a run with its steps."""
    found = session.scalar(select(DagRun.id).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id))
    return None if found is None else load_runs(session, [found])[0]


def load_runs(session: Session, ids: Sequence[int]) -> list[RunRecord]:
    """Return runs with their steps, in the order of ``ids``."""
    if not ids:
        return []
    runs = {run.id: run for run in session.execute(_runs().where(DagRun.id.in_(ids)))}
    xcoms = _xcoms(session, ids)
    steps = _steps(session, [(run.dag_id, run.run_id) for run in runs.values()])
    return [_run(runs[run_id], steps, xcoms.get(run_id, {})) for run_id in ids if run_id in runs]


def return_values(session: Session, dag_ids: Collection[str], operator: str, kind: type[Value]) -> Iterator[Value]:
    """Yield the return values of an operator's successful steps, newest first, as far as Airflow has kept them."""
    rows = session.execute(
        select(XComModel.value)
        .join(
            TaskInstance,
            (TaskInstance.dag_id == XComModel.dag_id)
            & (TaskInstance.run_id == XComModel.run_id)
            & (TaskInstance.task_id == XComModel.task_id)
            & (TaskInstance.map_index == XComModel.map_index),
        )
        .where(
            XComModel.key == XCOM_RETURN_KEY,
            XComModel.dag_id.in_(dag_ids),
            TaskInstance.operator == operator,
            TaskInstance.state == "success",
        )
        .order_by(XComModel.timestamp.desc())
        .limit(MAX_SEARCHED)
    )
    return filter(None, map(kind.from_xcom, rows.scalars()))


def _newest(dag_ids: Collection[str], states: Collection[str]) -> Select[Any]:
    runs = select(DagRun.id).where(DagRun.dag_id.in_(dag_ids))
    if states:
        runs = runs.where(DagRun._state.in_(states))
    return runs.order_by(DagRun.run_after.desc(), DagRun.id.desc())


def _matching(session: Session, newest: Select[Any], query: RunQuery) -> Iterable[int]:
    """Yield the runs of a model, whose names are in the progress of the job, or else in the run's ``conf``."""
    runs = session.execute(newest.add_columns(DagRun.conf).limit(MAX_SEARCHED)).all()
    jobs: dict[int, list[object]] = {}  # not joined: SQLite would scan the XComs of all runs for each run
    for run_id, known in session.execute(
        select(XComModel.dag_run_id, XComModel.value).where(
            XComModel.key == PROGRESS, XComModel.dag_run_id.in_([run_id for run_id, _ in runs])
        )
    ):
        jobs.setdefault(run_id, []).append(known)
    for run_id, conf in runs:
        names = (model_names(conf, ProgressXCom.from_xcom(known)) for known in jobs.get(run_id, [None]))
        if any(
            query.base_model.lower() in base_model.lower() and query.display_name.lower() in display_name.lower()
            for base_model, display_name in names
        ):
            yield run_id


def model_names(conf: object, job: ProgressXCom | None) -> tuple[str, str]:
    """Return base model and display name: those of the job, else those in ``conf``; empty where unknown."""
    given = conf if isinstance(conf, Mapping) else {}
    job = job or ProgressXCom()
    return (
        job.base_model or text(given.get("base_model")) or "",
        job.display_name or text(given.get("tuned_model_display_name")) or "",
    )


def _runs() -> Select[Any]:
    return select(
        DagRun.id,
        DagRun.dag_id,
        DagRun.run_id,
        DagRun.run_type,
        DagRun._state.label("state"),
        DagRun.run_after,
        DagRun.start_date,
        DagRun.end_date,
        DagRun.triggering_user_name,
        DagRun.conf,
    )


def _xcoms(session: Session, ids: Collection[int]) -> dict[int, dict[tuple[str, int], dict[str, Any]]]:
    rows = session.execute(
        select(XComModel.dag_run_id, XComModel.task_id, XComModel.map_index, XComModel.key, XComModel.value).where(
            XComModel.dag_run_id.in_(ids), XComModel.key.in_(XCOM_KEYS)
        )
    )
    found: dict[int, dict[tuple[str, int], dict[str, Any]]] = {}
    for row in rows:
        step = found.setdefault(row.dag_run_id, {}).setdefault((row.task_id, row.map_index), {})
        step[row.key] = row.value
    return found


def _steps(session: Session, runs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], list[Any]]:
    names = {run_id for _, run_id in runs}
    rows = session.execute(
        select(
            TaskInstance.dag_id,
            TaskInstance.run_id,
            TaskInstance.task_id,
            TaskInstance.map_index,
            TaskInstance.operator,
            TaskInstance.state,
            TaskInstance._rendered_map_index.label("label"),
            TaskInstance.start_date,
            TaskInstance.end_date,
        ).where(TaskInstance.dag_id.in_({dag_id for dag_id, _ in runs}), TaskInstance.run_id.in_(names))
    )
    found: dict[tuple[str, str], list[Any]] = {}
    for row in rows:
        found.setdefault((row.dag_id, row.run_id), []).append(row)
    return found


def _run(
    row: Any, steps: Mapping[tuple[str, str], list[Any]], xcoms: Mapping[tuple[str, int], Mapping[str, Any]]
) -> RunRecord:
    return RunRecord(
        id=row.id,
        dag_id=row.dag_id,
        run_id=row.run_id,
        run_type=row.run_type,
        state=row.state or "",
        run_after=row.run_after,
        start=row.start_date,
        end=row.end_date,
        started_by=row.triggering_user_name,
        conf=row.conf if isinstance(row.conf, Mapping) else {},
        steps=tuple(
            Step(
                task_id=step.task_id,
                map_index=step.map_index,
                operator=step.operator or "",
                state=step.state,
                label=step.label,
                start=step.start_date,
                end=step.end_date,
                xcoms=xcoms.get((step.task_id, step.map_index), {}),
            )
            for step in sorted(steps.get((row.dag_id, row.run_id), []), key=lambda s: (s.task_id, s.map_index))
        ),
    )
