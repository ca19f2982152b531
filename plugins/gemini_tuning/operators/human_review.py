"""What the steps that ask a person share: Airflow's requests, and the events that come back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from gemini_tuning.core.xcom import text

if TYPE_CHECKING:
    from airflow.providers.standard.operators.hitl import HITLOperator
    from airflow.sdk import Context


def shows_an_old_request(operator: HITLOperator, context: Context) -> bool:
    """Ask, and look whether Airflow shows it; the request of an earlier try stays, whatever a later one asks."""
    from airflow.sdk.execution_time.comms import CreateHITLDetailPayload
    from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

    asked = {
        "options": operator.options,
        "subject": operator.subject,
        "body": operator.body,
        "defaults": operator.defaults,
        "assigned_users": operator.assigned_users or [],
    }
    payload = CreateHITLDetailPayload.model_validate({"ti_id": context["ti"].id, "params": {}, **asked})
    shows: Any = SUPERVISOR_COMMS.send(payload)
    return any((getattr(shows, name) or []) != (getattr(payload, name) or []) for name in asked)


def how_to_ask_anew(context: Context, first: str) -> str:
    """Say what to do when Airflow would show an old request.

    :param first: the step to clear, as a person calls it.
    """
    ti = context["ti"]
    address = f"/api/v2/dags/{ti.dag_id}/dagRuns/{ti.run_id}/taskInstances/{ti.task_id}"
    return (
        f"Delete this task instance (DELETE {address}), then clear {first} and what comes after it with the option "
        "to run on the latest version: Airflow makes the task instance anew, and it asks."
    )


def nobody_answered(event: Mapping[str, Any]) -> bool:
    """Whether the time to answer has passed."""
    return not event.get("responded_by_user") and event.get("error_type") in (None, "timeout")


def answered_at(event: Mapping[str, Any]) -> str | None:
    """Return the ISO time of an answer."""
    at = event.get("responded_at")
    return at.isoformat() if isinstance(at, datetime) else text(at)
