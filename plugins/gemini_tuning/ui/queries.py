"""What Airflow's database knows of tuning runs: runs, their steps, and what the steps pushed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any

from airflow.models.dag import DagModel, DagTag
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from gemini_tuning.core.xcom import text
from gemini_tuning.triggers import progress

TAG = "gemini-tuning"  # of the DAGs whose runs are shown
ACTIONS_TAG = "gemini-tuning-actions"  # of those that the page's actions start
RETURN = "return_value"
KEYS = (
    RETURN,
    progress.XCOM_KEY,
    "quota_wait",
    "decision",
    "winner",
    "tuned_model",
    "default_checkpoint_id",
    "error",
)
LIVE = frozenset({"queued", "running"})
MAX_SEARCHED = 2_000  # runs, the newest, that a search for a model looks through

CREATE = "GeminiCreateTuningJobOperator"
WAIT = "GeminiTuningJobSensor"
PREFLIGHT = "GeminiValidateTuningOperator"
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


# A task's XComs are dropped when its next try begins, not when it is cleared: in other states they are old ones.
PUSHED_NOW = frozenset(
    {"running", "deferred", "awaiting_input", "up_for_retry", "up_for_reschedule", "restarting", "success", "failed"}
)


@dataclass(frozen=True)
class Step:
    """A task of a run, or one of its mapped instances.

    :param operator: name of the operator's class.
    :param label: of a mapped instance.
    :param pushed: its XComs by key, those of :data:`KEYS`.
    """

    task_id: str
    map_index: int
    operator: str
    state: str | None
    label: str | None
    start: datetime | None
    end: datetime | None
    pushed: Mapping[str, Any] = field(default_factory=dict)

    def get(self, key: str = RETURN) -> Any:
        """Return what it pushed in its present try."""
        return self.pushed.get(key) if self.state in PUSHED_NOW else None


@dataclass(frozen=True)
class Run:
    """A run of a tuning DAG.

    :param conf: the parameters that were given; those left at their default are not in it.
    :param started_by: user, ``None`` where no user did.
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
        """Whether it is not over."""
        return self.state in LIVE

    @property
    def has_several_jobs(self) -> bool:
        """Whether it tunes more than one model, which one page cannot keep apart."""
        return len(list(self.all_steps(CREATE))) > 1

    @property
    def connection(self) -> dict[str, str | None]:
        """Return ``gcp_conn_id`` and ``impersonation_chain``: as the wait used them, else as they were given."""
        known = {**self.conf, **self.mapping(WAIT, progress.XCOM_KEY)}
        chain = known.get("impersonation_chain")
        names = [chain] if isinstance(chain, str) else chain if isinstance(chain, list) else []
        conn_id = known.get("gcp_conn_id")
        return {
            "gcp_conn_id": conn_id if isinstance(conn_id, str) else None,
            "impersonation_chain": ",".join(name for name in names if isinstance(name, str)) or None,
        }

    @property
    def is_action(self) -> bool:
        """Whether it only does something with a model that another run has tuned."""
        return self.step(CREATE) is None and any(self.step(operator) for operator in (SET_DEFAULT, PROMPT))

    def step(self, operator: str) -> Step | None:
        """Return the step of an operator, the first one if there are several."""
        return next(self.all_steps(operator), None)

    def all_steps(self, operator: str) -> Iterator[Step]:
        """Yield the steps of an operator."""
        return (step for step in self.steps if step.operator == operator)

    def pushed(self, operator: str, key: str = RETURN) -> Any:
        """Return what a step pushed in its present try; ``None`` where there is nothing."""
        step = self.step(operator)
        return step.get(key) if step is not None else None

    def mapping(self, operator: str, key: str = RETURN) -> Mapping[str, Any]:
        """Return what a step pushed when it is a mapping, else an empty one."""
        value = self.pushed(operator, key)
        return value if isinstance(value, Mapping) else {}


@dataclass(frozen=True)
class Query:
    """Which runs are wanted.

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
    """Return the DAGs that carry one of these tags, those too whose file is gone: their runs are still there."""
    return set(session.scalars(select(DagTag.dag_id).where(DagTag.name.in_(tags))))


def dag_ids_to_start(session: Session, tag: str) -> set[str]:
    """Return the DAGs with a tag that Airflow can start: their file is there."""
    there = select(DagTag.dag_id).join(DagModel, DagModel.dag_id == DagTag.dag_id)
    return set(session.scalars(there.where(DagTag.name == tag, DagModel.is_stale.is_(False))))


def find_runs(session: Session, dag_ids: Collection[str], query: Query) -> tuple[list[Run], bool]:
    """Return the runs of one page, newest first, with their steps; and whether there are more.

    :param dag_ids: of which DAGs.
    """
    wanted = _newest(dag_ids, query.states)
    first, size = (query.page - 1) * query.page_size, query.page_size
    if query.base_model or query.display_name:
        ids = list(islice(_matching(session, wanted, query), first, first + size + 1))
    else:
        ids = list(session.scalars(wanted.offset(first).limit(size + 1)))
    return load_runs(session, ids[:size]), len(ids) > size


def get_run(session: Session, dag_id: str, run_id: str) -> Run | None:
    """Return a run with its steps."""
    found = session.scalar(select(DagRun.id).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id))
    return None if found is None else load_runs(session, [found])[0]


def load_runs(session: Session, ids: Sequence[int]) -> list[Run]:
    """Return runs with their steps, in the order of their ids given."""
    if not ids:
        return []
    runs = {run.id: run for run in session.execute(_runs().where(DagRun.id.in_(ids)))}
    pushed = _pushed(session, ids)
    steps = _steps(session, [(run.dag_id, run.run_id) for run in runs.values()])
    return [_run(runs[run_id], steps, pushed.get(run_id, {})) for run_id in ids if run_id in runs]


def pushed_by(session: Session, dag_ids: Collection[str], operator: str) -> Iterator[Mapping[str, Any]]:
    """Yield what the successful steps of an operator pushed, the newest first, as far as Airflow has kept it."""
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
            XComModel.key == RETURN,
            XComModel.dag_id.in_(dag_ids),
            TaskInstance.operator == operator,
            TaskInstance.state == "success",
        )
        .order_by(XComModel.timestamp.desc())
        .limit(MAX_SEARCHED)
    )
    return (value for value in rows.scalars() if isinstance(value, Mapping))


def _newest(dag_ids: Collection[str], states: Collection[str]) -> Select[Any]:
    wanted = select(DagRun.id).where(DagRun.dag_id.in_(dag_ids))
    if states:
        wanted = wanted.where(DagRun._state.in_(states))
    return wanted.order_by(DagRun.run_after.desc(), DagRun.id.desc())


def _matching(session: Session, wanted: Select[Any], query: Query) -> Iterable[int]:
    """Yield the runs whose models have these names; they stand in what the runs were given or have pushed."""
    runs = session.execute(wanted.add_columns(DagRun.conf).limit(MAX_SEARCHED)).all()
    told: dict[int, list[object]] = {}  # not joined: SQLite would look at all runs' XComs of this key for each run
    for run_id, known in session.execute(
        select(XComModel.dag_run_id, XComModel.value).where(
            XComModel.key == progress.XCOM_KEY, XComModel.dag_run_id.in_([run_id for run_id, _ in runs])
        )
    ):
        told.setdefault(run_id, []).append(known)
    for run_id, conf in runs:
        if any(_are_wanted(model_names(conf, known), query) for known in told.get(run_id, [None])):
            yield run_id


def _are_wanted(names: tuple[str, str], query: Query) -> bool:
    return query.base_model.lower() in names[0].lower() and query.display_name.lower() in names[1].lower()


def model_names(conf: object, known: object) -> tuple[str, str]:
    """Return base model and display name: as the job has them, else as they were asked for; empty where unknown."""
    asked = conf if isinstance(conf, Mapping) else {}
    told = known if isinstance(known, Mapping) else {}
    return (
        text(told.get("base_model") or asked.get("base_model")) or "",
        text(told.get("display_name") or asked.get("tuned_model_display_name")) or "",
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


def _pushed(session: Session, ids: Collection[int]) -> dict[int, dict[tuple[str, int], dict[str, Any]]]:
    rows = session.execute(
        select(XComModel.dag_run_id, XComModel.task_id, XComModel.map_index, XComModel.key, XComModel.value).where(
            XComModel.dag_run_id.in_(ids), XComModel.key.in_(KEYS)
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
    row: Any, steps: Mapping[tuple[str, str], list[Any]], pushed: Mapping[tuple[str, int], Mapping[str, Any]]
) -> Run:
    return Run(
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
                pushed=pushed.get((step.task_id, step.map_index), {}),
            )
            for step in sorted(steps.get((row.dag_id, row.run_id), []), key=lambda s: (s.task_id, s.map_index))
        ),
    )
