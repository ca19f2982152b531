"""Wait for the run of the tuning DAG that a retraining started."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from gemini_tuning.core.exceptions import TuningRunError
from gemini_tuning.core.text import redact
from gemini_tuning.core.xcom import ERROR_XCOM
from gemini_tuning.links import gemini_tuning as links
from gemini_tuning.operators.base import RETRY_POLICY
from gemini_tuning.operators.tuning_runs import ENDED, TuningRunsMixin

if TYPE_CHECKING:
    from airflow.sdk import Asset, Context


class GeminiWaitForTuningRunOperator(TuningRunsMixin, BaseOperator):
    """Wait for the tuning run without a worker, then note what came of it for the next run.

    Its outlet is the memory's asset: each run that ends well updates it, with the outcome.

    XCom: ``{"tuning_run_id", "outcome", "tuned_model", "checkpoint_id", "report_markdown"}``, from the run's report.

    :param tuning_run_id: id of the tuning run. (templated)
    :param memory: asset whose state tells the next run what this one did.
    :param tuning_dag_id: id of the tuning DAG.
    :param poll_interval: seconds between two looks.
    :raises TuningRunError: when the tuning run failed; with the steps that failed and what they said.
    """

    template_fields: Sequence[str] = ("tuning_run_id",)
    operator_extra_links = (links.TUNING_RUN,)

    def __init__(
        self,
        *,
        tuning_run_id: str,
        memory: Asset,
        tuning_dag_id: str = "gemini_checkpoint_tuning",
        poll_interval: float = 10,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("retry_policy", RETRY_POLICY)
        super().__init__(outlets=[memory], **kwargs)
        self.tuning_run_id = tuning_run_id
        self.memory = memory
        self.tuning_dag_id = tuning_dag_id
        self.poll_interval = poll_interval

    def execute(self, context: Context) -> dict[str, Any]:
        """Wait, unless it has ended already."""
        if self.state_of(context, self.tuning_run_id) not in ENDED:
            from airflow.providers.standard.triggers.external_task import DagStateTrigger
            from airflow.utils.state import DagRunState

            self.defer(
                trigger=DagStateTrigger(
                    dag_id=self.tuning_dag_id,
                    states=[DagRunState(state) for state in ENDED],
                    run_ids=[self.tuning_run_id],
                    poll_interval=self.poll_interval,
                ),
                method_name="execute_complete",
            )
        return self._finish(context)

    def execute_complete(self, context: Context, event: Any) -> dict[str, Any]:
        """Take over from the trigger; look again, for an event may be that of another wait (SQLite reuses numbers)."""
        return self.execute(context)

    def _finish(self, context: Context) -> dict[str, Any]:
        memory = self.recall(context)
        if self.state_of(context, self.tuning_run_id) != "success":
            if memory.under_way and memory.under_way.tuning_run_id == self.tuning_run_id:
                self.remember(context, memory.failed())
            raise TuningRunError(self._failure(context))
        report = self.report_of(context, self.tuning_run_id)
        if memory.under_way and memory.under_way.tuning_run_id == self.tuning_run_id:
            self.remember(context, memory.ended(report))
        outcome = {
            "tuning_run_id": self.tuning_run_id,
            "outcome": report.get("outcome"),
            "tuned_model": report.get("tuned_model"),
            "checkpoint_id": report.get("default_after"),
            "report_markdown": report.get("report_markdown"),
        }
        context["outlet_events"][self.memory].extra = outcome
        return outcome

    def _failure(self, context: Context) -> str:
        ti: Any = context["ti"]
        states = ti.get_task_states(dag_id=self.tuning_dag_id, run_ids=[self.tuning_run_id]).get(self.tuning_run_id, {})
        failed = sorted(task for task, state in states.items() if state == "failed")
        words = {task: self.pull(context, self.tuning_run_id, task, ERROR_XCOM) for task in failed}
        said_ = "; ".join(f"{task}: {redact(text or 'see its log', 500)}" for task, text in words.items())
        return (
            f"The run {self.tuning_run_id} of {self.tuning_dag_id} failed: {said_ or 'see its page'}. Mend the cause, "
            "clear what failed there, then clear this task; or leave it: the next run tunes again."
        )
