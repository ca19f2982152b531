"""Objects of Cloud Storage: read, write, list their versions, check that they exist."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gemini_tuning.core.exceptions import PermanentServiceError
from gemini_tuning.core.files import MAX_LINE
from gemini_tuning.core.names import split_gcs_uri
from gemini_tuning.hooks import converters
from gemini_tuning.hooks.base import REQUEST_TIMEOUT, GeminiBaseHook
from gemini_tuning.hooks.errors import service_errors

if TYPE_CHECKING:
    from google.cloud.storage import Client

    from gemini_tuning.core.resources import ObjectVersion

READ_BUFFER = 1 << 20  # bytes
MAX_OBJECTS = 10_000  # in a folder whose objects are listed
EXISTS_TIMEOUT = 20.0  # seconds to check an object, including retries
MAX_CONCURRENT_CHECKS = 10  # as many connections as a session keeps


class StorageHookMixin(GeminiBaseHook):
    """Objects of Cloud Storage by their addresses (https://cloud.google.com/storage/docs/json_api/v1/objects)."""

    def read_lines(self, uri: str) -> Iterator[bytes]:
        """Stream the lines of an object in constant memory; a line longer than :data:`MAX_LINE` comes in pieces."""
        with self._object(uri) as stream:
            yield from iter(lambda: stream.readline(MAX_LINE), b"")

    def read_blocks(self, uri: str) -> Iterator[bytes]:
        """Stream an object in blocks of one mebibyte."""
        with self._object(uri) as stream:
            yield from iter(lambda: stream.read(READ_BUFFER), b"")

    @contextmanager
    def _object(self, uri: str) -> Iterator[io.BufferedReader]:
        from google.cloud.storage import Blob

        with service_errors("read", uri):
            blob = Blob.from_uri(uri, client=self._storage_client())
            blob.reload()  # fails on a proxy's page, which the client would later read endlessly
            with blob.open("rb") as stream:
                # The blob itself would be read byte by byte.
                yield io.BufferedReader(stream, READ_BUFFER)

    def missing_objects(self, uris: Sequence[str], *, timeout: float) -> tuple[dict[str, str], int]:
        """Check concurrently which objects exist.

        :param uris: ``gs://bucket/object``.
        :param timeout: seconds; objects that were not checked by then are skipped.
        :return: why an object cannot be used, by its address; and the number of objects that were not checked.
        :raises TransientServiceError: when the service is unavailable.
        """
        from concurrent.futures import ThreadPoolExecutor, wait

        client = self._storage_client()
        with ThreadPoolExecutor(MAX_CONCURRENT_CHECKS) as pool:
            checks = {uri: pool.submit(self._object_problem, client, uri) for uri in uris}
            done, late = wait(checks.values(), timeout=timeout, return_when="FIRST_EXCEPTION")
            pool.shutdown(wait=False, cancel_futures=True)
            found = {uri: check.result() for uri, check in checks.items() if check in done and not check.cancelled()}
        return {uri: problem for uri, problem in found.items() if problem}, len(late)

    @staticmethod
    def _object_problem(client: Client, uri: str) -> str | None:
        from google.cloud.storage import Blob
        from google.cloud.storage.retry import DEFAULT_RETRY

        retry = DEFAULT_RETRY.with_timeout(EXISTS_TIMEOUT)
        try:
            blob = Blob.from_uri(uri, client=client)
        except ValueError:
            return "is not the address of an object"
        try:
            with service_errors("check", uri):
                return None if blob.exists(timeout=EXISTS_TIMEOUT, retry=retry) else "does not exist (404)"
        except PermanentServiceError as error:
            return f"cannot be checked: {error.code} {error.service_message}"

    def object_versions(self, uri: str) -> dict[str, ObjectVersion]:
        """Return the current version of an object, or of each object in a folder, by address.

        :param uri: ``gs://bucket/object``, or ``gs://bucket/folder/``.
        :raises PermanentServiceError: with code 404 when the object does not exist; not for an empty folder.
        """
        from google.cloud.storage import Blob

        with service_errors("read", uri):
            client = self._storage_client()
            if not uri.endswith("/"):
                blob = Blob.from_uri(uri, client=client)
                blob.reload(timeout=REQUEST_TIMEOUT)
                return {uri: converters.object_version(blob)}
            bucket, prefix = split_gcs_uri(uri) or ("", "")
            found = client.list_blobs(bucket, prefix=prefix, max_results=MAX_OBJECTS + 1, timeout=REQUEST_TIMEOUT)
            versions = {f"gs://{bucket}/{blob.name}": converters.object_version(blob) for blob in found}
        if len(versions) > MAX_OBJECTS:
            hint = "Watch a smaller folder, or one object that names the others."
            raise PermanentServiceError(f"{uri} contains more than {MAX_OBJECTS} objects.", resource=uri, hint=hint)
        return versions

    def write_object(self, uri: str, content: bytes, content_type: str) -> None:
        """Write an object; an existing one is replaced."""
        from google.cloud.storage import Blob

        with service_errors("write", uri):
            blob = Blob.from_uri(uri, client=self._storage_client())
            blob.upload_from_string(content, content_type=content_type, timeout=REQUEST_TIMEOUT)
