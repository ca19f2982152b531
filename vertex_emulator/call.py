"""What a handler gets, and how its answer becomes a reply."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from .errors import GoogleError, invalid_argument
from .names import Parent
from .protojson import write_enums_as_numbers
from .render import Json
from .world import World


@dataclass(frozen=True, slots=True)
class Call:
    """A request, after its body was read and due events were applied."""

    world: World
    request: Request
    body: bytes

    @property
    def path(self) -> dict[str, str]:
        """Parameters in the path."""
        return self.request.path_params

    @property
    def now(self) -> float:
        """Virtual time."""
        return self.world.clock.now()

    @property
    def parent(self) -> Parent:
        """``projects/{project}/locations/{location}`` of the path."""
        return self.world.projects.parent(self.path["project"], self.path["location"])

    @property
    def version(self) -> str:
        """Version of the API in the path; empty below ``/ui/``."""
        return self.path.get("version", "")

    @property
    def base_url(self) -> str:
        """This server's address as the caller reached it."""
        return str(self.request.base_url).rstrip("/")

    def query(self, name: str) -> str | None:
        """Return a query parameter."""
        return self.request.query_params.get(name)

    def filter(self) -> str:
        """All ``filter`` parameters as one: google-genai sends two."""
        return " AND ".join(text for text in self.request.query_params.getlist("filter") if text.strip())

    def json(self) -> Any:
        """Return the body as JSON; an empty body is an empty message."""
        if not self.body.strip():
            return {}
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise invalid_argument(f"Invalid JSON payload received. {error}") from error

    def json_object(self) -> dict[str, Any]:
        """Read the body as a JSON object whose fields nobody checks."""
        value = self.json()
        if not isinstance(value, dict):
            raise invalid_argument("Invalid JSON payload received. The body must be an object.")
        return value


Handler = Callable[[Call], Json | Response]


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a route table: method, path pattern (Starlette's), handler.

    ``reads`` marks a request that changes nothing although it is no GET: ``--state`` does not keep it.
    """

    method: str
    path: str
    handler: Handler
    reads: bool = False

    @property
    def changes(self) -> bool:
        """Whether a request may change the state."""
        return self.method != "GET" and not self.reads


def reply(request: Request, result: Json | Response) -> Response:
    """Make a handler's answer an HTTP reply: always 200, enums as the caller asked."""
    if isinstance(result, Response):
        return result
    if "enum-encoding=int" in request.query_params.get("$alt", ""):
        result = write_enums_as_numbers(result)
    return JSONResponse(result)


def is_storage(path: str) -> bool:
    """Whether a path belongs to Cloud Storage."""
    return path.startswith(("/storage/", "/upload/storage/", "/download/storage/", "/batch/storage/"))


def error_reply(error: GoogleError, path: str) -> Response:
    """Turn an error into Google's JSON: this is the one place for it."""
    headers = {}
    if error.retry_after is not None:
        headers["Retry-After"] = f"{error.retry_after:g}"
    if error.code == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="https://accounts.google.com/", error="invalid_token"'
    body = error.storage_body() if is_storage(path) else error.body()
    return JSONResponse(body, status_code=error.code, headers=headers)
