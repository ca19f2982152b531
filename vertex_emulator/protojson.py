"""JSON as protocol buffers read and write it. Pure functions.

Reading is lenient in the ways proto3's JSON mapping is (keys in camelCase or snake_case, int64 as number or
string, enums by name or number) and strict in the others (unknown fields and wrong types are errors).
A message is described by a dict of camelCase field name to :data:`Type`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import bad_field, invalid_argument


@dataclass(frozen=True, slots=True)
class Enum:
    """An enum: the names of its values and their numbers."""

    numbers: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Repeated:
    """A list of values."""

    of: "Type"


type_names = ("string", "bool", "int", "double", "labels", "numbers", "struct", "any")

Type = str | Enum | Repeated | Mapping[str, "Type"]
"""One of :data:`type_names`, an enum, a list, or a message.

``labels`` is map<string, string>, ``numbers`` is map<string, int32>, ``struct`` a
google.protobuf.Struct.
"""

JOB_STATES = Enum(
    {
        name: number
        for number, name in enumerate(
            f"JOB_STATE_{state}"
            for state in (
                "UNSPECIFIED", "QUEUED", "PENDING", "RUNNING", "SUCCEEDED", "FAILED", "CANCELLING", "CANCELLED",
                "PAUSED", "EXPIRED", "UPDATING", "PARTIALLY_SUCCEEDED",
            )
        )
    }
)  # fmt: skip
ADAPTER_SIZES = Enum(
    {
        "ADAPTER_SIZE_UNSPECIFIED": 0,
        "ADAPTER_SIZE_ONE": 1,
        "ADAPTER_SIZE_TWO": 6,
        "ADAPTER_SIZE_FOUR": 2,
        "ADAPTER_SIZE_EIGHT": 3,
        "ADAPTER_SIZE_SIXTEEN": 4,
        "ADAPTER_SIZE_THIRTY_TWO": 5,
    }
)
TUNING_MODES = Enum({"TUNING_MODE_UNSPECIFIED": 0, "TUNING_MODE_FULL": 1, "TUNING_MODE_PEFT_ADAPTER": 2})
_SOURCE_TYPES = Enum({"MODEL_SOURCE_TYPE_UNSPECIFIED": 0, "MODEL_GARDEN": 4, "GENIE": 5})
_TUNING_JOB_STATES = Enum(
    {
        "TUNING_JOB_STATE_UNSPECIFIED": 0,
        "TUNING_JOB_STATE_WAITING_FOR_QUOTA": 1,
        "TUNING_JOB_STATE_PROCESSING_DATASET": 2,
        "TUNING_JOB_STATE_WAITING_FOR_CAPACITY": 3,
        "TUNING_JOB_STATE_TUNING": 4,
        "TUNING_JOB_STATE_POST_PROCESSING": 5,
    }
)
_FINISH_REASONS = Enum({"FINISH_REASON_UNSPECIFIED": 0, "STOP": 1, "MAX_TOKENS": 2})
_VALUE_TYPES = Enum({"VALUE_TYPE_UNSPECIFIED": 0, "SCALAR": 1, "TENSOR": 2, "BLOB_SEQUENCE": 3})
_ENUM_FIELDS = {
    "state": JOB_STATES,
    "adapterSize": ADAPTER_SIZES,
    "tuningMode": TUNING_MODES,
    "sourceType": _SOURCE_TYPES,
    "tuningJobState": _TUNING_JOB_STATES,
    "finishReason": _FINISH_REASONS,
    "valueType": _VALUE_TYPES,
}


def camel(name: str) -> str:
    """``snake_case`` to ``camelCase``; camelCase stays."""
    return re.sub(r"_([a-z0-9])", lambda match: match[1].upper(), name)


def snake(name: str) -> str:
    """``camelCase`` to ``snake_case``."""
    return re.sub(r"[A-Z]", lambda match: "_" + match[0].lower(), name)


def read_message(value: Any, fields: Mapping[str, Type], path: str = "") -> dict[str, Any]:
    """Read a JSON object as a message.

    :param value: what the JSON parser returned.
    :param fields: the message's fields.
    :param path: where in the request it stands, for the error.
    :return: camelCase keys; int64 as int; enums as names; null fields left out.
    """
    if not isinstance(value, dict):
        raise _bad_value(path, value)
    result = {}
    for key, item in value.items():
        name = camel(key)
        if name not in fields:
            at = f" at '{path}'" if path else ""
            message = f'Invalid JSON payload received. Unknown name "{key}"{at}: Cannot find field.'
            raise bad_field(path, message)
        if item is not None:
            result[name] = read_value(item, fields[name], f"{path}.{snake(name)}".lstrip("."))
    return result


def read_value(value: Any, kind: Type, path: str) -> Any:
    """Read one JSON value of the given type."""
    if isinstance(kind, Mapping):
        return read_message(value, kind, path)
    if isinstance(kind, Enum):
        return _read_enum(value, kind, path)
    if isinstance(kind, Repeated):
        if not isinstance(value, list):
            raise _bad_value(path, value)
        return [read_value(item, kind.of, f"{path}[{index}]") for index, item in enumerate(value)]
    return _SCALARS[kind](value, path)


def write_enums_as_numbers(value: Any) -> Any:
    """Make the reply of ``$alt=json;enum-encoding=int``, which Google's generated REST clients ask for."""
    if isinstance(value, list):
        return [write_enums_as_numbers(item) for item in value]
    if not isinstance(value, dict):
        return value
    result = {}
    for key, item in value.items():
        enum = _ENUM_FIELDS.get(key)
        number = enum.numbers.get(item) if enum and isinstance(item, str) else None
        result[key] = write_enums_as_numbers(item) if number is None else number
    return result


def _bad_value(path: str, value: Any, kind: str = "") -> Exception:
    if not path:
        return bad_field("", 'Invalid JSON payload received. Unknown name "": Root element must be a message.')
    shown = f'"{value}"' if isinstance(value, str) else value
    about = f" ({kind})" if kind else ""
    return bad_field(path, f"Invalid value at '{path}'{about}, {shown}")


def _read_enum(value: Any, kind: Enum, path: str) -> str:
    if isinstance(value, str) and value in kind.numbers:
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        for name, number in kind.numbers.items():
            if number == value:
                return name
    raise _bad_value(path, value)


def _read_string(value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise _bad_value(path, value, "TYPE_STRING")
    return value


def _read_bool(value: Any, path: str) -> bool:
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return bool(value == "true")
    raise _bad_value(path, value, "TYPE_BOOL")


def _read_int(value: Any, path: str) -> int:
    """int32 and int64: a number without fraction, or the same as a string."""
    text = str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
    match = re.fullmatch(r"(-?\d{1,19})(?:\.0+)?", text)
    if match is None or not -(2**63) <= int(match[1]) < 2**63:
        raise _bad_value(path, value, "TYPE_INT64")
    return int(match[1])


def _read_double(value: Any, path: str) -> float:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise _bad_value(path, value, "TYPE_DOUBLE")
    try:
        return float(value)
    except ValueError:
        raise _bad_value(path, value, "TYPE_DOUBLE") from None


def _read_labels(value: Any, path: str) -> dict[str, str]:
    if not isinstance(value, dict):
        raise _bad_value(path, value)
    return {key: _read_string(item, f"{path}[{key}]") for key, item in value.items()}


def _read_numbers(value: Any, path: str) -> dict[str, int]:
    if not isinstance(value, dict):
        raise _bad_value(path, value)
    return {key: _read_int(item, f"{path}[{key}]") for key, item in value.items()}


def _read_struct(value: Any, path: str) -> dict[str, Any]:
    """Keep an object whose keys belong to the caller."""
    if not isinstance(value, dict):
        raise _bad_value(path, value)
    return value


def _read_any(value: Any, _path: str) -> Any:
    """Keep a part that nobody looks at; only its keys are brought to camelCase, for the reply."""
    if isinstance(value, list):
        return [_read_any(item, _path) for item in value]
    if isinstance(value, dict):
        return {camel(key): _read_any(item, _path) for key, item in value.items()}
    return value


_SCALARS = {
    "string": _read_string,
    "bool": _read_bool,
    "int": _read_int,
    "double": _read_double,
    "labels": _read_labels,
    "numbers": _read_numbers,
    "struct": _read_struct,
    "any": _read_any,
}

_LABEL = re.compile(r"[^\W A-Z]*", re.UNICODE)


def check_labels(labels: Mapping[str, str]) -> None:
    """Refuse labels that break the rule in the discovery document.

    Keys and values of at most 64 characters: lowercase letters (also international ones), digits, ``_``, ``-``.
    """
    for key, value in labels.items():
        for text in (key, value):
            plain = text.replace("-", "")
            if len(text) > 64 or not _LABEL.fullmatch(plain) or plain != plain.lower():
                raise invalid_argument(
                    f'Invalid label "{key}": "{value}". Keys and values can be no longer than 64 characters and '
                    "can only contain lowercase letters, numeric characters, underscores and dashes."
                )
        if not key:
            raise invalid_argument("Label keys can't be empty.")
