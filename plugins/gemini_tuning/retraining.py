"""Retraining profiles: YAML files that say when to tune again, and with which Params. No Airflow, no network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

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
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ProfileError(f"{path}: cannot be read: {error}") from error
    if not isinstance(data, Mapping):
        raise ProfileError(f"{path}: expected a mapping with the keys {', '.join(sorted(KEYS))}")
    if unknown := sorted(str(key) for key in data if key not in KEYS):
        raise ProfileError(f"{path}: unknown key {', '.join(unknown)}; expected one of {', '.join(sorted(KEYS))}")
    if not isinstance(data.get("schedule"), str) or not data["schedule"].strip():
        raise ProfileError(f"{path}: schedule: expected a cron expression or a preset such as @weekly")
    if not isinstance(data.get("params"), Mapping):
        raise ProfileError(f"{path}: params: expected a mapping with Params of the tuning DAG")
    return RetrainingProfile(
        name=path.stem,
        schedule=data["schedule"],
        params=dict(data["params"]),
        description=str(data.get("description") or ""),
    )
