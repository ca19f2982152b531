"""Retraining profiles as Airflow objects: schedules, watched assets, and an import error for each rejected profile."""

from __future__ import annotations

import os
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from airflow.sdk import DAG, Asset, AssetAny, AssetOrTimeSchedule, AssetWatcher, CronTriggerTimetable, Param
from airflow.sdk.bases.timetable import BaseTimetable
from airflow.sdk.definitions.asset import BaseAsset

from gemini_tuning.core.labels import label_value
from gemini_tuning.core.text import redact
from gemini_tuning.triggers.gcs_change import GcsObjectChangeTrigger

if TYPE_CHECKING:
    from gemini_tuning.core.yaml_file import YamlError
    from gemini_tuning.retraining.profiles import RetrainingProfile


def schedule_of(profile: RetrainingProfile) -> BaseTimetable | BaseAsset:
    """Return what starts a profile's runs: a timetable, assets, or both.

    :raises YamlError: when Airflow rejects the schedule.
    """
    assets: list[BaseAsset] = [_watched(uri, profile) for uri in dict.fromkeys(profile.watch)]
    if profile.schedule and (name := profile.schedule.asset):
        assets.append(Asset.ref(uri=name) if "://" in name else Asset.ref(name=name))
    timetable = _timetable(profile)
    if timetable is None:
        return AssetAny(*assets)
    return AssetOrTimeSchedule(timetable=timetable, assets=AssetAny(*assets)) if assets else timetable


def check_params(profile: RetrainingProfile, params: Mapping[str, Param]) -> None:
    """Check a profile's Params against those of the tuning DAG.

    Templated values are skipped: they are rendered and checked when the run starts.

    :param params: the tuning DAG's.
    :raises YamlError: for the first Param that is unknown or invalid.
    """
    for name, value in profile.params.items():
        if name not in params:
            what = f"the tuning DAG has no such Param; expected one of {', '.join(sorted(params))}"
            raise profile.error(what, "params", name, code="unknown_param")
        if isinstance(value, str) and "{{" in value:
            continue
        param = params[name]
        try:
            Param(param.value, **param.schema).resolve(value)
        except (ValueError, TypeError) as error:  # a ParamValidationError is a ValueError
            what = redact(str(error).splitlines()[0], 300)
            raise profile.error(what, "params", name, code="invalid_param") from None


def memory_of(profile: RetrainingProfile) -> Asset:
    """Return the asset whose state keeps a profile's :class:`~gemini_tuning.retraining.planning.Memory`."""
    return Asset(name=f"gemini_retraining_{profile.name}")


class RejectedProfile(DAG):
    """A DAG that fails to serialize, so that Airflow lists the error of a profile under the profile's own file.

    An exception in the DAG file itself would be listed under the DAG file, and Airflow would deactivate the DAGs of all
    its profiles.
    """

    def __init__(self, error: YamlError) -> None:
        self._error = error
        self._path = Path(error.resource)
        self._relative: str | None = None
        super().__init__(dag_id=f"rejected_{label_value(self._path.stem)}", schedule=None)

    @property
    def relative_fileloc(self) -> str | None:
        """Path of the profile in the DAG bundle."""
        return self._relative

    @relative_fileloc.setter
    def relative_fileloc(self, value: str | None) -> None:
        """Airflow sets the DAG file's path in the bundle; the profile's is relative to it."""
        beside = os.path.relpath(self._path, Path(self.fileloc).parent) if value and self.fileloc else None
        self._relative = str(Path(value).parent / beside) if value and beside else None

    def get_serialized_fields(self) -> frozenset[str]:  # type: ignore[override]  # Airflow calls it on the instance
        """Raise the profile's error."""
        raise self._error


def _watched(uri: str, profile: RetrainingProfile) -> Asset:
    connection, account = profile.connection
    trigger = GcsObjectChangeTrigger(uri, gcp_conn_id=connection, impersonation_chain=account)
    return Asset(name=uri, uri=uri, watchers=[AssetWatcher(name=uri, trigger=trigger)])


def _timetable(profile: RetrainingProfile) -> BaseTimetable | None:
    schedule = profile.schedule
    if schedule is None or schedule.asset:
        return None
    try:
        if schedule.cron:
            timetable = CronTriggerTimetable(schedule.cron, timezone=schedule.timezone)
        else:
            timetable = pkgutil.resolve_name(str(schedule.timetable))(**schedule.arguments)
        if not isinstance(timetable, BaseTimetable):
            raise TypeError(f"{schedule.timetable} is not a timetable")
        timetable.validate()
    except Exception as error:  # a custom timetable may raise anything
        raise profile.error(redact(error, 300), "schedule", code="invalid_schedule") from error
    return timetable
