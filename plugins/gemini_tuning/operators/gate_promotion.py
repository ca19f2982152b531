"""Check a checkpoint against the policy before it is promoted by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from airflow.sdk import Context

from gemini_tuning.core.exceptions import CheckpointError, InvalidInputError
from gemini_tuning.core.text import short_repr
from gemini_tuning.operators.choose_checkpoint import GeminiChooseCheckpointOperator
from gemini_tuning.operators.cloud_base import as_list


class GeminiGatePromotionOperator(GeminiChooseCheckpointOperator):
    """Check the checkpoint that a user named against the policy, and fail when it does not pass.

    The rules are those of the tuning run's choice, without a champion. Without results, because no suite is run, the
    named checkpoint is the winner. XComs, parameters and errors: :class:`GeminiChooseCheckpointOperator`.

    :param promotion: XCom of :class:`GeminiValidatePromotionOperator`. (templated)
    :raises CheckpointError: when the checkpoint does not pass; nothing was changed.
    """

    template_fields: Sequence[str] = (*GeminiChooseCheckpointOperator.template_fields, "promotion")

    def __init__(self, *, promotion: Mapping[str, Any], results: Iterable[Any], **kwargs: Any) -> None:
        super().__init__(results=results, **kwargs)
        self.promotion = promotion

    def execute(self, context: Context) -> dict[str, Any]:
        """Decide and return the decision."""
        self.results = [result for result in as_list(self.results, "results") if result is not None]  # no suite
        if self.results:
            found = super().execute(context)
            if found["winner"] is None:
                problem = f"The checkpoint does not pass the suite; nothing was changed. {found['decision']['reason']}"
                raise CheckpointError(problem, resource=str(self.model), code="gates_not_passed")
            return found
        promotion: object = self.promotion
        if not isinstance(promotion, Mapping):
            problem = f"promotion: expected the XCom of validate, a mapping, not {short_repr(promotion)}."
            raise InvalidInputError(problem, field="promotion", code="not_a_mapping")
        decision = {
            "winner": promotion.get("checkpoint_id"),
            "reason": f"{promotion.get('reason')}; no suite was run.",
            "checkpoints": [{**(promotion.get("checkpoint") or {}), "passed_gates": True}],
            "default_checkpoint_id": promotion.get("default_checkpoint_id"),
        }
        return {"decision": decision, "winner": decision["winner"]}
