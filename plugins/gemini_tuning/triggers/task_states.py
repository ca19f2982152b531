"""Does a run still need its tuning job? The state of the task that waits for it decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

# In these states the task waits, will reattach to the job (cleared, retried), or was marked success by the user, who
# lets the job continue. In all others no one is waiting for the job.
KEEP_JOB_STATES = frozenset({
    None, "scheduled", "queued", "running", "restarting", "deferred", "up_for_retry", "up_for_reschedule",
    "awaiting_input", "success",
})  # fmt: skip
FINISHED_STATES = frozenset({"success", "failed", "skipped", "upstream_failed"})
MISSING = "missing"  # the task or its run was deleted


class TaskInstanceKey(Protocol):
    """The attributes of Airflow's task instances that identify one."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int | None


def keeps_job(state: str | None) -> bool:
    """Return whether the job is still needed while its waiting task is in this state."""
    return state in KEEP_JOB_STATES


def task_state(states: Mapping[str, Mapping[str, Any]], task: TaskInstanceKey) -> str | None:
    """Return a task's state from what :func:`get_task_states` returned; :data:`MISSING` if the task is not in it."""
    mapped = task.map_index is not None and task.map_index >= 0
    name = task.task_id if not mapped else f"{task.task_id}_{task.map_index}"
    state: str | None = states.get(task.run_id, {}).get(name, MISSING)
    return state


def get_task_states(dag_id: str, task_ids: list[str], run_id: str | None = None) -> Mapping[str, Mapping[str, Any]]:
    """Get the states of tasks, of one run or all, from Airflow: ``{run_id: {task_id or task_id_INDEX: state}}``."""
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    states: Mapping[str, Mapping[str, Any]] = RuntimeTaskInstance.get_task_states(
        dag_id=dag_id, task_ids=task_ids, run_ids=None if run_id is None else [run_id]
    )
    return states
