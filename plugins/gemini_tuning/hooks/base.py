"""Connection, credentials, clients and plain HTTP requests: the base of all Google API calls of the hook.

Google's clients are imported inside functions, because importing them takes seconds and every task imports the hook.
google-genai retries requests unless told otherwise, derives the host from the client's location although the path
follows the resource name, and keeps a token that the service refuses.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar

from airflow.providers.google.common.hooks.base_google import GoogleBaseHook  # noqa: TID253 - the base class
from tenacity import RetryCallState, retry, stop_after_attempt

from gemini_tuning.core.api_types import ApiResource, page
from gemini_tuning.core.exceptions import InvalidInputError, NotSentError, PermanentServiceError, TransientServiceError
from gemini_tuning.core.names import location_problem, project_problem
from gemini_tuning.core.resources import Operation
from gemini_tuning.core.retry import retry_transient
from gemini_tuning.hooks.errors import service_errors

if TYPE_CHECKING:
    import requests
    from airflow.sdk import Connection
    from google import genai
    from google.auth.transport.requests import AuthorizedSession
    from google.cloud.storage import Client

TUNING_API_VERSION = "v1beta1"  # v1 does not return the epochs and steps done
API_VERSION = "v1"
REQUEST_TIMEOUT = 60.0  # seconds
READ_ATTEMPTS = 5  # google-genai repeats a read after 408, 429, 5xx and lost connections, with backoff
MULTI_REGIONS = frozenset({"us", "eu"})
PAGE_SIZE = 100
MAX_PAGES = 100  # of a list; a longer one is refused, because an incomplete list could lead to a wrong deletion
OPERATION_TIMEOUT = 600.0  # seconds until an operation must be done
OPERATION_INTERVAL = 2.0  # seconds
NOT_FOUND = 5  # google.rpc.Code

# Keys of the connection's extra that name another address, as users behind Private Service Connect need.
VERTEX_ENDPOINT_EXTRA = "aiplatform.endpoint"
STORAGE_ENDPOINT_EXTRA = "gcs.endpoint"  # the same key that Airflow's ObjectStoragePath reads

T = TypeVar("T")
R = TypeVar("R", bound=ApiResource)


class ClientOptions(NamedTuple):
    """What a client of google-genai is created for."""

    project: str
    location: str
    version: str = API_VERSION
    attempts: int | None = None  # None: READ_ATTEMPTS
    timeout: float = REQUEST_TIMEOUT  # seconds


def retry_read(action: str, resource: str, call: Callable[[], T]) -> T:
    """Run a request that is safe to repeat, retried while the service is unavailable; errors name the resource."""
    return retry_transient(service_errors(action, resource)(call))


def none_if_missing(call: Callable[[], T]) -> T | None:
    """Return what a call returns; ``None`` only when the service returns 404."""
    try:
        return call()
    except PermanentServiceError as error:
        if error.code == 404:
            return None
        raise


def _is_not_lookup_warning(record: logging.LogRecord) -> bool:
    # google-auth requests an account's allowed locations, which may fail without harm and cannot be turned off
    # (https://github.com/googleapis/google-cloud-python/issues/17653).
    return "/allowedLocations" not in record.getMessage()


def list_pages(
    action: str, resource: str, read: Callable[[Mapping[str, Any]], tuple[T, str | None]], **query: Any
) -> Iterator[T]:
    """Yield each page of a list, read with retries; a list of more than :data:`MAX_PAGES` pages is an error."""
    query = {"pageSize": PAGE_SIZE, **query}
    for _ in range(MAX_PAGES):
        found, token = retry_read(action, resource, lambda: read(query))
        yield found
        if token is None:
            return
        query["pageToken"] = token
    raise PermanentServiceError(f"Could not {action} {resource}: more than {MAX_PAGES} pages.", resource=resource)


def _forgets_refused_token(state: RetryCallState) -> bool:
    """After a 401, let the next request fetch a new token; return whether there was one to forget."""
    error = state.outcome.exception() if state.outcome else None
    is_refused = isinstance(error, PermanentServiceError) and error.code == 401
    return is_refused and state.args[0].forget_token(state.start_time)


# Repeats a hook method that uses google-genai once with a new token when the service returns 401. Tokens can be revoked
# or expire early, and google-genai keeps sending the one it has; google-auth's sessions renew theirs. After a 401
# nothing was done, so a create may be repeated too.
renewing_token = retry(retry=_forgets_refused_token, stop=stop_after_attempt(2), reraise=True)


class GeminiBaseHook(GoogleBaseHook):
    """Creates and keeps Google's clients for one Airflow connection.

    :param gcp_conn_id: Airflow connection of type Google Cloud. Its extra may name other addresses:
        ``aiplatform.endpoint`` for Vertex AI, ``gcs.endpoint`` for Cloud Storage and ``monitoring.endpoint`` for Cloud
        Monitoring.
    :param impersonation_chain: service account, or chain of them, to impersonate.
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
        self._clients: dict[ClientOptions, genai.Client] = {}
        self._token_forgotten = 0.0
        logging.getLogger("urllib3.connectionpool").addFilter(_is_not_lookup_warning)
        super().__init__(gcp_conn_id=gcp_conn_id, impersonation_chain=impersonation_chain)

    @classmethod
    async def acreate(cls, gcp_conn_id: str, impersonation_chain: str | Sequence[str] | None = None) -> Self:
        """Create a hook inside an event loop, where fetching a connection synchronously may deadlock."""
        connection = await cls.aget_connection(gcp_conn_id)
        return cls(gcp_conn_id, impersonation_chain, connection=connection)

    def get_connection(self, conn_id: str) -> Connection:  # type: ignore[override]
        """Return the connection given to the constructor, else fetch it."""
        return self._connection or super().get_connection(conn_id)

    def project(self, project_id: str | None) -> str:
        """Return ``project_id``, or the connection's project."""
        project: str = project_id or self.project_id
        if not project:
            message = f"No project: neither project_id nor the connection {self.gcp_conn_id!r} has one."
            hint = "Set one of them."
            raise PermanentServiceError(message, field="project_id", resource=self.gcp_conn_id, hint=hint)
        if problem := project_problem("project_id", project):
            raise InvalidInputError(problem, field="project_id", code="invalid_project")
        return project

    def forget_token(self, since: float) -> bool:
        """Let the next request fetch a new token; return whether a retry makes sense.

        :param since: when the refused request began. Of concurrent requests that are refused, only the first one
            discards the token, as later ones began before that.
        """
        credentials = self._cached_credentials
        if credentials is None or not hasattr(credentials, "token"):
            return False
        if since > self._token_forgotten:
            credentials.token, self._token_forgotten = None, time.monotonic()
        return True

    async def aclose(self) -> None:
        """Close the async clients; their sessions belong to the running event loop."""
        for client in self._clients.values():
            await client.aio.aclose()
        self._clients.clear()

    def _endpoint(self, extra: str) -> str | None:
        """Return an address from the connection's extra, with https where it has no scheme."""
        value = str(self._get_field(extra) or "").strip().rstrip("/")
        if not value:
            return None
        address = value if "://" in value else f"https://{value}"
        if not address.startswith(("https://", "http://")):
            message = f"The connection {self.gcp_conn_id!r} has {value!r} as {extra}; expected https://HOST."
            raise PermanentServiceError(message, field=extra, resource=self.gcp_conn_id)
        return address

    def _vertex_endpoint(self, location: str) -> str:
        _check_location(location)
        if endpoint := self._endpoint(VERTEX_ENDPOINT_EXTRA):
            return endpoint
        if location in MULTI_REGIONS:
            return f"https://aiplatform.{location}.rep.googleapis.com"
        return f"https://{location}-aiplatform.googleapis.com"

    def _client(self, options: ClientOptions) -> genai.Client:
        """Return google-genai's client, which is kept."""
        with self._clients_lock:
            if options not in self._clients:
                self._clients[options] = self._new_client(options)
            return self._clients[options]

    async def _aclient(self, options: ClientOptions) -> genai.Client:
        """Return the client for an event loop; created in a thread, because that reads a connection and a key."""
        if options in self._clients:
            return self._clients[options]
        return await asyncio.to_thread(self._client, options)

    def _creating_client(self, project: str, location: str, not_after: float | None) -> genai.Client:
        """Return a client that sends a request once, and never after ``not_after`` (seconds since 1970, UTC)."""
        hooks = {} if not_after is None else {"event_hooks": {"request": [functools.partial(_expire, not_after)]}}
        return self._new_client(ClientOptions(project, location, TUNING_API_VERSION, attempts=1), hooks)

    def _new_client(self, options: ClientOptions, client_args: Mapping[str, Any] | None = None) -> genai.Client:
        from google import genai
        from google.genai import types

        _check_location(options.location)
        return genai.Client(
            vertexai=True,
            project=options.project,
            location=options.location,
            credentials=self.get_credentials(),
            http_options=types.HttpOptions(
                base_url=self._endpoint(VERTEX_ENDPOINT_EXTRA),
                api_version=options.version,
                timeout=int(options.timeout * 1000),
                retry_options=types.HttpRetryOptions(attempts=options.attempts or READ_ATTEMPTS),
                client_args={**tls(), **(client_args or {})},
                async_client_args=tls(),
            ),
        )

    def _storage_client(self) -> Client:
        from google.cloud.storage import Client

        endpoint = self._endpoint(STORAGE_ENDPOINT_EXTRA)
        return Client(
            project=self.project_id,  # not needed to read and write objects
            credentials=self.get_credentials(),
            client_options={"api_endpoint": endpoint} if endpoint else None,
        )

    # Plain HTTP, where google-genai has no call. google-cloud-aiplatform has, but imports all services of Vertex AI:
    # about a second of CPU in each task, more than most tasks need for their work.

    def _session(self) -> AuthorizedSession:
        from google.auth.transport.requests import AuthorizedSession

        return AuthorizedSession(self.get_credentials())

    def _request(
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        session: AuthorizedSession | None = None,
        timeout: float = REQUEST_TIMEOUT,
    ) -> Any:
        """Send a request once and return the JSON of its response."""
        from google.api_core.exceptions import from_http_response

        with contextlib.nullcontext(session) if session else self._session() as open_session:
            response: requests.Response = open_session.request(method, url, params=params, json=body, timeout=timeout)
        if response.status_code != 200:
            raise from_http_response(response)
        return response.json()

    def _send_json(self, method: str, path: str, location: str, *, version: str = API_VERSION, **options: Any) -> Any:
        return self._request(method, f"{self._vertex_endpoint(location)}/{version}/{path}", **options)

    def _get_json(self, path: str, location: str, params: Mapping[str, Any] | None = None, **options: Any) -> Any:
        return self._send_json("GET", path, location, params=params, **options)

    def _run_operation(
        self, action: str, resource: str, method: str, path: str, *, kind: type[ApiResource], body: Any = None
    ) -> None:
        """Send a request that is safe to repeat and wait for its operation; a missing resource is no error."""
        location = kind.location_of(resource)
        end = time.monotonic() + OPERATION_TIMEOUT
        try:
            with service_errors(action, resource):
                operation = Operation.from_json(self._send_json(method, path, location, body=body))
            while not operation.done:
                if time.monotonic() >= end:
                    late = f"{operation.name} is not done after {OPERATION_TIMEOUT:g} s."
                    hint = "Check the operation before you retry."
                    raise TransientServiceError(f"Could not {action} {resource}: {late}", resource=resource, hint=hint)
                time.sleep(OPERATION_INTERVAL)
                operation = self._read(Operation, operation.name, action=action, about=resource)
        except PermanentServiceError as failure:
            if failure.code == 404:
                return
            raise
        if operation.error is not None and operation.error.code != NOT_FOUND:
            raise PermanentServiceError(
                f"Could not {action} {resource}: {operation.error}.",
                resource=resource,
                hint="See the service's message.",
                service_message=operation.error.message,
            )

    def _list(
        self, path: str, location: str, field: str, read: Callable[[Any], T], *, action: str = "list", about: str = ""
    ) -> list[T]:
        """Return all items of a list, read with retries."""
        pages = list_pages(
            action, about or path, lambda query: page(self._get_json(path, location, query), field, read)
        )
        return [item for items in pages for item in items]

    def _read(self, value: type[R], name: str, *, action: str = "get", about: str = "") -> R:
        """Read a resource with retries."""
        location = value.location_of(name)
        return retry_read(action, about or name, lambda: value.from_json(self._get_json(name, location), name))


def _check_location(location: str) -> None:
    if problem := location_problem("location", location):
        raise InvalidInputError(problem, field="location", code="invalid_location")


@functools.cache
def tls() -> dict[str, Any]:
    """Return one TLS context for all clients of this process, under the names that their transports use.

    google-genai creates three for each client, 50 ms of CPU apiece. Empty where a client certificate is configured:
    google-genai loads it into contexts of its own.
    """
    import httpx
    from google.auth.transport import mtls

    if mtls.should_use_client_cert():
        return {}
    context = httpx.create_ssl_context()
    return {"verify": context, "ssl": context}


def _expire(not_after: float, request: Any) -> None:
    # The check is made with the first byte: the connection is open and the token is there, so nothing slow follows.
    def trace(event: str, _: Any) -> None:
        if event.endswith("send_request_headers.started") and time.time() > not_after:
            raise NotSentError("The request was not sent: its send deadline had passed.")

    request.extensions = {**request.extensions, "trace": trace}
