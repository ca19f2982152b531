"""Cloud Storage's state and rules: buckets, objects, preconditions. Contents are kept in memory."""

import base64
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import google_crc32c

from .errors import GoogleError
from .ids import Ids

_BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")


@dataclass(slots=True)
class StoredObject:
    """One generation of an object. ``metadata`` holds what the caller may set (contentType, metadata, …)."""

    bucket: str
    name: str
    content: bytes
    generation: int
    metageneration: int
    created: float
    updated: float
    metadata: dict[str, Any]
    md5: str
    crc32c: str


@dataclass(slots=True)
class Bucket:
    """A bucket."""

    name: str
    project: str
    location: str
    created: float
    labels: dict[str, str] = field(default_factory=dict)
    objects: dict[str, StoredObject] = field(default_factory=dict)


@dataclass(slots=True)
class Upload:
    """A resumable upload under way."""

    bucket: str
    name: str
    metadata: dict[str, Any]
    conditions: "Conditions"
    content: bytearray = field(default_factory=bytearray)


class Conditions(NamedTuple):
    """Preconditions of a request; generation 0 stands for "there is no such object"."""

    generation_match: int | None = None
    generation_not_match: int | None = None
    metageneration_match: int | None = None
    metageneration_not_match: int | None = None

    def check(self, current: StoredObject | None) -> None:
        """Raise 412 unless they hold."""
        generation = current.generation if current else 0
        metageneration = current.metageneration if current else 0
        held = (
            self.generation_match in (None, generation),
            self.generation_not_match is None or self.generation_not_match != generation,
            self.metageneration_match in (None, metageneration),
            self.metageneration_not_match is None or self.metageneration_not_match != metageneration,
        )
        if not all(held):
            raise GoogleError(412, "At least one of the pre-conditions you specified did not hold.")


class Wanted(NamedTuple):
    """What to list.

    :param size: most entries of a page.
    :param after: the last entry of the page before; empty for the first page.
    :param start: least name (startOffset).
    """

    prefix: str
    delimiter: str
    size: int
    after: str
    start: str


class Listing(NamedTuple):
    """A page of a bucket: objects, and the "folders" that the delimiter makes."""

    objects: list[StoredObject]
    prefixes: list[str]
    next_token: str | None


class Buckets:
    """All buckets.

    :param ids: where the ids of uploads come from.
    """

    def __init__(self, ids: Ids) -> None:
        self._ids = ids
        self._buckets: dict[str, Bucket] = {}
        self._uploads: dict[str, Upload] = {}
        self._generation = 0

    def __iter__(self) -> Iterator[Bucket]:
        return iter([self._buckets[name] for name in sorted(self._buckets)])

    def create(self, name: str, project: str, now: float, location: str = "US") -> Bucket:
        """Make a bucket; 409 when the name is taken."""
        if not _BUCKET_NAME.fullmatch(name):
            raise GoogleError(400, f"Invalid bucket name: '{name}'")
        if name in self._buckets:
            raise GoogleError(409, "Your previous request to create the named bucket succeeded and you already own it.")
        self._buckets[name] = Bucket(name, project, location, now)
        return self._buckets[name]

    def bucket(self, name: str) -> Bucket:
        """Return the bucket with this name, or 404."""
        if name not in self._buckets:
            raise GoogleError(404, "The specified bucket does not exist.")
        return self._buckets[name]

    def delete_bucket(self, name: str) -> None:
        """Delete an empty bucket."""
        if self.bucket(name).objects:
            raise GoogleError(409, "The bucket you tried to delete is not empty.")
        del self._buckets[name]

    def read(self, bucket: str, name: str, generation: int | None = None) -> StoredObject:
        """Return the object, or 404; only the live generation exists."""
        found = self.bucket(bucket).objects.get(name)
        if found is None or generation not in (None, found.generation):
            raise GoogleError(404, f"No such object: {bucket}/{name}")
        return found

    def write(
        self,
        bucket: str,
        name: str,
        content: bytes,
        *,
        metadata: dict[str, Any],
        conditions: Conditions,
        now: float,
    ) -> StoredObject:
        """Write a new generation of an object.

        :param now: virtual time; generations are microseconds of it, and always grow.
        """
        objects = self.bucket(bucket).objects
        conditions.check(objects.get(name))
        if not name:
            raise GoogleError(400, "Required parameter: name")
        self._generation = max(self._generation + 1, int(now * 1_000_000))
        stored = StoredObject(
            bucket, name, content, self._generation, 1, now, now, metadata, _md5(content), _crc32c(content)
        )
        _check_hashes(stored)
        objects[name] = stored
        return stored

    def update(self, stored: StoredObject, changes: dict[str, Any], now: float) -> StoredObject:
        """Change an object's metadata; null deletes a key."""
        for key, value in changes.items():
            if isinstance(value, dict) and isinstance(stored.metadata.get(key), dict):
                value = {k: v for k, v in {**stored.metadata[key], **value}.items() if v is not None}  # noqa: PLW2901
            stored.metadata[key] = value
        stored.metageneration += 1
        stored.updated = now
        return stored

    def delete(self, bucket: str, name: str, conditions: Conditions, generation: int | None = None) -> None:
        """Delete an object."""
        conditions.check(self.read(bucket, name, generation))
        del self.bucket(bucket).objects[name]

    def list_objects(self, bucket: str, wanted: Wanted) -> Listing:
        """List a page, in the order of names."""
        prefix, delimiter = wanted.prefix, wanted.delimiter
        objects: list[StoredObject] = []
        prefixes: list[str] = []
        last = ""
        everything = self.bucket(bucket).objects
        for name in sorted(everything):
            if not name.startswith(prefix) or name < wanted.start:
                continue
            entry = _entry(name, prefix, delimiter)
            if entry <= wanted.after or (prefixes and entry == prefixes[-1]):
                continue
            if len(objects) + len(prefixes) == wanted.size:
                return Listing(objects, prefixes, last)
            if entry == name:
                objects.append(everything[name])
            else:
                prefixes.append(entry)
            last = entry
        return Listing(objects, prefixes, None)

    def start_upload(self, upload: Upload) -> str:
        """Begin a resumable upload; returns its id."""
        self.bucket(upload.bucket)
        upload_id = self._ids.upload()
        self._uploads[upload_id] = upload
        return upload_id

    def upload(self, upload_id: str) -> Upload:
        """Return the upload under way with this id, or 404."""
        if upload_id not in self._uploads:
            raise GoogleError(404, "No such upload.")
        return self._uploads[upload_id]

    def finish_upload(self, upload_id: str, now: float) -> StoredObject:
        """Make an object of a resumable upload."""
        upload = self.upload(upload_id)
        stored = self.write(
            upload.bucket,
            upload.name,
            bytes(upload.content),
            metadata=upload.metadata,
            conditions=upload.conditions,
            now=now,
        )
        del self._uploads[upload_id]
        return stored


def _entry(name: str, prefix: str, delimiter: str) -> str:
    """Say what a listing shows for an object: its name, or the "folder" it is in."""
    at = name.find(delimiter, len(prefix)) if delimiter else -1
    return name if at < 0 else name[: at + len(delimiter)]


def _md5(content: bytes) -> str:
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


def _crc32c(content: bytes) -> str:
    return base64.b64encode(google_crc32c.value(content).to_bytes(4, "big")).decode()


def _check_hashes(stored: StoredObject) -> None:
    """Compare the checksums that the caller sent with those of what arrived."""
    for key, actual in (("md5Hash", stored.md5), ("crc32c", stored.crc32c)):
        given = stored.metadata.pop(key, None)
        if given not in (None, actual):
            raise GoogleError(400, f"Provided {key} '{given}' doesn't match calculated {key} '{actual}'.")
