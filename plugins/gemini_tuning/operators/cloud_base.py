"""Base class of the operators and sensors of this package, and readers of templated values."""

from __future__ import annotations

import json
import math
import re
import uuid
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
from gemini_tuning.core.files import joined
from gemini_tuning.core.names import project_problem
from gemini_tuning.core.text import redact, replace_surrogates, short_repr

if TYPE_CHECKING:
    from airflow.sdk import Context

    from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook

T = TypeVar("T", dict[str, Any], list[Any])

GCP_FIELDS: tuple[str, ...] = ("gcp_conn_id", "impersonation_chain", "project_id", "location")

MAX_SECONDS = 10 * 366 * 24 * 3600.0  # far below the overflow of Python's dates
TRUE, FALSE = frozenset({"true", "1", "yes"}), frozenset({"false", "0", "no"})

# How often a task is retried is up to Airflow's `retries`; these errors end it at once.
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
            reason="a retry cannot succeed",
        )
    ]
)


RUN_FOLDER_KEY = "run_folder"  # in the task state store
ADDED_BY_AIRFLOW = frozenset({"openlineage"})  # the parent run, when another DAG triggered this one


def as_callbacks(given: Any) -> list[Any]:
    """Return callbacks as a list: Airflow accepts none, one or several."""
    return list(given) if isinstance(given, Iterable) else [given] if given else []


def keep_error(context: Context) -> None:
    """Push the error of a failed task as XCom ``error``, for the run's page: Airflow has it in the log only."""
    from gemini_tuning.core.xcom import ERROR_XCOM

    if error := context.get("exception"):
        context["ti"].xcom_push(ERROR_XCOM, replace_surrogates(redact(str(error))))


class GeminiBaseOperator(BaseOperator):
    """Base of all operators and sensors: the Google Cloud parameters, the hook and the retry policy.

    :param gcp_conn_id: Airflow connection of type Google Cloud. (templated)
    :param impersonation_chain: service account to impersonate, or a chain of them. (templated)
    :param project_id: project id or number; ``None`` uses the connection's. (templated)
    :param location: region, for example ``us-central1``. Operators with a full resource name use its location instead.
        (templated)
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
        dag_callbacks = (kwargs.get("default_args") or {}).get("on_failure_callback")  # those of the DAG
        kwargs["on_failure_callback"] = [*as_callbacks(kwargs.get("on_failure_callback", dag_callbacks)), keep_error]
        super().__init__(**kwargs)
        self.gcp_conn_id = gcp_conn_id
        self.impersonation_chain = impersonation_chain
        self.project_id = project_id
        self.location = location

    @cached_property
    def hook(self) -> GeminiTuningHook:
        """The hook of this task, imported here because it imports Google's clients."""
        from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook

        self._check_cloud_fields()
        return GeminiTuningHook(self.gcp_conn_id, self.impersonation_chain)

    def _check_cloud_fields(self) -> None:
        """Refuse invalid values here, where the parameter's name is known."""
        if not isinstance(self.gcp_conn_id, str) or not self.gcp_conn_id.strip():
            raise _invalid("gcp_conn_id", "the id of a connection", self.gcp_conn_id)
        chain = self.impersonation_chain
        accounts = [chain or ""] if isinstance(chain, str | None) else chain
        if not isinstance(accounts, list | tuple) or not all(isinstance(account, str) for account in accounts):
            raise _invalid("impersonation_chain", "a service account or a list of them", chain)
        project = optional_text(self.project_id)
        if project is not None and (problem := project_problem("project_id", project)):
            raise InvalidInputError(problem, field="project_id", code="invalid_name")


def optional_text(value: Any) -> str | None:
    """Return a templated text; ``None`` for a rendered ``None`` or an empty text. Numbers become text: ids stay ids.

    A list or a mapping is returned unchanged, for the check that knows the field's name to refuse it.
    """
    if value is None or isinstance(value, list | tuple | set | dict):
        return cast("str | None", value)
    try:
        text = str(value)
    except ValueError:  # an int of more digits than Python converts
        text = short_repr(value)
    return None if text.strip() in ("", "None") else text


def optional_int(value: Any, name: str) -> int | None:
    """Return a templated integer; also from 3.0, which JSON does not distinguish from 3.

    :raises InvalidInputError: with the parameter as its field.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = optional_text(value)
    try:
        return None if text is None else int(text)
    except (ValueError, TypeError):
        raise _invalid(name, "an integer", value) from None


def optional_float(value: Any, name: str) -> float | None:
    """Return a templated number.

    :raises InvalidInputError: with the parameter as its field; also for infinity and NaN.
    """
    text = optional_text(value)
    if text is None:
        return None
    try:
        number = float(text)
    except (ValueError, TypeError):
        number = math.nan
    if not math.isfinite(number):
        raise _invalid(name, "a number", value)
    return number


def optional_seconds(value: Any, name: str) -> float | None:
    """Return a templated number of seconds.

    :raises InvalidInputError: with the parameter as its field; also when it is not above 0, or more than ten years.
    """
    seconds = optional_float(value, name)
    if seconds is not None and not 0 < seconds <= MAX_SECONDS:
        raise _invalid(name, "a number of seconds above 0 and at most ten years", value)
    return seconds


def optional_json(value: Any, kind: type[T], name: str) -> T:
    """Return a mapping or a list, which may have been templated into JSON; an empty one for nothing.

    :raises InvalidInputError: with the parameter as its field.
    """
    if isinstance(value, str) and optional_text(value):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise _invalid(name, "JSON", value) from None
    if value in (None, "", "None"):
        return kind()
    if not isinstance(value, kind):
        raise _invalid(name, f"a {kind.__name__}", value)
    return value


def as_list(value: Any, name: str) -> list[Any]:
    """Return a list, also from the lazy sequence of the XComs of mapped tasks.

    :raises InvalidInputError: with the parameter as its field.
    """
    if not isinstance(value, Iterable) or isinstance(value, str | bytes | Mapping):
        raise _invalid(name, "a list", value)
    return list(value)


def flag(value: Any, name: str) -> bool:
    """Return a templated boolean; ``False`` for nothing.

    :raises InvalidInputError: with the parameter as its field.
    """
    if isinstance(value, bool):
        return value
    word = str(optional_text(value) or "false").strip().lower()
    if word not in TRUE | FALSE:
        raise _invalid(name, "true or false", value)
    return word in TRUE


def _invalid(name: str, expected: str, value: Any) -> InvalidInputError:
    return InvalidInputError(f"{name}: must be {expected}, not {short_repr(value)}.", field=name, code="invalid_value")


def refuse_unknown_params(context: Context) -> None:
    """Refuse a run with a Param that its DAG does not have, which Airflow accepts silently.

    :raises InvalidInputError: with the Param as its field.
    """
    conf = getattr(context["dag_run"], "conf", None) or {}
    known = context["dag"].params
    if unknown := sorted(set(conf) - set(known) - ADDED_BY_AIRFLOW):
        raise InvalidInputError(
            f"Unknown parameter {', '.join(unknown)}. Nothing was created.",
            field=unknown[0],
            code="unknown_param",
            hint=f"Parameters of this DAG: {', '.join(sorted(known))}.",
        )


def run_folder(context: Context, folder: str) -> str:
    """Return the address of this run's folder in a folder, the same at each try of the task.

    A random suffix, kept in the task state store, separates Airflow deployments that share a bucket.
    """
    from airflow.sdk.execution_time.context import NEVER_EXPIRE

    store, ti = context["task_state_store"], context["ti"]
    if (suffix := store.get(RUN_FOLDER_KEY)) is None:
        suffix = uuid.uuid4().hex[:8]
        store.set(RUN_FOLDER_KEY, suffix, retention=NEVER_EXPIRE)
    return joined(folder, _path_segment(ti.dag_id), f"{_path_segment(ti.run_id)}-{suffix}")


def _path_segment(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.+-]", "_", name).lstrip(".") or "_"
