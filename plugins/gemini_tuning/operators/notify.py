"""The last step of a run: tell people what came of it, through Airflow's notifiers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowSkipException
from airflow.sdk.execution_time.context import NEVER_EXPIRE

from gemini_tuning.links import gemini_tuning as links
from gemini_tuning.operators.base import ERROR_XCOM, optional_text
from gemini_tuning.operators.write_report import SUMMARY_XCOM
from gemini_tuning.reporting.notification_config import Notification, NotificationError
from gemini_tuning.reporting.notification_message import Message, Run, of_failure, of_publication, of_report
from gemini_tuning.reporting.notifications import attempt, run_of, wanted
from gemini_tuning.triggers.task_states import get_task_states

if TYPE_CHECKING:
    from airflow.sdk import Context

FAILED = ("failed", "upstream_failed")
SENT_KEY = "notifications_sent"  # in the task state store


class GeminiNotifyOperator(BaseOperator):
    """Tell those whom ``notifications.yaml`` names of a run's outcome, or of its failure.

    Which of the two: by the tasks directly upstream. When none of them failed, the message is that of the report, or
    where there is none, that a model was published; else it says which tasks failed and why, and has the comparison as
    far as there is one. A DAG has the step twice, once for each, so that the run's own outcome stays what it is::

        notify = GeminiNotifyOperator(task_id="notify", trigger_rule=TriggerRule.NONE_FAILED, …)
        notify_failure = GeminiNotifyOperator(task_id="notify_failure", trigger_rule=TriggerRule.ONE_FAILED, …)
        [report, publish] >> notify
        [report, publish] >> notify_failure

    After a failure ``notify`` does not run, which keeps the run failed whatever becomes of ``notify_failure``.

    A notifier that fails is tried again, alone, as often as the task has retries; after that it is logged and the task
    succeeds: a message that did not get through does not make a good run a bad one. Skipped when nobody is to be told.

    XCom: ``{"event", "outcome", "sent", "failed"}``; ``sent`` is a number, ``failed`` says in words what did not get
    through.

    :param notifications: the file. (templated)
    :param report_task_id: task that writes the report; there need be none.
    :param publish_task_id: task that publishes the model; likewise.
    :param create_task_id: task that creates the tuning job.
    """

    template_fields: Sequence[str] = ("notifications",)
    operator_extra_links = (links.RUN_PAGE,)

    def __init__(
        self,
        *,
        notifications: str,
        report_task_id: str = "report",
        publish_task_id: str = "publish",
        create_task_id: str = "create_tuning_job",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.notifications = notifications
        self.report_task_id = report_task_id
        self.publish_task_id = publish_task_id
        self.create_task_id = create_task_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Find out what came of the run, and tell."""
        message = self._message(context)
        self.log.info("%s", message.title)
        try:
            entries = wanted(self.notifications, message.event)
        except NotificationError as error:  # it was good when the run began
            self.log.error("Nobody was told: %s", error)
            return {"event": message.event, "outcome": message.outcome, "sent": 0, "failed": [str(error)]}
        if not entries:
            raise AirflowSkipException(f"Nobody is to be told of {message.event}: {self.notifications}")
        failed = self._tell(entries, message, context)
        ti = context["ti"]
        if failed and ti.try_number <= (ti.max_tries or 0):
            raise AirflowException(
                f"{len(failed)} of {len(entries)} did not get through; the next try sends only those"
            )
        return {
            "event": message.event,
            "outcome": message.outcome,
            "sent": len(entries) - len(failed),
            "failed": failed,
        }

    def _tell(self, entries: Sequence[Notification], message: Message, context: Context) -> list[str]:
        """Tell all who have not been told the same by an earlier try; return in words what went wrong."""
        store, failed = context["task_state_store"], list[str]()
        stored = store.get(SENT_KEY)
        sent = list(stored) if isinstance(stored, list) else []
        for entry in entries:
            key = _key(entry, message, context)
            if key in sent:
                continue
            if failure := attempt(entry, message, context):
                self.log.error("%s", failure)
                failed.append(failure)
                continue
            self.log.info("Told by %s (%s)", entry.notifier, entry.where)
            sent.append(key)
            store.set(SENT_KEY, sent, retention=NEVER_EXPIRE)
        return failed

    def _message(self, context: Context) -> Message:
        ti = context["ti"]
        states = get_task_states(ti.dag_id, list(context["dag"].task_dict), ti.run_id).get(ti.run_id, {})
        run = run_of(context, optional_text(ti.xcom_pull(task_ids=self.create_task_id)))
        outcome = self._outcome(context, states, run)
        if any(states.get(task_id) in FAILED for task_id in self.upstream_task_ids):
            return of_failure(run, self._errors(context, states), outcome)
        if outcome is None:
            raise AirflowSkipException("There is nothing to tell: nothing was promoted, and nothing failed")
        return outcome

    def _outcome(self, context: Context, states: Mapping[str, Any], run: Run) -> Message | None:
        """Return what came of the run; what a task pushed counts only when it has done its work in this try."""
        for task_id in (self.report_task_id, self.publish_task_id):
            if states.get(task_id) != "success":
                continue
            found = context["ti"].xcom_pull(task_ids=task_id)
            pushed = found if isinstance(found, Mapping) else {}
            if task_id == self.publish_task_id:
                return of_publication(run, pushed)
            return of_report(run, pushed, context["ti"].xcom_pull(task_ids=task_id, key=SUMMARY_XCOM))
        return None

    def _errors(self, context: Context, states: Mapping[str, Any]) -> dict[str, object]:
        """Return why which tasks failed, as far as they have said so."""
        found: dict[str, object] = {}
        tasks = context["dag"].task_dict
        for name in (name for name, state in states.items() if state == "failed"):
            task_id, _, index = name.rpartition("_")  # of one of several, where the task is mapped
            at: dict[str, Any] = {"map_indexes": int(index)} if name not in tasks and index.isdecimal() else {}
            found[name] = context["ti"].xcom_pull(task_ids=task_id if at else name, key=ERROR_XCOM, **at)
        return found


def _key(entry: Notification, message: Message, context: Context) -> str:
    """Return what names a message to somebody within the tries of a task; a task that is cleared tells again."""
    parts = (entry.notifier, repr(entry.arguments), message.text, str(context["ti"].max_tries))
    return hashlib.sha256("\n".join(parts).encode("utf-8", "replace")).hexdigest()
