"""Google's clients over an Airflow connection: which project, which address, whose token, how patient.

Clients are imported inside functions: importing them takes seconds, and :mod:`gemini_tuning.hooks.gemini_tuning` is
imported by every
task that talks to Google. Wire facts that shape it: google-genai repeats requests on its own unless told otherwise,
takes the host from the client's location although the path follows the resource name, and keeps a token that the
service refuses.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Self, TypeVar

from airflow.providers.google.common.hooks.base_google import GoogleBaseHook  # noqa: TID253 - the base class

from gemini_tuning.core.exceptions import InvalidInputError, NotSentError, PermanentServiceError
from gemini_tuning.core.names import ResourceName, location_problem, project_problem

if TYPE_CHECKING:
    import requests
    from airflow.sdk import Connection
    from google import genai
    from google.auth.transport.requests import AuthorizedSession
    from google.cloud.storage import Client

TUNING_API_VERSION = "v1beta1"  # v1 does not tell epochs and steps done
API_VERSION = "v1"
REQUEST_TIMEOUT = 60.0  # seconds
PROMPT_TIMEOUT = 120.0  # seconds
READ_PATIENCE = 60.0  # seconds that a request which may be repeated is
READ_ATTEMPTS = 5  # google-genai repeats a read after 408, 429, 5xx and lost connections, with backoff
MULTI_REGIONS = frozenset({"us", "eu"})

# Keys of the connection's extra that name another address, as users behind Private Service Connect need.
VERTEX_ENDPOINT_EXTRA = "aiplatform.endpoint"
STORAGE_ENDPOINT_EXTRA = "gcs.endpoint"  # the same key that Airflow's ObjectStoragePath reads

C = TypeVar("C", bound=Callable[..., Any])


def patiently(request: C) -> C:
    """Repeat a request for a while when the service does not answer."""
    from google.api_core.retry import Retry, if_transient_error

    return Retry(predicate=if_transient_error, timeout=READ_PATIENCE)(request)  # type: ignore[return-value]


def _is_no_look_up(record: logging.LogRecord) -> bool:
    """Tell whether urllib3 warns of anything but google-auth's look-up of where an account may be used.

    That runs in the background, at Google even when the connection names other addresses, can't be turned off
    (https://github.com/googleapis/google-cloud-python/issues/17653), and may fail without harm.
    """
    return "/allowedLocations" not in record.getMessage()


def renewing_token(call: C) -> C:
    """Repeat a hook's method once with a new token when the service refuses the one at hand (401).

    Tokens can be revoked or expire early, and google-genai sends the one it has until its own clock says otherwise. A
    401 says that nothing was done, so a create may be repeated too.
    """
    if inspect.iscoroutinefunction(call):

        @functools.wraps(call)
        async def acall(self: GoogleClients, *args: Any, **kwargs: Any) -> Any:
            used = self.token
            try:
                return await call(self, *args, **kwargs)
            except PermanentServiceError as error:
                if error.code != 401 or not self.forget_token(used):
                    raise
            return await call(self, *args, **kwargs)

        return acall  # type: ignore[return-value]

    @functools.wraps(call)
    def again(self: GoogleClients, *args: Any, **kwargs: Any) -> Any:
        used = self.token
        try:
            return call(self, *args, **kwargs)
        except PermanentServiceError as error:
            if error.code != 401 or not self.forget_token(used):
                raise
        return call(self, *args, **kwargs)

    return again  # type: ignore[return-value]


class GoogleClients(GoogleBaseHook):
    """Makes and keeps Google's clients for one Airflow connection.

    :param gcp_conn_id: Airflow connection of type Google Cloud. Its extra may name other addresses:
        ``aiplatform.endpoint`` for Vertex AI and ``gcs.endpoint`` for Cloud Storage.
    :param impersonation_chain: service account, or chain of them, to act as.
    :param connection: the connection itself where it was fetched already; see :meth:`acreate`.
    """

    def __init__(
        self,
        gcp_conn_id: str = "google_cloud_default",
        impersonation_chain: str | Sequence[str] | None = None,
        *,
        connection: Connection | None = None,
    ) -> None:
        self._connection = connection
        self._clients_lock = threading.Lock()
        self._clients: dict[tuple[str, str, str, int, float], genai.Client] = {}
        logging.getLogger("urllib3.connectionpool").addFilter(_is_no_look_up)
        super().__init__(gcp_conn_id=gcp_conn_id, impersonation_chain=impersonation_chain)

    @classmethod
    async def acreate(cls, gcp_conn_id: str, impersonation_chain: str | Sequence[str] | None = None) -> Self:
        """Make a hook inside an event loop, where fetching a connection synchronously may deadlock."""
        connection = await cls.aget_connection(gcp_conn_id)
        return cls(gcp_conn_id, impersonation_chain, connection=connection)

    def get_connection(self, conn_id: str) -> Connection:  # type: ignore[override]
        """Return the connection given at construction, else ask Airflow for it."""
        return self._connection or super().get_connection(conn_id)

    def project(self, project_id: str | None) -> str:
        """Return ``project_id``, or the connection's project.

        :raises PermanentServiceError: when neither is given.
        """
        project = project_id or self.project_id
        if not project:
            raise PermanentServiceError(
                f"No project: give project_id, or a project in the connection {self.gcp_conn_id!r}.",
                resource=self.gcp_conn_id,
            )
        if problem := project_problem("project_id", project):
            raise InvalidInputError(problem)
        return str(project)

    @property
    def token(self) -> str | None:
        """The token that the next request would carry; ``None`` when there is none yet."""
        return getattr(self._cached_credentials, "token", None)

    def forget_token(self, used: str | None) -> bool:
        """Make the next request ask for a new token; return whether another try makes sense.

        :param used: that was at hand before the refused request. When many requests are refused at once, the first one
            to notice forgets it; the others find it gone or renewed.
        """
        credentials = self._cached_credentials
        if credentials is None or not hasattr(credentials, "token"):
            return False
        if used is None or credentials.token == used:
            credentials.token = None
        return True

    async def aclose(self) -> None:
        """Close the async clients; their sessions belong to the running event loop."""
        for client in self._clients.values():
            await client.aio.aclose()
        self._clients.clear()

    def _endpoint(self, extra: str) -> str | None:
        """Return an address that the connection names; https where it names no scheme."""
        value = str(self._get_field(extra) or "").strip().rstrip("/")
        if not value:
            return None
        address = value if "://" in value else f"https://{value}"
        if not address.startswith(("https://", "http://")):
            raise PermanentServiceError(
                f"The connection {self.gcp_conn_id!r} names {value!r} as {extra}; expected https://HOST.",
                resource=self.gcp_conn_id,
            )
        return address

    def _client_for(self, resource: ResourceName, api_version: str) -> genai.Client:
        return self._reading_client(resource.project, resource.location, api_version)

    def _reading_client(self, project: str, location: str, api_version: str) -> genai.Client:
        return self._client(project, location, api_version, READ_ATTEMPTS)

    def _client(
        self, project: str, location: str, api_version: str, attempts: int, timeout: float = REQUEST_TIMEOUT
    ) -> genai.Client:
        key = (project, location, api_version, attempts, timeout)
        with self._clients_lock:
            if key not in self._clients:
                self._clients[key] = self._new_client(
                    project, location, api_version=api_version, attempts=attempts, timeout=timeout
                )
            return self._clients[key]

    def _creating_client(self, project: str, location: str, not_after: float | None) -> genai.Client:
        """Return a client that sends each request once, and none at all after a moment (seconds since 1970, UTC)."""
        hooks = {} if not_after is None else {"event_hooks": {"request": [functools.partial(_expire, not_after)]}}
        return self._new_client(
            project, location, api_version=TUNING_API_VERSION, attempts=1, timeout=REQUEST_TIMEOUT, client_args=hooks
        )

    def _new_client(
        self,
        project: str,
        location: str,
        *,
        api_version: str,
        attempts: int,
        timeout: float,
        client_args: dict[str, Any] | None = None,
    ) -> genai.Client:
        from google import genai
        from google.genai import types

        if problem := location_problem("location", location):
            raise InvalidInputError(problem)
        return genai.Client(
            vertexai=True,
            project=project,
            location=location,
            credentials=self.get_credentials(),
            http_options=types.HttpOptions(
                base_url=self._endpoint(VERTEX_ENDPOINT_EXTRA),
                api_version=api_version,
                timeout=int(timeout * 1000),
                retry_options=types.HttpRetryOptions(attempts=attempts),
                client_args={**tls(), **(client_args or {})},
                async_client_args=tls(),
            ),
        )

    def _vertex_endpoint(self, location: str) -> str:
        if problem := location_problem("location", location):
            raise InvalidInputError(problem)
        if endpoint := self._endpoint(VERTEX_ENDPOINT_EXTRA):
            return endpoint
        if location in MULTI_REGIONS:
            return f"https://aiplatform.{location}.rep.googleapis.com"
        return f"https://{location}-aiplatform.googleapis.com"

    def _send_json(
        self, method: str, path: str, location: str, body: dict[str, Any] | None, params: dict[str, Any] | None = None
    ) -> Any:
        """Ask below ``/v1`` for what google-genai has no call for; sent once.

        google-cloud-aiplatform has one, but imports all services of Vertex AI with it: about a second of CPU in each
        task, more than most tasks need for their work.
        """
        from google.api_core.exceptions import from_http_response

        url = f"{self._vertex_endpoint(location)}/{API_VERSION}/{path}"
        with self._session() as session:
            response: requests.Response = session.request(
                method, url, params=params, json=body, timeout=REQUEST_TIMEOUT
            )
        if response.status_code != 200:
            raise from_http_response(response)
        return response.json()

    def _storage_client(self) -> Client:
        from google.cloud.storage import Client

        endpoint = self._endpoint(STORAGE_ENDPOINT_EXTRA)
        return Client(
            project=self.project_id,  # reading and writing objects need none
            credentials=self.get_credentials(),
            client_options={"api_endpoint": endpoint} if endpoint else None,
        )

    def _session(self) -> AuthorizedSession:
        """Return a session for what no client of Google's reads as documented, or as fast as needed."""
        from google.auth.transport.requests import AuthorizedSession

        return AuthorizedSession(self.get_credentials())

    def _get_json(
        self,
        path: str,
        location: str,
        params: dict[str, Any] | None = None,
        *,
        version: str = API_VERSION,
        session: AuthorizedSession | None = None,
        timeout: float = REQUEST_TIMEOUT,
    ) -> Any:
        """Read a resource as JSON.

        :param session: kept by who reads several pages.
        """
        from google.api_core.exceptions import from_http_response

        url = f"{self._vertex_endpoint(location)}/{version}/{path}"
        with contextlib.nullcontext(session) if session else self._session() as open_session:
            response: requests.Response = open_session.get(url, params=params, timeout=timeout)
        if response.status_code != 200:
            raise from_http_response(response)
        return response.json()

    def _read_patiently(self, path: str, location: str, params: dict[str, Any] | None = None) -> Any:
        return patiently(self._get_json)(path, location, params)


@functools.cache
def tls() -> dict[str, Any]:
    """Return one TLS context for all clients of this process, under the names by which their transports know it.

    google-genai makes three for each client, 50 ms of CPU apiece. None where a client certificate is set up:
    google-genai loads it into contexts of its own.
    """
    import httpx
    from google.auth.transport import mtls

    if mtls.should_use_client_cert():
        return {}
    context = httpx.create_ssl_context()
    return {"verify": context, "ssl": context}


def _expire(not_after: float, request: Any) -> None:
    """Arrange that a request is dropped when its first byte would leave too late.

    The connection is open by then, the token is there: nothing slow comes between this look at the clock and the
    network.
    """

    def trace(event: str, _: Any) -> None:
        if event.endswith("send_request_headers.started") and time.time() > not_after:
            raise NotSentError("The request was not sent: too much time had passed since it was announced.")

    request.extensions = {**request.extensions, "trace": trace}
