"""Plain HTTP with a token: what the service says, and not what our code or Google's clients make of it.

Only the token comes from the Google provider, through the same connection that Airflow gets.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote, urlencode

if TYPE_CHECKING:
    import requests
    from airflow.providers.google.common.hooks.base_google import GoogleBaseHook

TIMEOUT = 60.0  # seconds
MOST = 16 << 20  # bytes of an answer
READ_ATTEMPTS = 5
MULTI_REGIONS = ("us", "eu")
STORAGE = "https://storage.googleapis.com"


class NoCredentialsError(Exception):
    """The connection leads to no credentials."""


@dataclass(frozen=True)
class Reply:
    """What came back.

    :param request: method and path with its query.
    :param status: of HTTP; 0 when nothing came back.
    :param body: parsed where it was JSON, else the text; an error's words when nothing came back.
    """

    request: str
    status: int
    body: Any

    @property
    def ok(self) -> bool:
        """Whether the service did what was asked."""
        return self.status == 200

    def at(self, *path: str | int) -> Any:
        """Return a part of the body; ``None`` where there is none."""
        return dig(self.body, *path)

    def items(self, *path: str | int) -> list[Any]:
        """Return a list in the body; an empty one where there is none."""
        found = self.at(*path)
        return found if isinstance(found, list) else []


def dig(value: Any, *path: str | int) -> Any:
    """Return a part of parsed JSON; ``None`` where there is none, or something of another type on the way."""
    for key in path:
        if isinstance(key, int):
            value = value[key] if isinstance(value, list) and -len(value) <= key < len(value) else None
        else:
            value = value.get(key) if isinstance(value, dict) else None
    return value


class Wire:
    """Vertex AI and Cloud Storage.

    :param session: sends the token along.
    :param vertex: address of Vertex AI, in place of the location's own.
    :param storage: address of Cloud Storage.
    """

    def __init__(self, session: requests.Session, *, vertex: str | None = None, storage: str | None = None) -> None:
        self._session, self._vertex, self._storage = session, vertex, storage or STORAGE

    @classmethod
    def over(cls, connection: str) -> Self:
        """Make it of an Airflow connection.

        :param connection: as in ``AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT``: JSON, or a URI.
        :raises NoCredentialsError: when it leads to none.
        """
        from airflow.sdk.exceptions import AirflowException
        from google.auth.exceptions import GoogleAuthError
        from google.auth.transport.requests import AuthorizedSession
        from requests.adapters import HTTPAdapter
        from urllib3.util.retry import Retry

        from gemini_tuning.core.exceptions import GeminiTuningError

        try:
            hook = _hook(connection)
            session = AuthorizedSession(hook.get_credentials())
        except (GoogleAuthError, AirflowException, GeminiTuningError, OSError, ValueError) as error:
            raise NoCredentialsError(f"{type(error).__name__}: {error}"[:500]) from error
        reads = Retry(
            READ_ATTEMPTS,
            backoff_factor=1,
            status_forcelist=(429, 500, 502, 503, 504),
            allowed_methods=("GET",),
            raise_on_status=False,
        )
        session.mount("https://", HTTPAdapter(max_retries=reads))
        return cls(session, vertex=_address(hook, "aiplatform.endpoint"), storage=_address(hook, "gcs.endpoint"))

    def vertex(self, method: str, path: str, *, version: str = "v1", body: Any = None, **query: Any) -> Reply:
        """Ask Vertex AI.

        :param path: a resource's full name, with a custom verb or a collection behind it; it says the location.
        :param version: or what else stands before the path.
        """
        address = f"/{version}/{quote(path, safe='/:@')}" + (f"?{urlencode(query, doseq=True)}" if query else "")
        return self._send(method, self._host(path.split("/")[3]), address, body=body)

    def _host(self, location: str) -> str:
        if self._vertex:
            return self._vertex
        if location in MULTI_REGIONS:
            return f"https://aiplatform.{location}.rep.googleapis.com"
        return f"https://{location}-aiplatform.googleapis.com"

    def upload(self, bucket: str, name: str, text: str) -> Reply:
        """Write an object."""
        address = f"/upload/storage/v1/b/{bucket}/o?{urlencode({'uploadType': 'media', 'name': name})}"
        return self._send("POST", self._storage, address, data=text.encode())

    def download(self, bucket: str, name: str) -> Reply:
        """Read an object."""
        return self._send("GET", self._storage, f"/storage/v1/b/{bucket}/o/{quote(name, safe='')}?alt=media")

    def objects(self, bucket: str, prefix: str) -> list[str] | None:
        """Return the names of the objects below a prefix; ``None`` when the service does not tell."""
        query, names = {"prefix": prefix, "fields": "items/name,nextPageToken"}, []
        while True:
            page = self._send("GET", self._storage, f"/storage/v1/b/{bucket}/o?{urlencode(query)}")
            if not page.ok:
                return None
            names += [str(dig(item, "name")) for item in page.items("items")]
            token = page.at("nextPageToken")
            if not token or token == query.get("pageToken"):
                return names
            query["pageToken"] = str(token)

    def delete_object(self, bucket: str, name: str) -> Reply:
        """Delete an object."""
        return self._send("DELETE", self._storage, f"/storage/v1/b/{bucket}/o/{quote(name, safe='')}")

    def _send(self, method: str, host: str, address: str, *, body: Any = None, data: bytes | None = None) -> Reply:
        import requests
        from google.auth.exceptions import GoogleAuthError

        request = f"{method} {address}"
        try:
            with self._session.request(
                method, host + address, json=body, data=data, timeout=TIMEOUT, stream=True, allow_redirects=False
            ) as response:
                content = b"".join(_no_more(response))
                return Reply(request, response.status_code, _parsed(content))
        except (requests.RequestException, GoogleAuthError) as error:
            return Reply(request, 0, f"{type(error).__name__}: {error}"[:500])


def _no_more(response: requests.Response) -> list[bytes]:
    pieces, size = [], 0
    for piece in response.iter_content(1 << 16):
        size += len(piece)
        if size > MOST:
            break
        pieces.append(piece)
    return pieces


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content or b"null")
    except ValueError:
        return content.decode(errors="replace")


def _address(hook: GoogleBaseHook, field: str) -> str | None:
    """Return an address that the connection names, as people behind Private Service Connect need it."""
    value = str(hook._get_field(field) or "").rstrip("/")
    return value if not value or "://" in value else f"https://{value}"


def _hook(connection: str) -> GoogleBaseHook:
    """Return the Google provider's hook over a connection that no Airflow knows."""
    from airflow.providers.google.common.hooks.base_google import GoogleBaseHook
    from airflow.sdk import Connection

    read = Connection.from_json if connection.lstrip().startswith("{") else Connection.from_uri

    class Hook(GoogleBaseHook):
        @classmethod
        def get_connection(cls, conn_id: str) -> Connection:
            return read(connection, conn_id=conn_id)

    return Hook("live")
