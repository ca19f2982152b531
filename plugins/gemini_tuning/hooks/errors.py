"""Google's errors into ours: with the resource, the status, the service's own words, and whether a retry can help.

Google's clients are imported inside functions, as in :mod:`gemini_tuning.hooks.gemini_tuning`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from airflow.sdk.exceptions import AirflowException

from gemini_tuning.core import text
from gemini_tuning.core.exceptions import (
    CreateOutcomeUnknownError,
    GeminiTuningError,
    NotSentError,
    PermanentServiceError,
    ServiceError,
    TransientServiceError,
)

MAX_RETRY_AFTER = 3600.0  # seconds
MAX_STATUS = 100  # characters of a status word
NOT_IMPLEMENTED = 501  # the one 5xx that says for good that nothing was done
_REQUEST = re.compile(r"\A[A-Z]+ https?://\S+: ")  # what google-api-core puts before the service's words
NEXT_STEPS: Mapping[int, str] = {
    400: "Correct the request; repeating it cannot help.",
    401: "Check the credentials of the Airflow connection.",
    403: "Grant the connection's account the missing role (roles/aiplatform.user; for files in Cloud Storage "
    "roles/storage.objectViewer to read, roles/storage.objectUser to write).",
    404: "Check the name, its project and its location.",
    429: "The project's quota is used up for now; try later or ask for more.",
}


class UnusableAnswerError(ValueError):
    """What the service answered cannot be what was asked for; the message says what came back."""


@contextmanager
def service_errors(action: str, resource: str) -> Iterator[None]:
    """Turn whatever the clients raise into one of our exceptions; Airflow's and our own pass unchanged.

    Google's clients take an answer apart before they know that it is one: for garbage they raise anything from
    AttributeError to RecursionError.
    """
    try:
        yield
    except (AirflowException, GeminiTuningError, ImportError):
        raise
    except Exception as error:
        raise _translate(error, action, resource) from (error if _is_printable(error) else None)


@contextmanager
def creating(resource: str) -> Iterator[None]:
    """Like :func:`service_errors`, for requests that must not be sent twice."""
    try:
        with service_errors("create", resource):
            yield
    except ServiceError as error:
        if isinstance(error, NotSentError) or _is_refusal(error.code):
            raise
        raise CreateOutcomeUnknownError(
            f"{error} The request was sent once and may have taken effect: look for the {resource} before you send it "
            "again.",
            resource=resource,
            code=error.code,
            status=error.status,
            service_message=error.service_message,
        ) from error


def _is_printable(error: BaseException | None) -> bool:
    """Whether the task's log may show what led to an error: nothing in it is huge or holds a secret."""
    while error is not None:
        if text.redact(str(error)) != str(error):
            return False
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return True


def _is_refusal(code: int) -> bool:
    """Only a clear refusal proves that nothing was made: 400 or 429 is one; a 5xx, a 201 or no usable answer is not."""
    return (400 <= code < 500 and code not in (408, 499)) or code == NOT_IMPLEMENTED


def _translate(error: Exception, action: str, resource: str) -> PermanentServiceError | TransientServiceError:
    code, status, words = _api_error(error) or _transport_error(error)
    status, message = text.redact(status, MAX_STATUS), text.redact(words)
    transient = code in (0, 408, 429) or (code >= 500 and code != NOT_IMPLEMENTED)
    kind: type[TransientServiceError | PermanentServiceError] = PermanentServiceError
    if transient:
        kind = NotSentError if action == "create" and _never_left(error) else TransientServiceError
    label = f"{code} {status}".strip() if code else "no usable answer"
    step = NEXT_STEPS.get(code, "A later try may succeed." if transient else "Look at the service's message.")
    return kind(
        f"Could not {action} {resource}: {label}: {message.rstrip('.')}. {step}",
        resource=resource,
        code=code,
        status=status,
        service_message=message,
        retry_after=_retry_after(error),
    )


def _never_left(error: Exception) -> bool:
    """Whether a request cannot have reached the service: there was no token for it, or no connection."""
    import httpx
    from google.auth.exceptions import GoogleAuthError
    from requests.exceptions import ConnectionError as RequestsConnectionError
    from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

    if isinstance(error, RequestsConnectionError) and error.args:
        return isinstance(getattr(error.args[0], "reason", None), NewConnectionError | ConnectTimeoutError)
    return isinstance(error, GoogleAuthError | httpx.ConnectError | httpx.ConnectTimeout)


def _retry_after(error: Exception) -> float | None:
    """Return the seconds of a Retry-After header; its other form, a date, is not used by Google."""
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    try:
        seconds = float(headers.get("retry-after") or headers.get("Retry-After") or "")
    except ValueError:
        return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER) if math.isfinite(seconds) else None


def _api_error(error: Exception) -> tuple[int, str, str] | None:
    """Return code, status word and message of an error that the service answered with."""
    from google.api_core.exceptions import GoogleAPICallError
    from google.genai.errors import APIError

    if isinstance(error, APIError):
        return int(error.code or 0), str(error.status or ""), str(error.message or error)
    if isinstance(error, GoogleAPICallError):
        status = error.grpc_status_code.name if error.grpc_status_code else str(getattr(error, "reason", None) or "")
        return int(error.code or 0), status, _REQUEST.sub("", str(error.message))
    return None


def _transport_error(error: Exception) -> tuple[int, str, str]:
    """Return the same for no answer, an answer that can't be read, and credentials that were refused."""
    import aiohttp
    import httpx
    import requests
    from google.auth.exceptions import GoogleAuthError, TransportError

    if isinstance(error, GoogleAuthError):
        if error.retryable or isinstance(error, TransportError):  # google-auth calls its lost connections final
            return 0, "", f"no token: {error}"
        return 401, "UNAUTHENTICATED", f"no token for these credentials: {error}"
    misspelt = (httpx.UnsupportedProtocol, httpx.InvalidURL, aiohttp.InvalidURL, requests.exceptions.InvalidURL,
                requests.exceptions.MissingSchema)  # fmt: skip
    if isinstance(error, misspelt):
        return 400, "", f"the address cannot be used: {error}"
    if isinstance(error, UnusableAnswerError):
        return 0, "", str(error)
    return 0, "", f"{type(error).__name__}: {error}"
