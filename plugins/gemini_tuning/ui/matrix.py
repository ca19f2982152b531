"""Cases by checkpoints: every verdict, paged and filtered, and each answer when it is asked for.

The results files of a run (one line a case and repeat for each checkpoint) are read once into an SQLite file, so that
ten checkpoints of ten thousand cases can be paged without keeping them in memory.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

PAGE_SIZE = 50
MAX_CASE_ID = 1_000  # characters; what a longer one goes on with is not looked at
MAX_REPEAT = 1 << 63

Filter = Literal["all", "differs", "fails", "critical"]
_WHERE: Mapping[Filter, str] = {
    "all": "1",
    "differs": "differs",
    "fails": "fails",
    "critical": "critical",
}

FILTERS: Mapping[Filter, str] = {
    "all": "All",
    "differs": "Differs between checkpoints",
    "fails": "Fails",
    "critical": "Critical",
}

_SCHEMA = """
CREATE TABLE answers (contender INTEGER, case_id TEXT, repeat INTEGER, passed INTEGER, critical INTEGER,
                      answered INTEGER, line TEXT);
"""
# The order of the cases is that of the suite, which the first file has. A case differs when the checkpoints' shares of
# passed repeats do.
_SUMMARIES = """
CREATE INDEX answers_by_case ON answers (case_id, contender);
CREATE TABLE cells AS
    SELECT case_id, contender, SUM(passed) AS passed, COUNT(*) AS asked, MIN(rowid) AS first,
           1 - MIN(answered) AS unanswered
    FROM answers GROUP BY case_id, contender;
CREATE INDEX cells_by_case ON cells (case_id);
CREATE TABLE cases AS
    SELECT case_id, MIN(first) AS place,
           MIN(1.0 * passed / asked) < MAX(1.0 * passed / asked)
               OR COUNT(*) < (SELECT COUNT(DISTINCT contender) FROM cells) AS differs,
           MIN(1.0 * passed / asked) < 1 AS fails,
           (SELECT MAX(critical) FROM answers WHERE answers.case_id = cells.case_id) AS critical
    FROM cells GROUP BY case_id;
CREATE INDEX cases_by_place ON cases (place);
"""


@dataclass(frozen=True)
class Cell:
    """What a checkpoint made of a case.

    :param passed: repeats that passed.
    :param asked: repeats.
    :param unanswered: whether a prompt got no answer.
    """

    passed: int
    asked: int
    unanswered: bool

    @property
    def verdict(self) -> str:
        """``passed``, ``failed``, ``partly`` when some repeats passed, ``no answer``."""
        if self.unanswered:
            return "no answer"
        if self.passed == self.asked:
            return "passed"
        return "partly" if self.passed else "failed"


@dataclass(frozen=True)
class Row:
    """A case.

    :param cells: by contender; ``None`` where it was not asked.
    """

    case_id: str
    critical: bool
    cells: Mapping[str, Cell | None]


@dataclass(frozen=True)
class Page:
    """Some rows of the matrix.

    :param counts: cases by filter.
    :param number: from 1.
    """

    contenders: Sequence[str]
    rows: Sequence[Row]
    counts: Mapping[Filter, int]
    filter: Filter
    number: int

    @property
    def pages(self) -> int:
        """How many there are with this filter."""
        return max(1, -(-self.counts[self.filter] // PAGE_SIZE))


def build(path: Path, files: Iterable[tuple[str, Callable[[], Iterable[bytes]]]]) -> None:
    """Read results files into a new SQLite file.

    :param files: who answered, and how to read the lines.
    """
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;" + _SCHEMA)
        names = []
        for number, (name, lines) in enumerate(files):
            names.append(name)
            rows = (found for line in lines() if (found := _answer(number, line)) is not None)
            database.executemany("INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        database.executescript(_SUMMARIES)
        database.execute("CREATE TABLE contenders (number INTEGER, name TEXT)")
        database.executemany("INSERT INTO contenders VALUES (?, ?)", enumerate(names))
        database.commit()


def page(path: Path, filter_: Filter, number: int) -> Page:
    """Return a page of the matrix.

    :param path: of what :func:`build` made.
    :param number: from 1; the last one when there are fewer.
    """
    with _open(path) as database:
        names = _names(database)
        counts = {
            name: int(database.execute(f"SELECT COUNT(*) FROM cases WHERE {where}").fetchone()[0])  # noqa: S608
            for name, where in _WHERE.items()
        }
        number = max(1, min(number, -(-counts[filter_] // PAGE_SIZE) or 1))
        cases = database.execute(
            f"SELECT case_id, critical FROM cases WHERE {_WHERE[filter_]} ORDER BY place LIMIT ? OFFSET ?",  # noqa: S608
            (PAGE_SIZE, (number - 1) * PAGE_SIZE),
        ).fetchall()
        rows = [Row(case_id, bool(critical), _cells(database, case_id, names)) for case_id, critical in cases]
    return Page(list(names.values()), rows, counts, filter_, number)


def answers(path: Path, case_id: str) -> dict[str, list[dict[str, Any]]]:
    """Return the result lines of a case by contender; empty when there is no such case."""
    with _open(path) as database:
        names = _names(database)
        found: dict[str, list[dict[str, Any]]] = {}
        for contender, line in database.execute(
            "SELECT contender, line FROM answers WHERE case_id = ? ORDER BY contender, repeat", (case_id,)
        ):
            found.setdefault(names[contender], []).append(json.loads(line))
    return found


@contextlib.contextmanager
def _open(path: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
        yield database


def _names(database: sqlite3.Connection) -> dict[int, str]:
    return dict(database.execute("SELECT number, name FROM contenders ORDER BY number").fetchall())


def _cells(database: sqlite3.Connection, case_id: str, names: Mapping[int, str]) -> dict[str, Cell | None]:
    found = {
        names[contender]: Cell(passed, asked, bool(unanswered))
        for contender, passed, asked, unanswered in database.execute(
            "SELECT contender, passed, asked, unanswered FROM cells WHERE case_id = ?", (case_id,)
        )
    }
    return {name: found.get(name) for name in names.values()}


def _answer(contender: int, line: bytes) -> tuple[Any, ...] | None:
    """Return a line as a row; ``None`` when it is no result."""
    try:
        text = line.decode("utf-8").strip()
        result = json.loads(text)
        case_id, repeat = str(result["case_id"]), int(result["repeat"])
        passed, critical = result["passed"] is True, result["critical"] is True
        answered = result.get("answer") is not None
    except (ValueError, TypeError, LookupError, OverflowError, RecursionError):
        return None
    if abs(repeat) >= MAX_REPEAT:  # SQLite can't count so far
        return None
    name = case_id[:MAX_CASE_ID].encode("utf-8", "replace").decode()  # JSON can name half a character, SQLite can't
    return contender, name, repeat, passed, critical, answered, text
