"""What all operators and sensors of this package share."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.sdk import BaseOperator
from airflow.sdk.definitions.retry_policy import ExceptionRetryPolicy, RetryAction, RetryRule

from gemini_tuning.exceptions import (
    CheckpointError,
    CopyModelError,
    GaveUpError,
    PermanentServiceError,
    TuningJobError,
    VerificationError,
)

if TYPE_CHECKING:
    from gemini_tuning.hook import GeminiTuningHook

T = TypeVar("T", dict[str, Any], list[Any])

GCP_FIELDS: tuple[str, ...] = ("gcp_conn_id", "impersonation_chain", "project_id", "location")

# Airflow's `retries` still says how often; this says after which errors another try is pointless.
RETRY_POLICY = ExceptionRetryPolicy(
    rules=[
        RetryRule(
            exception=[
                PermanentServiceError,
                GaveUpError,
                TuningJobError,
                CopyModelError,
                CheckpointError,
                VerificationError,
                ValueError,
            ],
            action=RetryAction.FAIL,
            reason="repeating the same request cannot help",
        )
    ]
)


class GoogleCloudFields(BaseOperator):
    """The Google Cloud parameters that every step has, and the hook made of them.

    :param gcp_conn_id: Airflow connection of type Google Cloud. (templated)
    :param impersonation_chain: service account, or chain of them, to act as. (templated)
    :param project_id: project id or number; ``None`` takes the connection's. (templated)
    :param location: region, for example ``us-central1``. Steps that are given a full resource name follow the name
        instead. (templated)
    """

    def __init__(
        self,
        *,
        gcp_conn_id: str = "google_cloud_default",
        impersonation_chain: str | Sequence[str] | None = None,
        project_id: str | None = None,
        location: str = "us-central1",
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("retry_policy", RETRY_POLICY)
        super().__init__(**kwargs)
        self.gcp_conn_id = gcp_conn_id
        self.impersonation_chain = impersonation_chain
        self.project_id = project_id
        self.location = location

    @cached_property
    def hook(self) -> GeminiTuningHook:
        """The hook for this task; imported here because it brings Google's clients along."""
        from gemini_tuning.hook import GeminiTuningHook

        return GeminiTuningHook(self.gcp_conn_id, self.impersonation_chain)


def optional_text(value: Any) -> str | None:
    """Read a templated text: a rendered ``None`` or nothing counts as not given."""
    return None if value is None or str(value).strip() in ("", "None") else str(value)


def optional_int(value: Any, name: str) -> int | None:
    """Read a templated whole number.

    :raises ValueError: naming the parameter.
    """
    text = optional_text(value)
    try:
        return None if text is None else int(text)
    except ValueError:
        raise ValueError(f"{name}: {value!r} is not a whole number") from None


def optional_float(value: Any, name: str) -> float | None:
    """Read a templated number.

    :raises ValueError: naming the parameter; also for infinity and what is not a number.
    """
    text = optional_text(value)
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{name}: {value!r} is not a number")
    return number


def optional_seconds(value: Any, name: str) -> float | None:
    """Read a templated number of seconds.

    :raises ValueError: naming the parameter; also when it is not above 0.
    """
    seconds = optional_float(value, name)
    if seconds is not None and seconds <= 0:
        raise ValueError(f"{name}: {value!r} is not above 0 seconds")
    return seconds


def optional_json(value: Any, kind: type[T], name: str) -> T:
    """Read a mapping or a list that may have been templated into JSON.

    :raises ValueError: naming the parameter.
    """
    if isinstance(value, str) and optional_text(value):
        try:
            value = json.loads(value)
        except ValueError:
            raise ValueError(f"{name}: {value!r} is not JSON") from None
    if value in (None, "", "None"):
        return kind()
    if not isinstance(value, kind):
        raise ValueError(f"{name}: expected a {kind.__name__}, not {value!r}")
    return value


def flag(value: Any) -> bool:
    """Read a templated truth value."""
    return value if isinstance(value, bool) else str(value).strip().lower() in ("true", "1", "yes")
