"""How the steps that wait hand over to a trigger and take over again."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from gemini_tuning.core.exceptions import PermanentServiceError
from gemini_tuning.operators.base import MAX_SECONDS, GeminiBaseOperator

if TYPE_CHECKING:
    from gemini_tuning.triggers.waiting import WaitingTrigger

# Airflow's own deferral time-out fails the task without calling it, so it only backs up the trigger's deadline.
DEFERRAL_TIMEOUT_MARGIN = timedelta(minutes=10)


class DeferrableMixin(GeminiBaseOperator):
    """An operator that defers to one of :mod:`gemini_tuning.triggers.waiting`."""

    def defer_to_trigger(
        self, trigger: type[WaitingTrigger], resource: str, *, poll_interval: float, deadline: float, **more: Any
    ) -> NoReturn:
        """Defer until the resource is over; the task goes on in ``execute_complete(context, event)``.

        The event names the resource: arguments of the deferral get lost in ``dag.test()``.

        :param resource: full name of what is waited for.
        :param poll_interval: seconds between two looks while nothing is known of the pace.
        :param deadline: when to give up, in seconds since 1970 (UTC).
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
        """Whether an event is about what this task waits for; if not, it has to wait on.

        SQLite gives the number of a trigger that is gone to the next one, and a triggerer that is late with the event
        of the old one then wakes the task of the new one.

        :param resource: full name of what this task waits for.
        """
        if event["resource"] == resource:
            return True
        self.log.warning("Woken by the end of another wait, for %s; waiting on for %s", event["resource"], resource)
        return False

    @staticmethod
    def resource_from_event(event: dict[str, Any]) -> str:
        """Return the name of what was waited for, or raise what the service told the trigger.

        :raises PermanentServiceError: with the service's words.
        """
        if event["status"] == "error":
            raise PermanentServiceError(
                f"{event['message']} The wait is over, but {event['resource']} may go on: look for it there.",
                resource=event["resource"],
                code=event["code"],
            )
        return str(event["resource"])
