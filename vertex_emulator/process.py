"""The emulator as a process, for tests and demos. Knows neither pytest nor Airflow."""

import atexit
import os
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import IO, Any, Self
from urllib.parse import quote

import httpx
import jwt

_ROOT = Path(__file__).resolve().parent.parent
_READY = "vertex_emulator listening on "
_PATIENCE = 60
"""Seconds that a start may take on a busy machine."""


class Emulator:
    """A running emulator on a free port of the loopback interface.

    Use it as a context manager, or call :meth:`start` and :meth:`stop`::

        with Emulator(speed=0) as emulator:
            emulator.put_object("gs://data/train.jsonl", text)
            ...
            emulator.advance(60)

    :param speed: virtual seconds per real second; 0 stops the clock, so that only :meth:`advance` moves it.
    :param options: more options of ``python -m vertex_emulator``, with underscores: ``job_limit=1``.
    """

    def __init__(self, speed: float = 0, **options: Any) -> None:
        self._options = {"port": 0, "speed": speed, **options}
        self._process: subprocess.Popen[str] | None = None
        self._output: deque[str] = deque(maxlen=200)
        self._client: httpx.Client | None = None
        self._reader: Thread | None = None
        self._started = Event()
        self._token = ""
        self.url = ""

    def start(self) -> Self:
        """Start the process and wait until it is ready; also again, after :meth:`stop`."""
        if self._process is not None:
            raise RuntimeError("The emulator is already running; stop it first.")
        self.url = self._token = ""
        self._started.clear()
        flags = [f"--{name.replace('_', '-')}={value}" for name, value in self._options.items()]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("VERTEX_EMULATOR_")}
        self._process = subprocess.Popen(  # noqa: S603  (our own module)
            [sys.executable, "-m", "vertex_emulator", *flags],
            cwd=_ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        atexit.register(self.stop)
        # Somebody must read to the end, or the process stops when the pipe is full.
        self._reader = Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        self._reader.start()
        self._started.wait(_PATIENCE)
        if not self.url:
            self.stop()
            raise RuntimeError(f"The emulator did not start: {self.output}")
        self._client = httpx.Client(base_url=self.url, timeout=60, trust_env=False)
        return self

    def kill(self) -> None:
        """Kill the process on the spot, as a crash would."""
        if self._process is not None:
            self._process.kill()
        self.stop()

    def stop(self) -> None:
        """End the process; harmless when it has ended."""
        atexit.unregister(self.stop)
        if self._client is not None:
            self._client.close()
            self._client = None
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._reader is not None:
            self._reader.join()
        self._process = None

    def _read(self, output: IO[str]) -> None:
        with output:
            for line in output:
                self._output.append(line)
                if line.startswith(_READY):
                    self.url = line.removeprefix(_READY).strip()
                    self._started.set()
        self._started.set()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def port(self) -> int:
        """Its port."""
        return httpx.URL(self.url).port or 0

    @property
    def pid(self) -> int:
        """Its process id."""
        if self._process is None:
            raise RuntimeError("The emulator is not running.")
        return self._process.pid

    @property
    def output(self) -> str:
        """The last lines it wrote."""
        return "".join(self._output)

    def key(self) -> dict[str, str]:
        """Fetch the service-account key."""
        return dict(self._call("GET", "key"))

    def connection(self) -> dict[str, Any]:
        """Fetch the Airflow connection."""
        return dict(self._call("GET", "connection"))

    def health(self) -> dict[str, Any]:
        """Fetch status, virtual time and counts."""
        return dict(self._call("GET", "health"))

    def state(self) -> dict[str, Any]:
        """Fetch all resources."""
        return dict(self._call("GET", "state"))

    def requests(self) -> list[dict[str, Any]]:
        """Fetch the last requests that clients sent."""
        return list(self._call("GET", "requests")["requests"])

    def reset(self) -> None:
        """Forget everything but the key."""
        self._call("POST", "reset")

    def advance(self, seconds: float) -> None:
        """Move virtual time on."""
        self._call("POST", "advance", {"seconds": seconds})

    def faults(self, rules: list[dict[str, Any]]) -> None:
        """Append fault rules."""
        self._call("POST", "faults", rules)

    def clear_faults(self) -> None:
        """Drop all fault rules."""
        self._call("DELETE", "faults")

    def make_bucket(self, name: str) -> None:
        """Make a bucket, or leave the one there is."""
        self._call("POST", "buckets", {"name": name})

    def put_object(self, uri: str, text: str) -> None:
        """Write ``gs://bucket/object`` through the storage API; makes the bucket if there is none."""
        bucket, _, name = uri.removeprefix("gs://").partition("/")
        self.make_bucket(bucket)
        address = f"/upload/storage/v1/b/{bucket}/o?uploadType=media&name={quote(name, safe='')}"
        self.request("POST", address, content=text.encode()).raise_for_status()

    def request(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Send a plain HTTP request with a valid token, for what Google's clients can't or won't send."""
        headers = {"Authorization": f"Bearer {self.token()}", **more.pop("headers", {})}
        return self._http.request(method, path, headers=headers, **more)

    def token(self) -> str:
        """Get an access token; one is used as long as it lasts."""
        if not self._token:
            key = self.key()
            now = int(time.time())
            claims = {"iss": key["client_email"], "aud": key["token_uri"], "iat": now, "exp": now + 3600}
            assertion = jwt.encode(claims, key["private_key"], "RS256")
            grant = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion}
            self._token = self._http.post("/token", data=grant).raise_for_status().json()["access_token"]
        return self._token

    @property
    def _http(self) -> httpx.Client:
        if self._client is None:
            raise RuntimeError("The emulator is not running.")
        return self._client

    def _call(self, method: str, what: str, body: Any = None) -> Any:
        response = self._http.request(method, f"/_emulator/{what}", json=body)
        if response.is_error:
            raise RuntimeError(f"{method} /_emulator/{what}: {response.status_code} {response.text}")
        return response.json()
