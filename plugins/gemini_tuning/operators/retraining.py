"""The steps of a scheduled retraining: decide whether there is anything to do, and note what came of it.

Between them Airflow's own ``TriggerDagRunOperator`` starts the tuning DAG.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowSkipException

from gemini_tuning import links
from gemini_tuning.exceptions import TuningRunError
from gemini_tuning.operators.base import (
    ERROR_XCOM,
    GCP_FIELDS,
    RETRY_POLICY,
    GoogleCloudFields,
    flag,
    optional_text,
)
from gemini_tuning.retraining.planning import Attempt, Memory, fingerprint, nothing_to_do, tuning_conf
from gemini_tuning.retraining.profiles import GoOnFrom
from gemini_tuning.wording import said

if TYPE_CHECKING:
    from airflow.sdk import Asset, Context

MEMORY = "gemini_tuning_memory"  # key in the asset's state
SKIPPED_XCOM = "skipped"
REPORT_TASK = "report"
DATA_PARAMS = ("training_dataset_uri", "validation_dataset_uri")
ENDED = ("success", "failed")


class _TuningRuns:
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


class GeminiPlanRetrainingOperator(_TuningRuns, GoogleCloudFields):
    """Decide whether a profile's run has anything to do; skip what follows when it has not.

    Skipped is a run whose data (checksums, not names) and parameters are those of the last one that ended well, and one
    that begins while the tuning run of an earlier one is still under way. The reason is in the log and on XCom
    ``skipped``.

    XCom: ``{"conf", "tuning_run_id", "fingerprint"}``, and each of them under its own key; ``conf`` are the tuning
    run's Params, with the model to go on from.

    :param tuning_params: the profile's Params for the tuning DAG. (templated)
    :param go_on_from: ``base``, ``promoted`` (version and checkpoint of the profile's last promotion; the base model
        while there is none) or ``champion`` (the model that the Param of that name names).
    :param memory: asset whose state tells the next run what this one did.
    :param tuning_run_id: id that the tuning run gets, the same at each try. (templated)
    :param force: start a run although nothing has changed. (templated)
    :param tuning_dag_id: id of the tuning DAG.
    :raises PermanentServiceError: when a dataset is not there or can't be read.
    :raises ValueError: when the memory is not one.
    """

    template_fields: Sequence[str] = (*GCP_FIELDS, "tuning_params", "tuning_run_id", "force")

    def __init__(
        self,
        *,
        tuning_params: Mapping[str, Any],
        go_on_from: str,
        memory: Asset,
        tuning_run_id: str,
        force: bool | str = False,
        tuning_dag_id: str = "gemini_checkpoint_tuning",
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("multiple_outputs", True)
        super().__init__(inlets=[memory], **kwargs)
        self.tuning_params = tuning_params
        self.go_on_from = go_on_from
        self.memory = memory
        self.tuning_run_id = tuning_run_id
        self.force = force
        self.tuning_dag_id = tuning_dag_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Decide; note what is about to start before it does."""
        memory = self._settled(context, self.recall(context))
        go_on_from = GoOnFrom(self.go_on_from)
        current = fingerprint(self.tuning_params, go_on_from, self._checksums())
        if reason := nothing_to_do(memory, current, force=flag(self.force, "force")):
            raise self._skip(context, reason)
        conf = tuning_conf(self.tuning_params, go_on_from, memory)
        self.remember(context, memory.started(Attempt(self.tuning_run_id, current)))
        self.log.info("%s goes on from %s", self.tuning_run_id, conf.get("pre_tuned_model") or "the base model")
        return {"conf": conf, "tuning_run_id": self.tuning_run_id, "fingerprint": current}

    def _settled(self, context: Context, memory: Memory) -> Memory:
        """Note the end of an earlier run's tuning run, which that run may not have lived to see."""
        earlier = memory.under_way
        if earlier is None or earlier.tuning_run_id == self.tuning_run_id:
            return memory
        state = self.state_of(context, earlier.tuning_run_id)
        if state == "success":
            return self.remember(context, memory.ended(self.report_of(context, earlier.tuning_run_id)))
        if state in (None, "failed"):
            return self.remember(context, memory.failed())
        raise self._skip(
            context,
            f"{earlier.tuning_run_id}, which an earlier run started, is still {state}. Nothing was started. Wait for "
            "it, or mark it failed.",
        )

    def _skip(self, context: Context, reason: str) -> AirflowSkipException:
        ti: Any = context["ti"]
        ti.xcom_push(SKIPPED_XCOM, reason)
        return AirflowSkipException(reason)

    def _checksums(self) -> dict[str, str]:
        uris = [uri for name in DATA_PARAMS if (uri := optional_text(self.tuning_params.get(name)))]
        return {
            uri: f"{version.size_bytes} {version.checksum}"
            for uri in uris
            for version in self.hook.object_versions(uri).values()
        }


class GeminiWaitForTuningRunOperator(_TuningRuns, BaseOperator):
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
        said_ = "; ".join(f"{task}: {said(text or 'see its log', 500)}" for task, text in words.items())
        return (
            f"The run {self.tuning_run_id} of {self.tuning_dag_id} failed: {said_ or 'see its page'}. Mend the cause, "
            "clear what failed there, then clear this task; or leave it: the next run tunes again."
        )
