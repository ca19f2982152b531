"""Case files in JSONL or CSV: each row has the variables of one case."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from gemini_tuning.core.text import short_repr
from gemini_tuning.smoke.checks.json_values import refuse_constant

MAX_ROW = 1_000_000  # bytes of one line
MAX_BYTES = 500_000_000  # of one file
_json = partial(json.dumps, ensure_ascii=False)
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

Row = tuple[int, Mapping[str, str]]  # the line that it begins on, and its texts by field, without fields that are null


@dataclass(eq=False)
class CaseError(Exception):
    """A case of a suite, or a row of a file, is not acceptable."""

    what: str
    code: str
    path: tuple[str | int, ...] = ()  # keys and indexes in the suite's YAML, if the problem is there
    source: str = ""  # the case file, if it is there
    line: int | None = None  # of the case file; the first is 1
    hint: str = ""


def rows(source: str, lines: Iterable[bytes]) -> Iterator[Row]:
    """Yield the rows of a file, until one cannot be read (CaseError). JSON values other than texts are kept as JSON.

    CSV is separated by commas, and its first row has the names of the fields.
    """
    return (_csv_rows if source.endswith(".csv") else _jsonl_rows)(_texts(lines))


def _texts(lines: Iterable[bytes]) -> Iterator[str]:
    size = 0
    for number, line in enumerate(lines, 1):
        size += len(line)
        if len(line) > MAX_ROW or size > MAX_BYTES:
            what = f"more than {MAX_ROW} bytes in a row, or {MAX_BYTES} in the file"
            raise CaseError(what, "too_large", line=number)
        try:
            yield (line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line).decode("utf-8")
        except UnicodeDecodeError as error:
            raise CaseError(f"not UTF-8: {error.reason}", "not_utf8", line=number) from None


def _jsonl_rows(texts: Iterator[str]) -> Iterator[Row]:
    for number, text in enumerate(texts, 1):
        if not text.strip():
            continue
        try:
            value = json.loads(text, parse_constant=refuse_constant)
            _json(value).encode()  # fails for a lone surrogate, which JSON can express
        except (ValueError, RecursionError) as error:
            raise CaseError(f"not JSON: {error}", "not_json", line=number) from None
        if not isinstance(value, dict):
            raise CaseError(f"expected a JSON object, not {short_repr(value)}", "object_expected", line=number)
        given = {name: child for name, child in value.items() if child is not None}
        yield number, {name: child if isinstance(child, str) else _json(child) for name, child in given.items()}


def _csv_rows(texts: Iterator[str]) -> Iterator[Row]:
    reader, line = csv.reader(texts, strict=True), 1
    try:
        names = next(filter(None, reader), [])
        if not names or len(set(names)) < len(names) or not all(name.strip() for name in names):
            what = f"expected a first row with a unique name for each column, not {short_repr(names)}"
            raise CaseError(what, "invalid_header", line=1)
        line = reader.line_num + 1
        for values in reader:
            if values and len(values) != len(names):
                what = f"expected {len(names)} columns as in the first row, not {len(values)}"
                raise CaseError(what, "wrong_columns", line=line)
            if values:  # not an empty line
                yield line, dict(zip(names, values, strict=True))
            line = reader.line_num + 1
    except csv.Error as error:
        raise CaseError(f"not CSV: {error}", "not_csv", line=line) from None
