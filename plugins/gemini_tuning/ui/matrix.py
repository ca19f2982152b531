"""Which checkpoint passed which case: the matrix of a run, filtered and paged, and all responses to one case.

The results files of a run (JSONL, one line per case and repeat) are read once to build an index: the counts of each
cell, and where each line begins. A page of the matrix then reads the index alone, and a case only its own lines.
Memory is bounded by the number of results, at about 20 bytes each, and not by their size.
"""

from __future__ import annotations

import itertools
import json
from array import array
from collections import defaultdict
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from gemini_tuning.core.files import MAX_LINE, Files

PAGE_SIZE = 50
MAX_CASE_ID = 1_000  # characters
UNREADABLE = "This line of the results file has changed or is not valid JSON."

Filter = Literal["all", "differs", "fails", "critical"]
FILTERS: Mapping[Filter, str] = {
    "all": "All",
    "differs": "Differs between checkpoints",
    "fails": "Fails",
    "critical": "Critical",
}


class Cell(NamedTuple):
    """The repeats of one case with one checkpoint: how many passed, were sent, and got no response."""

    passed: int
    repeats: int
    unanswered: int

    @property
    def verdict(self) -> str:
        """``passed``, ``failed``, ``partly`` when only some repeats passed, or ``no response``."""
        if self.unanswered:
            return "no response"
        if self.passed == self.repeats:
            return "passed"
        return "partly" if self.passed else "failed"


@dataclass(frozen=True)
class MatrixPage:
    """Some rows of the matrix: case id, whether it is critical, and its cells; ``None`` where it was not run."""

    checkpoints: Sequence[str]  # ids, and champion
    rows: Sequence[tuple[str, bool, Mapping[str, Cell | None]]]
    counts: Mapping[Filter, int]  # of cases
    filter: Filter
    number: int  # from 1
    pages: int


class _Result(msgspec.Struct, gc=False):
    """The fields of a line that the matrix needs; msgspec skips the others."""

    case_id: Annotated[str, msgspec.Meta(max_length=MAX_CASE_ID)]
    repeat: Annotated[int, msgspec.Meta(ge=1, lt=1 << 31)]
    passed: bool
    critical: bool
    answer: str | None = None


class _Column(msgspec.Struct):
    """The results of one checkpoint. All fields but the first two are arrays of C integers."""

    name: str
    path: str
    cells: bytes  # of each case the three numbers of its Cell
    line_cases: bytes  # of each line the number of its case
    line_offsets: bytes  # of each line the position in the file


class _Index(msgspec.Struct):
    """What is kept of the results files. Cases are numbered in the order of the suite, which the first file has."""

    case_ids: list[str]
    critical: bytes  # of each case
    columns: list[_Column]
    matching: dict[Filter, bytes]  # the numbers of the cases


_RESULT = msgspec.json.Decoder(_Result)
_INDEX = msgspec.msgpack.Decoder(_Index)


def build(path: Path, files: Iterable[tuple[str, Path]]) -> None:
    """Write the index of results files, given by checkpoint; a relative one lies beside the index."""
    numbers: MutableMapping[str, int] = defaultdict(itertools.count().__next__)
    critical = bytearray()
    columns = [_column(name, str(file), path.parent / file, numbers, critical) for name, file in files]
    for column in columns:  # cases that only later files have
        column.cells = column.cells.ljust(12 * len(numbers), b"\0")
    index = _Index(list(numbers), bytes(critical), columns, _matching(columns, critical))
    path.write_bytes(msgspec.msgpack.encode(index))


def page(path: Path, filter_: Filter, number: int) -> MatrixPage:
    """Return a page of the matrix: the last one when there are fewer."""
    index = _INDEX.decode(path.read_bytes())
    counts = {name: len(_ints(matching)) for name, matching in index.matching.items()}
    pages = max(1, -(-counts[filter_] // PAGE_SIZE))
    number = max(1, min(number, pages))
    shown = _ints(index.matching[filter_])[(number - 1) * PAGE_SIZE : number * PAGE_SIZE]
    cells = ({column.name: _cell(column, case) for column in index.columns} for case in shown)
    rows = [(index.case_ids[case], bool(index.critical[case]), row) for case, row in zip(shown, cells, strict=True)]
    return MatrixPage([column.name for column in index.columns], rows, counts, filter_, number, pages)


def responses(path: Path, case_id: str) -> dict[str, list[dict[str, Any]]]:
    """Return the lines of a case by checkpoint, each in the order of the repeats; empty for an unknown case."""
    index = _INDEX.decode(path.read_bytes())
    if case_id not in index.case_ids:
        return {}
    case = index.case_ids.index(case_id)
    found = {column.name: _case_lines(path.parent / column.path, column, case, case_id) for column in index.columns}
    return {name: lines for name, lines in found.items() if lines}


def _ints(values: bytes) -> memoryview[int]:
    return memoryview(values).cast("I")


def _cell(column: _Column, case: int) -> Cell | None:
    cell = Cell(*_ints(column.cells)[3 * case : 3 * case + 3])
    return cell if cell.repeats else None


def _column(name: str, uri: str, file: Path, numbers: MutableMapping[str, int], critical: bytearray) -> _Column:
    cells, line_cases, line_offsets = array("I", bytes(12 * len(numbers))), array("I"), array("Q")
    offset = 0
    for line in Files().read_lines(str(file)):
        if (result := _parse(line)) is not None:
            case = numbers[result.case_id]
            cell = 3 * case
            if cell == len(cells):
                cells.extend((0, 0, 0))
            if case == len(critical):
                critical.append(0)
            cells[cell] += result.passed
            cells[cell + 1] += 1
            cells[cell + 2] += result.answer is None
            critical[case] |= result.critical
            line_cases.append(case)
            line_offsets.append(offset)
        offset += len(line)
    return _Column(name, uri, bytes(cells), bytes(line_cases), bytes(line_offsets))


def _matching(columns: Sequence[_Column], critical: bytearray) -> dict[Filter, bytes]:
    """Return the cases of each filter.

    A case differs when the checkpoints passed different shares of its repeats, or when one has no result.
    """
    shares = []
    for cells in (_ints(column.cells) for column in columns if column.line_cases):
        counts = zip(cells[::3], cells[1::3], strict=True)
        shares.append([passed / repeats if repeats else None for passed, repeats in counts])
    found = list(map(set, zip(*shares, strict=True)))
    matching: dict[Filter, Iterable[int]] = {
        "all": range(len(critical)),
        "differs": (case for case, rates in enumerate(found) if len(rates) > 1),
        "fails": (case for case, rates in enumerate(found) if rates - {1.0, None}),
        "critical": (case for case, is_critical in enumerate(critical) if is_critical),
    }
    return {name: bytes(array("I", cases)) for name, cases in matching.items()}


def _parse(line: bytes) -> _Result | None:
    try:
        return _RESULT.decode(line)
    except (ValueError, RecursionError):
        return None


def _case_lines(file: Path, column: _Column, case: int, case_id: str) -> list[dict[str, Any]]:
    offsets = memoryview(column.line_offsets).cast("Q")
    found: list[tuple[int, dict[str, Any]]] = []
    with file.open("rb") as lines:
        for line_case, offset in zip(_ints(column.line_cases), offsets, strict=True):
            if line_case == case:
                lines.seek(offset)
                result = _parse(line := lines.readline(MAX_LINE))
                if result is None or result.case_id != case_id:
                    found.append((0, {"error": UNREADABLE}))
                else:  # msgspec accepts a field that is not UTF-8 when it skips it
                    found.append((result.repeat, json.loads(line.decode("utf-8", "replace"))))
    return [line for _, line in sorted(found, key=itemgetter(0))]
