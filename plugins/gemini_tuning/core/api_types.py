"""Base and field types of values that are read from the JSON of Google's APIs.

They are validated by pydantic, whose ValidationError becomes a ServiceError in
:func:`gemini_tuning.hooks.errors.service_errors`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar, Self, TypeVar

from pydantic import AfterValidator, AliasPath, BeforeValidator, ConfigDict, Field, GetCoreSchemaHandler, TypeAdapter
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema, core_schema

from gemini_tuning.core.exceptions import UnexpectedResponseError
from gemini_tuning.core.names import ResourceName, operation_location
from gemini_tuning.core.text import redact, short_repr

MAX_ENUM = 100  # characters of a state, a phase, a finish reason
MAX_TEXT = 1_000  # characters of a display name or the name of an experiment
MAX_COUNT = 2**63
MAX_CHECKPOINT_ID = 100  # characters
EARLIEST_YEAR = 2000  # a zero time, 1970 or year 1, is a time that is not set

T = TypeVar("T")


class ApiValue:
    """Base of dataclasses that are read from the API's JSON; creating one directly validates nothing.

    Fields that are not listed are ignored; null or empty means not set.
    """

    __pydantic_config__: ClassVar = ConfigDict(alias_generator=to_camel)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(cls._prepare, handler(source))

    @classmethod
    def _prepare(cls, data: Any) -> Any:
        """Return the JSON as it is validated."""
        return {k: v for k, v in data.items() if v not in (None, "")} if isinstance(data, Mapping) else data

    @classmethod
    def from_json(cls, raw: Any) -> Self:
        """Validate the API's JSON."""
        return cls.adapter().validate_python(raw)

    @classmethod
    @functools.cache
    def adapter(cls) -> TypeAdapter[Self]:
        """Return the validator, which takes milliseconds to build at first use."""
        return TypeAdapter(cls)


@dataclass(frozen=True)
class ApiResource(ApiValue):
    """Base of values that have a full name; ``collection`` is its last part but one, for example ``models``."""

    collection: ClassVar[str]

    name: str

    @classmethod
    def from_json(cls, raw: Any, requested: str | None = None) -> Self:
        """Validate the API's JSON; raise UnexpectedResponseError when it is not the resource with the requested name.

        A version in that name which is no number is an alias.
        """
        found = super().from_json(raw)
        if requested is not None and not cls._is_same(found.name, requested):
            raise UnexpectedResponseError(f"the response is about {found.name}", field="name")
        return found

    @classmethod
    def location_of(cls, name: str) -> str:
        """Return the location in the full name of such a resource."""
        return ResourceName.parse(name, cls.collection).location

    @classmethod
    def _is_same(cls, name: str, requested: str) -> bool:
        found, expected = (ResourceName.parse(each, cls.collection) for each in (name, requested))
        other_version = found.version and (expected.version or "").isdigit() and found.version != expected.version
        return not other_version and found.is_same_resource(expected)


def at(first: str, *path: str | int) -> Any:
    """Declare a field that is the value at a path; anything else than messages on the way there counts as not set."""
    return Field(validation_alias=AliasPath(first, *path))


def with_version(data: Any, name: str, version: str) -> Any:
    """Return a message whose model name includes the version, which the API returns in a field of its own."""
    if not isinstance(data, Mapping) or not data.get(name) or not data.get(version) or "@" in str(data[name]):
        return data
    return {**data, name: f"{data[name]}@{data[version]}"}


def checkpoint_id(value: object) -> str:
    """Return a checkpoint's id as text."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) and abs(value) < MAX_COUNT else value
    if not isinstance(text, str) or not text.strip() or not text.isprintable() or len(text) > MAX_CHECKPOINT_ID:
        raise ValueError(f"{short_repr(value)} is not the id of a checkpoint")
    return text


def not_bool(value: Any) -> Any:
    """Refuse true and false, which pydantic accepts as numbers."""
    if isinstance(value, bool):
        raise ValueError(f"{value} is not a number")
    return value


def number(value: object) -> float | int | None:
    """Return a finite number that JSON can carry; ``None`` for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) < MAX_COUNT and math.isfinite(value) else None


def _iso(value: Any) -> str | None:
    moment = datetime.fromisoformat(value)
    return moment.isoformat() if moment.year >= EARLIEST_YEAR else None


def _seconds(value: Any) -> float | None:
    try:
        moment = datetime.fromisoformat(value)
        return moment.timestamp() if moment.tzinfo else None
    except (TypeError, ValueError, OverflowError):
        return None


def _name(collection: str) -> Any:
    return BeforeValidator(lambda value: str(ResourceName.parse(value, collection)))


def _version_name(value: Any) -> str:
    name = ResourceName.parse(value, "models")
    if name.version is None:
        raise ValueError(f"{name} has no version")
    return str(name)


EndpointName = Annotated[str, _name("endpoints")]
ModelName = Annotated[str, _name("models")]
TuningJobName = Annotated[str, _name("tuningJobs")]
EvaluationRunName = Annotated[str, _name("evaluationRuns")]
VersionName = Annotated[str, BeforeValidator(_version_name)]
OperationName = Annotated[str, AfterValidator(lambda value: operation_location(value) and value)]
CheckpointId = Annotated[str, BeforeValidator(checkpoint_id)]
Count = Annotated[int, BeforeValidator(not_bool), Field(ge=0, lt=MAX_COUNT)]
Number = Annotated[float, BeforeValidator(not_bool)]
Text = Annotated[str, AfterValidator(lambda value: redact(value, MAX_TEXT))]
Enum = Annotated[str, AfterValidator(lambda value: redact(value, MAX_ENUM))]
Time = Annotated[str | None, BeforeValidator(_iso)]  # ISO 8601
Timestamp = Annotated[float | None, BeforeValidator(_seconds)]  # seconds since 1970 (UTC)


@dataclass(frozen=True)
class JobError(ApiValue):
    """``google.rpc.Status`` of a job or an operation."""

    code: int = 0
    message: Annotated[str, BeforeValidator(redact)] = ""

    def __str__(self) -> str:
        return f"{self.message or 'no message'} (code {self.code})"


@dataclass(frozen=True)
class Page(ApiValue):
    """A page of any list."""

    next_page_token: str | None = None


_ITEMS = TypeAdapter(list[dict[str, Any]])


def page(raw: Any, field: str, read: Callable[[dict[str, Any]], T]) -> tuple[list[T], str | None]:
    """Return the items of one page of a list, and the token of the next page."""
    token = Page.from_json(raw).next_page_token
    return [read(item) for item in _ITEMS.validate_python(raw.get(field) or [])], token
