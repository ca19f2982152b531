"""Airflow's notifiers, made of the file's entries, and what they are told."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseNotifier, conf

from gemini_tuning.core.text import redact, short_repr
from gemini_tuning.reporting.notification_config import Notification, NotificationError, load_notifications
from gemini_tuning.reporting.notification_message import SAMPLES, Message, Run, of_request

if TYPE_CHECKING:
    from airflow.sdk import Context
    from jinja2 import Environment

TEMPLATE_MARKS = ("{{", "{%")


def check_notifications(path: object) -> None:
    """Refuse a file whose notifiers could not be made or whose templates could not be filled in. Nothing is sent.

    :param path: of the file; ``None``: there is none.
    :raises NotificationError: naming the file, the line and the field.
    """
    if not isinstance(path, str | Path | None):
        raise NotificationError(f"notifications: {short_repr(path)} is not the path of a file")
    for notification in load_notifications(Path(path)) if path else ():
        for sample in SAMPLES:
            if sample.event in notification.on:
                _rendered(notification, sample)


def wanted(path: str | None, event: str) -> list[Notification]:
    """Return who is to be told of an event.

    :raises NotificationError: when the file is not acceptable.
    """
    return [entry for entry in load_notifications(Path(path)) if event in entry.on] if path else []


def send(notification: Notification, message: Message, context: Context) -> None:
    """Tell one; whatever the notifier raises is raised.

    :raises NotificationError: when the notifier can't be made.
    """
    notifier = _rendered(notification, message)
    notifier.notify({**context, "gemini": message.as_dict()})  # type: ignore[typeddict-unknown-key]


def run_of(context: Context, tuning_job: object = None) -> Run:
    """Return which run it is."""
    from urllib.parse import quote

    ti = context["ti"]
    base = (conf.get("api", "base_url", fallback="") or "").rstrip("/")
    path = f"/dags/{quote(ti.dag_id, safe='')}/runs/{quote(ti.run_id, safe='')}"
    return Run(ti.dag_id, ti.run_id, f"{base}{path}", tuning_job if isinstance(tuning_job, str) else None)


class ApprovalNotifier(BaseNotifier):
    """Tells those who are to be told that a run waits for a person; for the ``notifiers`` of the task that asks.

    One that fails is logged and changes nothing: the question stands under Required Actions all the same.

    :param notifications: the file that says who is told.
    """

    def __init__(self, notifications: str | None) -> None:
        super().__init__()
        self.notifications = notifications

    def notify(self, context: Context) -> None:
        """Send what the task asks."""
        task: Any = context["task"]
        decision = task.decision if isinstance(task.decision, Mapping) else {}
        message = of_request(
            run_of(context, task.tuning_job),
            task.subject,
            task.body,
            model=task.model,
            proposed=decision.get("winner"),
        )
        for failure in failures(self.notifications, message, context):
            self.log.error("%s", failure)


def failures(path: str | None, message: Message, context: Context) -> Iterator[str]:
    """Tell all who are to be told of a message, and yield in words what went wrong."""
    try:
        entries = wanted(path, message.event)
    except NotificationError as error:
        yield str(error)
        return
    for entry in entries:
        if failure := attempt(entry, message, context):
            yield failure


def attempt(notification: Notification, message: Message, context: Context) -> str | None:
    """Tell one; return in words what went wrong."""
    try:
        send(notification, message, context)
    except NotificationError as error:
        return str(error)
    except Exception as error:  # notifiers are others' code
        return f"{notification.where}: {notification.notifier} failed: {_words(error)}"
    return None


def _rendered(notification: Notification, message: Message) -> BaseNotifier:
    where = notification.where
    notifier = _made(notification)
    templated = set(notifier.template_fields)
    for name, value in notification.arguments.items():
        if name not in templated and any(mark in text for text in _texts(value) for mark in TEMPLATE_MARKS):
            raise NotificationError(f"{where}: arguments: {name}: this notifier fills in no template there")
    try:
        notifier.render_template_fields({"gemini": message.as_dict()}, _templates())  # type: ignore[typeddict-unknown-key]
    except Exception as error:
        raise NotificationError(f"{where}: arguments: a template cannot be filled in: {_words(error)}") from None
    return notifier


@functools.cache
def _templates() -> Environment:
    """Return what fills in templates; imported here because DAG files are read without it.

    They see ``gemini`` and nothing else, no connection, no variable, no task; and what a message says, which may be
    the words of a model, is not read as a template again.
    """
    from jinja2 import StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    return SandboxedEnvironment(undefined=StrictUndefined)


def _made(notification: Notification) -> BaseNotifier:
    where, (module, _, name) = notification.where, notification.notifier.rpartition(".")
    try:
        kind = getattr(importlib.import_module(module), name)
    except Exception as error:  # importing runs others' code
        raise NotificationError(
            f"{where}: notifier: cannot import {notification.notifier}: {_words(error)}. Is its provider installed?"
        ) from None
    if not isinstance(kind, type) or not issubclass(kind, BaseNotifier):
        raise NotificationError(f"{where}: notifier: {notification.notifier} is not a notifier of Airflow's")
    try:
        return kind(**notification.arguments)
    except Exception as error:
        raise NotificationError(f"{where}: arguments: {_words(error)}") from None


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(inner)


def _words(error: Exception) -> str:
    """Return an error's words without what Airflow knows to be secret: a notifier's may hold an address with a key."""
    from airflow.sdk._shared.secrets_masker import redact as mask_secrets

    return redact(mask_secrets(f"{type(error).__name__}: {error}"), 500)
