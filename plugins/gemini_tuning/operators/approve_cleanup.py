"""Request approval of a cleanup plan."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from airflow.sdk import Context

from gemini_tuning.core.text import replace_surrogates
from gemini_tuning.operators.approval import NO_RESPONSE, ApprovalBase
from gemini_tuning.operators.run_cleanup import items_to_delete, protects

APPROVE, REJECT = "Delete", "Reject"


class GeminiApproveCleanupOperator(ApprovalBase):
    """Request approval of a cleanup plan; no response in time is a rejection.

    Skipped on a dry run and when there is nothing to delete. How requests and responses are checked:
    :class:`~gemini_tuning.operators.approval.ApprovalBase`.

    XCom: ``{"required", "outcome", "plan", "by": {"id", "name"}, "at", "timeout"}``; ``outcome`` is ``approved``,
    ``rejected``, ``timed out`` or ``not required``; ``plan`` is the fingerprint of the plan.

    :param plan: XCom of :class:`GeminiPlanCleanupOperator`. (templated)
    :param is_dry_run: whether nothing is to be deleted. (templated)
    :param required: whether an approval is required. (templated)
    :param timeout: seconds until a missing response counts as a rejection. (templated)
    :raises InvalidInputError: when the plan that Airflow shows is not the current one.
    """

    request_key = "cleanup_requested"
    shown = "plan"
    first_task = "the plan"
    template_fields: Collection[str] = ("subject", "plan", "is_dry_run", "required", "timeout")

    def __init__(
        self,
        *,
        plan: Mapping[str, Any],
        is_dry_run: bool | str = True,
        required: bool | str = True,
        subject: str = "Delete these endpoints and copies?",
        **kwargs: Any,
    ) -> None:
        super().__init__(subject=subject, options=[APPROVE, REJECT], defaults=REJECT, **kwargs)
        self.plan = plan
        self.is_dry_run = is_dry_run
        self.required = required

    def execute(self, context: Context) -> Any:
        """Request the approval, if one is required."""
        from gemini_tuning.registry.cleanup_plan import CleanupPlan
        from gemini_tuning.reporting.approval_request import NOT_REQUIRED

        plan = CleanupPlan.from_xcom(self.plan)
        items_to_delete(plan, self.is_dry_run)
        if protects(self.required, "required"):
            return self.request(context)
        return {"required": False, "outcome": NOT_REQUIRED, "plan": plan.fingerprint, **NO_RESPONSE}

    def prepare(self) -> str:
        """Set the plan as the body; return its fingerprint."""
        from gemini_tuning.registry.cleanup_plan import CleanupPlan
        from gemini_tuning.reporting.markdown_templates import render

        plan = CleanupPlan.from_xcom(self.plan)
        end = "Endpoints can be created again, with other names, and so can copies; nothing else can be restored."
        self.body = replace_surrogates(f"{render('cleanup.md.j2', plan=plan)}\n{end} The first response is final.")
        return plan.fingerprint

    def complete(self, context: Context, answer: str | None, response: Mapping[str, Any]) -> Any:
        """Return who decided what, and when."""
        from gemini_tuning.registry.cleanup_plan import CleanupPlan
        from gemini_tuning.reporting.approval_request import APPROVED, REJECTED, TIMED_OUT

        outcome = TIMED_OUT if answer is None else APPROVED if answer == APPROVE else REJECTED
        self.log.info("%s, by %s", outcome, response["by"])
        return {"required": True, "outcome": outcome, "plan": CleanupPlan.from_xcom(self.plan).fingerprint, **response}
