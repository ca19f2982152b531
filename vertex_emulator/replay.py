"""Makes the world of ``--state`` again: serves the requests of the log, with the clock held at the time of each."""

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

from starlette.types import ASGIApp, Message, Scope

from .history import FORMAT, History, shaping
from .log import Log, Record, StateError
from .settings import Settings
from .world import World


def open_world(settings: Settings, make_server: Callable[[World], ASGIApp]) -> World:
    """Make a world: a new one, or the one that the state directory keeps.

    :param make_server: makes an application that serves requests without asking who sent them.
    :raises StateError: the directory can't be used, or not with these settings.
    """
    if settings.state is None:
        return World(settings)
    log = Log(settings.state)
    records = log.records()
    first = next(records, None)
    if first is None:
        world = World(settings)
        world.history = History(log, world.clock)
        world.history.start_anew(world.seed, settings)
        return world
    _check(first.head, settings)
    world = World(settings, seed=first.head["seed"], start=first.head["at"])
    asyncio.run(_replay(world, make_server(world), records))
    world.history = History(log, world.clock)
    world.history.start()
    return world


def _check(first: dict[str, Any], settings: Settings) -> None:
    """Refuse a log of another version, or made with settings that give another state."""
    if first.get("format") != FORMAT:
        raise StateError(f"{settings.state} was written by another version of the emulator; use another directory")
    wanted = shaping(settings)
    if settings.seed:
        wanted["seed"] = settings.seed
    had = {**first["settings"], "seed": first["seed"]}
    for name, value in wanted.items():
        if had.get(name) != value:
            raise StateError(
                f"{settings.state} was made with --{name.replace('_', '-')}={had.get(name, '')}, not {value}; "
                "use that, or another directory"
            )


async def _replay(world: World, serve: ASGIApp, records: Iterator[Record]) -> None:
    """Do again what the log says, and let the clock go on as if it had never stopped.

    It went on while nobody served, at the speed it had: as in the real service, jobs don't wait for the one who
    asks. So it is never behind a time that a reader has seen.
    """
    wall, speed = time.time(), 0.0
    for head, body in records:
        world.clock.hold(head["at"])
        wall = head["wall"]
        if head["kind"] == "start":
            speed = head["speed"]
        elif head["kind"] == "fault":
            world.faults.restore(head["counts"])
        else:
            await _serve_again(serve, head, body)
    world.clock.go_on(world.clock.now() + max(0.0, time.time() - wall) * speed)


async def _serve_again(serve: ASGIApp, head: dict[str, Any], body: bytes) -> None:
    """Serve a request whose caller has long had the answer."""
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": head["method"],
        "scheme": "http",
        "path": head["path"],
        "raw_path": head["path"].encode(),
        "query_string": head["query"].encode("latin-1"),
        "root_path": "",
        "headers": [(key.encode("latin-1"), value.encode("latin-1")) for key, value in head["headers"]],
        "client": None,
        "server": None,
        "state": {},
    }

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        pass

    await serve(scope, receive, send)
