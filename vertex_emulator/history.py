"""What ``--state`` keeps: the requests that changed something, each with its time, written before it takes effect.

The state is a function of the seed and of these requests (:mod:`vertex_emulator.world`), so a new process that
serves them again (:mod:`vertex_emulator.replay`) is where the killed one was: same resources, same ids. Reads are not
written. No token is either: a token proves itself by its signature (:mod:`vertex_emulator.auth`).
"""

import time
from dataclasses import fields
from typing import Any

from starlette.requests import Request

from .clock import Clock
from .log import Log
from .settings import Settings

FORMAT = 2
_FREE = frozenset(
    {
        *("host", "port", "speed", "clock_start", "seed", "state", "journal"),
        *("key_file", "token", "token_lifetime", "storage_auth"),
    }
)
"""Settings that may change from one start to the next. With another value of the rest, the same requests would
give another state."""
_SECRET = frozenset((b"authorization", b"cookie", b"x-goog-api-key"))


class History:
    """Writes down what happens.

    :param clock: gives the virtual time of it.
    """

    def __init__(self, log: Log, clock: Clock) -> None:
        self._log = log
        self._clock = clock

    def request(self, request: Request, body: bytes) -> None:
        """Note a request that is about to take effect."""
        scope = request.scope
        what = {
            "method": scope["method"],
            "path": scope["path"],
            "query": scope["query_string"].decode("latin-1"),
            "headers": [
                [key.decode("latin-1"), value.decode("latin-1")]
                for key, value in scope["headers"]
                if key not in _SECRET
            ],
        }
        self._log.append(self._stamped("request", what), body)

    def fault(self, counts: list[list[int]]) -> None:
        """Note that a fault rule has counted a request, be it a read."""
        self._log.append(self._stamped("fault", {"counts": counts}))

    def start(self) -> None:
        """Note that a process goes on from here, and at what speed."""
        self._log.append(self._started())

    def start_anew(self, seed: str, settings: Settings) -> None:
        """Forget all there was: after a reset, and in a new directory."""
        first = {"format": FORMAT, "seed": seed, "at": self._clock.now(), "settings": shaping(settings)}
        self._log.start_anew([first, self._started()])

    def _started(self) -> dict[str, Any]:
        return self._stamped("start", {"speed": self._clock.speed})

    def _stamped(self, kind: str, what: dict[str, Any]) -> dict[str, Any]:
        """Add virtual and real time."""
        return {"kind": kind, "at": self._clock.now(), "wall": time.time(), **what}


def shaping(settings: Settings) -> dict[str, str]:
    """Return the settings that the state depends on."""
    values = {item.name: getattr(settings, item.name) for item in fields(settings) if item.name not in _FREE}
    return {name: ",".join(value) if isinstance(value, tuple) else str(value) for name, value in values.items()}
