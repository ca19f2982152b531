"""YAML files that people edit, read safely and checked against a pydantic model.

The size of a file, its depth and the number of its values are limited, with aliases expanded. Duplicate keys, which
PyYAML accepts, are errors. Every error names the file, the line and the field.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from gemini_tuning.core.exceptions import InvalidInputError
from gemini_tuning.core.text import short_repr, shorten

MAX_BYTES = 1_000_000
MAX_DEPTH = 50
MAX_SOURCE = 300  # characters of a path in a message
MAX_NODES = 100_000  # with aliases expanded
MAX_KEY, MAX_FIELD = 100, 500  # characters, in a search and in a message
# Raised by PyYAML's constructors for a malformed number, date or boolean.
_CONSTRUCTOR_ERRORS = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError)
_NAME = re.compile(r"[\w$-](?:[\w. $-]{0,98}[\w$-])?")
_SUBJECT = re.compile(r"^\w+ should ")  # "Input should be a valid string"


class YamlError(InvalidInputError):
    """A YAML file, its ``resource``, is not acceptable: in a line, unless it is the whole file, at a dotted path."""

    def __init__(
        self, what: str, *, source: str = "", line: int | None = None, field: str = "", code: str = "", hint: str = ""
    ) -> None:
        place = source if line is None else f"{source}:{line}" if source else f"line {line}"
        message = ": ".join(part for part in (place, field, what) if part)
        super().__init__(message, field=field, resource=source, code=code, hint=hint)
        self.what, self.line = what, line


class YamlModel(BaseModel):
    """Base class of what a mapping in a YAML file is read into: immutable, and without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _check_keys(cls, data: Any) -> Any:
        """List the known keys in the message, which pydantic's own does not."""
        if isinstance(data, cls):
            return data
        known = [info.alias or name for name, info in cls.model_fields.items()]
        if not isinstance(data, Mapping):
            what, context = "expected a mapping with the keys {known}, not {found}", {"known": ", ".join(known)}
            raise PydanticCustomError("mapping_expected", what, {**context, "found": short_repr(data)})
        for key in data:
            if key not in known:
                near = difflib.get_close_matches(str(key)[:MAX_KEY], known, n=1)
                hint = f"Did you mean {near[0]}?" if near else ""
                context = {"known": ", ".join(known), "found": short_repr(key), "key": key, "hint": hint}
                raise PydanticCustomError("unknown_key", "unknown key {found}; expected one of {known}.", context)
        return data


@dataclass(frozen=True)
class Document:
    """The content of a YAML text, with line numbers."""

    value: Any
    _root: yaml.Node | None = field(default=None, repr=False)

    def line(self, path: Sequence[str | int] = ()) -> int | None:
        """Return the line of a value, or of the nearest one around it when it does not exist."""
        node = self._root
        line = None if node is None else _line(node)
        for step in path:
            if node is not None:
                node, line = _child(node, step, line)
        return line


def read_text(path: Path) -> str:
    """Read a file of at most :data:`MAX_BYTES`."""
    source = str(path)
    if path.exists() and not path.is_file():  # opening a pipe would block
        raise YamlError("not a file", source=source, code="not_a_file")
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise YamlError(f"more than {MAX_BYTES} bytes", source=source, code="too_large")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise YamlError(f"not UTF-8: {error.reason}", source=source, line=line, code="not_utf8") from None


def load(text: str, *, source: str = "") -> Document:
    """Parse a YAML text."""
    if len(text) > MAX_BYTES:
        raise YamlError(f"more than {MAX_BYTES} characters", source=source, code="too_large")
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        if root is None:
            return Document(None)
        _measure(root, {})
        return Document(loader.construct_document(root), root)
    except YamlError as error:
        raise YamlError(error.what, source=source, line=error.line, code=str(error.code)) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else None
        what = "invalid YAML: " + ", ".join(part for part in (error.context, error.problem) if part)
        raise YamlError(what, source=source, line=line, code="invalid_yaml") from error
    except RecursionError:
        raise YamlError(f"nested deeper than {MAX_DEPTH} levels", source=source, code="too_deep") from None
    except (yaml.YAMLError, *_CONSTRUCTOR_ERRORS) as error:
        what = "" if isinstance(error, yaml.YAMLError) else "malformed value: "
        raise YamlError(f"invalid YAML: {what}{error}", source=source, code="invalid_yaml") from error


def load_file(path: str | Path, field: str = "") -> Document:
    """Read and parse a YAML file."""
    try:
        return load(read_text(Path(path)), source=str(path))
    except YamlError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a NUL or a lone surrogate in the name
        what = f"cannot be read: {getattr(error, 'strerror', None) or error}"
        raise YamlError(what, source=shorten(str(path), MAX_SOURCE), field=field, code="cannot_be_read") from error


_M = TypeVar("_M", bound=BaseModel)


def load_model(document: Document, model_class: type[_M], *, source: str | Path = "") -> _M:
    """Return a document as a pydantic model; raise YamlError for the first error in it, with its line and field.

    The error's ``code`` is pydantic's error type (https://docs.pydantic.dev/latest/errors/validation_errors/) or that
    of a ``PydanticCustomError``.
    """
    try:
        return model_class.model_validate(document.value)
    except ValidationError as error:
        path, details = _first(error.errors(include_url=False), document)
    context = details.get("ctx", {})
    if isinstance(key := details["loc"][-1] if details["type"] == "missing" else context.get("key"), str):
        path.append(key)
    raise YamlError(
        error_message(details),
        source=str(source),
        line=document.line(path),
        field=dotted(path),
        code=details["type"],
        hint=context.get("hint", "") or _hint(details),
    )


def dotted(path: Sequence[str | int]) -> str:
    """Return a path as text: ``cases.0.assert``. Keys that are not plain names are quoted, and long ones are cut."""
    steps = [str(step) if _NAME.fullmatch(str(step)) else short_repr(step) for step in path]
    return shorten(".".join(steps), MAX_FIELD)


def _hint(details: ErrorDetails) -> str:
    is_scalar = isinstance(details["input"], int | float | date)
    return "Put it in quotes." if details["type"] == "string_type" and is_scalar else ""


def _first(errors: Sequence[ErrorDetails], document: Document) -> tuple[list[str | int], ErrorDetails]:
    """Return the path and the details of the first error in the file.

    A union reports one error per member: of a value and a value in it, the latter is what the user meant.
    """
    paths = [tuple(_existing(each["loc"], document.value)) for each in errors]
    parents = {path[:length] for path in paths for length in range(len(path))}
    rank = [(path in parents, document.line(path) or 0) for path in paths]
    first = rank.index(min(rank))
    return list(paths[first]), errors[first]


def _existing(location: Sequence[str | int], value: Any) -> list[str | int]:
    """Return the steps of pydantic's location that lead to a value; it also contains names of union members."""
    path: list[str | int] = []
    for step in location:
        known: Any = value if isinstance(value, Mapping) else range(len(value)) if isinstance(value, list) else ()
        if step in known:
            value = value[step]
            path.append(step)
    return path


def error_message(details: ErrorDetails) -> str:
    """Return one error of a pydantic ``ValidationError`` as a message, without its location."""
    context, message = details.get("ctx", {}), details["msg"]
    if details["type"] == "missing":
        return "required"
    if details["type"] == "value_error":
        return str(context["error"])
    if not _SUBJECT.match(message):
        return message
    subject = "the key must " if details["loc"][-1:] == ("[key]",) else "must "
    message = _SUBJECT.sub(subject, message).replace(" after validation", "").replace("dictionary", "mapping")
    message = message if ", not " in message else f"{message}, not {short_repr(details['input'])}"
    return f"{message}." if _hint(details) else message


def _measure(node: yaml.Node, measured: dict[int, tuple[int, int] | None]) -> tuple[int, int]:
    """Return the number of nodes and their depth, with aliases expanded, before Python values are built from them."""
    if id(node) in measured:
        known = measured[id(node)]
        if known is None:
            raise YamlError("recursive alias", line=_line(node), code="recursive_alias")
        return known
    measured[id(node)] = None  # while its children are being measured
    if isinstance(node, yaml.MappingNode):
        _check_duplicate_keys(node)
        children = [child for pair in node.value for child in pair]
    else:
        children = node.value if isinstance(node, yaml.SequenceNode) else []
    sizes = [_measure(child, measured) for child in children]
    size, depth = 1 + sum(size for size, _ in sizes), 1 + max((depth for _, depth in sizes), default=0)
    if size > MAX_NODES:
        what = f"more than {MAX_NODES} values, with aliases expanded"
        raise YamlError(what, line=_line(node), code="too_many_values")
    if depth > MAX_DEPTH:
        raise YamlError(f"nested deeper than {MAX_DEPTH} levels", line=_line(node), code="too_deep")
    measured[id(node)] = size, depth
    return size, depth


def _check_duplicate_keys(node: yaml.MappingNode) -> None:
    """Reject what PyYAML accepts: of two equal keys it keeps the last, so an assertion could disappear unnoticed."""
    seen: set[tuple[str, str]] = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue
        if (key.tag, key.value) in seen:
            raise YamlError(f"duplicate key {short_repr(key.value)}", line=_line(key), code="duplicate_key")
        seen.add((key.tag, key.value))


def _child(node: yaml.Node, step: str | int, line: int | None) -> tuple[yaml.Node | None, int | None]:
    """Return a child node and its line: a mapping's value has the line of its key."""
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step], _line(node.value[step])
    if isinstance(node, yaml.MappingNode):
        # From the end: keys merged with << come before the mapping's own keys, which win.
        for key, value in reversed(node.value):
            if isinstance(key, yaml.ScalarNode) and key.value == step:
                return value, _line(key)
    return None, line


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
