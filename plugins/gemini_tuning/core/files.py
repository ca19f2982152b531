"""Files that a run reads and leaves behind, in Cloud Storage or on a disk: addressed alike.

Cloud Storage goes through the hook and not through Airflow's ObjectStoragePath, which knows no impersonation chain:
results would be written by another account than the one that reads the datasets.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from gemini_tuning.core.names import gcs_problem

if TYPE_CHECKING:
    from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook

GCS = "gs://"
FILE = "file://"
MAX_LINE = 16 << 20  # bytes; a longer line comes in pieces
JSON, JSONL, MARKDOWN = "application/json", "application/jsonl", "text/markdown; charset=utf-8"


def folder_problem(name: str, uri: object) -> str | None:
    """Return why files cannot be put there, or ``None``.

    :param name: of the parameter.
    :param uri: ``gs://bucket/prefix``, an absolute path, or ``file:///path``.
    """
    if not isinstance(uri, str) or not uri.strip():
        return f"{name}: expected gs://bucket/folder or an absolute path"
    if uri.startswith(GCS):
        return gcs_problem(name, joined(uri, "file"), required=True)
    if "\0" in uri or not Path(uri.removeprefix(FILE)).is_absolute():
        return f"{name}: {uri[:100]!r} is neither gs://bucket/folder nor an absolute path"
    return None


def joined(folder: str, *names: str) -> str:
    """Return the address of something in a folder."""
    return "/".join((folder.rstrip("/"), *names))


class Files:
    """Reads and writes files, wherever they lie.

    :param hook: for ``gs://`` addresses; without one only files on a disk can be used.
    """

    def __init__(self, hook: GeminiTuningHook | None = None) -> None:
        self._hook = hook

    def read_lines(self, uri: str) -> Iterator[bytes]:
        """Yield a file's lines in constant memory, with their ends.

        :raises PermanentServiceError: with code 404 when an object is not there.
        :raises FileNotFoundError: when a file is not there.
        """
        if uri.startswith(GCS):
            yield from self._door().read_lines(uri)
            return
        with _path(uri).open("rb") as file:
            while line := file.readline(MAX_LINE):
                yield line

    def write(self, uri: str, content: bytes, content_type: str) -> None:
        """Write a file whole; one that is there is replaced, and never seen half written."""
        if uri.startswith(GCS):
            self._door().write_object(uri, content, content_type)
            return
        path = _path(uri)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.part")
        part.write_bytes(content)
        part.replace(path)

    def _door(self) -> GeminiTuningHook:
        if self._hook is None:
            raise ValueError("an address in Cloud Storage needs a Google Cloud connection")
        return self._hook


def _path(uri: str) -> Path:
    return Path(uri.removeprefix(FILE))
