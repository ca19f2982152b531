"""An append-only file of records, for ``--state``: what was written before the process was killed is there after.

A record is a line of JSON and, where its ``size`` says so, that many bytes and a newline. It is handed to the
operating system before :meth:`Log.append` returns, so that it survives the death of the process (not that of the
machine: nothing waits for the disk). A record that was cut short is the last one, and nobody was told of it: it goes.
"""

import fcntl
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple


class StateError(ValueError):
    """The state directory can't be used."""


class Record(NamedTuple):
    """A record: its line, and its body."""

    head: dict[str, Any]
    body: bytes


class Log:
    """The log in a directory, which belongs to one process at a time.

    :param directory: made if there is none, readable by its owner only.
    """

    def __init__(self, directory: Path) -> None:
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._path = directory / "log"
            self._lock = (directory / "lock").open("w")
        except OSError as error:
            raise StateError(f"can't use {directory} for the state: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StateError(f"{directory} is in use by another emulator") from error
        self._file = self._open(self._path)

    def records(self) -> Iterator[Record]:
        """Read all records from the start, and cut off what follows the last whole one."""
        with self._path.open("rb") as source:
            whole = 0
            while (record := _read(source)) is not None:
                yield record
                whole = source.tell()
        self._file.truncate(whole)

    def append(self, head: dict[str, Any], body: bytes = b"") -> None:
        """Write a record."""
        before = self._file.tell()
        try:
            _write(self._file, head, body)
        except OSError:
            self._file.truncate(before)
            raise

    def start_anew(self, heads: list[dict[str, Any]]) -> None:
        """Replace all records by these, in one step."""
        path = self._path.with_name("log.new")
        path.unlink(missing_ok=True)
        made = self._open(path)
        for head in heads:
            _write(made, head, b"")
        path.replace(self._path)
        self._file.close()
        self._file = made

    @staticmethod
    def _open(path: Path) -> IO[bytes]:
        path.touch(mode=0o600)
        return path.open("ab")


def _write(target: IO[bytes], head: dict[str, Any], body: bytes) -> None:
    line = json.dumps({**head, "size": len(body)} if body else head, separators=(",", ":"))
    target.write(line.encode() + b"\n" + (body + b"\n" if body else b""))
    target.flush()


def _read(source: IO[bytes]) -> Record | None:
    """Read a record; None at the end, or where the last one was cut short."""
    line = source.readline()
    if not line.endswith(b"\n"):
        return None
    try:
        head = json.loads(line)
    except ValueError as error:
        raise StateError(f"the state is damaged before byte {source.tell()} of {source.name}") from error
    size = head.pop("size", 0)
    body = source.read(size + 1) if size else b"\n"
    return Record(head, body[:-1]) if len(body) == (size or 0) + 1 else None
