"""Retraining profiles: YAML files that say when to tune again, and with which Params. No Airflow, no network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gemini_tuning import yaml_file
from gemini_tuning.wording import shortened, shown

KEYS = frozenset({"description", "schedule", "params"})


class ProfileError(ValueError):
    """A profile file is not acceptable; the message names the file and the field."""


@dataclass(frozen=True)
class RetrainingProfile:
    """One file of ``dags/config/retraining``.

    :param name: the file's name without ``.yaml``.
    :param schedule: cron expression or preset such as ``@weekly``.
    :param params: Params of the tuning DAG.
    """

    name: str
    schedule: str
    params: Mapping[str, Any] = field(default_factory=dict)
    description: str = ""


def load_profile(path: Path) -> RetrainingProfile:
    """Read one profile.

    :raises ProfileError: when it is not acceptable.
    """
    try:
        data = yaml_file.parse(yaml_file.read_text(path))
    except (OSError, ValueError) as error:  # a YamlError is a ValueError
        raise ProfileError(f"{path}: cannot be read: {error}") from error
    if not isinstance(data, Mapping):
        raise ProfileError(f"{path}: expected a mapping with the keys {', '.join(sorted(KEYS))}")
    if unknown := sorted(key if isinstance(key, str) else shown(key) for key in data if key not in KEYS):
        named, known = shortened(", ".join(unknown), 200), ", ".join(sorted(KEYS))
        raise ProfileError(f"{path}: unknown key {named}; expected one of {known}")
    if not isinstance(data.get("schedule"), str) or not data["schedule"].strip():
        raise ProfileError(f"{path}: schedule: expected a cron expression or a preset such as @weekly")
    if not isinstance(data.get("params"), Mapping):
        raise ProfileError(f"{path}: params: expected a mapping with Params of the tuning DAG")
    if not isinstance(data.get("description", ""), str | None):
        raise ProfileError(f"{path}: description: expected a text, not {shown(data['description'])}")
    return RetrainingProfile(
        name=path.stem,
        schedule=data["schedule"],
        params=dict(data["params"]),
        description=data.get("description") or "",
    )
