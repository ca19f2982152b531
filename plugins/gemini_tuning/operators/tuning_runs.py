"""Runs of the tuning DAG, and what a retraining profile's last run recorded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gemini_tuning.retraining.planning import Memory

if TYPE_CHECKING:
    from airflow.sdk import Asset, Context

MEMORY = "gemini_tuning_memory"  # key in the asset's state

SKIPPED_XCOM = "skipped"

REPORT_TASK = "report"

DATA_PARAMS = ("training_dataset_uri", "validation_dataset_uri")

ENDED = ("success", "failed")


class TuningRunsMixin:
    """What both steps know: the tuning DAG's runs, and the profile's memory.

    :param memory: asset whose state tells the profile's next run what the last one did.
    :param tuning_dag_id: id of the tuning DAG.
    """

    memory: Asset
    tuning_dag_id: str

    def recall(self, context: Context) -> Memory:
        """Read the memory."""
        return Memory.from_json(context["asset_state_store"][self.memory].get(MEMORY))

    def remember(self, context: Context, memory: Memory) -> Memory:
        """Write the memory."""
        context["asset_state_store"][self.memory].set(MEMORY, memory.as_json())
        return memory

    def state_of(self, context: Context, run_id: str) -> str | None:
        """Return the state of a tuning run; ``None`` when there is no such run."""
        ti: Any = context["ti"]
        if not ti.get_dr_count(dag_id=self.tuning_dag_id, run_ids=[run_id]):
            return None
        state = ti.get_dagrun_state(self.tuning_dag_id, run_id)
        return str(getattr(state, "value", state))

    def pull(self, context: Context, run_id: str, task_id: str, key: str = "return_value") -> Any:
        """Return what a task of a tuning run has pushed."""
        ti: Any = context["ti"]
        return ti.xcom_pull(task_ids=task_id, dag_id=self.tuning_dag_id, run_id=run_id, key=key)

    def report_of(self, context: Context, run_id: str) -> Mapping[str, Any]:
        """Return what a tuning run's report says; nothing when it has none."""
        report = self.pull(context, run_id, REPORT_TASK)
        return report if isinstance(report, Mapping) else {}
