"""Airflow's notifier for a run: ``on_success_callback`` and ``on_failure_callback`` of a DAG."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import BaseNotifier

if TYPE_CHECKING:
    from airflow.sdk import Context


class GeminiRunNotifier(BaseNotifier):
    """Send the notifications that the file configures for what happened to a run.

    A callback of the DAG and not of a task, because a run can fail at any task. Airflow runs it once, in the DAG
    processor, when the run has reached its final state; XComs and task states can be read there, as in a worker. The
    message is about the outcome in the report, or the published model when the DAG writes no report; after a failure it
    lists the failed tasks with their errors. For ``notifiers`` of a task that requests an approval: the message is the
    request.

    A notifier that fails is tried again; then the failure is logged and the others are sent. Nothing that fails here
    changes the run.

    :param notifications: path of the file, see docs/after_a_run.md.
    :param report: id of the task that writes the report, if any.
    :param publish: id of the task that publishes the model, if any.
    :param tuning_job: id of the task whose XCom is the full name of the tuning job, if any.
    """

    def __init__(
        self,
        notifications: str | None,
        *,
        report: str | None = None,
        publish: str | None = None,
        tuning_job: str | None = None,
    ) -> None:
        super().__init__()
        self.notifications = notifications
        self.report = report
        self.publish = publish
        self.tuning_job = tuning_job

    def notify(self, context: Context) -> None:
        """Send the message to every entry that lists its event."""
        # Imported here: the models of the file and of the XComs would take half of the time to parse a DAG file.
        from gemini_tuning.reporting.notification_sender import send_notifications

        send_notifications(self, context)
