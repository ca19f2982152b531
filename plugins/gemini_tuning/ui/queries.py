"""Tuning runs in Airflow's database: DAG runs, their task instances and XComs.

A step is found by the class of its operator, which Airflow stores with each task instance: task ids differ from DAG to
DAG, and begin with the id of the task group where there is one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from itertools import islice
from typing import Annotated, Any, TypeVar

from airflow.models.dag import DagModel, DagTag
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XCOM_RETURN_KEY, XComModel
from fastapi import Query
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
STATES = ("queued", "running", "success", "failed")
UNFINISHED_STATES = frozenset({"queued", "running"})
PAGE_SIZE = 25
MAX_SEARCHED = 2_000  # newest runs that a search for a model covers

CREATE = "GeminiCreateTuningJobOperator"
CREATE_TASK_ID = ".tune.create_tuning_job"  # behind the id of a task group
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
    """A task instance."""

    task_id: str
    map_index: int
    operator: str | None  # name of the operator's class
    state: str | None
    label: str | None  # rendered map index of a mapped task
    start: datetime | None
    end: datetime | None
    xcoms: Mapping[str, Any] = field(default_factory=dict)  # by key, those of XCOM_KEYS

    def xcom(self, key: str = XCOM_RETURN_KEY) -> Any:
        """Return an XCom of the current try, or ``None``."""
        return self.xcoms.get(key) if self.state in STATES_WITH_XCOMS else None


@dataclass(frozen=True)
class RunRecord:
    """A run of a tuning DAG."""

    id: int
    dag_id: str
    run_id: str
    run_type: str
    state: str
    run_after: datetime | None
    start: datetime | None
    end: datetime | None
    started_by: str | None  # the user who triggered it; None: a scheduled run
    conf: Mapping[str, Any]  # the parameters that were given, without those that have their default value
    steps: tuple[Step, ...] = ()
    groups: tuple[str, ...] = ()  # ids of the task groups of pipelines.checkpoint_tuning, if there are several
    group: str = ""  # the one that `steps` are restricted to

    @property
    def is_live(self) -> bool:
        """Whether it has not finished."""
        return self.state in UNFINISHED_STATES

    def parts(self) -> list[RunRecord]:
        """Return the run once for each of its groups, with the steps of the group; without groups, the run."""
        return [self.in_group(group) for group in self.groups] or [self]

    def in_group(self, group: str) -> RunRecord:
        """Return the run with the steps of one group. The Params are those of the DAG, and not of the group."""
        steps = tuple(step for step in self.steps if step.task_id.startswith(f"{group}."))
        return replace(self, steps=steps, group=group, conf={})

    @property
    def has_several_jobs(self) -> bool:
        """Whether it tunes more than one model, which the page cannot show separately."""
        return len(list(self.all_steps(CREATE))) > 1

    @property
    def connection(self) -> dict[str, str]:
        """``gcp_conn_id`` and ``impersonation_chain``, as far as given: those of the sensor, else those in ``conf``."""
        job = self.xcom(WAIT, PROGRESS)
        known = {**self.conf, **(job if isinstance(job, Mapping) else {})}
        chain, conn_id = known.get("impersonation_chain"), known.get("gcp_conn_id")
        accounts = [chain] if isinstance(chain, str) else chain if isinstance(chain, list) else []
        found = {
            "gcp_conn_id": conn_id if isinstance(conn_id, str) else "",
            "impersonation_chain": ",".join(account for account in accounts if isinstance(account, str)),
        }
        return {name: value for name, value in found.items() if value}

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

    @property
    def errors(self) -> list[dict[str, str | None]]:
        """The failed steps and why, without those that failed only because of them; ``None`` where the log has it."""
        return [
            {"step": step.label or step.task_id, "message": text(step.xcoms.get(ERROR))}
            for step in self.steps
            if step.state == "failed"
        ]

    @cached_property
    def progress(self) -> ProgressXCom:
        """What is known of the tuning job."""
        return self.value(ProgressXCom, WAIT, PROGRESS)


@dataclass(frozen=True)
class RunQuery:
    """A filter for runs, as in the query string of the overview."""

    state: str = ""  # of the DAG runs; any other text than one of STATES: all
    base_model: Annotated[str, Query(max_length=128)] = ""  # part of its name
    display_name: Annotated[str, Query(max_length=128)] = ""  # part of the tuned model's display name
    page: Annotated[int, Query(ge=1, le=10_000)] = 1


def dag_ids_tagged(session: Session, *tags: str) -> set[str]:
    """Return the DAGs with one of these tags, also those whose file was deleted: their runs still exist."""
    return set(session.scalars(select(DagTag.dag_id).where(DagTag.name.in_(tags))))


def active_dag_ids_tagged(session: Session, tag: str) -> set[str]:
    """Return the DAGs with a tag that can be triggered: their file exists."""
    tagged = select(DagTag.dag_id).join(DagModel, DagModel.dag_id == DagTag.dag_id)
    return set(session.scalars(tagged.where(DagTag.name == tag, DagModel.is_stale.is_(False))))


def find_runs(session: Session, dag_ids: Collection[str], query: RunQuery) -> tuple[list[RunRecord], bool]:
    """Return the runs of one page, newest first, with their steps; and whether there are more."""
    newest = select(DagRun.id).where(DagRun.dag_id.in_(dag_ids))
    if query.state in STATES:
        newest = newest.where(DagRun._state == query.state)
    newest = newest.order_by(DagRun.run_after.desc(), DagRun.id.desc())
    first = (query.page - 1) * PAGE_SIZE
    if query.base_model or query.display_name:
        ids = list(islice(_matching(session, newest, query), first, first + PAGE_SIZE + 1))
    else:
        ids = list(session.scalars(newest.offset(first).limit(PAGE_SIZE + 1)))
    return load_runs(session, ids[:PAGE_SIZE]), len(ids) > PAGE_SIZE


def get_run(session: Session, dag_id: str, run_id: str) -> RunRecord | None:
    """Return a run with its steps."""
    found = session.scalar(select(DagRun.id).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id))
    return None if found is None else load_runs(session, [found])[0]


def load_runs(session: Session, ids: Sequence[int]) -> list[RunRecord]:
    """Return runs with their steps, in the order of ``ids``."""
    xcoms: dict[Any, dict[str, Any]] = defaultdict(dict)  # by run, task and map index
    pushed = select(XComModel.dag_run_id, XComModel.task_id, XComModel.map_index, XComModel.key, XComModel.value)
    for row in session.execute(pushed.where(XComModel.dag_run_id.in_(ids), XComModel.key.in_(XCOM_KEYS))):
        xcoms[row[:3]][row.key] = row.value
    steps: dict[int, list[Step]] = defaultdict(list)
    task = TaskInstance
    place: tuple[Any, ...] = (DagRun.id, task.task_id, task.map_index)
    facts: tuple[Any, ...] = (task.operator, task.state, task._rendered_map_index, task.start_date, task.end_date)
    for row in session.execute(
        select(*place, *facts).join(task.dag_run).where(DagRun.id.in_(ids)).order_by(*place[1:])
    ):
        steps[row.id].append(Step(*(*row[1:], xcoms.get(row[:3], {}))))
    ran: tuple[Any, ...] = (DagRun.run_type, DagRun._state, DagRun.run_after, DagRun.start_date, DagRun.end_date)
    columns = (DagRun.id, DagRun.dag_id, DagRun.run_id, *ran, DagRun.triggering_user_name, DagRun.conf)
    runs = {}
    for row in session.execute(select(*columns).where(DagRun.id.in_(ids))):
        conf = row.conf if isinstance(row.conf, Mapping) else {}
        found = tuple(steps[row.id])
        runs[row.id] = RunRecord(*(*row[:-1], conf, found, _groups(found)))
    return [runs[run_id] for run_id in ids if run_id in runs]


def _groups(steps: Iterable[Step]) -> tuple[str, ...]:
    creates = [step.task_id for step in steps if step.operator == CREATE]
    groups = tuple(task_id.removesuffix(CREATE_TASK_ID) for task_id in creates if task_id.endswith(CREATE_TASK_ID))
    return groups if len(groups) > 1 else ()


def return_values(session: Session, dag_ids: Collection[str], operator: str, kind: type[Value]) -> Iterator[Value]:
    """Yield the return values of an operator's successful steps, newest first, as far as Airflow has kept them."""
    rows = session.execute(
        select(XComModel.value)
        .join(XComModel.task)
        .where(XComModel.key == XCOM_RETURN_KEY, XComModel.dag_id.in_(dag_ids))
        .where(TaskInstance.operator == operator, TaskInstance.state == "success")
        .order_by(XComModel.timestamp.desc())
        .limit(MAX_SEARCHED)
    )
    return filter(None, map(kind.from_xcom, rows.scalars()))


def _matching(session: Session, newest: Select[Any], query: RunQuery) -> Iterable[int]:
    """Yield the runs of a model, whose names are in the progress of the job, or else in the run's ``conf``."""
    runs = session.execute(newest.add_columns(DagRun.conf).limit(MAX_SEARCHED)).all()
    # Not joined: SQLite would scan the XComs of all runs for each run.
    jobs: dict[int, list[object]] = defaultdict(list)
    of_runs = XComModel.dag_run_id.in_([run_id for run_id, _ in runs])
    progress_of_runs = select(XComModel.dag_run_id, XComModel.value).where(XComModel.key == PROGRESS, of_runs)
    for run_id, known in session.execute(progress_of_runs):
        jobs[run_id].append(known)
    for run_id, conf in runs:
        names = (model_names(conf, ProgressXCom.from_xcom(known)) for known in jobs[run_id] or [None])
        if any(
            query.base_model.lower() in base_model.lower() and query.display_name.lower() in display_name.lower()
            for base_model, display_name in names
        ):
            yield run_id


def model_names(conf: object, job: ProgressXCom | None) -> tuple[str, str]:
    """Return base model and display name: those of the job, else those in ``conf``; empty where unknown."""
    given = conf if isinstance(conf, Mapping) else {}
    job = job or ProgressXCom()
    base_model = job.base_model or text(given.get("base_model")) or ""
    return base_model, job.display_name or text(given.get("tuned_model_display_name")) or ""
