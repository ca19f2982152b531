"""A server on loopback that answers every call with the one thing a test gave it; tokens it hands out properly."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

TOKEN = "ya29.top-secret_token-0123456789"
ECHO = "{authorization}"
"""Stands for the caller's Authorization header in a body."""


class HostileServer:
    """Answers as it is told.

    :ivar body: bytes as they are, a text in UTF-8, anything else as JSON.
    :ivar by_path: other bodies, by the end of the path.
    """

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        self.answer(b"")
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = 1 << 16  # head and body in one packet; two would wait 40 ms for each other

            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                server._answer(self)

            do_POST = do_PATCH = do_DELETE = do_GET  # noqa: N815 - the library's names

            def log_message(self, *_: Any) -> None:
                """Keep quiet."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def answer(
        self, body: Any, *, status: int = 200, kind: str = "application/json", times: int = 1, first: Iterable[Any] = ()
    ) -> None:
        """Set what comes next.

        :param times: how often the body is repeated, so that nobody has to hold a huge one.
        :param first: bodies that come before it, one a call.
        """
        self.first = [_bytes(each) for each in first]
        self.body, self.status, self.kind, self.times = _bytes(body), status, kind, times
        self.seen.clear()

    def _answer(self, call: BaseHTTPRequestHandler) -> None:
        if call.path == "/token":
            self._send(call, 200, "application/json", _bytes({"access_token": TOKEN, "expires_in": 3600}))
            return
        self.seen.append((call.command, call.path))
        if self.first:
            self._send(call, self.status, self.kind, self.first.pop(0))
            return
        body = self.body.replace(ECHO.encode(), (call.headers.get("Authorization") or "").encode())
        self._send(call, self.status, self.kind, body, self.times)

    @staticmethod
    def _send(call: BaseHTTPRequestHandler, status: int, kind: str, body: bytes, times: int = 1) -> None:
        call.send_response(status)
        call.send_header("Content-Type", kind)
        call.send_header("Content-Length", str(len(body) * times))
        call.end_headers()
        try:
            for _ in range(times):
                call.wfile.write(body)
        except OSError:
            call.close_connection = True

    def connection(self) -> dict[str, Any]:
        """Return the Airflow connection that leads here."""
        pem = rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        key = {
            "type": "service_account",
            "project_id": "p",
            "private_key_id": "1",
            "private_key": pem.decode(),
            "client_email": "tuner@p.iam.gserviceaccount.com",
            "client_id": "1",
            "token_uri": f"{self.url}/token",
        }
        extra = {
            "project": "p",
            "keyfile_dict": json.dumps(key),
            "aiplatform.endpoint": self.url,
            "gcs.endpoint": self.url,
        }
        return {"conn_type": "google_cloud_platform", "extra": extra}


@contextmanager
def hostile_server() -> Iterator[HostileServer]:
    """Run one."""
    server = HostileServer()
    thread = Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        server.http.server_close()
        thread.join()


def _bytes(body: Any) -> bytes:
    if isinstance(body, bytes):
        return body
    return (body if isinstance(body, str) else json.dumps(body)).encode()
