"""Runs the application: binds the port, says when it is ready, ends on a signal."""

import asyncio
import signal
import socket
from typing import Any

import uvicorn
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from .app import build, build_ungated
from .misbehaviour import TRANSPORT
from .replay import open_world
from .settings import Settings

_GRACE = 1
"""Seconds that open requests get when the server ends."""


class _Server(uvicorn.Server):
    """Announces itself when it is ready to serve."""

    def __init__(self, config: uvicorn.Config, address: str) -> None:
        super().__init__(config)
        self._address = address

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        print(f"vertex_emulator listening on {self._address}", flush=True)  # noqa: T201


class _WithTransport:
    """Puts the connection where :mod:`vertex_emulator.misbehaviour` finds it."""

    app_state: dict[str, Any]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[misc]
        self.app_state = {**self.app_state, TRANSPORT: transport}


def bind(host: str, port: int) -> socket.socket:
    """Take the port; raises OSError when somebody else has it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener


def serve(settings: Settings, listener: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    config = uvicorn.Config(
        build(open_world(settings, build_ungated)),
        access_log=False,
        http=type("Protocol", (_WithTransport, AutoHTTPProtocol), {}),
        log_level="warning",
        lifespan="off",
        timeout_graceful_shutdown=_GRACE,
    )
    # uvicorn raises the signal again after it has shut down; without these that would end in a traceback.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    _Server(config, f"http://{host}:{listener.getsockname()[1]}").run(sockets=[listener])
