"""Wait for the run of the tuning DAG that a retraining started."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from gemini_tuning.core.exceptions import TuningRunError
from gemini_tuning.core.text import redact
from gemini_tuning.links import gemini_tuning as links
from gemini_tuning.operators.cloud_base import RETRY_POLICY
from gemini_tuning.operators.tuning_runs import TERMINAL_STATES, TuningRunsMixin

if TYPE_CHECKING:
    from airflow.sdk import Asset, Context


class GeminiWaitForTuningRunOperator(TuningRunsMixin, BaseOperator):
    """Wait for a run of the tuning DAG in the triggerer, and record its outcome for the profile's next run.

    The asset ``memory`` is an outlet: every run that succeeds updates it, with the XCom as the event's extra.

    XCom: ``{"tuning_run_id", "outcome", "tuned_model", "checkpoint_id", "report_markdown"}``, from the run's report.

    :param tuning_run_id: id of the tuning run. (templated)
    :param memory: asset whose state keeps the profile's memory.
    :param tuning_dag_id: id of the tuning DAG.
    :param report_task_id: its task that pushes the report.
    :param poll_interval: seconds between two polls.
    :raises TuningRunError: when the tuning run failed; with the failed tasks and their errors.
    """

    template_fields: Sequence[str] = ("tuning_run_id",)
    operator_extra_links = (links.TUNING_RUN,)

    def __init__(
        self,
        *,
        tuning_run_id: str,
        memory: Asset,
        tuning_dag_id: str,
        report_task_id: str,
        poll_interval: float = 10,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("retry_policy", RETRY_POLICY)
        super().__init__(outlets=[memory], **kwargs)
        self.tuning_run_id = tuning_run_id
        self.memory = memory
        self.tuning_dag_id = tuning_dag_id
        self.report_task_id = report_task_id
        self.poll_interval = poll_interval

    def execute(self, context: Context) -> dict[str, Any]:
        """Defer until the run has finished."""
        if self.run_state(context, self.tuning_run_id) not in TERMINAL_STATES:
            from airflow.providers.standard.triggers.external_task import DagStateTrigger
            from airflow.utils.state import DagRunState

            self.defer(
                trigger=DagStateTrigger(
                    dag_id=self.tuning_dag_id,
                    states=[DagRunState(state) for state in TERMINAL_STATES],
                    run_ids=[self.tuning_run_id],
                    poll_interval=self.poll_interval,
                ),
                method_name="execute_complete",
            )
        return self._finish(context)

    def execute_complete(self, context: Context, event: Any) -> dict[str, Any]:
        """Check the run again: the event may belong to another trigger, because SQLite reuses ids."""
        return self.execute(context)

    def _finish(self, context: Context) -> dict[str, Any]:
        memory = self.read_memory(context)
        is_active = memory.active is not None and memory.active.tuning_run_id == self.tuning_run_id
        if self.run_state(context, self.tuning_run_id) != "success":
            if is_active:
                self.write_memory(context, memory.failed())
            raise TuningRunError(
                f"Run {self.tuning_run_id} of {self.tuning_dag_id} failed: {self._failures(context)}.",
                resource=self.tuning_run_id,
                code="tuning_run_failed",
                hint="Fix the cause and clear the failed tasks of that run, then clear this task. Otherwise the next "
                "run of this DAG starts over.",
            )
        report = self.pull_report(context, self.tuning_run_id)
        if is_active:
            self.write_memory(context, memory.succeeded(report))
        outcome = {
            "tuning_run_id": self.tuning_run_id,
            "outcome": report.get("outcome"),
            "tuned_model": report.get("tuned_model"),
            "checkpoint_id": report.get("default_after"),
            "report_markdown": report.get("report_markdown"),
        }
        context["outlet_events"][self.memory].extra = outcome
        return outcome

    def _failures(self, context: Context) -> str:
        from gemini_tuning.core.xcom import ERROR_XCOM

        ti: Any = context["ti"]
        states = ti.get_task_states(dag_id=self.tuning_dag_id, run_ids=[self.tuning_run_id]).get(self.tuning_run_id, {})
        failed = sorted(task for task, state in states.items() if state == "failed")
        errors = {task: self.pull(context, self.tuning_run_id, task, ERROR_XCOM) for task in failed}
        return "; ".join(f"{task}: {redact(text or 'see its log', 500)}" for task, text in errors.items()) or "see it"
