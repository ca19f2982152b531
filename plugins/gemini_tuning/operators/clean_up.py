"""The steps that delete endpoints and copies nobody needs: a plan, a person's approval, the deed."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk.exceptions import AirflowSkipException
from airflow.sdk.execution_time.context import NEVER_EXPIRE

from gemini_tuning import links
from gemini_tuning.clean_up import DELETE, ENDPOINT, Item, as_text, fingerprint, to_delete
from gemini_tuning.clean_up_survey import CleanUpSettings, Survey
from gemini_tuning.exceptions import CleanUpError, GeminiTuningError, InvalidInputError, VerificationError
from gemini_tuning.operators.base import (
    GCP_FIELDS,
    RETRY_POLICY,
    GoogleCloudFields,
    as_list,
    flag,
    optional_float,
    optional_int,
    optional_seconds,
    optional_text,
)
from gemini_tuning.operators.hitl import answered_at, how_to_ask_anew, nobody_answered, shows_an_old_request
from gemini_tuning.reporting.approval import APPROVED, NOT_REQUIRED, REJECT, REJECTED, TIMED_OUT
from gemini_tuning.reporting.pushed import mapping, text
from gemini_tuning.resources import checkpoint_id
from gemini_tuning.wording import said, shown, whole_characters

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.sdk import Context

APPROVE = "Delete"
ASKED_KEY = "clean_up_asked"  # in the task state store: the fingerprint of the plan that was shown
PLAN_XCOM = "markdown"
DAY = 24 * 3600.0  # seconds
READ_BACK_TIMEOUT = 120.0  # seconds
READ_BACK_INTERVAL = 2.0  # seconds
DELETED, GONE, LEFT, FAILED = "deleted", "gone already", "left alone", "failed"


class GeminiPlanCleanUpOperator(GoogleCloudFields):
    """Say which endpoints and copies of a tuned model could go, and why the others stay; changes nothing.

    XCom: ``{"settings", "model", "default_checkpoint_id", "counted", "items"}``; an item is ``{"kind", "name",
    "action", "reason", "display_name", "checkpoint_ids", "versions", "endpoints"}``, its kind ``endpoint`` or ``copy``,
    its action ``delete`` or ``keep``. XCom ``markdown``: the same as a table.

    :param model: full name of the tuned model with its version. (templated)
    :param tuning_job: full name of the job that made it, whose present endpoint stays. (templated)
    :param champion: endpoint or model that is in production, which stays. (templated)
    :param keep_checkpoints: ids of checkpoints whose endpoints stay. (templated)
    :param idle_days: an endpoint that was asked within so many days stays, 1 to 42. (templated)
    :param ignore_traffic: whether not to look if anybody asks an endpoint. (templated)
    :param keep_copies: so many of the newest copies stay; ``None``: copies are not looked at. (templated)
    :param copy_location: where the copies are. (templated)
    :param copy_project_id: their project; ``None``: the model's own. (templated)
    :raises InvalidInputError: when something that was named is wrong, or not there.
    """

    template_fields: Sequence[str] = (
        *GCP_FIELDS,
        "model",
        "tuning_job",
        "champion",
        "keep_checkpoints",
        "idle_days",
        "ignore_traffic",
        "keep_copies",
        "copy_location",
        "copy_project_id",
    )
    operator_extra_links = (links.TUNED_MODEL,)

    def __init__(
        self,
        *,
        model: str,
        tuning_job: str | None = None,
        champion: str | None = None,
        keep_checkpoints: Sequence[str] = (),
        idle_days: float | str = 7,
        ignore_traffic: bool | str = False,
        keep_copies: int | str | None = None,
        copy_location: str | None = None,
        copy_project_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.tuning_job = tuning_job
        self.champion = champion
        self.keep_checkpoints = keep_checkpoints
        self.idle_days = idle_days
        self.ignore_traffic = ignore_traffic
        self.keep_copies = keep_copies
        self.copy_location = copy_location
        self.copy_project_id = copy_project_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Look, judge, push."""
        settings = self._settings()
        survey = Survey(self.hook, settings)
        items = survey.items()
        plan = {
            "settings": settings.as_dict(),
            "model": str(survey.model.name),
            "default_checkpoint_id": survey.model.default_checkpoint_id,
            "counted": survey.rules.counted,
            "items": [item.as_dict() for item in items],
        }
        lines = as_text(plan)
        for line in lines:
            self.log.info("%s", line)
        context["ti"].xcom_push(key=PLAN_XCOM, value=whole_characters("\n".join(lines)))
        return plan

    def _settings(self) -> CleanUpSettings:
        idle_days = optional_float(self.idle_days, "idle_days")
        return CleanUpSettings(
            model=self.model,
            tuning_job=optional_text(self.tuning_job),
            champion=optional_text(self.champion),
            keep_checkpoints=tuple(
                checkpoint_id(each, "keep_checkpoints") for each in as_list(self.keep_checkpoints, "keep_checkpoints")
            ),
            idle_days=7.0 if idle_days is None else idle_days,
            ignore_traffic=flag(self.ignore_traffic, "ignore_traffic"),
            keep_copies=optional_int(self.keep_copies, "keep_copies"),
            copy_location=optional_text(self.copy_location),
            copy_project_id=optional_text(self.copy_project_id),
        )


class GeminiApproveCleanUpOperator(HITLOperator):
    """Show the plan to a person and ask whether to delete; no answer in time means no.

    Skipped on a dry run, and when there is nothing to delete. An answer counts for the plan that was shown.

    XCom: ``{"required", "outcome", "plan", "by": {"id", "name"}, "at", "timeout"}``; ``outcome`` is ``approved``,
    ``rejected``, ``timed out`` or ``not required``; ``plan`` is the fingerprint of the plan.

    :param plan: what the plan pushed. (templated)
    :param is_dry_run: whether nothing is to be deleted anyway. (templated)
    :param required: whether anybody is asked. (templated)
    :param timeout: seconds that there is time to answer. (templated)
    :raises InvalidInputError: when Airflow shows another plan, or the plan has changed since it was shown.
    """

    template_fields: Collection[str] = ("subject", "plan", "is_dry_run", "required", "timeout")

    def __init__(
        self,
        *,
        plan: Mapping[str, Any],
        is_dry_run: bool | str = True,
        required: bool | str = True,
        timeout: float | str = DAY,
        subject: str = "Delete these endpoints and copies?",
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("retry_policy", RETRY_POLICY)
        super().__init__(subject=subject, options=[APPROVE, REJECT], defaults=REJECT, **kwargs)
        self.plan = plan
        self.is_dry_run = is_dry_run
        self.required = required
        self.timeout = timeout

    def execute(self, context: Context) -> Any:
        """Ask; or go on at once when nobody has to be asked."""
        plan = mapping(self.plan, "plan")
        _skip_without_work(plan, self.is_dry_run)
        if not _unless_denied(self.required, "required"):
            return self._record(plan, NOT_REQUIRED, required=False)
        self._prepare(plan)
        if context["ti"].try_number > 1 and shows_an_old_request(self, context):
            raise InvalidInputError(
                "Airflow would show the plan of an earlier try, which is not true any more; nobody was asked and "
                "nothing was deleted. " + how_to_ask_anew(context, "the plan")
            )
        context["task_state_store"].set(ASKED_KEY, fingerprint(plan), retention=NEVER_EXPIRE)
        return super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Take the answer, or the time-out."""
        plan = mapping(self.plan, "plan")
        if context["task_state_store"].get(ASKED_KEY) != fingerprint(plan):
            raise InvalidInputError(
                "The plan has changed since this was asked, so the answer does not count; nothing was deleted. "
                + how_to_ask_anew(context, "the plan")
            )
        self._prepare(plan)
        if nobody_answered(event):
            return self._record(plan, TIMED_OUT, at=answered_at(event))
        answer = super().execute_complete(context, event)["chosen_options"]
        if len(answer) != 1:
            raise ValueError(f"expected one answer, not {shown(answer)}")
        outcome = APPROVED if answer[0] == APPROVE else REJECTED
        return self._record(plan, outcome, by=event.get("responded_by_user"), at=answered_at(event))

    def _prepare(self, plan: Mapping[str, Any]) -> None:
        end = "Endpoints can be made again, with other names; a copy can be made again; nothing else comes back."
        self.body = whole_characters("\n".join([*as_text(plan), "", f"{end} One click on an answer is final."]))
        self.response_timeout = timedelta(seconds=self._timeout())

    def _timeout(self) -> float:
        return optional_seconds(self.timeout, "timeout") or DAY

    def _record(
        self,
        plan: Mapping[str, Any],
        outcome: str,
        *,
        required: bool = True,
        by: Mapping[str, Any] | None = None,
        at: str | None = None,
    ) -> dict[str, Any]:
        self.log.info("%s, by %s", outcome, by)
        return {
            "required": required,
            "outcome": outcome,
            "plan": fingerprint(plan),
            "by": {key: text(by.get(key)) for key in ("id", "name")} if by else None,
            "at": at,
            "timeout": self._timeout() if required else None,
        }


class GeminiCleanUpOperator(GoogleCloudFields):
    """Delete what the plan names, each thing judged anew right before; what has changed is left alone.

    An endpoint is undeployed, deleted, and read until it is gone; a copy after its endpoints. What is gone already is
    fine, so that another try goes on where the last one stopped. Skipped on a dry run, when there is nothing to delete,
    and when the plan was not approved.

    XCom: ``{"items": [{"kind", "name", "outcome", "detail"}], "deleted"}``; ``outcome`` is ``deleted``, ``gone
    already``, ``left alone`` or ``failed``; ``deleted`` is how many were.

    :param plan: what the plan pushed. (templated)
    :param is_dry_run: whether nothing is deleted. (templated)
    :param require_approval: whether the plan must have been approved. (templated)
    :param approval: what :class:`GeminiApproveCleanUpOperator` pushed. (templated)
    :raises InvalidInputError: when an approval is required and there is none for this plan; nothing was deleted.
    :raises CleanUpError: when something could not be deleted; everything else was tried.
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
        plan = mapping(self.plan, "plan")
        items = _skip_without_work(plan, self.is_dry_run)
        self._require_approval(plan)
        settings, counted = CleanUpSettings.from_mapping(plan.get("settings")), plan.get("counted") is True
        outcomes = [self._outcome(item, settings, counted) for item in items]
        result = {"items": outcomes, "deleted": sum(each["outcome"] == DELETED for each in outcomes)}
        if failed := [each for each in outcomes if each["outcome"] == FAILED]:
            context["ti"].xcom_push(key="return_value", value=result)
            raise CleanUpError(
                f"{len(failed)} of {len(items)} could not be deleted: "
                f"{said('; '.join(each['detail'] for each in failed))} Another try goes on with what is left."
            )
        return result

    def _require_approval(self, plan: Mapping[str, Any]) -> None:
        if not _unless_denied(self.require_approval, "require_approval"):
            return
        approval = self.approval if isinstance(self.approval, Mapping) else {}
        outcome = approval.get("outcome")
        if approval.get("plan") != fingerprint(plan) or outcome not in (APPROVED, REJECTED, TIMED_OUT):
            raise InvalidInputError(
                "approval: nobody has approved this plan, and an approval is required; nothing was deleted. Clear the "
                "task that asks, and what comes after it."
            )
        if outcome != APPROVED:
            raise AirflowSkipException(f"The plan was not approved ({outcome}): nothing was deleted")

    def _outcome(self, item: Item, settings: CleanUpSettings, counted: bool) -> dict[str, Any]:
        try:
            outcome, detail = self._clean_up(item, Survey(self.hook, settings, counted=counted))
        except GeminiTuningError as error:
            outcome, detail = FAILED, said(str(error))
        level = logging.WARNING if outcome == FAILED else logging.INFO
        self.log.log(level, "%s %s: %s; %s", item.kind, item.name, outcome, detail)
        return {"kind": item.kind, "name": item.name, "outcome": outcome, "detail": whole_characters(detail)}

    def _clean_up(self, item: Item, survey: Survey) -> tuple[str, str]:
        now = survey.again(item)
        if now is None:
            return GONE, "there is none"
        if now.action != DELETE:
            return LEFT, now.reason
        if item.kind == ENDPOINT:
            self._delete_endpoint(item.name, survey)
        else:
            self._delete_copy(now, [name for name in item.endpoints if name not in now.endpoints], survey)
        return DELETED, now.reason

    def _delete_endpoint(self, name: str, survey: Survey) -> None:
        """Delete an endpoint with what was judged; the service refuses when anything else is deployed there by now."""
        for deployed in survey.judged[name].deployed:
            self.hook.undeploy_model(name, deployed.id)
        self.hook.delete_endpoint(name)
        self._read_back(name, lambda: self.hook.find_endpoint(name))

    def _delete_copy(self, copy: Item, emptied: Sequence[str], survey: Survey) -> None:
        """Delete a copy and its endpoints.

        :param emptied: its endpoints as planned that are not its own any more: an earlier try may have undeployed it.
        """
        for name in copy.endpoints:
            self._delete_endpoint(name, survey)
        for name in emptied:
            if survey.emptied(name):
                self._delete_endpoint(name, survey)
        if "@" in copy.name:
            self.hook.delete_model_version(copy.name)
        else:
            self.hook.delete_model(copy.name)
        self._read_back(copy.name, lambda: self.hook.find_registered_model(copy.name))

    def _read_back(self, name: str, find: Callable[[], object | None]) -> None:
        end = time.monotonic() + READ_BACK_TIMEOUT
        while find() is not None:
            if time.monotonic() >= end:
                raise VerificationError(
                    f"{name} was deleted, but is still there after {READ_BACK_TIMEOUT:g} s. Look at it."
                )
            time.sleep(READ_BACK_INTERVAL)


def _skip_without_work(plan: Mapping[str, Any], is_dry_run: bool | str) -> list[Item]:
    """Return what is to be deleted; skip the task when nothing is."""
    items = to_delete(plan)
    if not items:
        raise AirflowSkipException("Nothing is to be deleted: the plan says why")
    if _unless_denied(is_dry_run, "is_dry_run"):
        raise AirflowSkipException(f"Dry run: {len(items)} would be deleted, nothing was")
    return items


def _unless_denied(value: object, name: str) -> bool:
    """Read a templated truth value that protects: nothing counts as true."""
    return optional_text(value) is None or flag(value, name)
