"""Decide whether a retraining has anything to do; access to the tuning DAG's runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import Asset, BaseOperator, Context
from airflow.sdk.exceptions import AirflowSkipException

from gemini_tuning.operators.cloud_base import GCP_FIELDS, GeminiBaseOperator, flag, optional_text

if TYPE_CHECKING:
    from gemini_tuning.retraining.planning import Memory

DATASET_PARAMS = ("training_dataset_uri", "validation_dataset_uri")
SKIPPED_XCOM = "skipped"
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
        """Return the memory."""
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


class GeminiPlanRetrainingOperator(TuningRunsMixin, GeminiBaseOperator):
    """Decide whether a profile's run has anything to do, and skip the following tasks when it has not.

    A run is skipped when its data (by checksum, not by name) and parameters are those of the last one that succeeded,
    or while the tuning run of an earlier one is still running. The reason is in the log and in the XCom ``skipped``.

    XCom: ``{"conf", "tuning_run_id", "fingerprint"}``, and each of them under its own key; ``conf`` has the tuning
    run's Params, including the model to continue from. Further parameters: :class:`TuningRunsMixin`.

    :param tuning_params: the profile's Params for the tuning DAG. (templated)
    :param continue_from: ``base``, ``promoted`` (version and checkpoint of the profile's last promotion; the base model
        before the first) or ``champion`` (the model in the Param of that name).
    :param force: start a run even if nothing has changed. (templated)
    :raises PermanentServiceError: when a dataset does not exist or cannot be read.
    :raises InvalidInputError: when the state of the asset is not a memory.
    """

    template_fields: Sequence[str] = (*GCP_FIELDS, "tuning_params", "tuning_run_id", "force")
    template_fields_renderers: ClassVar[dict[str, str]] = {"tuning_params": "json"}

    def __init__(
        self,
        *,
        tuning_params: Mapping[str, Any],
        continue_from: str,
        memory: Asset,
        force: bool | str = False,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("multiple_outputs", True)
        super().__init__(memory=memory, inlets=[memory], **kwargs)
        self.tuning_params = tuning_params
        self.continue_from = continue_from
        self.force = force

    def execute(self, context: Context) -> dict[str, Any]:
        """Decide, and record the run before it starts."""
        from gemini_tuning.retraining.planning import Attempt, fingerprint, skip_reason, tuning_conf
        from gemini_tuning.retraining.profiles import ContinueFrom

        memory = self._settled(context, self.read_memory(context))
        continue_from = ContinueFrom(self.continue_from)
        current = fingerprint(self.tuning_params, continue_from, self._checksums())
        if reason := skip_reason(memory, current, force=flag(self.force, "force")):
            raise self._skip(context, reason)
        conf = tuning_conf(self.tuning_params, continue_from, memory)
        self.write_memory(context, memory.started(Attempt(self.tuning_run_id, current)))
        self.log.info("%s continues from %s", self.tuning_run_id, conf.get("pre_tuned_model") or "the base model")
        return {"conf": conf, "tuning_run_id": self.tuning_run_id, "fingerprint": current}

    def _settled(self, context: Context, memory: Memory) -> Memory:
        """Record the outcome of an earlier tuning run, if the run that waited for it did not."""
        earlier = memory.active
        if earlier is None or earlier.tuning_run_id == self.tuning_run_id:
            return memory
        state = self.run_state(context, earlier.tuning_run_id)
        if state == "success":
            return self.write_memory(context, memory.succeeded(self.pull_report(context, earlier.tuning_run_id)))
        if state in (None, "failed"):
            return self.write_memory(context, memory.failed())
        reason = f"{earlier.tuning_run_id}, started by an earlier run, is still {state}, so no run was started."
        raise self._skip(context, f"{reason} Wait for it, or mark it as failed.")

    def _skip(self, context: Context, reason: str) -> AirflowSkipException:
        ti: Any = context["ti"]
        ti.xcom_push(SKIPPED_XCOM, reason)
        return AirflowSkipException(reason)

    def _checksums(self) -> dict[str, str]:
        uris = filter(None, (optional_text(self.tuning_params.get(name)) for name in DATASET_PARAMS))
        found = ((uri, version) for uri in uris for version in self.hook.object_versions(uri).values())
        return {uri: f"{version.size_bytes} {version.checksum}" for uri, version in found}
