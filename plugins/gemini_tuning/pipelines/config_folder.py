"""The configuration folder: smoke suites, prices, notifications and retraining profiles."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from airflow.sdk import conf

PACKAGED = Path(__file__).with_name("config")  # in the wheel; in the repository it is dags/config


@dataclass(frozen=True)
class ConfigFolder:
    """A configuration folder; ``gs://`` addresses of suites need none."""

    path: Path

    @classmethod
    def find(cls, given: str | Path | None = None) -> ConfigFolder:
        """Return the given folder, else that of ``[gemini_tuning] config_folder``, else ``config`` beside the DAG file
        that calls the factory, else the defaults of the package.
        """
        if folder := given or conf.get("gemini_tuning", "config_folder", fallback=None):
            return cls(Path(folder))
        caller = sys._getframe(2).f_globals.get("__file__")
        beside = Path(caller or "").parent / "config"
        return cls(beside if caller and beside.is_dir() else PACKAGED)

    @property
    def suites(self) -> str:
        """Folder of the smoke suites."""
        return str(self.path / "smoke")

    @property
    def prices(self) -> str:
        """The file with prices."""
        return str(self.path / "prices.yaml")

    @property
    def notifications(self) -> str:
        """The file that says which notifier sends which events."""
        return str(self.path / "notifications.yaml")

    @property
    def profiles(self) -> str:
        """Folder of the retraining profiles."""
        return str(self.path / "retraining")
