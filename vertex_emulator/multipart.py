"""Multipart uploads of Cloud Storage: metadata and contents in one body (multipart/related, RFC 2387). Pure functions.

Clients differ in their line ends (google-cloud-storage: CRLF, gcsfs: LF), and the contents must come out byte for
byte, which the parser of the standard library does not promise.
"""

import json
from email.message import Message
from typing import Any

from .errors import GoogleError


def read_upload(content_type: str, body: bytes) -> tuple[dict[str, Any], bytes]:
    """Split an upload.

    :param content_type: the request's header, which names the boundary.
    :return: metadata of the object, with its contentType; the contents.
    """
    header = Message()
    header["Content-Type"] = content_type
    boundary = header.get_boundary()
    pieces = body.split(b"--" + boundary.encode()) if boundary else []
    if len(pieces) != 4 or not pieces[3].startswith(b"--"):
        raise GoogleError(400, "A multipart upload must have two parts: metadata and media.")
    _, text = _part(pieces[1])
    kind, content = _part(pieces[2])
    metadata = _read_metadata(text)
    metadata.setdefault("contentType", kind)
    return metadata, content


def _part(piece: bytes) -> tuple[str, bytes]:
    """Content type and contents of a part, which stands between two boundaries."""
    end = b"\r\n" if piece.startswith(b"\r\n") else b"\n"
    head, _, content = piece.removeprefix(end).partition(end + end)
    header = Message()
    for line in head.decode("latin-1").splitlines():
        name, _, value = line.partition(":")
        header[name.strip()] = value.strip()
    return header.get("Content-Type", "application/octet-stream"), content.removesuffix(end)


def _read_metadata(text: bytes) -> dict[str, Any]:
    try:
        metadata = json.loads(text)
    except ValueError:
        metadata = None
    if not isinstance(metadata, dict):
        raise GoogleError(400, "Failed to parse the metadata part of the multipart upload.")
    return metadata
