"""Case files in JSONL or CSV: each row has the variables of one case."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping

from gemini_tuning.core.exceptions import InvalidInputError
from gemini_tuning.core.text import short_repr
from gemini_tuning.smoke.checks.json_values import refuse_constant

MAX_ROW = 1_000_000  # bytes of one line
MAX_BYTES = 500_000_000  # of one file
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

Row = tuple[int, Mapping[str, str]]  # the line that it begins on, and its texts by field, without fields that are null


class RowError(InvalidInputError):
    """A row of a case file is not acceptable; ``resource`` is the file, ``line`` is 1 for the first."""

    def __init__(self, what: str, source: str, line: int, code: str, *, hint: str = "") -> None:
        super().__init__(f"{source}:{line}: {what}", resource=source, code=code, hint=hint)
        self.line = line


def rows(source: str, lines: Iterable[bytes]) -> Iterator[Row]:
    """Yield the rows of a file. A JSON value that is not a text is written as JSON.

    :param source: the file. CSV is separated by commas, and its first row has the names of the fields.
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


def _jsonl_rows(source: str, texts: Iterator[str]) -> Iterator[Row]:
    for number, text in enumerate(texts, 1):
        if not text.strip():
            continue
        try:
            value = json.loads(text, parse_constant=refuse_constant)
            json.dumps(value, ensure_ascii=False).encode()  # fails for a lone surrogate, which JSON can express
        except (ValueError, RecursionError) as error:
            raise RowError(f"not JSON: {error}", source, number, "not_json") from None
        if not isinstance(value, dict):
            raise RowError(f"expected a JSON object, not {short_repr(value)}", source, number, "object_expected")
        yield (
            number,
            {
                name: child if isinstance(child, str) else json.dumps(child, ensure_ascii=False)
                for name, child in value.items()
                if child is not None
            },
        )


def _csv_rows(source: str, texts: Iterator[str]) -> Iterator[Row]:
    reader, line = csv.reader(texts, strict=True), 1
    names: list[str] | None = None
    try:
        for values in reader:
            if names is None and values:
                names = _checked_names(source, values)
            elif names and values:  # not an empty line
                if len(values) != len(names):
                    what = f"expected {len(names)} columns as in the first row, not {len(values)}"
                    raise RowError(what, source, line, "wrong_columns")
                yield line, dict(zip(names, values, strict=True))
            line = reader.line_num + 1
    except csv.Error as error:
        raise RowError(f"not CSV: {error}", source, line, "not_csv") from None
    if names is None:
        _checked_names(source, [])


def _checked_names(source: str, names: list[str]) -> list[str]:
    if not names or len(set(names)) < len(names) or not all(name.strip() for name in names):
        what = f"expected a first row with a unique name for each column, not {short_repr(names)}"
        raise RowError(what, source, 1, "invalid_header")
    return names
