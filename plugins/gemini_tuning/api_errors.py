"""Google's errors into ours: with the resource, the status, the service's own words, and whether a retry can help.

Google's clients are imported inside functions, as in :mod:`gemini_tuning.hook`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from gemini_tuning.exceptions import (
    CreateOutcomeUnknownError,
    NotSentError,
    PermanentServiceError,
    TransientServiceError,
)

NEXT_STEPS: Mapping[int, str] = {
    400: "Correct the request; repeating it cannot help.",
    401: "Check the credentials of the Airflow connection.",
    403: "Grant the connection's account the missing role (roles/aiplatform.user, roles/storage.objectViewer).",
    404: "Check the name, its project and its location.",
    429: "The project's quota is used up for now; try later or ask for more.",
}


@contextmanager
def service_errors(action: str, resource: str) -> Iterator[None]:
    """Turn whatever the clients raise into one of our exceptions; anything else passes unchanged."""
    try:
        yield
    except Exception as error:
        translated = _translate(error, action, resource)
        if translated is None:
            raise
        raise translated from error


@contextmanager
def creating(resource: str) -> Iterator[None]:
    """Like :func:`service_errors`, for requests that must not be sent twice."""
    try:
        with service_errors("create", resource):
            yield
    except TransientServiceError as error:
        # Only a clear refusal proves that nothing was made: 429 is one, a 5xx or a lost answer is not.
        if error.code == 429 or isinstance(error, NotSentError):
            raise
        raise CreateOutcomeUnknownError(
            f"{error} The request was sent once and may have taken effect: look for the {resource} before you send it "
            "again.",
            resource=resource,
            code=error.code,
            status=error.status,
            service_message=error.service_message,
        ) from error


def _translate(error: Exception, action: str, resource: str) -> PermanentServiceError | TransientServiceError | None:
    facts = _api_error(error) or _transport_error(error)
    if facts is None:
        return None
    code, status, said = facts
    transient = code in (0, 408, 429) or (code >= 500 and code != 501)  # 501: this service can't do it
    kind = TransientServiceError if transient else PermanentServiceError
    label = f"{code} {status}".strip() if code else "no usable answer"
    step = NEXT_STEPS.get(code, "A later try may succeed." if transient else "Look at the service's message.")
    return kind(
        f"Could not {action} {resource}: {label}: {said.rstrip('.')}. {step}",
        resource=resource,
        code=code,
        status=status,
        service_message=said,
        retry_after=_retry_after(error),
    )


def _retry_after(error: Exception) -> float | None:
    """Return the seconds of a Retry-After header; its other form, a date, is not used by Google."""
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    try:
        return max(float(headers.get("retry-after") or headers.get("Retry-After") or ""), 0.0)
    except ValueError:
        return None


def _api_error(error: Exception) -> tuple[int, str, str] | None:
    """Return code, status word and message of an error that the service answered with."""
    from google.api_core.exceptions import GoogleAPICallError
    from google.genai.errors import APIError

    if isinstance(error, APIError):
        return int(error.code or 0), str(error.status or ""), str(error.message or error)
    if isinstance(error, GoogleAPICallError):
        status = error.grpc_status_code.name if error.grpc_status_code else str(getattr(error, "reason", None) or "")
        return int(error.code or 0), status, str(error.message)
    return None


def _transport_error(error: Exception) -> tuple[int, str, str] | None:
    """Return the same for no answer, an answer that can't be read, and credentials that were refused."""
    import aiohttp
    import httpx
    import requests
    from google.auth.exceptions import GoogleAuthError
    from google.genai.errors import UnknownApiResponseError
    from pydantic import ValidationError

    if isinstance(error, GoogleAuthError):
        if error.retryable:
            return 0, "", f"no token: {error}"
        return 401, "UNAUTHENTICATED", f"no token for these credentials: {error}"
    misspelt = (httpx.UnsupportedProtocol, httpx.InvalidURL, aiohttp.InvalidURL, requests.exceptions.InvalidURL,
                requests.exceptions.MissingSchema)  # fmt: skip
    if isinstance(error, misspelt):
        return 400, "", f"the address cannot be used: {error}"
    lost = (aiohttp.ClientError, httpx.HTTPError, requests.RequestException, ConnectionError, TimeoutError)
    garbled = (json.JSONDecodeError, UnknownApiResponseError, ValidationError, UnicodeDecodeError)
    if isinstance(error, (*lost, *garbled)):
        return 0, "", f"{type(error).__name__}: {error}"
    return None
