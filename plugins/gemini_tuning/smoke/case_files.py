"""Case files in JSONL or CSV: each row has the variables of one case."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from gemini_tuning.core.exceptions import InvalidInputError
from gemini_tuning.core.text import short_repr, shorten

MAX_ROW = 1_000_000  # bytes of one line
MAX_BYTES = 500_000_000  # of one file
MAX_NAMES = 200  # characters of field names in a message
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class RowError(InvalidInputError):
    """A row of a case file is not acceptable; ``resource`` is the file.

    :param line: 1 for the first.
    """

    def __init__(self, what: str, source: str, line: int, code: str, *, hint: str = "") -> None:
        super().__init__(f"{source}:{line}: {what}", resource=source, code=code, hint=hint)
        self.line = line


@dataclass(frozen=True)
class CaseRow:
    """One row of a file.

    :param source: the file.
    :param line: where it begins; the first is 1.
    :param fields: text by name, without fields that are null. A JSON value that is not a text is written as JSON.
    """

    source: str
    line: int
    fields: Mapping[str, str]

    def picked(self, fields: Mapping[str, str] | None) -> Mapping[str, str]:
        """Return the values of variables.

        :param fields: field by variable; ``None``: every field under its own name.
        :raises RowError: when a field does not exist in the row.
        """
        if fields is None:
            return self.fields
        return {variable: self.field(name) for variable, name in fields.items()}

    def field(self, name: str) -> str:
        """Return a field's text.

        :raises RowError: when it does not exist in the row.
        """
        if name not in self.fields:
            known = shorten(", ".join(self.fields), MAX_NAMES) or "none"
            what = f"the field {shorten(name, MAX_NAMES)} does not exist; known: {known}"
            raise RowError(what, self.source, self.line, "unknown_field")
        return self.fields[name]


def rows(source: str, lines: Iterable[bytes]) -> Iterator[CaseRow]:
    """Yield the rows of a file.

    :param source: the file: ends with ``.jsonl`` or ``.csv``. CSV is separated by commas, and its first row has the
        names of the fields.
    :param lines: of the file, with or without line ends.
    :raises RowError: for the first row that cannot be read.
    """
    texts = _texts(source, lines)
    return _csv_rows(source, texts) if source.endswith(".csv") else _jsonl_rows(source, texts)


def _texts(source: str, lines: Iterable[bytes]) -> Iterator[str]:
    size = 0
    for number, line in enumerate(lines, 1):
        size += len(line)
        if len(line) > MAX_ROW or size > MAX_BYTES:
            what = f"more than {MAX_ROW} bytes in a row, or {MAX_BYTES} in the file"
            raise RowError(what, source, number, "too_large")
        try:
            yield (line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line).decode("utf-8")
        except UnicodeDecodeError as error:
            raise RowError(f"not UTF-8: {error.reason}", source, number, "not_utf8") from None


def _jsonl_rows(source: str, texts: Iterator[str]) -> Iterator[CaseRow]:
    for number, text in enumerate(texts, 1):
        if not text.strip():
            continue
        try:
            value = json.loads(text, parse_constant=_refuse_constant)
            fields = _fields(value)
        except (ValueError, RecursionError) as error:
            raise RowError(f"not JSON: {error}", source, number, "not_json") from None
        if fields is None:
            what = f"expected a JSON object, not {short_repr(value)}"
            raise RowError(what, source, number, "object_expected")
        yield CaseRow(source, number, fields)


def _fields(value: Any) -> Mapping[str, str] | None:
    if not isinstance(value, Mapping):
        return None
    fields = {
        name: child if isinstance(child, str) else json.dumps(child, ensure_ascii=False)
        for name, child in value.items()
        if child is not None
    }
    for text in fields.values():
        text.encode("utf-8")  # raises UnicodeError for a lone surrogate, which JSON can express
    return fields


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _csv_rows(source: str, texts: Iterator[str]) -> Iterator[CaseRow]:
    records = _records(source, csv.reader(texts, strict=True))
    names = next(records, (1, []))[1]
    if not names or len(set(names)) < len(names) or not all(name.strip() for name in names):
        what = f"expected a first row with a unique name for each column, not {short_repr(names)}"
        raise RowError(what, source, 1, "invalid_header")
    for line, values in records:
        if len(values) != len(names):
            what = f"expected {len(names)} columns as in the first row, not {len(values)}"
            raise RowError(what, source, line, "wrong_columns")
        yield CaseRow(source, line, dict(zip(names, values, strict=True)))


def _records(source: str, reader: Any) -> Iterator[tuple[int, list[str]]]:
    """Yield each record with the line that it begins on."""
    while True:
        line = reader.line_num + 1
        try:
            record = next(reader, None)
        except csv.Error as error:
            raise RowError(f"not CSV: {error}", source, line, "not_csv") from None
        if record is None:
            return
        if record:  # not an empty line
            yield line, record
