"""The errors that Google's APIs answer with, as exceptions that know their own JSON."""

from typing import Any

STATUS_BY_CODE = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    412: "FAILED_PRECONDITION",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""HTTP status to google.rpc.Code, where the code alone decides (google/rpc/code.proto)."""

_STORAGE_REASONS = {
    400: "invalid",
    401: "required",
    403: "forbidden",
    404: "notFound",
    409: "conflict",
    412: "conditionNotMet",
    416: "requestedRangeNotSatisfiable",
    429: "rateLimitExceeded",
    503: "backendError",
}


class GoogleError(Exception):
    """An error reply.

    :param code: HTTP status.
    :param message: what the caller reads.
    :param status: name of the google.rpc.Code; by default the one that belongs to the HTTP status.
    :param details: google.rpc detail messages as JSON.
    :param retry_after: seconds for a Retry-After header.
    """

    def __init__(
        self,
        code: int,
        message: str,
        status: str | None = None,
        details: list[dict[str, Any]] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status or STATUS_BY_CODE.get(code, "UNKNOWN")
        self.details = details
        self.retry_after = retry_after

    def body(self) -> dict[str, Any]:
        """Vertex AI's error body."""
        error: dict[str, Any] = {"code": self.code, "message": self.message, "status": self.status}
        if self.details:
            error["details"] = self.details
        return {"error": error}

    def storage_body(self) -> dict[str, Any]:
        """Return the same error in the shape of the Cloud Storage JSON API."""
        reason = _STORAGE_REASONS.get(self.code, "internalError")
        item = {"message": self.message, "domain": "global", "reason": reason}
        return {"error": {"code": self.code, "message": self.message, "errors": [item]}}


def unauthenticated() -> GoogleError:
    """401: no token, a wrong one, or one that has expired."""
    return GoogleError(
        401,
        "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid "
        "authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project.",
    )


def invalid_argument(message: str) -> GoogleError:
    """400: the request itself is wrong."""
    return GoogleError(400, message)


def bad_field(field: str, message: str) -> GoogleError:
    """400 as the JSON front end gives it, with the field violation among the details."""
    violation = {"description": message, **({"field": field} if field else {})}
    detail = {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [violation]}
    return GoogleError(400, message, details=[detail])


def aborted(message: str) -> GoogleError:
    """409: somebody else was first, so read again (https://google.aip.dev/154)."""
    return GoogleError(409, message, "ABORTED")


def failed_precondition(message: str) -> GoogleError:
    """400: the request is fine, the resource is not in a state for it."""
    return GoogleError(400, message, "FAILED_PRECONDITION")


def not_found(kind: str, name: str) -> GoogleError:
    """404 for a resource.

    :param kind: what the API calls it, such as ``TuningJob``.
    :param name: its resource name.
    """
    return GoogleError(404, f'The {kind} "{name}" does not exist.')


def already_exists(message: str) -> GoogleError:
    """409: the name is taken."""
    return GoogleError(409, message)
