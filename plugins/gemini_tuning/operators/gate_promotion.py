"""Hold one checkpoint against the policy before it is promoted by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gemini_tuning.core.exceptions import CheckpointError
from gemini_tuning.core.text import short_repr
from gemini_tuning.operators.base import (
    as_list,
    flag,
)
from gemini_tuning.operators.choose_checkpoint import GeminiChooseCheckpointOperator
from gemini_tuning.selection.decision import Decision

if TYPE_CHECKING:
    from airflow.sdk import Context


class GeminiGatePromotionOperator(GeminiChooseCheckpointOperator):
    """Hold the one checkpoint that is to be promoted by hand against the policy, and go on, or fail.

    The rules are those of the tuning run's choice, without anybody to compare with. Without results, because no suite
    is asked, the decision is that of the person who named the checkpoint. Branches, XComs, parameters and errors:
    :class:`~gemini_tuning.operators.GeminiChooseCheckpointOperator`.

    :param promotion: what :class:`GeminiValidatePromotionOperator` pushed. (templated)
    :raises CheckpointError: when the checkpoint does not pass; nothing was changed.
    """

    template_fields: Sequence[str] = (*GeminiChooseCheckpointOperator.template_fields, "promotion")

    def __init__(self, *, promotion: Mapping[str, Any], results: Iterable[Any], **kwargs: Any) -> None:
        super().__init__(results=results, **kwargs)
        self.promotion = promotion

    def execute(self, context: Context) -> Any:
        """Decide, push the decision, go on with one task and skip the others."""
        self.results = [result for result in as_list(self.results, "results") if result is not None]  # no suite
        if self.results:
            return super().execute(context)
        if not isinstance(self.promotion, Mapping):
            raise ValueError(f"promotion: expected what the step before pushed, not {short_repr(self.promotion)}")
        target = self.promotion.get("checkpoint_id")
        decision = {
            "winner": target,
            "reason": f"{self.promotion.get('reason')}; no suite was asked.",
            "checkpoints": [{**(self.promotion.get("checkpoint") or {}), "passed_gates": True}],
            "default_checkpoint_id": self.promotion.get("default_checkpoint_id"),
        }
        context["ti"].xcom_push(key="decision", value=decision)
        context["ti"].xcom_push(key="winner", value=target)
        approval = flag(self.require_approval, "require_approval")
        return self.do_branch(context, self.approve_task_id if approval else self.set_default_task_id)

    def _next(self, decision: Decision, default: str | None, *, approval: bool) -> str | list[str]:
        if decision.winner is None:
            raise CheckpointError(f"The checkpoint does not pass the suite; nothing was changed. {decision.reason}")
        return super()._next(decision, default, approval=approval)
