"""The part of the Cloud Storage JSON API that google-cloud-storage and gcsfs use."""

import re
from typing import Any
from urllib.parse import quote

from starlette.responses import Response

from vertex_emulator.buckets import Bucket, Conditions, StoredObject, Upload, Wanted
from vertex_emulator.call import Call, Entry
from vertex_emulator.clock import timestamp
from vertex_emulator.errors import GoogleError
from vertex_emulator.multipart import read_upload
from vertex_emulator.render import Json, without_empty

_BUCKETS = "/storage/v1/b"
_BUCKET = _BUCKETS + "/{bucket}"
_OBJECTS = _BUCKET + "/o"
_OBJECT = _OBJECTS + "/{object:path}"
_UPLOAD = "/upload/storage/v1/b/{bucket}/o"
_DEFAULT_TYPE = "application/octet-stream"
_FULL_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")


def create_bucket(call: Call) -> Json:
    """Make a bucket."""
    wanted = call.json_object()
    project = call.query("project") or ""
    location = wanted.get("location", "US")
    return _bucket(call, call.world.buckets.create(str(wanted.get("name", "")), project, call.now, location))


def get_bucket(call: Call) -> Json:
    """One bucket."""
    return _bucket(call, call.world.buckets.bucket(call.path["bucket"]))


def list_buckets(call: Call) -> Json:
    """All buckets; projects are not told apart."""
    prefix = call.query("prefix") or ""
    items = [_bucket(call, bucket) for bucket in call.world.buckets if bucket.name.startswith(prefix)]
    return without_empty({"kind": "storage#buckets", "items": items})


def delete_bucket(call: Call) -> Response:
    """Delete an empty bucket."""
    call.world.buckets.delete_bucket(call.path["bucket"])
    return Response(status_code=204)


def list_objects(call: Call) -> Json:
    """Return a page of objects."""
    wanted = Wanted(
        prefix=call.query("prefix") or "",
        delimiter=call.query("delimiter") or "",
        size=min(_number(call, "maxResults") or 1000, 1000),
        after=call.query("pageToken") or "",
        start=call.query("startOffset") or "",
    )
    listing = call.world.buckets.list_objects(call.path["bucket"], wanted)
    return without_empty(
        {
            "kind": "storage#objects",
            "items": [_object(call, item) for item in listing.objects],
            "prefixes": listing.prefixes,
            "nextPageToken": listing.next_token,
        }
    )


def get_object(call: Call) -> Json | Response:
    """Metadata, or with ``alt=media`` the contents."""
    stored = _stored(call)
    _conditions(call).check(stored)
    return _media(call, stored) if call.query("alt") == "media" else _object(call, stored)


def update_object(call: Call) -> Json:
    """Change metadata."""
    stored = _stored(call)
    _conditions(call).check(stored)
    return _object(call, call.world.buckets.update(stored, call.json_object(), call.now))


def delete_object(call: Call) -> Response:
    """Delete an object."""
    call.world.buckets.delete(call.path["bucket"], call.path["object"], _conditions(call), _number(call, "generation"))
    return Response(status_code=204)


def upload(call: Call) -> Json | Response:
    """Upload contents: simple (``media``), ``multipart``, or the start of a ``resumable`` upload."""
    if call.query("upload_id"):  # gcsfs sends the chunks of a resumable upload with POST
        return continue_upload(call)
    kind = call.query("uploadType")
    if kind == "multipart":
        metadata, content = read_upload(call.request.headers.get("content-type", ""), call.body)
        return _write(call, metadata, content)
    if kind == "resumable":
        return _start_resumable(call)
    content_type = call.request.headers.get("content-type", _DEFAULT_TYPE)
    return _write(call, {"contentType": content_type}, call.body)


def continue_upload(call: Call) -> Json | Response:
    """Take a chunk of a resumable upload, or say how much has arrived."""
    buckets = call.world.buckets
    upload_id = call.query("upload_id") or ""
    state = buckets.upload(upload_id)
    header = call.request.headers.get("content-range")
    match = _CONTENT_RANGE.fullmatch(header) if header else None
    if header and match is None:
        raise GoogleError(400, f"Failed to parse Content-Range header: {header}")
    if match is None or match[1] is not None:
        start = int(match[1]) if match else 0
        if start > len(state.content):
            raise GoogleError(503, f"The chunk starts at {start}; {len(state.content)} bytes have arrived.")
        state.content[start:] = call.body
    total = int(match[3]) if match and match[3] != "*" else None
    if match is None or total == len(state.content):
        return _object(call, buckets.finish_upload(upload_id, call.now))
    headers = {"Range": f"bytes=0-{len(state.content) - 1}"} if state.content else {}
    return Response(status_code=308, headers=headers)


def _start_resumable(call: Call) -> Response:
    metadata = call.json_object()
    metadata.setdefault("contentType", call.request.headers.get("x-upload-content-type", _DEFAULT_TYPE))
    name = call.query("name") or metadata.get("name", "")
    upload_id = call.world.buckets.start_upload(Upload(call.path["bucket"], name, metadata, _conditions(call)))
    address = f"{call.base_url}/upload/storage/v1/b/{call.path['bucket']}/o"
    location = f"{address}?uploadType=resumable&upload_id={upload_id}"
    return Response(headers={"Location": location, "X-GUploader-UploadID": upload_id})


def _write(call: Call, metadata: Json, content: bytes) -> Json:
    name = call.query("name") or str(metadata.get("name", ""))
    stored = call.world.buckets.write(
        call.path["bucket"], name, content, metadata=metadata, conditions=_conditions(call), now=call.now
    )
    return _object(call, stored)


def _stored(call: Call) -> StoredObject:
    return call.world.buckets.read(call.path["bucket"], call.path["object"], _number(call, "generation"))


def _number(call: Call, name: str) -> int | None:
    text = call.query(name)
    if not text:
        return None
    if not text.isdigit():
        raise GoogleError(400, f"Invalid value for {name}: {text}")
    return int(text)


def _conditions(call: Call) -> Conditions:
    return Conditions(
        _number(call, "ifGenerationMatch"),
        _number(call, "ifGenerationNotMatch"),
        _number(call, "ifMetagenerationMatch"),
        _number(call, "ifMetagenerationNotMatch"),
    )


def _media(call: Call, stored: StoredObject) -> Response:
    """Contents, whole or the range asked for."""
    size = len(stored.content)
    headers = {
        "X-Goog-Hash": f"crc32c={stored.crc32c},md5={stored.md5}",
        "X-Goog-Generation": str(stored.generation),
        "X-Goog-Metageneration": str(stored.metageneration),
        "X-Goog-Stored-Content-Length": str(size),
        "X-Goog-Stored-Content-Encoding": stored.metadata.get("contentEncoding", "identity"),
        "ETag": f'"{stored.md5}"',
        "Accept-Ranges": "bytes",
        "Content-Type": str(stored.metadata.get("contentType", _DEFAULT_TYPE)),
    }
    wanted = _FULL_RANGE.fullmatch(call.request.headers.get("range", ""))
    if wanted is None or not any(wanted.groups()):
        return Response(stored.content, headers=headers)
    first, last = _span(wanted[1], wanted[2], size)
    if first >= size:
        raise GoogleError(416, "The requested range cannot be satisfied.")
    headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    return Response(stored.content[first : last + 1], 206, headers)


def _span(first: str, last: str, size: int) -> tuple[int, int]:
    if not first:
        return max(size - int(last), 0), size - 1
    return int(first), min(int(last), size - 1) if last else size - 1


def _bucket(call: Call, bucket: Bucket) -> Json:
    time = timestamp(bucket.created)
    return {
        "kind": "storage#bucket",
        "id": bucket.name,
        "name": bucket.name,
        "selfLink": f"{call.base_url}{_BUCKETS}/{bucket.name}",
        "projectNumber": call.world.projects.number(bucket.project or call.world.settings.project),
        "location": bucket.location.upper(),
        "locationType": "multi-region" if len(bucket.location) == 2 else "region",
        "storageClass": "STANDARD",
        "metageneration": "1",
        "timeCreated": time,
        "updated": time,
        "etag": "CAE=",
    }


def _object(call: Call, stored: StoredObject) -> Json:
    path = f"{_BUCKETS}/{stored.bucket}/o/{quote(stored.name, safe='')}"
    kept: dict[str, Any] = {
        key: value
        for key, value in stored.metadata.items()
        if key in ("contentType", "contentEncoding", "contentDisposition", "cacheControl", "metadata", "customTime")
    }
    return without_empty(
        {
            "kind": "storage#object",
            "id": f"{stored.bucket}/{stored.name}/{stored.generation}",
            "selfLink": call.base_url + path,
            "mediaLink": f"{call.base_url}/download{path}?generation={stored.generation}&alt=media",
            "name": stored.name,
            "bucket": stored.bucket,
            "generation": str(stored.generation),
            "metageneration": str(stored.metageneration),
            "contentType": _DEFAULT_TYPE,
            **kept,
            "storageClass": "STANDARD",
            "size": str(len(stored.content)),
            "md5Hash": stored.md5,
            "crc32c": stored.crc32c,
            "etag": f"{stored.generation}/{stored.metageneration}",
            "timeCreated": timestamp(stored.created),
            "updated": timestamp(stored.updated),
            "timeStorageClassUpdated": timestamp(stored.created),
        }
    )


ROUTES = [
    Entry("POST", _BUCKETS, create_bucket),
    Entry("GET", _BUCKETS, list_buckets),
    Entry("GET", _BUCKET, get_bucket),
    Entry("DELETE", _BUCKET, delete_bucket),
    Entry("GET", _OBJECTS, list_objects),
    Entry("GET", _OBJECT, get_object),
    Entry("PATCH", _OBJECT, update_object),
    Entry("DELETE", _OBJECT, delete_object),
    Entry("GET", "/download" + _OBJECT, get_object),
    Entry("POST", _UPLOAD, upload),
    Entry("PUT", _UPLOAD, continue_upload),
]
