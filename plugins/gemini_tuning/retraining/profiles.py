"""Retraining profiles: YAML files that define when to tune again, with which Params, and from which model."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from gemini_tuning.core.names import ResourceName, ResourceNameError, split_gcs_uri
from gemini_tuning.core.text import short_repr
from gemini_tuning.core.yaml_file import Document, YamlError, YamlModel, load_file, load_model

DATASET_PARAM = "training_dataset_uri"
# The model to continue from is set with continue_from: a fixed one would be the same in each run.
EXCLUDED_PARAMS = ("pre_tuned_model", "pre_tuned_model_checkpoint_id", "force_new_job")
MAX_WATCHED = 20
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,200}")
_CLASS = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
# Which other keys belong to each kind of schedule.
_SCHEDULE_KINDS = {"cron": {"timezone"}, "timetable": {"arguments"}, "asset": set[str]()}


class ContinueFrom(StrEnum):
    """The model that a run tunes."""

    BASE = "base"  # the base model
    PROMOTED = "promoted"  # version and checkpoint of the profile's last promotion
    CHAMPION = "champion"  # the model in the Param `champion`


def _timezone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (LookupError, ValueError, OSError):  # a ZoneInfoNotFoundError is a KeyError
        raise PydanticCustomError("unknown_timezone", "unknown time zone {name}", {"name": short_repr(name)}) from None
    return name


def _class_path(name: str) -> str:
    if not _CLASS.fullmatch(name):
        raise PydanticCustomError("invalid_class", "expected package.Class, not {name}", {"name": short_repr(name)})
    return name


def _watched(uri: Any) -> Any:
    if split_gcs_uri(uri) is None:
        message = "expected gs://bucket/object, or a folder as gs://bucket/folder/, not {uri}"
        raise PydanticCustomError("invalid_gcs_uri", message, {"uri": short_repr(uri)})
    return uri


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) else [] if value is None else [value]


def _params(params: dict[str, Any]) -> dict[str, Any]:
    if not params.get(DATASET_PARAM):
        raise PydanticCustomError("missing_param", "required", {"key": DATASET_PARAM})
    for name in EXCLUDED_PARAMS:
        if name in params:
            context = {"key": name, "hint": "Set continue_from to choose the model."}
            raise PydanticCustomError("excluded_param", "not allowed in a profile.", context)
    return params


Text = Annotated[str, StringConstraints(strict=True, strip_whitespace=True, min_length=1)]


class Schedule(YamlModel):
    """When runs start: one of ``cron``, ``timetable`` and ``asset``."""

    cron: Text | None = None  # expression or preset such as @weekly
    timezone: Annotated[Text, AfterValidator(_timezone)] = "UTC"  # of the expression
    timetable: Annotated[Text, AfterValidator(_class_path)] | None = None  # package.Class, called with arguments
    arguments: dict[str, Any] = Field(default={})
    asset: Text | None = None  # name or URI of an Airflow asset that other DAGs update

    @model_validator(mode="before")
    @classmethod
    def _accept_cron(cls, value: Any) -> Any:
        return {"cron": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        kinds = [kind for kind in _SCHEDULE_KINDS if getattr(self, kind)]
        if len(kinds) != 1 or self.model_fields_set - {*kinds, *_SCHEDULE_KINDS[kinds[0]]}:
            raise PydanticCustomError(
                "ambiguous_schedule",
                "expected a cron expression, or exactly one of cron (with timezone), timetable (with arguments), asset",
            )
        return self


class RetrainingProfile(YamlModel):
    """A file in ``dags/config/retraining``."""

    description: Text | None = None
    continue_from: ContinueFrom = ContinueFrom.BASE
    params: Annotated[dict[str, Any], AfterValidator(_params)]  # of the tuning DAG
    schedule: Schedule | None = None  # changes of watched data start runs too
    watch: Annotated[
        list[Annotated[str, BeforeValidator(_watched)]], BeforeValidator(_listed), Field(max_length=MAX_WATCHED)
    ] = Field(default=[])  # gs:// objects, or folders ending in /
    _path: Path = PrivateAttr(default=Path())
    _document: Document = PrivateAttr(default=Document(None))

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.schedule is None and not self.watch:
            raise PydanticCustomError("missing_schedule", "schedule or watch is required: the DAG would never run")
        if self.continue_from is ContinueFrom.CHAMPION:
            try:
                ResourceName.parse(self.params.get("champion"), "models")
            except ResourceNameError as error:
                context = {"key": "continue_from", "error": str(error)}
                raise PydanticCustomError("invalid_champion", "params.champion: {error}", context) from None
        return self

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    @property
    def name(self) -> str:
        """The file's name without ``.yaml``."""
        return self._path.stem

    @property
    def connection(self) -> tuple[str, str | None]:
        """The Airflow connection and the service account to impersonate."""
        return self.params.get("gcp_conn_id") or "google_cloud_default", self.params.get("impersonation_chain")

    def error(self, what: str, *path: str, code: str) -> YamlError:
        """Return an error about the field at a path of keys from the root of the file."""
        line, field = self._document.line(path), ".".join(path)
        return YamlError(what, source=str(self._path), line=line, field=field, code=code)


def load_profile(path: Path) -> RetrainingProfile:
    """Read a profile; one that is not acceptable is a :class:`YamlError`."""
    if not _NAME.fullmatch(path.stem):
        what = "the name of the file becomes a DAG id: only letters, digits, _, - and . are allowed"
        raise YamlError(what, source=str(path), code="invalid_name")
    document = load_file(path)
    profile = load_model(document, RetrainingProfile, source=path)
    profile._path, profile._document = path, document
    return profile


def load_profiles(
    folder: Path, check: Callable[[RetrainingProfile], None]
) -> tuple[list[RetrainingProfile], list[YamlError]]:
    """Read all profiles in a folder; return the acceptable ones, and the errors of the others.

    :param check: raises a :class:`YamlError` for a profile that Airflow or the tuning DAG would reject.
    """
    profiles: list[RetrainingProfile] = []
    errors: list[YamlError] = []
    watchers: dict[str, RetrainingProfile] = {}
    for path in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]):
        try:
            profile = load_profile(path)
            # One connection for each object: Airflow has one asset, with one watcher, for all profiles.
            for uri in profile.watch:
                if (other := watchers.get(uri)) and other.connection != profile.connection:
                    what = f"{uri} is watched by {other.path.name} with another connection"
                    raise profile.error(what, "watch", code="connection_conflict")
            check(profile)
        except YamlError as error:
            errors.append(error)
        else:
            profiles.append(profile)
            watchers.update({uri: profile for uri in profile.watch if uri not in watchers})
    return profiles, errors
