"""Notifications about a run, through Airflow's notifiers. Airflow glue: this module imports Airflow.

``dags/config/notifications.yaml`` says which notifier sends which events; docs/after_a_run.md describes the file.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast
from urllib.parse import quote

from airflow.sdk import BaseNotifier, Context, conf
from airflow.sdk._shared.secrets_masker import redact as mask_secrets
from jinja2 import StrictUndefined
from jinja2.sandbox import SandboxedEnvironment
from pydantic import Field, PrivateAttr, RootModel
from tenacity import RetryError, Retrying, retry_if_not_exception_type, stop_after_attempt, wait_exponential

from gemini_tuning.core import yaml_file
from gemini_tuning.core.exceptions import InvalidInputError
from gemini_tuning.core.text import redact, short_repr
from gemini_tuning.core.xcom import ERROR_XCOM, SUMMARY_XCOM, PublicationXCom, ReportXCom, text
from gemini_tuning.core.yaml_file import YamlModel
from gemini_tuning.reporting import notification_message as messages
from gemini_tuning.reporting.notification_message import Message, RunLink

if TYPE_CHECKING:
    from gemini_tuning.reporting.notifications import GeminiRunNotifier

Event = Literal["promoted", "rejected", "no_winner", "failed", "waiting_for_approval"]

MAX_NOTIFICATIONS = 50
MAX_ATTEMPTS = 3  # of one notifier to send one message; the DAG processor kills a callback after 50 s by default
WAIT = wait_exponential()  # 1 s, 2 s between the attempts
# Templates see `gemini` and no connection, variable or task. The message, which may contain a model's response, is
# never rendered as a template.
TEMPLATES = SandboxedEnvironment(undefined=StrictUndefined)


class NotificationError(InvalidInputError):
    """A notifier in the file cannot be used; ``resource`` is the file, ``field`` the key of the entry."""


class Notification(YamlModel):
    """One entry of the file: the events, and a subclass of ``airflow.sdk.BaseNotifier`` that sends them."""

    on: Annotated[list[Event], Field(min_length=1)]
    notifier: Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$")]  # full name of the class
    arguments: dict[str, Any] | None = None  # of its constructor; templates see `gemini`, a Message
    _file: str = PrivateAttr("")
    _line: int | None = PrivateAttr(None)

    def error(self, what: str, field: str, code: str, hint: str = "") -> NotificationError:
        """Return an error about this entry."""
        message = f"{self._file}:{self._line}: {field}: {what}"
        return NotificationError(message, field=field, resource=self._file, code=code, hint=hint)


class _Notifications(RootModel[Annotated[list[Notification], Field(max_length=MAX_NOTIFICATIONS)]]):
    pass


def load_notifications(path: str | Path | None) -> list[Notification]:
    """Read the file; without one, and with an empty one, nothing is sent.

    :raises InvalidInputError: when it is not acceptable, with file, line and field.
    """
    if not path:
        return []
    try:
        document = yaml_file.load_file(path, "notifications")
    except yaml_file.YamlError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return []
        raise
    if document.value is None:
        return []
    if isinstance(document.value, list):  # YAML 1.1 reads the key `on` as true
        entries = [
            {"on" if key is True else key: value for key, value in entry.items()} if isinstance(entry, dict) else entry
            for entry in document.value
        ]
        document = replace(document, value=entries)
    notifications = yaml_file.load_model(document, _Notifications, source=path).root
    for index, notification in enumerate(notifications):
        notification._file, notification._line = str(path), document.line([index])
    return notifications


def check_notifications(path: object) -> None:
    """Create every notifier and render its templates with a sample message. Nothing is sent.

    :raises InvalidInputError: when the file is not acceptable or a notifier cannot be created.
    """
    if not isinstance(path, str | Path | None):
        what = f"notifications: {short_repr(path)} is not the path of a file."
        raise NotificationError(what, field="notifications", code="not_a_path")
    for notification in load_notifications(path):
        for event in notification.on:
            create_notifier(notification, messages.SAMPLES[event])


def create_notifier(notification: Notification, message: Message) -> BaseNotifier:
    """Return the entry's notifier with its templates rendered, or raise NotificationError."""
    module, _, name = notification.notifier.rpartition(".")
    try:
        notifier_class = getattr(importlib.import_module(module), name)
    except Exception as error:  # the module may raise anything
        hint = "Install the provider that it is part of."
        what = f"cannot import {notification.notifier}: {_describe(error)}."
        raise notification.error(what, "notifier", "cannot_import", hint) from None
    if not isinstance(notifier_class, type) or not issubclass(notifier_class, BaseNotifier):
        what = f"{notification.notifier} is not a subclass of BaseNotifier."
        raise notification.error(what, "notifier", "not_a_notifier")
    arguments = notification.arguments or {}
    try:
        notifier = notifier_class(**arguments)
    except Exception as error:
        raise notification.error(_describe(error), "arguments", "invalid_arguments") from None
    for name, value in arguments.items():
        if name not in notifier.template_fields and any(mark in str(value) for mark in ("{{", "{%")):
            what = "this notifier does not render templates in this argument."
            raise notification.error(what, f"arguments.{name}", "not_templated")
    try:
        notifier.render_template_fields({"gemini": asdict(message)}, TEMPLATES)  # type: ignore[typeddict-unknown-key]
    except Exception as error:
        what = f"cannot render a template: {_describe(error)}"
        raise notification.error(what, "arguments", "cannot_render") from None
    return notifier


def send_notifications(run_notifier: GeminiRunNotifier, context: Context) -> None:
    """Send the message to every entry of the file that lists its event."""
    log = run_notifier.log
    try:
        notifications = load_notifications(run_notifier.notifications)
    except InvalidInputError as error:  # the file was acceptable when the run was validated
        log.error("No notification was sent: %s", error)
        return
    if not notifications:
        return
    # Airflow adds `reason` for the callbacks of a DAG only.
    message = _outcome(run_notifier, context) if "reason" in context else _request(context)
    if message is None:
        log.info("No notification: nothing was promoted and nothing failed")
        return
    for notification in notifications:
        if message.event in notification.on:
            _send(run_notifier, notification, message, context)


def _send(run_notifier: GeminiRunNotifier, notification: Notification, message: Message, context: Context) -> None:
    log = run_notifier.log
    try:
        again = retry_if_not_exception_type(NotificationError)
        for attempt in Retrying(stop=stop_after_attempt(MAX_ATTEMPTS), wait=WAIT, retry=again):
            with attempt:
                notifier = create_notifier(notification, message)
                notifier.notify({**context, "gemini": asdict(message)})  # type: ignore[typeddict-unknown-key]
    except NotificationError as error:
        log.error("Not sent: %s", error)
    except RetryError as error:
        cause = error.last_attempt.exception()
        name = notification.notifier
        log.error("%s did not send %r in %d attempts: %s", name, message.title, MAX_ATTEMPTS, _describe(cause))
    else:
        log.info("%s sent %r", notification.notifier, message.title)


def _outcome(run_notifier: GeminiRunNotifier, context: Context) -> Message | None:
    ti, dag_id, run_id = context.get("ti"), context["dag"].dag_id, context["run_id"]
    job = ti.xcom_pull(task_ids=run_notifier.tuning_job) if ti and run_notifier.tuning_job else None
    run = _run_link(dag_id, run_id, job)
    states = ti.get_task_states(dag_id=dag_id, run_ids=[run_id]).get(run_id, {}) if ti else {}
    achieved = None
    if report := ReportXCom.from_xcom(_pull(context, states, run_notifier.report)):
        achieved = messages.message_of_report(run, report, _pull(context, states, run_notifier.report, SUMMARY_XCOM))
    elif published := PublicationXCom.from_xcom(_pull(context, states, run_notifier.publish)):
        achieved = messages.message_of_publication(run, published)
    if context["reason"] == "success":
        return achieved
    return messages.message_of_failure(run, _errors(context, states), achieved)


def _pull(context: Context, states: Mapping[str, Any], task_id: str | None, key: str = "return_value") -> Any:
    """Return the XCom of a task that succeeded; that of any other task may be from an earlier try."""
    return context["ti"].xcom_pull(task_ids=task_id, key=key) if states.get(task_id or "") == "success" else None


def _request(context: Context) -> Message:
    ti, task = context["ti"], cast(Any, context["task"])
    decision = task.decision if isinstance(task.decision, Mapping) else {}
    run = _run_link(ti.dag_id, ti.run_id, task.tuning_job)
    return messages.message_of_request(run, task.subject, task.body, model=task.model, proposed=decision.get("winner"))


def _run_link(dag_id: str, run_id: str, tuning_job: object) -> RunLink:
    base = (conf.get("api", "base_url", fallback="") or "").rstrip("/")
    url = f"{base}/dags/{quote(dag_id, safe='')}/runs/{quote(run_id, safe='')}"
    return RunLink(dag_id, run_id, url, text(tuning_job) or "")


def _errors(context: Context, states: Mapping[str, Any]) -> dict[str, object]:
    """Return the errors of the failed tasks, as far as they pushed them."""
    found: dict[str, object] = {}
    tasks = context["dag"].task_dict
    for name in (name for name, state in states.items() if state == "failed"):
        task_id, _, index = name.rpartition("_")  # Airflow appends the map index of a mapped task
        mapped = name not in tasks and index.isdecimal()
        at: dict[str, Any] = {"map_indexes": int(index)} if mapped else {}
        found[name] = context["ti"].xcom_pull(task_ids=task_id if mapped else name, key=ERROR_XCOM, **at)
    return found


def _describe(error: BaseException | None) -> str:
    """Return an error's message without what Airflow knows to be secret: it may contain an address with a key."""
    return redact(mask_secrets(f"{type(error).__name__}: {error}"), 500)
