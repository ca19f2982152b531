"""Delete what an approved cleanup plan lists."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowSkipException

from gemini_tuning.core.exceptions import CleanupError, GeminiTuningError, InvalidInputError
from gemini_tuning.core.text import redact, replace_surrogates
from gemini_tuning.operators.cloud_base import GCP_FIELDS, GeminiBaseOperator, flag, optional_text, wait_until_visible

if TYPE_CHECKING:
    from gemini_tuning.registry.cleanup_plan import CleanupPlan, CleanupPlanner
    from gemini_tuning.registry.cleanup_rules import CleanupItem

READ_BACK_TIMEOUT = 120.0  # seconds
DELETED, MISSING, KEPT, FAILED = "deleted", "already deleted", "kept", "failed"


class GeminiCleanupOperator(GeminiBaseOperator):
    """Delete what the plan lists, each resource checked again immediately before; what has changed since is kept.

    The models of an endpoint are undeployed, the endpoint is deleted and polled until it does not exist; a copy is
    deleted after its endpoints. A resource that no longer exists is no error, so a retry continues where the previous
    try stopped. Skipped on a dry run, when there is nothing to delete, and when the plan was not approved.

    XCom: ``{"items": [{"kind", "name", "outcome", "detail"}], "deleted"}``; ``outcome`` is ``deleted``, ``already
    deleted``, ``kept`` or ``failed``; ``deleted`` is the number of deleted resources.

    :param plan: XCom of :class:`GeminiPlanCleanupOperator`. (templated)
    :param is_dry_run: whether nothing is deleted. (templated)
    :param require_approval: whether the plan must have been approved. (templated)
    :param approval: XCom of :class:`GeminiApproveCleanupOperator`. (templated)
    :raises InvalidInputError: when a required approval of this plan is missing; nothing was deleted.
    :raises CleanupError: when a resource could not be deleted; all others were tried.
    """

    template_fields: Sequence[str] = (*GCP_FIELDS, "plan", "is_dry_run", "require_approval", "approval")

    def __init__(
        self,
        *,
        plan: Mapping[str, Any],
        is_dry_run: bool | str = True,
        require_approval: bool | str = True,
        approval: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.plan = plan
        self.is_dry_run = is_dry_run
        self.require_approval = require_approval
        self.approval = approval

    def execute(self, context: Context) -> dict[str, Any]:
        """Delete the resources and return the outcome of each."""
        from gemini_tuning.registry.cleanup_plan import CleanupPlan

        plan = CleanupPlan.from_xcom(self.plan)
        items = items_to_delete(plan, self.is_dry_run)
        self._require_approval(plan)
        outcomes = [self._outcome(item, plan) for item in items]
        result = {"items": outcomes, "deleted": sum(each["outcome"] == DELETED for each in outcomes)}
        if failed := [each for each in outcomes if each["outcome"] == FAILED]:
            context["ti"].xcom_push(key="return_value", value=result)
            details = redact("; ".join(each["detail"] for each in failed))
            problem, name = f"{len(failed)} of {len(items)} could not be deleted: {details}", str(failed[0]["name"])
            raise CleanupError(problem, resource=name, code="not_deleted", hint="A retry continues with these.")
        return result

    def _require_approval(self, plan: CleanupPlan) -> None:
        from gemini_tuning.reporting.approval_request import APPROVED, REJECTED, TIMED_OUT

        if not protects(self.require_approval, "require_approval"):
            return
        approval = self.approval if isinstance(self.approval, Mapping) else {}
        outcome = approval.get("outcome")
        if approval.get("plan") != plan.fingerprint or outcome not in (APPROVED, REJECTED, TIMED_OUT):
            problem = "approval: an approval of this plan is required. Nothing was deleted."
            hint = "Clear the approval task and its downstream tasks."
            raise InvalidInputError(problem, field="approval", code="not_approved", hint=hint)
        if outcome != APPROVED:
            raise AirflowSkipException(f"The plan was not approved ({outcome}): nothing was deleted")

    def _outcome(self, item: CleanupItem, plan: CleanupPlan) -> dict[str, Any]:
        from gemini_tuning.registry.cleanup_plan import CleanupPlanner

        try:
            outcome, detail = self._delete(item, CleanupPlanner(self.hook, plan.settings, counted=plan.counted))
        except GeminiTuningError as error:
            outcome, detail = FAILED, redact(str(error))
        level = logging.WARNING if outcome == FAILED else logging.INFO
        self.log.log(level, "%s %s: %s; %s", item.kind, item.name, outcome, detail)
        return {"kind": item.kind, "name": item.name, "outcome": outcome, "detail": replace_surrogates(detail)}

    def _delete(self, item: CleanupItem, planner: CleanupPlanner) -> tuple[str, str]:
        from gemini_tuning.registry.cleanup_rules import DELETE, ENDPOINT

        now = planner.recheck(item)
        if now is None:
            return MISSING, "it does not exist"
        if now.action != DELETE:
            return KEPT, now.reason
        if item.kind == ENDPOINT:
            self._delete_endpoint(item.name, planner)
        else:
            self._delete_copy(now, [name for name in item.endpoints if name not in now.endpoints], planner)
        return DELETED, now.reason

    def _delete_endpoint(self, name: str, planner: CleanupPlanner) -> None:
        """Delete an endpoint with the checked deployments; the service refuses when others have been added."""
        for deployed in planner.endpoints[name].deployed_models:
            self.hook.undeploy_model(name, deployed.id)
        self.hook.delete_endpoint(name)
        self._read_back(name, self.hook.find_endpoint)

    def _delete_copy(self, copy: CleanupItem, former: Sequence[str], planner: CleanupPlanner) -> None:
        """Delete a copy, its endpoints and its ``former`` ones, which an earlier try may have undeployed."""
        for name in (*copy.endpoints, *filter(planner.may_delete_empty, former)):
            self._delete_endpoint(name, planner)
        delete = self.hook.delete_model_version if "@" in copy.name else self.hook.delete_model
        delete(copy.name)
        self._read_back(copy.name, self.hook.find_model)

    def _read_back(self, name: str, find: Callable[[str], object | None]) -> None:
        def missing() -> str | None:
            return "it still exists" if find(name) is not None else None

        hint = "Check the resource in the console."
        wait_until_visible(missing, READ_BACK_TIMEOUT, f"{name} was deleted", resource=name, hint=hint)


def items_to_delete(plan: CleanupPlan, is_dry_run: bool | str) -> list[CleanupItem]:
    """Return what is to be deleted; skip the task when that is nothing, and on a dry run."""
    items = plan.to_delete
    if not items:
        raise AirflowSkipException("Nothing is to be deleted; see the plan for the reasons")
    if protects(is_dry_run, "is_dry_run"):
        raise AirflowSkipException(f"Dry run: {len(items)} would be deleted, nothing was")
    return items


def protects(value: object, name: str) -> bool:
    """Return a templated flag that prevents a deletion: a missing one counts as true."""
    return optional_text(value) is None or flag(value, name)
