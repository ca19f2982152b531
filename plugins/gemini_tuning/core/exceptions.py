"""Exceptions of this package.

Every one has the same four attributes, so that callbacks, tests and other DAGs need not parse the message:

``field``
    the parameter or the dotted path in a file that is wrong, for example ``"epoch_count"``; empty when none is.
``resource``
    full name or address of the resource that the error is about; empty when there is none.
``code``
    a stable reason in snake_case, for example ``"not_found_in_model"``; for a :class:`ServiceError` the HTTP status, as
    in ``google.genai.errors.APIError``.
``hint``
    the next step for the reader; it is also the last sentence of the message.
"""

from __future__ import annotations


class GeminiTuningError(Exception):
    """Base class of all errors of this package."""

    code: str | int

    def __init__(
        self, message: str, *, field: str = "", resource: str = "", code: str | int = "", hint: str = ""
    ) -> None:
        super().__init__(f"{message} {hint}" if hint else message)
        self.field = field
        self.resource = resource
        self.code = code
        self.hint = hint

    def add_hint(self, hint: str) -> None:
        """Add the next step to the message."""
        self.hint = hint
        self.args = (f"{self} {hint}",)


class ServiceError(GeminiTuningError):
    """A request to a Google API failed.

    :param code: HTTP status; 0 without a response.
    :param status: canonical status, for example ``NOT_FOUND`` (https://cloud.google.com/apis/design/errors).
    :param service_message: the service's own message: at most 2,000 characters, without tokens and keys.
    :param retry_after: seconds to wait before the next request, from the ``Retry-After`` header; ``None`` without one.
    """

    code: int
    retryable = False

    def __init__(
        self,
        message: str,
        *,
        code: int = 0,
        status: str = "",
        service_message: str = "",
        retry_after: float | None = None,
        **others: str,
    ) -> None:
        super().__init__(message, code=code, **others)
        self.status = status
        self.service_message = service_message
        self.retry_after = retry_after


class TransientServiceError(ServiceError):
    """A retry may succeed: 408, 429, 5xx, connection failed, no response or an unreadable one."""

    retryable = True


class PermanentServiceError(ServiceError):
    """A retry cannot succeed: 400, 401, 403, 404, 409 and similar."""


class NotSentError(TransientServiceError):
    """A create request cannot have reached the service, so it can safely be sent again.

    No access token or no connection could be obtained, or the request was held back because its send deadline passed.
    """


class CreateOutcomeUnknownError(ServiceError):
    """A create request was sent and its response was lost: the resource may exist and cost money.

    Neither transient nor permanent: send it again only after a search for the resource found nothing.
    """


class UnexpectedResponseError(GeminiTuningError):
    """A response that cannot be the answer to the request; the hook turns it into a :class:`ServiceError`."""


class RetryLimitExceededError(GeminiTuningError):
    """A create was attempted as often, or waited for quota as long, as the operator allows."""


class TuningJobError(GeminiTuningError):
    """The tuning job finished without success, or had not finished at its deadline."""


class TuningRunError(GeminiTuningError):
    """The run of the tuning DAG that a retraining triggered failed."""


class CopyModelError(GeminiTuningError):
    """The copy operation failed, or had not finished at its deadline."""


class CheckpointError(GeminiTuningError):
    """The model has no checkpoints, or not the one that the step needs."""


class VerificationError(GeminiTuningError):
    """A resource that was read back differs from what was written."""


class CleanupError(GeminiTuningError):
    """Some resources could not be deleted; the message lists them."""


class InvalidInputError(GeminiTuningError, ValueError):
    """A parameter, a file or a dataset is not acceptable. Nothing was created and nothing was charged."""
