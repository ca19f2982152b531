"""How operators and sensors defer to a trigger and resume."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from gemini_tuning.core.exceptions import PermanentServiceError
from gemini_tuning.operators.cloud_base import MAX_SECONDS, GeminiBaseOperator

if TYPE_CHECKING:
    from gemini_tuning.triggers.waiting import WaitingTrigger

# At its own deferral timeout Airflow fails the task without a call to it, so the trigger's deadline comes first.
DEFERRAL_TIMEOUT_MARGIN = timedelta(minutes=10)


class DeferrableMixin(GeminiBaseOperator):
    """An operator that defers to a :class:`~gemini_tuning.triggers.waiting.WaitingTrigger`."""

    def defer_to_trigger(
        self, trigger: type[WaitingTrigger], resource: str, *, poll_interval: float, deadline: float, **more: Any
    ) -> NoReturn:
        """Defer until the resource has finished; the task resumes in ``execute_complete(context, event)``.

        The event names the resource: arguments of the deferral get lost in ``dag.test()``.

        :param resource: full name of the resource.
        :param poll_interval: seconds.
        :param deadline: in seconds since 1970 (UTC).
        :param more: further arguments of the trigger.
        """
        self.defer(
            trigger=trigger(
                resource,
                gcp_conn_id=self.gcp_conn_id,
                impersonation_chain=self.impersonation_chain,
                poll_interval=poll_interval,
                deadline=deadline,
                **more,
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=min(max(deadline - time.time(), 0), MAX_SECONDS)) + DEFERRAL_TIMEOUT_MARGIN,
        )

    def event_matches(self, resource: str, event: dict[str, Any]) -> bool:
        """Return whether an event is about the resource that this task waits for; if not, the task must defer again.

        SQLite reuses the ids of deleted triggers, so a late event of an old trigger may resume another task.

        :param resource: full name of the resource.
        """
        if event["resource"] == resource:
            return True
        self.log.warning(
            "Received the event of another trigger, for %s; still waiting for %s", event["resource"], resource
        )
        return False

    @staticmethod
    def resource_from_event(event: dict[str, Any]) -> str:
        """Return the resource's name, or raise the error that ended the wait.

        :raises PermanentServiceError: with the service's error message.
        """
        if event["status"] == "error":
            raise PermanentServiceError(
                event["message"],
                resource=event["resource"],
                code=event["code"],
                hint=f"{event['resource']} may still be running; check it in the Google Cloud console.",
            )
        return str(event["resource"])
