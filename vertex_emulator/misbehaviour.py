"""Gives the bad answers that :mod:`vertex_emulator.faults` decides on, as an ASGI server can."""

import asyncio
from html import escape

from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .call import error_reply
from .errors import GoogleError
from .faults import BadReply, Body

TRANSPORT = "transport"
"""Key of ``scope["state"]`` at which the server puts the connection: ASGI itself has no way to drop one."""


async def misbehave(fault: BadReply, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request badly.

    :param app: what would answer it well.
    """
    again = await _read(receive)
    await asyncio.sleep(fault.delay)
    if fault.body in (Body.TRUNCATED, Body.MALFORMED):
        await _send_half(await _served(app, scope, again), fault.body, scope, receive, send)
        return
    if fault.drop is None and fault.error is None:
        await app(scope, again, send)
        return
    if fault.applied:
        await _served(app, scope, again)
    if fault.drop:
        scope["state"][TRANSPORT].abort()
        await _wait_for_end(receive)
    elif fault.error:
        reply = _page(fault.error) if fault.body is Body.HTML else error_reply(fault.error, scope["path"])
        await reply(scope, receive, send)


async def _served(app: ASGIApp, scope: Scope, receive: Receive) -> list[Message]:
    """Serve a request and keep the reply."""
    reply: list[Message] = []

    async def keep(message: Message) -> None:
        reply.append(message)

    await app(scope, receive, keep)
    return reply


async def _send_half(reply: list[Message], body: Body, scope: Scope, receive: Receive, send: Send) -> None:
    content = b"".join(message.get("body", b"") for message in reply[1:])
    half = content[: len(content) // 2]
    length = len(half) if body is Body.MALFORMED else len(content)
    headers = [(key, value) for key, value in reply[0]["headers"] if key != b"content-length"]
    await send({**reply[0], "headers": [*headers, (b"content-length", str(length).encode())]})
    if body is Body.MALFORMED:
        await send({"type": "http.response.body", "body": half, "more_body": False})
        return
    await send({"type": "http.response.body", "body": half, "more_body": True})
    scope["state"][TRANSPORT].close()
    await _wait_for_end(receive)


def _page(error: GoogleError) -> Response:
    title = f"Error {error.code}"
    text = (
        f"<!DOCTYPE html>\n<html><head><title>{title}</title></head><body><p>{escape(error.message)}</p></body></html>"
    )
    return HTMLResponse(text, error.code)


async def _read(receive: Receive) -> Receive:
    """Take all that the caller sends; returns what gives it again, even when the caller is gone by then."""
    body = b""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return receive
        body += message.get("body", b"")
        more = message.get("more_body", False)

    async def again() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def _wait_for_end(receive: Receive) -> None:
    """Return when the server has noticed that the connection is closed; it would complain otherwise."""
    while (await receive())["type"] != "http.disconnect":
        pass
