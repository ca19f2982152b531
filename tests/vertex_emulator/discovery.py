"""Google's discovery documents, and what they say about a request and its reply.

The documents come with googleapiclient (a requirement of the Google provider) and describe every method, parameter
and field of the API. :func:`problems` holds an entry of the emulator's journal against them.
"""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from tests.vertex_emulator.schemas import check
from vertex_emulator.process import Emulator

VERSIONS = ("v1", "v1beta1")
JOURNAL_KEEPS = 64 * 1024  # bytes of a reply


class Allowed(NamedTuple):
    """A difference that is right: which problems (a regular expression, searched), and why."""

    pattern: str
    reason: str


ALLOWED = (
    Allowed(
        r"^GET /ui/",
        "google-cloud-aiplatform's REST transports poll operations below /ui/, which no document describes.",
    ),
    Allowed(
        r"models\.patch: query updateMask: missing",
        "The documents call it required; google-genai sends none, and Google's samples rely on that.",
    ),
    Allowed(
        r"models\.list: query filter: sent 2 times",
        "google-genai sends the caller's filter beside one of its own.",
    ),
    Allowed(
        r"query \$alt: unknown",
        "Google's generated REST clients ask for $alt=json;enum-encoding=int; a system parameter of all Google APIs.",
    ),
    Allowed(
        r"reply .*: enum as number, as asked",
        "What $alt=json;enum-encoding=int asks for.",
    ),
    Allowed(
        r"body .*: snake_case",
        "proto JSON reads field names in either spelling, and google-genai mixes them.",
    ),
    Allowed(
        r"body .*: int64 as number|body .*: enum as number",
        "proto JSON reads numbers with and without quotes, and enums by name or number.",
    ),
)


class Method(NamedTuple):
    """A method of a document. ``path`` matches its paths; ``document`` has its schemas."""

    id: str
    http_method: str
    path: re.Pattern[str]
    description: dict[str, Any]
    document: dict[str, Any]


@cache
def documents() -> dict[str, dict[str, Any]]:
    """Both documents by version."""
    import googleapiclient

    folder = Path(googleapiclient.__file__).parent / "discovery_cache" / "documents"
    return {version: json.loads((folder / f"aiplatform.{version}.json").read_text()) for version in VERSIONS}


@cache
def methods(version: str) -> tuple[Method, ...]:
    """All methods of a version."""
    document = documents()[version]
    return tuple(
        Method(
            description["id"].removeprefix("aiplatform."),
            description["httpMethod"],
            _path_pattern(description.get("flatPath", description["path"])),
            description,
            document,
        )
        for description in _descriptions(document)
    )


def find_method(http_method: str, path: str) -> Method | None:
    """The method that serves a path such as ``/v1/projects/…``."""
    version = path.split("/")[1]
    if version not in VERSIONS:
        return None
    return next(
        (item for item in methods(version) if item.http_method == http_method and item.path.fullmatch(path)), None
    )


def vertex_entries(emulator: Emulator) -> list[dict[str, Any]]:
    """The journal's entries that went to Vertex AI."""
    return [entry for entry in emulator.requests() if entry["path"].startswith(("/v1/", "/v1beta1/", "/ui/"))]


def check_journal(emulator: Emulator) -> None:
    """Fail when a request or a reply in the journal is not as the documents say."""
    found = {problem: None for entry in vertex_entries(emulator) for problem in problems(entry)}
    assert not found, "\n".join(found)


def problems(entry: dict[str, Any]) -> list[str]:
    """What a journal entry has that the documents lack, without the differences in :data:`ALLOWED`."""
    return [problem for problem in all_problems(entry) if not any(re.search(item.pattern, problem) for item in ALLOWED)]


def all_problems(entry: dict[str, Any]) -> Iterator[str]:
    """What a journal entry has that the documents lack.

    A refused request may well be wrong: then only the shape of the error counts.
    """
    call = f"{entry['method']} {entry['path']}"
    if "fault" in entry:
        return  # a fault rule's doing; Google would not answer so
    if entry["status"] >= 400:
        yield from (f"{call}: {problem}" for problem in _check_error(entry))
        return
    path = entry["path"]
    if path.startswith("/ui/"):
        yield f"{call}: below /ui/"
        path = path.replace("/ui/", "/v1/", 1)
    method = find_method(entry["method"], path)
    if method is None:
        yield f"{call}: no such method"
        return
    for problem in (*_check_query(entry, method), *_check_body(entry, method), *_check_reply(entry, method)):
        yield f"{call}: {method.id}: {problem}"


def _check_error(entry: dict[str, Any]) -> Iterator[str]:
    reply = entry.get("reply")
    if entry["status"] == 404 and isinstance(reply, str) and reply.startswith("<!DOCTYPE html>"):
        return  # an unknown address: Google's front end knows no JSON for that
    error = reply.get("error") if isinstance(reply, dict) else None
    if not isinstance(error, dict) or not {"code", "message", "status"} <= error.keys() <= {*_ERROR_FIELDS}:
        yield f"not Google's error body: {reply}"
    elif error["code"] != entry["status"] or not isinstance(error["message"], str):
        yield f"wrong error: {error}"


_ERROR_FIELDS = ("code", "message", "status", "details")


def _check_query(entry: dict[str, Any], method: Method) -> Iterator[str]:
    known = {**method.description.get("parameters", {}), **method.document["parameters"]}
    sent = parse_qs(entry.get("query", ""), keep_blank_values=True)
    for name, values in sent.items():
        if name not in known:
            yield f"query {name}: unknown"
        elif len(values) > 1 and not known[name].get("repeated"):
            yield f"query {name}: sent {len(values)} times"
    for name, parameter in known.items():
        required = parameter["location"] == "query" and parameter.get("description", "").startswith("Required")
        if required and name not in sent:
            yield f"query {name}: missing"


def _check_body(entry: dict[str, Any], method: Method) -> Iterator[str]:
    body = entry.get("body", {})
    schema = method.description.get("request")
    if schema is None:
        if body:
            yield f"body: there should be none: {body}"
        return
    yield from (f"body {problem}" for problem in check(body, schema, method.document, lenient=True))


def _check_reply(entry: dict[str, Any], method: Method) -> Iterator[str]:
    if isinstance(entry["reply"], str) and len(entry["reply"].encode()) >= JOURNAL_KEEPS:
        return  # cut: what is left is no JSON
    schema = method.description["response"]
    numbers = "enum-encoding=int" in entry.get("query", "") or "enum-encoding%3Dint" in entry.get("query", "")
    for part in _parts(entry["reply"]):
        for problem in check(part, schema, method.document, lenient=False):
            asked = ", as asked" if numbers and problem.endswith("enum as number") else ""
            yield f"reply {problem}{asked}"


def _parts(reply: Any) -> list[Any]:
    """The messages of a reply: one, or those of a stream (a JSON array or server-sent events)."""
    if isinstance(reply, str) and reply.startswith("data: "):
        return [json.loads(line.removeprefix("data: ")) for line in reply.splitlines() if line]
    return reply if isinstance(reply, list) else [reply]


def _path_pattern(flat_path: str) -> re.Pattern[str]:
    parts = re.split(r"\{[^}]+\}", flat_path)
    return re.compile("/" + "[^/:]+".join(map(re.escape, parts)))


def _descriptions(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from node.get("methods", {}).values()
    for resource in node.get("resources", {}).values():
        yield from _descriptions(resource)
