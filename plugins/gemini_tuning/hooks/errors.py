"""Errors of Google's clients as exceptions of this package: resource, HTTP status, service message, retryable or not.

Google's clients are imported inside functions, as in :mod:`gemini_tuning.hooks.base`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from airflow.sdk.exceptions import AirflowException
from pydantic import ValidationError

from gemini_tuning.core import exceptions
from gemini_tuning.core.exceptions import NotSentError, PermanentServiceError, ServiceError, UnexpectedResponseError
from gemini_tuning.core.text import redact, short_repr, shorten

MAX_RETRY_AFTER = 3600.0  # seconds
MAX_STATUS = 100  # characters
MAX_PATH = 200  # characters of a field's path
NOT_IMPLEMENTED = 501  # the only permanent 5xx
_REQUEST = re.compile(r"\A[A-Z]+ https?://\S+: ")  # google-api-core puts it before the service's message
HINTS: Mapping[int, str] = {
    400: "Correct the request; a retry cannot succeed.",
    401: "Check the credentials of the Airflow connection.",
    403: "Grant the connection's account the missing role (roles/aiplatform.user; for files in Cloud Storage "
    "roles/storage.objectViewer to read, roles/storage.objectUser to write).",
    404: "Check the name, its project and its location.",
    429: "The project's quota is used up; retry later or request a higher quota.",
}


@contextmanager
def service_errors(action: str, resource: str) -> Iterator[None]:
    """Turn whatever Google's clients raise into a ServiceError; Airflow's and this package's errors pass unchanged.

    Google's clients parse a response before they know that it is valid: garbage raises anything from AttributeError to
    RecursionError.

    :param action: the verb of the message, for example ``get``.
    :param resource: full name or address.
    """
    try:
        yield
    except UnexpectedResponseError as error:
        raise _service_error(error, action, resource) from None
    except (AirflowException, exceptions.GeminiTuningError, ImportError):
        raise
    except Exception as error:
        raise _service_error(error, action, resource) from (error if _is_printable(error) else None)


@contextmanager
def creating(resource: str) -> Iterator[None]:
    """Like :func:`service_errors`, for requests that must not be sent twice."""
    try:
        with service_errors("create", resource):
            yield
    except ServiceError as error:
        # 400 or 429 proves that nothing was created; a 5xx or an unreadable response does not.
        is_refused = (400 <= error.code < 500 and error.code not in (408, 499)) or error.code == NOT_IMPLEMENTED
        if is_refused or isinstance(error, NotSentError):
            raise
        raise exceptions.CreateOutcomeUnknownError(
            f"{error} The request was sent once and may have taken effect.",
            resource=resource,
            code=error.code,
            hint=f"Search for the {resource} before you send it again.",
            status=error.status,
            service_message=error.service_message,
        ) from error


def _is_printable(error: BaseException | None) -> bool:
    """Whether the task's log may show the causes of an error: none of them is huge or contains a secret."""
    while error is not None:
        if redact(str(error)) != str(error):
            return False
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return True


def _service_error(error: Exception, action: str, resource: str) -> ServiceError:
    code, status, details = _api_error(error) or _transport_error(error)
    status, message = redact(status, MAX_STATUS), redact(details)
    transient = code in (0, 408, 429) or (code >= 500 and code != NOT_IMPLEMENTED)
    kind: type[ServiceError] = PermanentServiceError
    if transient:
        kind = NotSentError if action == "create" and _was_not_sent(error) else exceptions.TransientServiceError
    label = f"{code} {status}".strip() if code else "no usable response"
    return kind(
        f"Could not {action} {resource}: {label}: {message.rstrip('.')}.",
        resource=resource,
        code=code,
        hint=HINTS.get(code, "A retry may succeed." if transient else "See the service's message."),
        status=status,
        service_message=message,
        retry_after=_retry_after(error),
    )


def _was_not_sent(error: Exception) -> bool:
    """Whether a request cannot have reached the service, because no token or no connection could be obtained."""
    import httpx
    from google.auth.exceptions import GoogleAuthError
    from requests.exceptions import ConnectionError as RequestsConnectionError
    from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

    if isinstance(error, RequestsConnectionError) and error.args:
        return isinstance(getattr(error.args[0], "reason", None), NewConnectionError | ConnectTimeoutError)
    return isinstance(error, GoogleAuthError | httpx.ConnectError | httpx.ConnectTimeout)


def _retry_after(error: Exception) -> float | None:
    """Return the seconds of a Retry-After header. Google does not use its other form, a date."""
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    try:
        seconds = float(headers.get("retry-after") or headers.get("Retry-After") or "")
    except ValueError:
        return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER) if math.isfinite(seconds) else None


def _api_error(error: Exception) -> tuple[int, str, str] | None:
    """Return HTTP status, canonical status and message of an error response; ``None`` for any other error."""
    from google.api_core.exceptions import GoogleAPICallError
    from google.genai.errors import APIError

    if isinstance(error, APIError):
        return int(error.code or 0), str(error.status or ""), str(error.message or error)
    if isinstance(error, GoogleAPICallError):
        status = error.grpc_status_code.name if error.grpc_status_code else str(getattr(error, "reason", None) or "")
        return int(error.code or 0), status, _message(_REQUEST.sub("", str(error.message)))
    return None


def _message(text: str) -> str:
    """Return the service's message where Cloud Storage's client puts the whole body of the response into its error."""
    try:
        return str(json.JSONDecoder().raw_decode(text)[0]["error"]["message"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return text


def _transport_error(error: Exception) -> tuple[int, str, str]:
    """Return the same for a missing or unreadable response, and for credentials that were refused."""
    import aiohttp
    import httpx
    import requests
    from google.auth.exceptions import GoogleAuthError, TransportError

    if isinstance(error, GoogleAuthError):
        if error.retryable or isinstance(error, TransportError):  # google-auth marks lost connections as permanent
            return 0, "", f"no token: {error}"
        return 401, "UNAUTHENTICATED", f"no token for these credentials: {error}"
    invalid_url = (httpx.UnsupportedProtocol, httpx.InvalidURL, aiohttp.InvalidURL, requests.exceptions.InvalidURL,
                   requests.exceptions.MissingSchema)  # fmt: skip
    if isinstance(error, invalid_url):
        return 400, "", f"the address cannot be used: {error}"
    if isinstance(error, ValidationError):
        return 0, "", validation_fault(error)
    if isinstance(error, UnexpectedResponseError):
        return 0, "", str(error)
    return 0, "", f"{type(error).__name__}: {error}"


def validation_fault(error: ValidationError) -> str:
    """Return the first fault that pydantic found: the field's path, the value and the reason."""
    fault = error.errors(include_url=False)[0]
    path = shorten(".".join(map(str, fault["loc"])), MAX_PATH) or "the response"
    cause = fault.get("ctx", {}).get("error")
    reason = str(cause) if isinstance(cause, Exception) else f"{short_repr(fault['input'])} ({fault['msg']})"
    return f"unexpected value for {path}: {reason}"
