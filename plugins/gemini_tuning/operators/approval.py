"""Base of the operators that request an approval from a user."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, ClassVar

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import Context
from airflow.sdk.execution_time.context import NEVER_EXPIRE

from gemini_tuning.core.exceptions import InvalidInputError
from gemini_tuning.core.text import short_repr
from gemini_tuning.operators.cloud_base import RETRY_POLICY, optional_seconds

DAY = 24 * 3600.0  # seconds
NO_RESPONSE: Mapping[str, Any] = {"by": None, "at": None, "timeout": None}


class ApprovalBase(HITLOperator):
    """Requests an approval and accepts the response only for what was shown.

    The request appears under Required Actions, on the home page and on the task. The task waits in
    ``awaiting_input``, which occupies neither a worker slot nor a triggerer. Airflow checks who may respond: permission
    for the DAG, and ``assigned_users``.

    When what is to be approved has changed since the request, the response is not accepted and the task fails. Cleared,
    the task requests the approval again. Airflow 3.3 keeps the text of a task instance's first request
    (https://github.com/apache/airflow/pull/73235), so that works only while the text is the same; otherwise the task
    fails with instructions.

    :param timeout: seconds until a missing response counts as a rejection. (templated)
    """

    request_key: ClassVar[str]  # in the task state store: fingerprint of what was shown
    shown: ClassVar[str]  # what the request shows
    first_task: ClassVar[str]  # the task that produces it

    def __init__(self, *, timeout: float | str = DAY, **kwargs: Any) -> None:
        kwargs.setdefault("retry_policy", RETRY_POLICY)
        super().__init__(**kwargs)
        self.timeout = timeout

    def prepare(self) -> str:
        """Set ``options``, ``defaults`` and ``body``; return a fingerprint of them."""
        raise NotImplementedError

    def complete(self, context: Context, answer: str | None, response: Mapping[str, Any]) -> Any:
        """Return the task's XCom; ``answer`` is the chosen option, ``None`` when the request timed out."""
        raise NotImplementedError

    def request(self, context: Context) -> Any:
        """Send the request and wait for the response, unless Airflow would show an earlier request's text."""
        fingerprint = self._prepare()
        if context["ti"].try_number > 1 and self._shows_earlier_request(context):
            problem = f"Airflow would show the {self.shown} of an earlier try, which is outdated. "
            problem += "No approval was requested and nothing was changed."
            raise self._outdated(context, problem, "outdated_request")
        context["task_state_store"].set(self.request_key, fingerprint, retention=NEVER_EXPIRE)
        return super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        """Accept the response, or the time-out, unless what is to be approved has changed since the request."""
        from gemini_tuning.core.xcom import ApproverXCom, text

        if context["task_state_store"].get(self.request_key) != self._prepare():
            problem = f"The {self.shown} has changed since the approval was requested, so the response is not accepted."
            raise self._outdated(context, f"{problem} Nothing was changed.", "request_changed")
        at, user = event.get("responded_at"), event.get("responded_by_user")
        response = {
            "by": ApproverXCom(**user).model_dump() if user else None,
            "at": at.isoformat() if isinstance(at, datetime) else text(at),
            "timeout": self.timeout_seconds(),
        }
        if not user and event.get("error_type") in (None, "timeout"):
            return self.complete(context, None, response)
        answers = super().execute_complete(context, event)["chosen_options"]
        if len(answers) != 1:
            problem = f"Expected exactly one option in the response, got {short_repr(answers)}."
            raise InvalidInputError(problem, code="not_one_option")
        return self.complete(context, answers[0], response)

    def timeout_seconds(self) -> float:
        """Return the rendered timeout."""
        return optional_seconds(self.timeout, "timeout") or DAY

    def _prepare(self) -> str:
        self.response_timeout = timedelta(seconds=self.timeout_seconds())
        return self.prepare()

    def _shows_earlier_request(self, context: Context) -> bool:
        """Create the request and compare it with what Airflow returns, which may be the request of an earlier try."""
        from airflow.sdk.execution_time.comms import CreateHITLDetailPayload
        from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

        sent = {name: getattr(self, name) for name in ("options", "subject", "body", "defaults")}
        sent["assigned_users"] = self.assigned_users or []
        payload = CreateHITLDetailPayload.model_validate({"ti_id": context["ti"].id, "params": {}, **sent})
        returned: Any = SUPERVISOR_COMMS.send(payload)
        return any((getattr(returned, name) or []) != (getattr(payload, name) or []) for name in sent)

    def _outdated(self, context: Context, problem: str, code: str) -> InvalidInputError:
        ti = context["ti"]
        address = f"/api/v2/dags/{ti.dag_id}/dagRuns/{ti.run_id}/taskInstances/{ti.task_id}"
        hint = (
            f"Delete this task instance (DELETE {address}), then clear {self.first_task} and its downstream tasks with "
            "the option to run on the latest version: Airflow creates the task instance again, with a new request."
        )
        return InvalidInputError(problem, code=code, hint=hint)
