"""Runs of the tuning DAG, and what a retraining profile's earlier runs recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, BaseOperator, Context

if TYPE_CHECKING:
    from gemini_tuning.retraining.planning import Memory

MEMORY_KEY = "gemini_tuning_memory"  # in the asset's state
TERMINAL_STATES = ("success", "failed")


class TuningRunsMixin(BaseOperator):
    """Access to the tuning DAG's runs and to the profile's :class:`~gemini_tuning.retraining.planning.Memory`.

    :param tuning_run_id: id of the tuning run, the same for each try. (templated)
    :param memory: asset whose state keeps the memory.
    :param tuning_dag_id: id of the tuning DAG.
    :param report_task_id: task of the tuning DAG that pushes the report.
    """

    def __init__(
        self, *, tuning_run_id: str, memory: Asset, tuning_dag_id: str, report_task_id: str, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.tuning_run_id = tuning_run_id
        self.memory = memory
        self.tuning_dag_id = tuning_dag_id
        self.report_task_id = report_task_id

    def read_memory(self, context: Context) -> Memory:
        """Read the memory."""
        from gemini_tuning.retraining.planning import Memory

        return Memory.from_json(context["asset_state_store"][self.memory].get(MEMORY_KEY))

    def write_memory(self, context: Context, memory: Memory) -> Memory:
        """Write the memory and return it."""
        context["asset_state_store"][self.memory].set(MEMORY_KEY, asdict(memory))
        return memory

    def run_state(self, context: Context, run_id: str) -> str | None:
        """Return the state of a tuning run; ``None`` when it does not exist."""
        ti: Any = context["ti"]
        if not ti.get_dr_count(dag_id=self.tuning_dag_id, run_ids=[run_id]):
            return None
        state = ti.get_dagrun_state(self.tuning_dag_id, run_id)
        return str(getattr(state, "value", state))

    def pull(self, context: Context, run_id: str, task_id: str, key: str = "return_value") -> Any:
        """Return the XCom of a task of a tuning run."""
        ti: Any = context["ti"]
        return ti.xcom_pull(task_ids=task_id, dag_id=self.tuning_dag_id, run_id=run_id, key=key)

    def pull_report(self, context: Context, run_id: str) -> Mapping[str, Any]:
        """Return the report of a tuning run; empty when it has none."""
        report = self.pull(context, run_id, self.report_task_id)
        return report if isinstance(report, Mapping) else {}
