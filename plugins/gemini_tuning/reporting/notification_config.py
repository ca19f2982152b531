"""The format of ``dags/config/notifications.yaml``. Pure but for reading the file: no Airflow, no network."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gemini_tuning.core import yaml_file
from gemini_tuning.core.text import redact, short_repr, shorten
from gemini_tuning.reporting.notification_message import EVENTS

KEYS = ("on", "notifier", "arguments")
MAX_NOTIFICATIONS = 50
_CLASS = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")


class NotificationError(ValueError):
    """The file, or a notifier in it, is not acceptable; the message names the file, the line and the field."""


@dataclass(frozen=True)
class Notification:
    """One entry of the file.

    :param where: file and line, for messages.
    :param on: events.
    :param notifier: full name of a notifier class.
    :param arguments: that it is made with.
    """

    where: str
    on: frozenset[str]
    notifier: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


def load_notifications(path: Path) -> list[Notification]:
    """Read the file; none, and one in which nothing stands, mean that nobody is told.

    :raises NotificationError: when it is not acceptable.
    """
    try:
        if not path.exists():
            return []
        document = yaml_file.load(yaml_file.read_text(path))
    except (OSError, ValueError) as error:  # a YamlError is a ValueError
        where = shorten(str(path), 500)
        raise NotificationError(f"{where}: notifications cannot be read: {redact(error, 500)}") from error
    entries = [] if document.value is None else document.value
    if not isinstance(entries, list) or len(entries) > MAX_NOTIFICATIONS:
        raise NotificationError(f"{path}: expected a list of at most {MAX_NOTIFICATIONS} entries")
    return [_notification(entry, f"{path}:{document.line([index])}") for index, entry in enumerate(entries)]


def _notification(entry: Any, where: str) -> Notification:
    if not isinstance(entry, Mapping):
        raise NotificationError(f"{where}: expected a mapping with the keys {', '.join(KEYS)}, not {short_repr(entry)}")
    entry = {"on" if key is True else key: value for key, value in entry.items()}  # as YAML 1.1 reads on
    if unknown := [key for key in entry if key not in KEYS]:
        raise NotificationError(f"{where}: unknown key {short_repr(unknown[0])}; expected one of {', '.join(KEYS)}")
    on, notifier, arguments = entry.get("on"), entry.get("notifier"), entry.get("arguments")
    if not isinstance(on, list) or not on or not all(isinstance(event, str) and event in EVENTS for event in on):
        raise NotificationError(f"{where}: on: expected a list out of {', '.join(EVENTS)}, not {short_repr(on)}")
    if not isinstance(notifier, str) or not _CLASS.fullmatch(notifier):
        raise NotificationError(f"{where}: notifier: expected the full name of a class, not {short_repr(notifier)}")
    if not isinstance(arguments, Mapping | None) or not all(isinstance(name, str) for name in arguments or ()):
        raise NotificationError(f"{where}: arguments: expected a mapping by name, not {short_repr(arguments)}")
    return Notification(where, frozenset(on), notifier, dict(arguments or {}))
