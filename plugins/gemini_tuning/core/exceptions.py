"""The few errors of this package.

Each message says what happened, to which resource, what the service answered, and what to do next.
"""

from __future__ import annotations

from airflow.sdk.exceptions import AirflowException


class GeminiTuningError(AirflowException):
    """Base class: whatever goes wrong in a run and is not a mistake in the DAG file."""


class ServiceError(GeminiTuningError):
    """Google refused a request, or did not answer it.

    :param message: the whole sentence for people.
    :param resource: full name of the resource the request was about.
    :param code: HTTP status, 0 when there was no answer.
    :param status: Google's status word, for example ``NOT_FOUND``.
    :param service_message: the service's own words: at most 2,000 characters, without tokens and keys.
    :param retry_after: seconds that the service asks to wait before the next request; ``None`` where it does not.
    """

    retryable = False

    def __init__(
        self,
        message: str,
        *,
        resource: str = "",
        code: int = 0,
        status: str = "",
        service_message: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.resource = resource
        self.code = code
        self.status = status
        self.service_message = service_message
        self.retry_after = retry_after


class TransientServiceError(ServiceError):
    """The same request may succeed later: 408, 429, 5xx, no connection, no or a garbled answer."""

    retryable = True


class PermanentServiceError(ServiceError):
    """Repeating the request cannot help: 400, 401, 403, 404, 409 and their like."""


class NotSentError(TransientServiceError):
    """A create cannot have reached the service, so it may be sent again.

    There was no token for it or no connection; or it was about to leave later than announced, and was held back.
    """


class CreateOutcomeUnknownError(ServiceError):
    """A create was sent and its answer was lost, so the resource may exist and cost money.

    Neither transient nor permanent: it may be repeated by somebody who has looked for the resource before.
    """


class RetryLimitExceededError(GeminiTuningError):
    """A task has asked Google as often, or waited for room as long, as it may."""


class TuningJobError(GeminiTuningError):
    """The tuning job ended without success, or was not over at its deadline."""


class TuningRunError(GeminiTuningError):
    """The run of the tuning DAG that a retraining has started failed."""


class CopyModelError(GeminiTuningError):
    """The copy operation ended with an error, or was not over at its deadline."""


class CheckpointError(GeminiTuningError):
    """The checkpoints are not what the step needs: none, or not the one that was asked for."""


class VerificationError(GeminiTuningError):
    """What was read back is not what was written."""


class CleanupError(GeminiTuningError):
    """Something that was to be deleted could not be; the message names all."""


class InvalidInputError(GeminiTuningError, ValueError):
    """A parameter, a suite or a dataset is not acceptable; nothing was paid."""
