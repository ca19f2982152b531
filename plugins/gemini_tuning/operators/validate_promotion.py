"""Validate a promotion by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow.sdk import Context
from airflow.sdk.execution_time.context import NEVER_EXPIRE

from gemini_tuning.core.exceptions import InvalidInputError
from gemini_tuning.core.files import folder_problem
from gemini_tuning.core.resources import Model
from gemini_tuning.core.text import short_repr
from gemini_tuning.links import gemini_tuning as links
from gemini_tuning.operators.cloud_base import GCP_FIELDS, GeminiBaseOperator, flag, optional_text, run_folder
from gemini_tuning.operators.default_checkpoint import require_expected

ROLL_BACK_KEY = "roll_back"  # in the task state store: the rollback that was found
NO_CHECKPOINT = ("checkpoint_id", "default_checkpoint_id", "expected_default", "checkpoint", "reason", "results_uri")
BY_HAND, BY_ROLL_BACK = "Named by hand", "Rollback: it was the default before the last promotion"


class GeminiValidatePromotionOperator(GeminiBaseOperator):
    """Find the checkpoint to promote and refuse what is not possible.

    A rollback is to the checkpoint that the model's labels name (:mod:`gemini_tuning.registry.rollback_labels`). It is
    found once per run: cleared after it has rolled back, the task does not read the new labels as the way back.

    XCom ``return_value``, and one XCom per key: ``{"model", "checkpoint_id", "default_checkpoint_id",
    "expected_default", "checkpoint", "reason", "results_uri", "next_step"}``: the model with its version, the
    checkpoint to promote (``None``: none), the current default, the default that must still be set when the new one is
    (``None``: any), the checkpoint as :class:`GeminiSmokeTestCheckpointOperator` takes it, why this one, the run's own
    folder. ``next_step`` is for :class:`GeminiRouteOperator`: ``smoke_test`` when a suite is given, ``gate`` when only
    an approval is required, else ``set_default``, also when the checkpoint is already the default or none is given.

    :param model: full name of the model. (templated)
    :param checkpoint_id: the checkpoint to promote. (templated)
    :param roll_back: promote the one that was the default before the last promotion. (templated)
    :param expected_default: the default checkpoint that the user saw; ``None`` or empty: any. (templated)
    :param suite: smoke suite that the checkpoint must pass; ``None`` or empty: none. (templated)
    :param results_uri: folder in which the run creates its own for the results. (templated)
    :param require_approval: whether an approval is required. (templated)
    :raises InvalidInputError: naming the parameter, also when the record does not say where to roll back to, or the
        default is not the expected one; nothing was changed or paid.
    :raises CheckpointError: when the model has no such checkpoint.
    """

    template_fields: Sequence[str] = (
        *GCP_FIELDS, "model", "checkpoint_id", "roll_back", "expected_default", "suite", "results_uri",
        "require_approval",
    )  # fmt: skip
    operator_extra_links = (links.TUNED_MODEL, links.RUN_PAGE)

    def __init__(
        self,
        *,
        model: str,
        checkpoint_id: str | None = None,
        roll_back: bool | str = False,
        expected_default: str | None = None,
        suite: str | None = None,
        results_uri: str | None = None,
        require_approval: bool | str = False,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("multiple_outputs", True)
        super().__init__(**kwargs)
        self.model = model
        self.checkpoint_id = checkpoint_id
        self.roll_back = roll_back
        self.expected_default = expected_default
        self.suite = suite
        self.results_uri = results_uri
        self.require_approval = require_approval

    def execute(self, context: Context) -> dict[str, Any]:
        """Check the parameters against the model and return what is to be done."""
        self.refuse_unknown_params(context)
        roll_back, approval = flag(self.roll_back, "roll_back"), flag(self.require_approval, "require_approval")
        named, suite = optional_text(self.checkpoint_id), optional_text(self.suite)
        self._refuse_contradictions(named, suite, roll_back=roll_back, approval=approval)
        if named is None and not roll_back:
            self.log.info("No checkpoint is given: the default of %s is unchanged", self.model)
            return {"model": self.model, **dict.fromkeys(NO_CHECKPOINT), "next_step": "set_default"}
        model = self.hook.get_model(self.model)
        target = named if named is not None else self._earlier(model, context)
        checkpoint, expected = model.require_checkpoint(target), optional_text(self.expected_default)
        require_expected(model, expected, target)
        default = model.default_checkpoint_id
        if roll_back or approval:  # both refer to the current default
            expected = expected or default
        self.log.info("%s: the default is checkpoint %s, the checkpoint to set is %s", model.name, default, target)
        next_step = "smoke_test" if suite else "gate" if approval else "set_default"
        if default == target:
            self.log.info("Nothing to do: checkpoint %s is already the default", target)
            next_step = "set_default"
        return {
            "model": model.name,
            "checkpoint_id": target,
            "default_checkpoint_id": default,
            "expected_default": expected,
            "checkpoint": checkpoint.as_dict(),
            "reason": BY_ROLL_BACK if roll_back else BY_HAND,
            "results_uri": run_folder(context, str(self.results_uri)) if suite else None,
            "next_step": next_step,
        }

    def _refuse_contradictions(self, named: str | None, suite: str | None, *, roll_back: bool, approval: bool) -> None:
        field, problem = "results_uri", ""
        if roll_back and named is not None:
            field, problem = "roll_back", f"checkpoint_id {short_repr(named)} is given too; give exactly one of them"
        elif named is None and not roll_back and (suite is not None or approval):
            field = "suite" if suite is not None else "require_approval"
            problem = "no checkpoint to promote; give checkpoint_id or roll_back"
        elif suite is not None and optional_text(self.results_uri) is None:
            problem = "a suite requires a folder for its results: gs://bucket/folder"
        elif suite is not None:
            problem = (folder_problem("results_uri", self.results_uri) or "").removeprefix("results_uri: ")
        if problem:
            problem = f"{field}: {problem}. Nothing was changed."
            raise InvalidInputError(problem, field=field, code="invalid_combination")

    def _earlier(self, model: Model, context: Context) -> str:
        """Return the checkpoint to roll back to, the same at each try unless the default has changed."""
        from gemini_tuning.registry.rollback_labels import RollbackError, earlier_default

        store, default = context["task_state_store"], model.default_checkpoint_id
        found = store.get(ROLL_BACK_KEY)
        if isinstance(found, dict) and default in (found.get("from"), found.get("to")):
            return str(found["to"])
        try:
            target = earlier_default(model)
        except RollbackError as error:
            problem = f"roll_back: {error} Nothing was changed."
            raise InvalidInputError(problem, field="roll_back", code=error.code, resource=error.resource) from error
        store.set(ROLL_BACK_KEY, {"from": default, "to": target}, retention=NEVER_EXPIRE)
        return target
