"""The web application: routes, the gate that every request passes, the journal."""

import time
from collections.abc import Awaitable, Callable
from html import escape
from typing import Any

from starlette.applications import Starlette
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .call import Call, Entry, error_reply, is_storage, reply
from .errors import GoogleError, unauthenticated
from .misbehaviour import misbehave
from .routes import (
    control,
    endpoints,
    evaluation_runs,
    metadata,
    metrics,
    models,
    monitoring,
    oauth,
    operations,
    storage,
    tuning_jobs,
)
from .settings import StorageAuth
from .world import World

_PROXY_PREFIX = "/vertex.googleapis.com"
"""google-genai configured by the environment alone keeps the resource path only below an address that ends so."""
_OPEN = ("/_emulator/", "/token", "/computeMetadata/")
_VERTEX = ("/v1/", "/v1beta1/", "/ui/")


_NOT_FOUND_PAGE = """<!DOCTYPE html>
<html lang=en>
  <title>Error 404 (Not Found)!!1</title>
  <p><b>404.</b> <ins>That\u2019s an error.</ins>
  <p>The requested URL <code>{path}</code> was not found on this server.  <ins>That\u2019s all we know.</ins>
  <!-- {message} -->
"""


class _Text(Convertor[str]):
    """A part of a path that is taken as it stands."""

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


class _Version(_Text):
    regex = "v1|v1beta1"


class _Id(_Text):
    """An id: a colon after it starts a custom method."""

    regex = "[^/:]+"


register_url_convertor("version", _Version())
register_url_convertor("id", _Id())

# The busiest routes first: Starlette tries them in order.
ROUTES: list[Entry] = [
    *tuning_jobs.ROUTES,
    *operations.ROUTES,
    *endpoints.ROUTES,
    *models.ROUTES,
    *metrics.ROUTES,
    *evaluation_runs.ROUTES,
    *storage.ROUTES,
    *monitoring.ROUTES,
    *oauth.ROUTES,
    *metadata.ROUTES,
    *control.ROUTES,
]


class Gate:
    """What comes before any handler: token, faults; and after it: the journal."""

    def __init__(self, app: ASGIApp, world: World) -> None:
        self._app = app
        self._world = world

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve an ASGI event."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["path"].startswith(_PROXY_PREFIX + "/"):
            scope["path"] = scope["path"].removeprefix(_PROXY_PREFIX)
        path: str = scope["path"]
        if path.startswith("/_emulator/"):
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(receive, send, keep_body=path.startswith(_VERTEX))
        caller = self._world.account.caller(_header(scope, b"authorization"))
        fault = None
        try:
            if caller is None and self._needs_token(scope):
                await error_reply(unauthenticated(), path)(scope, exchange.receive, exchange.send)
            elif fault := self._world.bad_reply(scope["method"], path):
                await misbehave(fault, self._app, scope, exchange.receive, exchange.send)
            else:
                await self._app(scope, exchange.receive, exchange.send)
        except Exception:
            exchange.status = 500  # Starlette answers when we are gone
            raise
        finally:
            self._world.journal.add(
                time.time(),
                scope["method"],
                path,
                query=scope["query_string"].decode(),
                status=exchange.status,
                body=exchange.body,
                reply=exchange.reply,
                fault=fault.name if fault else "",
                caller={"account": caller, "userAgent": _header(scope, b"user-agent")},
            )

    def _needs_token(self, scope: Scope) -> bool:
        path = scope["path"]
        if path == "/" or path.startswith(_OPEN):
            return False
        optional = self._world.settings.storage_auth is StorageAuth.OPTIONAL and is_storage(path)
        return not optional or bool(_header(scope, b"authorization"))


def _header(scope: Scope, name: bytes) -> str:
    value: bytes = next((value for key, value in scope["headers"] if key == name), b"")
    return value.decode("latin-1")


class _Exchange:
    """Looks over the shoulder of a request: its body, and status and body of its reply."""

    def __init__(self, receive: Receive, send: Send, *, keep_body: bool) -> None:
        self._receive = receive
        self._send = send
        self._keep_body = keep_body
        self.status = 0
        self.body = b""
        self.reply = b""

    async def receive(self) -> Message:
        message = await self._receive()
        if self._keep_body:
            self.body += message.get("body", b"")
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif self._keep_body:
            self.reply += message.get("body", b"")
        await self._send(message)


def build(world: World) -> Starlette:
    """Make the application."""
    return _starlette(world, [Middleware(Gate, world=world)])


def build_ungated(world: World) -> Starlette:
    """Make an application that takes every request: for requests that have passed the gate before."""
    return _starlette(world, [])


def _starlette(world: World, middleware: list[Middleware]) -> Starlette:
    handlers: dict[Any, Callable[[Request, Exception], Response | Awaitable[Response]]] = {
        GoogleError: _google_error,
        HTTPException: _http_error,
        Exception: _internal_error,
    }
    return Starlette(
        routes=[_route(world, entry) for entry in ROUTES],
        middleware=middleware,
        exception_handlers=handlers,
    )


def _route(world: World, entry: Entry) -> Route:
    return Route(entry.path, _endpoint(world, entry), methods=[entry.method])


def _endpoint(world: World, entry: Entry) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:
        body = await request.body()
        world.tick()
        if entry.changes and world.history:
            world.history.request(request, body)
        return reply(request, entry.handler(Call(world, request, body)))

    return serve


def _google_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, GoogleError)  # noqa: S101  (registered for this class)
    return error_reply(error, request.url.path)


def _http_error(request: Request, error: Exception) -> Response:
    """Starlette found no route: 404, for Vertex AI the page that Google's front end gives for unknown addresses."""
    assert isinstance(error, HTTPException)  # noqa: S101
    path = request.url.path
    message = f"The emulator does not serve {request.method} {path}."
    if path.startswith(_VERTEX):
        return HTMLResponse(_NOT_FOUND_PAGE.format(path=escape(path), message=escape(message)), status_code=404)
    return error_reply(GoogleError(404, message), path)


def _internal_error(request: Request, error: Exception) -> Response:
    return error_reply(GoogleError(500, f"Error in the emulator: {error!r}"), request.url.path)
