"""Who still waits for a tuning job: what the state of the waiting task says about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

# In these states the task waits, is about to wait again (cleared, retried: it takes the same job), or was told by a
# person that the job's end does not matter (success). In all others the run has given the job up.
KEEP_JOB_STATES = frozenset(
    {
        None,
        "scheduled",
        "queued",
        "running",
        "restarting",
        "deferred",
        "up_for_retry",
        "up_for_reschedule",
        "awaiting_input",
        "success",
    }
)
FINISHED_STATES = frozenset({"success", "failed", "skipped", "upstream_failed"})
MISSING = "missing"  # the task or its run was deleted


class TaskInstanceKey(Protocol):
    """The bit of Airflow's task instances that names one."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int | None


def keeps_job(state: str | None) -> bool:
    """Return whether a task in this state still wants the job."""
    return state in KEEP_JOB_STATES


def task_state(states: Mapping[str, Mapping[str, Any]], task: TaskInstanceKey) -> str | None:
    """Return a task's state out of the answer to :func:`get_task_states`; :data:`MISSING` when it is not in it."""
    mapped = task.map_index is not None and task.map_index >= 0
    name = task.task_id if not mapped else f"{task.task_id}_{task.map_index}"
    state: str | None = states.get(task.run_id, {}).get(name, MISSING)
    return state


def get_task_states(dag_id: str, task_ids: list[str], run_id: str | None = None) -> Mapping[str, Mapping[str, Any]]:
    """Ask Airflow for the states of tasks: ``{run_id: {task_id or task_id_INDEX: state}}``.

    :param run_id: in which run; ``None``: in all of the DAG's.
    """
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    answer: Mapping[str, Mapping[str, Any]] = RuntimeTaskInstance.get_task_states(
        dag_id=dag_id, task_ids=task_ids, run_ids=None if run_id is None else [run_id]
    )
    return answer
