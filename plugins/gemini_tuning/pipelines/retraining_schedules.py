"""Profiles as Airflow understands them: schedules, watched data, and an import error for each that is refused."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Asset, AssetAny, AssetOrTimeSchedule, AssetWatcher, CronTriggerTimetable, Param
from airflow.sdk.bases.timetable import BaseTimetable
from airflow.sdk.definitions.asset import BaseAsset

from gemini_tuning.core.labels import label_value
from gemini_tuning.core.text import redact
from gemini_tuning.retraining.profiles import ProfileError, RetrainingProfile, refusal
from gemini_tuning.triggers.gcs_change import GcsObjectChangeTrigger


def schedule_of(profile: RetrainingProfile) -> BaseTimetable | BaseAsset:
    """Return what starts a profile's runs: time, an asset, watched data, or time or data.

    :raises ProfileError: naming the field that Airflow refuses.
    """
    assets: list[BaseAsset] = [_watched(uri, profile) for uri in profile.watch]
    if name := profile.schedule.asset:
        assets.append(Asset.ref(uri=name) if "://" in name else Asset.ref(name=name))
    timetable = _timetable(profile)
    if timetable is None:
        return AssetAny(*assets)
    return AssetOrTimeSchedule(timetable=timetable, assets=AssetAny(*assets)) if assets else timetable


def check_params(profile: RetrainingProfile, params: Mapping[str, Param]) -> None:
    """Refuse what the tuning DAG would refuse.

    :param params: the tuning DAG's.
    :raises ProfileError: naming the Param.
    """
    for name, value in profile.params.items():
        if name not in params:
            known = ", ".join(sorted(params))
            raise refusal(profile.path, f"params.{name}: the tuning DAG has no such Param; it has: {known}")
        if isinstance(value, str) and "{{" in value:
            continue  # rendered when the run begins, and checked then
        param = params[name]
        try:
            Param(param.value, **param.schema).resolve(value)
        except (ValueError, TypeError) as error:  # a ParamValidationError is a ValueError
            raise refusal(profile.path, f"params.{name}: {redact(str(error).splitlines()[0], 300)}") from None


def memory_of(profile: RetrainingProfile) -> Asset:
    """Return the asset whose state tells a profile's next run what the last one did; each run that ends updates it."""
    return Asset(name=f"gemini_retraining_{profile.name}")


class RefusedProfile(DAG):
    """A DAG that Airflow can't take over, so that its error stands among Airflow's import errors, under its own file.

    An error of the DAG file itself would make Airflow retire all DAGs of that file. So this one fails where Airflow
    writes a DAG down, which it notes by the DAG's own file: the profile's.
    """

    def __init__(self, error: ProfileError) -> None:
        self._error = error
        self._relative: str | None = None
        super().__init__(dag_id=f"refused_{label_value(error.path.stem)}", schedule=None)

    @property
    def relative_fileloc(self) -> str | None:
        """Where the profile lies in the bundle."""
        return self._relative

    @relative_fileloc.setter
    def relative_fileloc(self, value: str | None) -> None:
        """Take over where the DAG file lies in the bundle: the profiles lie beside it."""
        beside = os.path.relpath(self._error.path, Path(self.fileloc).parent) if value and self.fileloc else None
        self._relative = str(Path(value).parent / beside) if value and beside else None

    def get_serialized_fields(self) -> frozenset[str]:  # type: ignore[override]  # Airflow asks the instance
        """Refuse."""
        raise self._error


def _watched(uri: str, profile: RetrainingProfile) -> Asset:
    connection, account = profile.connection
    trigger = GcsObjectChangeTrigger(uri, gcp_conn_id=connection, impersonation_chain=account)
    return Asset(name=uri, uri=uri, watchers=[AssetWatcher(name=uri, trigger=trigger)])


def _timetable(profile: RetrainingProfile) -> BaseTimetable | None:
    schedule = profile.schedule
    try:
        if schedule.cron:
            timetable: BaseTimetable = CronTriggerTimetable(schedule.cron, timezone=schedule.timezone)
        elif schedule.timetable:
            timetable = _made(schedule.timetable, schedule.arguments)
        else:
            return None
        timetable.validate()
    except Exception as error:  # anybody's timetable may raise anything
        raise refusal(profile.path, f"schedule: {redact(error, 300)}") from error
    return timetable


def _made(name: str, arguments: Mapping[str, Any]) -> BaseTimetable:
    module, _, class_name = name.rpartition(".")
    made = getattr(importlib.import_module(module), class_name)(**arguments)
    if not isinstance(made, BaseTimetable):
        raise TypeError(f"{name} is not a timetable")
    return made
