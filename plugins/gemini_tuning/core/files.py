"""Files in Cloud Storage or on a disk, with the same calls for both.

Cloud Storage is accessed through the hook and not through Airflow's ObjectStoragePath, which has no impersonation
chain: results would be written by another account than the one that reads the datasets.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from gemini_tuning.core.exceptions import InvalidInputError
from gemini_tuning.core.names import gcs_problem
from gemini_tuning.core.text import short_repr

GCS = "gs://"
FILE = "file://"
MAX_LINE = 16 << 20  # bytes; a longer line comes in pieces
JSON, JSONL, MARKDOWN = "application/json", "application/jsonl", "text/markdown; charset=utf-8"


class StorageHook(Protocol):
    """The calls of :class:`~gemini_tuning.hooks.gemini_tuning.GeminiTuningHook` that :class:`Files` needs."""

    def read_lines(self, uri: str) -> Iterator[bytes]:
        """Stream the lines of an object."""

    def write_object(self, uri: str, content: bytes, content_type: str) -> None:
        """Write an object."""


def folder_problem(name: str, uri: object) -> str | None:
    """Return why this is no ``gs://bucket/prefix``, absolute path or ``file:///path`` to write to, or ``None``."""
    if not isinstance(uri, str) or not uri.strip():
        return f"{name}: expected gs://bucket/folder or an absolute path"
    if uri.startswith(GCS):
        return gcs_problem(name, joined(uri, "file"), required=True)
    if "\0" in uri or not Path(uri.removeprefix(FILE)).is_absolute():
        return f"{name}: {short_repr(uri)} is neither gs://bucket/folder nor an absolute path"
    return None


def joined(folder: str, *names: str) -> str:
    """Return the address of a file in a folder."""
    return "/".join((folder.rstrip("/"), *names))


class Files:
    """Reads and writes files in Cloud Storage and on a disk; without a hook, on a disk only."""

    def __init__(self, hook: StorageHook | None = None) -> None:
        self._hook = hook

    def read_lines(self, uri: str) -> Iterator[bytes]:
        """Yield a file's lines in constant memory, including their line breaks."""
        if uri.startswith(GCS):
            yield from self._require_hook(uri).read_lines(uri)
            return
        with _path(uri).open("rb") as file:
            while line := file.readline(MAX_LINE):
                yield line

    def write(self, uri: str, content: bytes, content_type: str) -> None:
        """Write a file atomically; an existing one is replaced."""
        if uri.startswith(GCS):
            self._require_hook(uri).write_object(uri, content, content_type)
            return
        path = _path(uri)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.part")
        part.write_bytes(content)
        part.replace(path)

    def _require_hook(self, uri: str) -> StorageHook:
        if self._hook is None:
            message = "An address in Cloud Storage needs a Google Cloud connection."
            raise InvalidInputError(message, resource=uri, code="connection_required")
        return self._hook


def _path(uri: str) -> Path:
    return Path(uri.removeprefix(FILE))
