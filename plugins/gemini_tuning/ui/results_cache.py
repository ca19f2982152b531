"""Results files of recent runs, indexed once and kept on this machine; those in Cloud Storage are downloaded once."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shutil
import stat
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from sqlalchemy.orm import Session

from gemini_tuning.core.exceptions import GeminiTuningError
from gemini_tuning.core.files import FILE, GCS, Files
from gemini_tuning.core.text import redact, short_repr
from gemini_tuning.ui import matrix
from gemini_tuning.ui.run_view import RunView

MAX_RUNS = 20
MAX_BYTES = 2 << 30  # of a run's results; more would fill the disk of the API server
MAX_CONCURRENT_READS = 2  # runs: each holds a thread of the API server
RESULTS_FILE = re.compile(r"/checkpoint-[^/]+\.jsonl$")
INDEX = "index.msgpack"

Shown = TypeVar("Shown")

# Requests for the same run wait for each other, so that it is read once; other runs are not held up.
_LOCKS = tuple(threading.Lock() for _ in range(64))
_READS = threading.BoundedSemaphore(MAX_CONCURRENT_READS)


class ResultsCacheError(GeminiTuningError):
    """The results of a run cannot be read on this machine."""


def read_results(session: Session, view: RunView, read: Callable[[Path], Shown]) -> tuple[Shown | None, str | None]:
    """Return what ``read`` returns for the index of a run's results, or ``None`` and why they cannot be read.

    The first call for a run reads the results files, from Cloud Storage with the connection of the run. The session is
    closed, so that no connection to the database is held while files are read.
    """
    session.close()
    if not view.results_files:
        return None, None
    try:
        return read(index_of(view.results_files, view.results_version, _reader(view.run.connection))), None
    except Exception as error:  # whatever it is, the rest of the page can be shown
        return None, f"The results cannot be read: {redact(str(error))}"


def index_of(results: Sequence[tuple[str, str]], version: str, read_lines: Callable[[str], Iterable[bytes]]) -> Path:
    """Return the index of a run's results, built on the first call.

    :param results: name of each checkpoint, and the URI of its results file.
    :param version: changes when the files do.
    """
    cache = _cache_folder()
    folder = cache / hashlib.sha256(repr((results, version)).encode()).hexdigest()[:32]
    with _LOCKS[hash(folder.name) % len(_LOCKS)]:
        try:
            os.utime(folder)  # its time is that of the last use
        except FileNotFoundError:
            _build(folder, results, read_lines)
            _remove_old(cache)
    return folder / INDEX


def _build(folder: Path, results: Sequence[tuple[str, str]], read_lines: Callable[[str], Iterable[bytes]]) -> None:
    part = folder.with_name(f"{uuid.uuid4().hex}.part")
    part.mkdir()
    try:
        with _READS:
            matrix.build(part / INDEX, _local(results, part, read_lines))
        part.rename(folder)
    except OSError:
        if not folder.is_dir():  # else another process has built it in the meantime
            raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _local(
    results: Sequence[tuple[str, str]], folder: Path, read_lines: Callable[[str], Iterable[bytes]]
) -> Iterator[tuple[str, Path]]:
    """Yield the results files, and download those in Cloud Storage, until they exceed :data:`MAX_BYTES` together."""
    total = 0
    for name, uri in results:
        if not RESULTS_FILE.search(uri):  # the URI is from an XCom, whose author must not choose any file here
            raise _error(f"{short_repr(uri)} is not the name of a results file", "not_a_results_file", uri)
        if uri.startswith(GCS):
            path = folder / f"{uuid.uuid4().hex}.jsonl"
            with path.open("wb") as file:
                for line in read_lines(uri):
                    total = _within_limit(total + len(line))
                    file.write(line)
            yield name, Path(path.name)
        else:
            path = Path(uri.removeprefix(FILE)).absolute()
            if not path.is_file():  # a device has no end
                raise _error(f"there is no file {short_repr(uri)} on this machine", "file_not_found", uri)
            total = _within_limit(total + path.stat().st_size)
            yield name, path


def _within_limit(total: int) -> int:
    if total > MAX_BYTES:
        raise _error(f"they are larger than {MAX_BYTES >> 30} GB", "too_large", hint="Read the files themselves.")
    return total


def _cache_folder() -> Path:
    """Return a folder that only this user can read: responses may be confidential."""
    folder = Path(tempfile.gettempdir()) / f"gemini-tuning-page-{os.getuid()}"  # in a container a user may have no name
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        hint = "Delete it and reload the page."
        raise _error(f"other users can read {folder}.", "folder_not_private", str(folder), hint)
    return folder


def _remove_old(cache: Path) -> None:
    """Delete the folders that were not used for longest, among them what killed processes have left."""
    with suppress(FileNotFoundError):  # another process deleted one just now
        for folder in sorted(cache.iterdir(), key=lambda found: found.stat().st_mtime)[:-MAX_RUNS]:
            shutil.rmtree(folder, ignore_errors=True)


def _reader(connection: Mapping[str, str]) -> Callable[[str], Iterable[bytes]]:
    """Return a function that reads an object in Cloud Storage; its first call imports Google's clients."""

    @functools.cache
    def files() -> Files:
        from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook

        conn_id = connection.get("gcp_conn_id", "google_cloud_default")
        return Files(GeminiTuningHook(conn_id, connection.get("impersonation_chain")))

    return lambda uri: files().read_lines(uri)


def _error(problem: str, code: str, resource: str = "", hint: str = "") -> ResultsCacheError:
    return ResultsCacheError(problem, resource=resource, code=code, hint=hint)
