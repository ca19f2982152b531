"""Results files of a run, read once and kept on this machine until there are too many."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import stat
import tempfile
import threading
import time
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from gemini_tuning.ui import matrix

MAX_KEPT = 20  # runs
MAX_BYTES = 2 << 30  # of a run's results; more would fill the disk of the API server
MAX_AT_ONCE = 2  # runs that are read: each holds a thread of the API server
REMEMBERED = 60.0  # seconds that a failure is not tried again
ABANDONED = 3600.0  # seconds after which a half-made file belongs to a process that is gone

# Two people who open the same run at once need not read it twice; who opens another does not wait for them.
_LOCKS = tuple(threading.Lock() for _ in range(64))
_READS = threading.BoundedSemaphore(MAX_AT_ONCE)
_FAILED: dict[str, tuple[float, Exception]] = {}


class TooMuchError(Exception):
    """A run's results are larger than this machine keeps."""


def kept(results: Sequence[tuple[str, str]], version: str, read_lines: Callable[[str], Iterable[bytes]]) -> Path:
    """Return the SQLite file with a run's results, made when it is not there yet.

    :param results: who answered, and the address of the file with the answers.
    :param version: changes when the files do.
    :param read_lines: reads a file by its address.
    :raises TooMuchError: when the files have more than :data:`MAX_BYTES`.
    """
    folder = _folder()
    name = hashlib.sha256(repr((results, version)).encode()).hexdigest()[:32]
    path = folder / f"{name}.sqlite"
    with _LOCKS[zlib.crc32(name.encode()) % len(_LOCKS)]:
        try:
            os.utime(path)  # used now; not touch(), which would make an empty one should another process remove it
        except FileNotFoundError:
            _make(path, results, read_lines)
            _tidy(folder)
    return path


def _make(path: Path, results: Sequence[tuple[str, str]], read_lines: Callable[[str], Iterable[bytes]]) -> None:
    failed_at, error = _FAILED.get(path.name, (-REMEMBERED, None))
    if error is not None and time.monotonic() < failed_at + REMEMBERED:
        raise error
    part = path.with_name(f"{uuid.uuid4().hex}.part")
    lines = _Bounded(read_lines)
    try:
        with _READS:
            matrix.build(part, [(who, functools.partial(lines.read, uri)) for who, uri in results])
        part.replace(path)
        _FAILED.pop(path.name, None)
    except Exception as error:
        if len(_FAILED) >= MAX_KEPT:
            _FAILED.clear()
        _FAILED[path.name] = (time.monotonic(), error)
        raise
    finally:
        part.unlink(missing_ok=True)


class _Bounded:
    """Reads files until they are too much together."""

    def __init__(self, read_lines: Callable[[str], Iterable[bytes]]) -> None:
        self._read_lines = read_lines
        self._left = MAX_BYTES

    def read(self, uri: str) -> Iterator[bytes]:
        for line in self._read_lines(uri):
            self._left -= len(line)
            if self._left < 0:
                raise TooMuchError(f"they have more than {MAX_BYTES >> 30} GB; look into the files themselves")
            yield line


def _folder() -> Path:
    """Return a folder that nobody else can read: the answers may be confidential."""
    folder = Path(tempfile.gettempdir()) / f"gemini-tuning-page-{os.getuid()}"  # in a container a user may have no name
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PermissionError(f"{folder} can be read by others. Remove it, and open the page again.")
    return folder


def _tidy(folder: Path) -> None:
    for part in folder.glob("*.part"):
        if time.time() - _used(part) > ABANDONED:
            part.unlink(missing_ok=True)
    found = sorted(folder.glob("*.sqlite"), key=_used, reverse=True)
    for path in found[MAX_KEPT:]:
        with contextlib.suppress(OSError):
            path.unlink()


def _used(path: Path) -> float:
    """Return when a file was last used; another process may remove it meanwhile."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
