"""Wait for the run of the tuning DAG that a retraining started."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow.sdk import Asset, Context

from gemini_tuning.core.exceptions import TuningRunError
from gemini_tuning.core.text import redact
from gemini_tuning.links import gemini_tuning as links
from gemini_tuning.operators.cloud_base import RETRY_POLICY
from gemini_tuning.operators.plan_retraining import TERMINAL_STATES, TuningRunsMixin


class GeminiWaitForTuningRunOperator(TuningRunsMixin):
    """Wait for a run of the tuning DAG in the triggerer, and record its outcome for the profile's next run.

    The asset ``memory`` is an outlet: every run that succeeds updates it, with the XCom as the event's extra.

    XCom: ``{"tuning_run_id", "outcome", "tuned_model", "checkpoint_id", "report_markdown"}``, from the run's report.
    Further parameters: :class:`TuningRunsMixin`.

    :param poll_interval: seconds between two polls.
    :raises TuningRunError: when the tuning run failed; with the failed tasks and their errors.
    """

    template_fields: Sequence[str] = ("tuning_run_id",)
    operator_extra_links = (links.TUNING_RUN,)

    def __init__(self, *, memory: Asset, poll_interval: float = 10, **kwargs: Any) -> None:
        kwargs.setdefault("retry_policy", RETRY_POLICY)
        super().__init__(memory=memory, outlets=[memory], **kwargs)
        self.poll_interval = poll_interval

    def execute(self, context: Context) -> dict[str, Any]:
        """Defer until the run has finished, and return its outcome."""
        state = self.run_state(context, self.tuning_run_id)
        if state not in TERMINAL_STATES:
            from airflow.providers.standard.triggers.external_task import DagStateTrigger
            from airflow.utils.state import DagRunState

            trigger = DagStateTrigger(
                dag_id=self.tuning_dag_id,
                states=[DagRunState(state) for state in TERMINAL_STATES],
                run_ids=[self.tuning_run_id],
                poll_interval=self.poll_interval,
            )
            self.defer(trigger=trigger, method_name="execute_complete")
        memory = self.read_memory(context)
        is_active = memory.active is not None and memory.active.tuning_run_id == self.tuning_run_id
        if state != "success":
            if is_active:
                self.write_memory(context, memory.failed())
            problem = f"Run {self.tuning_run_id} of {self.tuning_dag_id} failed: {self._failures(context)}."
            hint = "Fix the cause and clear the failed tasks of that run, then clear this task. Otherwise the next run "
            hint += "of this DAG starts over."
            raise TuningRunError(problem, resource=self.tuning_run_id, code="tuning_run_failed", hint=hint)
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

    def execute_complete(self, context: Context, event: Any) -> dict[str, Any]:
        """Check the run again: the event may belong to another trigger, because SQLite reuses ids."""
        return self.execute(context)

    def _failures(self, context: Context) -> str:
        from gemini_tuning.core.xcom import ERROR_XCOM

        ti: Any = context["ti"]
        states = ti.get_task_states(dag_id=self.tuning_dag_id, run_ids=[self.tuning_run_id]).get(self.tuning_run_id, {})
        failed = sorted(task for task, state in states.items() if state == "failed")
        errors = {task: self.pull(context, self.tuning_run_id, task, ERROR_XCOM) for task in failed}
        return "; ".join(f"{task}: {redact(text or 'see its log', 500)}" for task, text in errors.items()) or "see it"
