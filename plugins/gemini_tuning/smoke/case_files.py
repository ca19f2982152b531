"""Cases out of a JSONL or CSV file: each row is a case's variables. Pure: the lines are handed in."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from gemini_tuning.core.text import short_repr, shorten

MAX_ROW = 1_000_000  # bytes of one line
MAX_BYTES = 500_000_000  # of one file
MAX_NAMED = 200  # characters of field names in a message
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class RowError(ValueError):
    """A row cannot be read.

    :param line: the first is 1.
    """

    def __init__(self, what: str, line: int) -> None:
        super().__init__(what)
        self.what, self.line = what, line


@dataclass(frozen=True)
class Row:
    """One row of a file.

    :param line: where it begins; the first is 1.
    :param fields: text by name; a field that is null is not there. What is not text in JSON is written as JSON.
    """

    line: int
    fields: Mapping[str, str]

    def picked(self, wanted: Mapping[str, str] | None) -> Mapping[str, str]:
        """Return the variables that the fields give.

        :param wanted: field by variable; ``None``: every field under its own name.
        :raises RowError: when the row has no such field.
        """
        if wanted is None:
            return self.fields
        return {variable: self.field(name) for variable, name in wanted.items()}

    def field(self, name: str) -> str:
        """Return a field's text.

        :raises RowError: when the row does not have it.
        """
        if name not in self.fields:
            there = shorten(", ".join(self.fields), MAX_NAMED) or "none"
            raise RowError(f"there is no field {shorten(name, MAX_NAMED)}; there are: {there}", self.line)
        return self.fields[name]


def rows(name: str, lines: Iterable[bytes]) -> Iterator[Row]:
    """Yield the rows of a file.

    :param name: of the file: ends with ``.jsonl`` or ``.csv``. CSV is separated by commas, and its first row has the
        names.
    :param lines: of the file, with or without their ends.
    :raises RowError: for the first row that cannot be read.
    """
    texts = _texts(lines)
    return _csv_rows(texts) if name.endswith(".csv") else _jsonl_rows(texts)


def _texts(lines: Iterable[bytes]) -> Iterator[str]:
    size = 0
    for number, line in enumerate(lines, 1):
        size += len(line)
        if len(line) > MAX_ROW or size > MAX_BYTES:
            raise RowError(f"more than {MAX_ROW} bytes in a row, or {MAX_BYTES} in the file", number)
        try:
            yield (line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line).decode("utf-8")
        except UnicodeDecodeError as error:
            raise RowError(f"not UTF-8: {error.reason}", number) from None


def _jsonl_rows(texts: Iterator[str]) -> Iterator[Row]:
    for number, text in enumerate(texts, 1):
        if not text.strip():
            continue
        try:
            value = json.loads(text, parse_constant=_refuse_constant)
            fields = _fields(value)
        except (ValueError, RecursionError) as error:
            raise RowError(f"not JSON: {error}", number) from None
        if fields is None:
            raise RowError(f"expected a JSON object, not {short_repr(value)}", number)
        yield Row(number, fields)


def _fields(value: Any) -> Mapping[str, str] | None:
    if not isinstance(value, Mapping):
        return None
    fields = {
        name: child if isinstance(child, str) else json.dumps(child, ensure_ascii=False)
        for name, child in value.items()
        if child is not None
    }
    for text in fields.values():
        text.encode("utf-8")  # half a character, which JSON can write and nobody can send, is a UnicodeError
    return fields


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is a word of Python's, not of JSON")


def _csv_rows(texts: Iterator[str]) -> Iterator[Row]:
    reader = csv.reader(texts, strict=True)
    names = next(_records(reader), (1, []))[1]
    if not names or len(set(names)) < len(names) or not all(name.strip() for name in names):
        raise RowError(f"expected a first row with a name for each column, each once, not {short_repr(names)}", 1)
    for line, values in _records(reader):
        if len(values) != len(names):
            raise RowError(f"expected {len(names)} columns as in the first row, not {len(values)}", line)
        yield Row(line, dict(zip(names, values, strict=True)))


def _records(reader: Any) -> Iterator[tuple[int, list[str]]]:
    """Yield each record with the line that it begins on."""
    while True:
        line = reader.line_num + 1
        try:
            record = next(reader, None)
        except csv.Error as error:
            raise RowError(f"not CSV: {error}", line) from None
        if record is None:
            return
        if record:  # not an empty line
            yield line, record
