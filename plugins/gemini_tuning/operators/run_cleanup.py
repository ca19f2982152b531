"""Delete what an approved cleanup plan names."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from gemini_tuning.core.exceptions import CleanupError, GeminiTuningError, InvalidInputError, VerificationError
from gemini_tuning.core.text import redact, replace_surrogates
from gemini_tuning.operators.base import (
    GCP_FIELDS,
    GeminiBaseOperator,
    flag,
    optional_text,
)
from gemini_tuning.registry.cleanup_plan import CleanupPlan, CleanupPlanner
from gemini_tuning.registry.cleanup_rules import DELETE, ENDPOINT, CleanupItem
from gemini_tuning.reporting.approval_request import APPROVED, REJECTED, TIMED_OUT

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.sdk import Context

READ_BACK_TIMEOUT = 120.0  # seconds

READ_BACK_INTERVAL = 2.0  # seconds

DELETED, GONE, LEFT, FAILED = "deleted", "gone already", "left alone", "failed"


class GeminiCleanupOperator(GeminiBaseOperator):
    """Delete what the plan names, each thing judged anew right before; what has changed is left alone.

    An endpoint is undeployed, deleted, and read until it is gone; a copy after its endpoints. What is gone already is
    fine, so that another try goes on where the last one stopped. Skipped on a dry run, when there is nothing to delete,
    and when the plan was not approved.

    XCom: ``{"items": [{"kind", "name", "outcome", "detail"}], "deleted"}``; ``outcome`` is ``deleted``, ``gone
    already``, ``left alone`` or ``failed``; ``deleted`` is how many were.

    :param plan: what the plan pushed. (templated)
    :param is_dry_run: whether nothing is deleted. (templated)
    :param require_approval: whether the plan must have been approved. (templated)
    :param approval: what :class:`GeminiApproveCleanupOperator` pushed. (templated)
    :raises InvalidInputError: when an approval is required and there is none for this plan; nothing was deleted.
    :raises CleanupError: when something could not be deleted; everything else was tried.
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
        """Delete, read back, push what became of each."""
        plan = CleanupPlan.from_xcom(self.plan)
        items = _skip_without_work(plan, self.is_dry_run)
        self._require_approval(plan)
        outcomes = [self._outcome(item, plan) for item in items]
        result = {"items": outcomes, "deleted": sum(each["outcome"] == DELETED for each in outcomes)}
        if failed := [each for each in outcomes if each["outcome"] == FAILED]:
            context["ti"].xcom_push(key="return_value", value=result)
            raise CleanupError(
                f"{len(failed)} of {len(items)} could not be deleted: "
                f"{redact('; '.join(each['detail'] for each in failed))} Another try goes on with what is left."
            )
        return result

    def _require_approval(self, plan: CleanupPlan) -> None:
        if not _unless_denied(self.require_approval, "require_approval"):
            return
        approval = self.approval if isinstance(self.approval, Mapping) else {}
        outcome = approval.get("outcome")
        if approval.get("plan") != plan.fingerprint or outcome not in (APPROVED, REJECTED, TIMED_OUT):
            raise InvalidInputError(
                "approval: nobody has approved this plan, and an approval is required; nothing was deleted. Clear the "
                "task that asks, and what comes after it."
            )
        if outcome != APPROVED:
            raise AirflowSkipException(f"The plan was not approved ({outcome}): nothing was deleted")

    def _outcome(self, item: CleanupItem, plan: CleanupPlan) -> dict[str, Any]:
        try:
            outcome, detail = self._delete(item, CleanupPlanner(self.hook, plan.settings, counted=plan.counted))
        except GeminiTuningError as error:
            outcome, detail = FAILED, redact(str(error))
        level = logging.WARNING if outcome == FAILED else logging.INFO
        self.log.log(level, "%s %s: %s; %s", item.kind, item.name, outcome, detail)
        return {"kind": item.kind, "name": item.name, "outcome": outcome, "detail": replace_surrogates(detail)}

    def _delete(self, item: CleanupItem, planner: CleanupPlanner) -> tuple[str, str]:
        now = planner.recheck(item)
        if now is None:
            return GONE, "it does not exist"
        if now.action != DELETE:
            return LEFT, now.reason
        if item.kind == ENDPOINT:
            self._delete_endpoint(item.name, planner)
        else:
            self._delete_copy(now, [name for name in item.endpoints if name not in now.endpoints], planner)
        return DELETED, now.reason

    def _delete_endpoint(self, name: str, planner: CleanupPlanner) -> None:
        """Delete an endpoint with what was judged; the service refuses when anything else is deployed there by now."""
        for deployed in planner.endpoints[name].deployed_models:
            self.hook.undeploy_model(name, deployed.id)
        self.hook.delete_endpoint(name)
        self._read_back(name, lambda: self.hook.find_endpoint(name))

    def _delete_copy(self, copy: CleanupItem, emptied: Sequence[str], planner: CleanupPlanner) -> None:
        """Delete a copy and its endpoints.

        :param emptied: its endpoints as planned that are not its own any more: an earlier try may have undeployed it.
        """
        for name in copy.endpoints:
            self._delete_endpoint(name, planner)
        for name in emptied:
            if planner.may_delete_empty(name):
                self._delete_endpoint(name, planner)
        if "@" in copy.name:
            self.hook.delete_model_version(copy.name)
        else:
            self.hook.delete_model(copy.name)
        self._read_back(copy.name, lambda: self.hook.find_model(copy.name))

    def _read_back(self, name: str, find: Callable[[], object | None]) -> None:
        end = time.monotonic() + READ_BACK_TIMEOUT
        while find() is not None:
            if time.monotonic() >= end:
                raise VerificationError(
                    f"{name} was deleted, but is still there after {READ_BACK_TIMEOUT:g} s. Look at it."
                )
            time.sleep(READ_BACK_INTERVAL)


def _skip_without_work(plan: CleanupPlan, is_dry_run: bool | str) -> list[CleanupItem]:
    """Return what is to be deleted; skip the task when nothing is."""
    items = plan.to_delete
    if not items:
        raise AirflowSkipException("Nothing is to be deleted: the plan says why")
    if _unless_denied(is_dry_run, "is_dry_run"):
        raise AirflowSkipException(f"Dry run: {len(items)} would be deleted, nothing was")
    return items


def _unless_denied(value: object, name: str) -> bool:
    """Read a templated truth value that protects: nothing counts as true."""
    return optional_text(value) is None or flag(value, name)
