"""Request approval of a cleanup plan."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk.execution_time.context import NEVER_EXPIRE

from gemini_tuning.core.exceptions import InvalidInputError
from gemini_tuning.core.text import replace_surrogates, short_repr
from gemini_tuning.core.xcom import mapping, text
from gemini_tuning.operators.base import (
    RETRY_POLICY,
    optional_seconds,
)
from gemini_tuning.operators.human_review import answered_at, how_to_ask_anew, nobody_answered, shows_an_old_request
from gemini_tuning.operators.plan_cleanup import DAY
from gemini_tuning.operators.run_cleanup import _skip_without_work, _unless_denied
from gemini_tuning.registry.cleanup_rules import as_text, fingerprint
from gemini_tuning.reporting.approval_request import APPROVED, NOT_REQUIRED, REJECT, REJECTED, TIMED_OUT

if TYPE_CHECKING:
    from airflow.sdk import Context

APPROVE = "Delete"

ASKED_KEY = "clean_up_asked"  # in the task state store: the fingerprint of the plan that was shown


class GeminiApproveCleanupOperator(HITLOperator):
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
            raise ValueError(f"expected one answer, not {short_repr(answer)}")
        outcome = APPROVED if answer[0] == APPROVE else REJECTED
        return self._record(plan, outcome, by=event.get("responded_by_user"), at=answered_at(event))

    def _prepare(self, plan: Mapping[str, Any]) -> None:
        end = "Endpoints can be made again, with other names; a copy can be made again; nothing else comes back."
        self.body = replace_surrogates("\n".join([*as_text(plan), "", f"{end} One click on an answer is final."]))
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
