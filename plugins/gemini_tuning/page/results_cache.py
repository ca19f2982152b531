"""Results files of a run, read once and kept on this machine until there are too many."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
import threading
import uuid
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from gemini_tuning.page import matrix

MAX_KEPT = 20  # runs

# Two people who open the same run at once need not read it twice; who opens another does not wait for them.
_LOCKS = tuple(threading.Lock() for _ in range(64))


def kept(results: Sequence[tuple[str, str]], version: str, read_lines: Callable[[str], Iterable[bytes]]) -> Path:
    """Return the SQLite file with a run's results, made when it is not there yet.

    :param results: who answered, and the address of the file with the answers.
    :param version: changes when the files do.
    :param read_lines: reads a file by its address.
    """
    folder = _folder()
    name = hashlib.sha256(repr((results, version)).encode()).hexdigest()[:32]
    path = folder / f"{name}.sqlite"
    with _LOCKS[zlib.crc32(name.encode()) % len(_LOCKS)]:
        try:
            os.utime(path)  # used now; not touch(), which would make an empty one should another process remove it
        except FileNotFoundError:
            part = folder / f"{uuid.uuid4().hex}.part"
            try:
                matrix.build(part, [(who, lambda uri=uri: read_lines(uri)) for who, uri in results])  # type: ignore[misc]
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)
            _tidy(folder)
    return path


def _folder() -> Path:
    """Return a folder that nobody else can read: the answers may be confidential."""
    folder = Path(tempfile.gettempdir()) / f"gemini-tuning-page-{os.getuid()}"  # in a container a user may have no name
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PermissionError(f"{folder} can be read by others. Remove it, and open the page again.")
    return folder


def _tidy(folder: Path) -> None:
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
