"""What all operators and sensors of this package share."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar, cast

from airflow.sdk import BaseOperator
from airflow.sdk.definitions.retry_policy import ExceptionRetryPolicy, RetryAction, RetryRule

from gemini_tuning.core.exceptions import (
    CheckpointError,
    CopyModelError,
    InvalidInputError,
    PermanentServiceError,
    RetryLimitExceededError,
    TuningJobError,
    TuningRunError,
    VerificationError,
)
from gemini_tuning.core.names import project_problem
from gemini_tuning.core.text import redact, replace_surrogates, short_repr

if TYPE_CHECKING:
    from airflow.sdk import Context

    from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook

T = TypeVar("T", dict[str, Any], list[Any])

GCP_FIELDS: tuple[str, ...] = ("gcp_conn_id", "impersonation_chain", "project_id", "location")

MAX_SECONDS = 10 * 366 * 24 * 3600.0  # beyond it Python's dates overflow sooner or later
TRUE, FALSE = frozenset({"true", "1", "yes"}), frozenset({"false", "0", "no"})

# Airflow's `retries` still says how often; this says after which errors another try is pointless.
RETRY_POLICY = ExceptionRetryPolicy(
    rules=[
        RetryRule(
            exception=[
                PermanentServiceError,
                RetryLimitExceededError,
                TuningJobError,
                TuningRunError,
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


ERROR_XCOM = "error"
ADDED_BY_AIRFLOW = frozenset({"openlineage"})  # where a run comes from, when another DAG starts it


def as_callbacks(given: Any) -> list[Any]:
    """Return callbacks as a list: Airflow takes none, one, or several."""
    return list(given) if isinstance(given, Iterable) else [given] if given else []


def keep_error(context: Context) -> None:
    """Push why a task failed, as XCom ``error``: Airflow itself has it in the log only, the run's page shows it."""
    if error := context.get("exception"):
        context["ti"].xcom_push(ERROR_XCOM, replace_surrogates(redact(str(error))))


class GeminiBaseOperator(BaseOperator):
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
        by_default = (kwargs.get("default_args") or {}).get("on_failure_callback")  # of the DAG: someone is to be told
        kwargs["on_failure_callback"] = [*as_callbacks(kwargs.get("on_failure_callback", by_default)), keep_error]
        super().__init__(**kwargs)
        self.gcp_conn_id = gcp_conn_id
        self.impersonation_chain = impersonation_chain
        self.project_id = project_id
        self.location = location

    @cached_property
    def hook(self) -> GeminiTuningHook:
        """The hook for this task; imported here because it brings Google's clients along."""
        from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook

        self._check_cloud_fields()
        return GeminiTuningHook(self.gcp_conn_id, self.impersonation_chain)

    def _check_cloud_fields(self) -> None:
        """Name the field that is wrong; deeper down nobody knows its name."""
        if not isinstance(self.gcp_conn_id, str) or not self.gcp_conn_id.strip():
            raise ValueError(f"gcp_conn_id: {short_repr(self.gcp_conn_id)} is not the id of a connection")
        chain = self.impersonation_chain
        accounts = [chain or ""] if isinstance(chain, str | None) else chain
        if not isinstance(accounts, list | tuple) or not all(isinstance(account, str) for account in accounts):
            raise ValueError(
                f"impersonation_chain: {short_repr(chain)} is neither a service account nor a list of them"
            )
        project = optional_text(self.project_id)
        if project is not None and (problem := project_problem("project_id", project)):
            raise ValueError(problem)


def optional_text(value: Any) -> str | None:
    """Read a templated text: a rendered ``None`` or nothing counts as not given.

    A list or a mapping passes as it is, so that the check of the whole, which knows the field's name, refuses it.
    """
    if value is None or isinstance(value, list | tuple | set | dict):
        return cast("str | None", value)
    try:
        text = str(value)
    except ValueError:  # an int of more digits than Python writes down
        text = short_repr(value)
    return None if text.strip() in ("", "None") else text


def optional_int(value: Any, name: str) -> int | None:
    """Read a templated whole number, 3.0 as well: JSON does not tell it from 3.

    :raises ValueError: naming the parameter.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = optional_text(value)
    try:
        return None if text is None else int(text)
    except (ValueError, TypeError):
        raise ValueError(f"{name}: {short_repr(value)} is not a whole number") from None


def optional_float(value: Any, name: str) -> float | None:
    """Read a templated number.

    :raises ValueError: naming the parameter; also for infinity and what is not a number.
    """
    text = optional_text(value)
    if text is None:
        return None
    try:
        number = float(text)
    except (ValueError, TypeError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{name}: {short_repr(value)} is not a number")
    return number


def optional_seconds(value: Any, name: str) -> float | None:
    """Read a templated number of seconds.

    :raises ValueError: naming the parameter; also when it is not above 0, or more than ten years.
    """
    seconds = optional_float(value, name)
    if seconds is not None and not 0 < seconds <= MAX_SECONDS:
        raise ValueError(f"{name}: {short_repr(value)} is not above 0 seconds, or more than ten years")
    return seconds


def optional_json(value: Any, kind: type[T], name: str) -> T:
    """Read a mapping or a list that may have been templated into JSON.

    :raises ValueError: naming the parameter.
    """
    if isinstance(value, str) and optional_text(value):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise ValueError(f"{name}: {short_repr(value)} is not JSON") from None
    if value in (None, "", "None"):
        return kind()
    if not isinstance(value, kind):
        raise ValueError(f"{name}: expected a {kind.__name__}, not {short_repr(value)}")
    return value


def refuse_unknown_params(context: Context) -> None:
    """Refuse a run that was given a Param which its DAG does not have: Airflow accepts it silently.

    :raises InvalidInputError: naming it, and those that there are.
    """
    conf = getattr(context["dag_run"], "conf", None) or {}
    known = context["dag"].params
    if unknown := sorted(set(conf) - set(known) - ADDED_BY_AIRFLOW):
        there = ", ".join(sorted(known))
        raise InvalidInputError(f"Unknown parameter {', '.join(unknown)}; nothing was created. This DAG has: {there}.")


def as_list(value: Any, name: str) -> list[Any]:
    """Read a list, which Airflow may give as something that is read as one goes.

    :raises ValueError: naming the parameter.
    """
    if not isinstance(value, Iterable) or isinstance(value, str | bytes | Mapping):
        raise ValueError(f"{name}: expected a list, not {short_repr(value)}")
    return list(value)


def flag(value: Any, name: str = "the value") -> bool:
    """Read a templated truth value; nothing counts as false.

    :raises ValueError: naming the parameter.
    """
    if isinstance(value, bool):
        return value
    word = str(optional_text(value) or "false").strip().lower()
    if word not in TRUE | FALSE:
        raise ValueError(f"{name}: {short_repr(value)} is not true or false")
    return word in TRUE
