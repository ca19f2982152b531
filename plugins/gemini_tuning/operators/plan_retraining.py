"""Decide whether a retraining has anything to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from gemini_tuning.operators.base import (
    GCP_FIELDS,
    GeminiBaseOperator,
    flag,
    optional_text,
)
from gemini_tuning.operators.tuning_runs import DATA_PARAMS, SKIPPED_XCOM, TuningRunsMixin
from gemini_tuning.retraining.planning import Attempt, Memory, fingerprint, nothing_to_do, tuning_conf
from gemini_tuning.retraining.profiles import GoOnFrom

if TYPE_CHECKING:
    from airflow.sdk import Asset, Context


class GeminiPlanRetrainingOperator(TuningRunsMixin, GeminiBaseOperator):
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
