"""Retraining profiles: YAML files that say when to tune again, with which Params, and from which model.

Pure but for reading the file: no Airflow, no network.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from gemini_tuning.core import yaml_file
from gemini_tuning.core.names import ResourceName, ResourceNameError
from gemini_tuning.core.text import short_repr, shorten

KEYS = ("description", "go_on_from", "params", "schedule", "watch")
SCHEDULE_KEYS = ("cron", "timezone"), ("timetable", "arguments"), ("asset",)
DATA_PARAM = "training_dataset_uri"
# What goes on from a model is said with go_on_from: a fixed model would be the same each time.
NOT_IN_PARAMS = ("pre_tuned_model", "pre_tuned_model_checkpoint_id", "force_new_job")
MAX_WATCHED = 20
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,200}")
_WATCHED = re.compile(r"gs://[a-z0-9][a-z0-9._-]{1,220}/\S{0,1000}")
_CLASS = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")


class ProfileError(ValueError):
    """A profile file is not acceptable; the message names the file, the line and the field.

    :param path: of the file.
    """

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(f"{path}: {what}")
        self.path = path


class GoOnFrom(StrEnum):
    """From which model a run goes on."""

    BASE = "base"  # always anew
    PROMOTED = "promoted"  # version and checkpoint that the profile's last successful promotion made the default
    CHAMPION = "champion"  # the model that the Param `champion` names


@dataclass(frozen=True)
class Schedule:
    """When a profile's runs begin, data that changes aside; all empty: by hand or by data alone.

    :param cron: expression or preset such as ``@weekly``.
    :param timezone: of the expression.
    :param timetable: a timetable's class, ``package.Class``, made with ``arguments``.
    :param asset: name, or address, of an asset of Airflow's that other DAGs update.
    """

    cron: str | None = None
    timezone: str = "UTC"
    timetable: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    asset: str | None = None


@dataclass(frozen=True)
class RetrainingProfile:
    """One file of ``dags/config/retraining``.

    :param name: the file's name without ``.yaml``.
    :param watch: ``gs://`` objects, or folders ending in ``/``: a run begins when one of them changes.
    :param params: Params of the tuning DAG.
    """

    name: str
    path: Path
    schedule: Schedule
    watch: tuple[str, ...] = ()
    go_on_from: GoOnFrom = GoOnFrom.BASE
    params: Mapping[str, Any] = field(default_factory=dict)
    description: str = ""

    @property
    def connection(self) -> tuple[str, str | None]:
        """The Airflow connection, and the account to act as."""
        return self.params.get("gcp_conn_id") or "google_cloud_default", self.params.get("impersonation_chain")


def load_profile(path: Path) -> RetrainingProfile:
    """Read one profile.

    :raises ProfileError: when it is not acceptable.
    """
    try:
        document = yaml_file.load(yaml_file.read_text(path))
    except (OSError, ValueError) as error:  # a YamlError is a ValueError
        raise ProfileError(path, f"cannot be read: {error}") from error
    return _Reader(path, document).profile()


class _Reader:
    """Turns one file into a profile."""

    def __init__(self, path: Path, document: yaml_file.Document) -> None:
        self.path, self.document = path, document

    def profile(self) -> RetrainingProfile:
        data = self._mapping(self.document.value, KEYS)
        if not _NAME.fullmatch(self.path.stem):
            raise self._refused("the file's name becomes the DAG's: letters, digits, _, - and . only")
        schedule, watch = self._schedule(data.get("schedule")), self._watch(data.get("watch"))
        if schedule == Schedule() and not watch:
            raise self._refused("schedule: there is neither schedule nor watch, so it would never run")
        params = self._params(data.get("params"))
        return RetrainingProfile(
            name=self.path.stem,
            path=self.path,
            schedule=schedule,
            watch=watch,
            go_on_from=self._go_on_from(data.get("go_on_from", GoOnFrom.BASE.value), params),
            params=params,
            description=self._text(data, "description") or "",
        )

    def _schedule(self, value: object) -> Schedule:
        if value is None or isinstance(value, str):
            return Schedule(cron=self._filled(value, "schedule"))
        kinds = [keys for keys in SCHEDULE_KEYS if isinstance(value, Mapping) and keys[0] in value]
        if len(kinds) != 1:
            raise self._refused(
                "schedule: expected a cron expression, a preset such as @weekly, or a mapping with one of "
                f"{', '.join(keys[0] for keys in SCHEDULE_KEYS)}, not {short_repr(value)}",
                "schedule",
            )
        data = self._mapping(value, kinds[0], "schedule")
        given = {key: self._text(data, key, "schedule") for key in data if key != "arguments"}
        if (timezone := given.get("timezone")) and not _is_timezone(timezone):
            raise self._refused(f"schedule.timezone: there is no {short_repr(timezone)}", "schedule", "timezone")
        if (timetable := given.get("timetable")) and not _CLASS.fullmatch(timetable):
            raise self._refused(
                f"schedule.timetable: {short_repr(timetable)} is not package.Class", "schedule", "timetable"
            )
        arguments = data.get("arguments") or {}
        if not isinstance(arguments, Mapping) or not all(isinstance(key, str) for key in arguments):
            raise self._refused("schedule.arguments: expected a mapping with names", "schedule", "arguments")
        return Schedule(
            cron=given.get("cron"),
            timezone=timezone or "UTC",
            timetable=timetable,
            arguments=dict(arguments),
            asset=given.get("asset"),
        )

    def _watch(self, value: object) -> tuple[str, ...]:
        uris = [] if value is None else value if isinstance(value, list) else [value]
        for uri in uris:
            if not isinstance(uri, str) or not _WATCHED.fullmatch(uri):
                raise self._refused(
                    f"watch: {short_repr(uri)} is not gs://bucket/object, nor a folder, gs://bucket/folder/", "watch"
                )
        if len(uris) > MAX_WATCHED:
            raise self._refused(f"watch: {len(uris)} addresses; at most {MAX_WATCHED}. Watch a folder", "watch")
        return tuple(dict.fromkeys(uris))

    def _params(self, value: object) -> dict[str, Any]:
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            raise self._refused("params: expected a mapping with Params of the tuning DAG", "params")
        if not value.get(DATA_PARAM):
            raise self._refused(f"params.{DATA_PARAM}: is required", "params")
        for name in NOT_IN_PARAMS:
            if name in value:
                raise self._refused(
                    f"params.{name}: not in a profile; go_on_from says what to go on from", "params", name
                )
        return dict(value)

    def _go_on_from(self, value: object, params: Mapping[str, Any]) -> GoOnFrom:
        try:
            go_on_from = GoOnFrom(str(value))
        except ValueError:
            raise self._refused(
                f"go_on_from: expected {_one_of(GoOnFrom)}, not {short_repr(value)}", "go_on_from"
            ) from None
        if go_on_from is GoOnFrom.CHAMPION and not _is_model(params.get("champion")):
            raise self._refused(
                "go_on_from: champion needs params.champion to name a model, projects/P/locations/L/models/ID@VERSION",
                "go_on_from",
            )
        return go_on_from

    def _mapping(self, value: object, keys: tuple[str, ...], *place: str) -> Mapping[str, Any]:
        known, name = ", ".join(sorted(keys)), ".".join(place)
        if not isinstance(value, Mapping):
            raise self._refused(f"{name + ': ' if name else ''}expected a mapping with the keys {known}", *place)
        if unknown := [key for key in value if key not in keys]:
            named = shorten(", ".join(sorted(key if isinstance(key, str) else short_repr(key) for key in unknown)), 200)
            first = (*place, unknown[0]) if isinstance(unknown[0], str) else place
            raise self._refused(f"{name + ': ' if name else ''}unknown key {named}; expected one of {known}", *first)
        return value

    def _text(self, data: Mapping[str, Any], key: str, *place: str) -> str | None:
        return None if data.get(key) is None else self._filled(data[key], *place, key)

    def _filled(self, value: object, *place: str) -> str | None:
        if value is None:
            return None
        if not isinstance(value, str) or not value.strip():
            raise self._refused(f"{'.'.join(place)}: expected a text, not {short_repr(value)}", *place)
        return value.strip()

    def _refused(self, what: str, *place: str) -> ProfileError:
        return refusal(self.path, what, self.document.line(place))


def refusal(path: Path, what: str, line: int | None = None) -> ProfileError:
    """Return an error that names the file, the line where it is known, and the field."""
    return ProfileError(path, what if line is None else f"line {line}: {what}")


def load_profiles(
    folder: Path, check: Callable[[RetrainingProfile], None]
) -> tuple[list[RetrainingProfile], list[ProfileError]]:
    """Read all profiles of a folder: those that are acceptable, and what is wrong with the others.

    :param check: raises a :class:`ProfileError` for a profile that Airflow or the tuning DAG would refuse.
    """
    profiles: list[RetrainingProfile] = []
    errors: list[ProfileError] = []
    watchers: dict[str, RetrainingProfile] = {}
    for path in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]):
        try:
            profile = load_profile(path)
            _refuse_other_connection(profile, watchers)
            check(profile)
        except ProfileError as error:
            errors.append(error)
        else:
            profiles.append(profile)
            watchers.update({uri: profile for uri in profile.watch if uri not in watchers})
    return profiles, errors


def _refuse_other_connection(profile: RetrainingProfile, watchers: Mapping[str, RetrainingProfile]) -> None:
    """Keep to one connection for each object: to Airflow it is one asset, whoever watches it."""
    for uri in profile.watch:
        if (other := watchers.get(uri)) and other.connection != profile.connection:
            raise refusal(profile.path, f"watch: {uri} is watched by {other.path.name} over another connection")


def _is_timezone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (LookupError, ValueError, OSError):  # a ZoneInfoNotFoundError is a KeyError
        return False
    return True


def _is_model(name: object) -> bool:
    try:
        ResourceName.parse(name, "models")
    except ResourceNameError:
        return False
    return True


def _one_of(kinds: type[StrEnum]) -> str:
    return ", ".join(kinds)
