"""Base classes of the operators and sensors of this package, and what they share.

The readers of templated values raise :class:`InvalidInputError` with the parameter as its field.
"""

from __future__ import annotations

import json
import math
import re
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

from airflow.sdk import BaseOperator, Context
from airflow.sdk.definitions.retry_policy import ExceptionRetryPolicy, RetryAction, RetryRule
from airflow.sdk.execution_time.context import NEVER_EXPIRE

from gemini_tuning.core.exceptions import (
    CleanupError,
    CreateOutcomeUnknownError,
    GeminiTuningError,
    InvalidInputError,
    PermanentServiceError,
    TransientServiceError,
    VerificationError,
)
from gemini_tuning.core.files import joined
from gemini_tuning.core.text import redact, replace_surrogates, short_repr

if TYPE_CHECKING:
    from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook
    from gemini_tuning.triggers.waiting import WaitingTrigger

N = TypeVar("N", int, float)

GCP_FIELDS: tuple[str, ...] = ("gcp_conn_id", "impersonation_chain", "project_id", "location")

MAX_SECONDS = 10 * 366 * 24 * 3600.0  # far below the overflow of Python's dates
TRUE, FALSE = frozenset({"true", "1", "yes"}), frozenset({"false", "0", "no"})
RUN_FOLDER_KEY = "run_folder"  # in the task state store
ADDED_BY_AIRFLOW = frozenset({"openlineage"})  # the parent run, when another DAG triggered this one
READ_BACK_INTERVAL = 2.0  # seconds
# At its own deferral timeout Airflow fails the task without a call to it, so the trigger's deadline comes first.
DEFERRAL_TIMEOUT_MARGIN = timedelta(minutes=10)

# How often a task is retried is up to Airflow's `retries`; all other errors of this package end it at once.
RETRY_POLICY = ExceptionRetryPolicy(
    rules=[
        RetryRule([TransientServiceError, CreateOutcomeUnknownError, CleanupError], RetryAction.DEFAULT),
        RetryRule([GeminiTuningError, ValueError], RetryAction.FAIL, reason="a retry cannot succeed"),
    ]
)


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
    :param location: region, for example ``us-central1``; a full resource name has its own. (templated)
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
        dag_callbacks = (kwargs.get("default_args") or {}).get("on_failure_callback")
        given = kwargs.get("on_failure_callback", dag_callbacks)  # none, one or several
        callbacks = given if isinstance(given, Iterable) else [given] if given else []
        kwargs["on_failure_callback"] = [*callbacks, keep_error]
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

    @property
    def project_and_location(self) -> dict[str, Any]:
        """The rendered parameters, as the hook's methods take them."""
        return {"project_id": optional_text(self.project_id), "location": self.location}

    def refuse_unknown_params(self, context: Context) -> None:
        """Refuse a run with a Param that its DAG does not have, which Airflow accepts silently."""
        conf = getattr(context["dag_run"], "conf", None) or {}
        known = context["dag"].params
        if unknown := sorted(set(conf) - set(known) - ADDED_BY_AIRFLOW):
            problem = f"Unknown parameter {', '.join(unknown)}. Nothing was created."
            hint = f"Parameters of this DAG: {', '.join(sorted(known))}."
            raise InvalidInputError(problem, field=unknown[0], code="unknown_param", hint=hint)

    def _check_cloud_fields(self) -> None:
        if not isinstance(self.gcp_conn_id, str) or not self.gcp_conn_id.strip():
            raise _invalid("gcp_conn_id", "the id of a connection", self.gcp_conn_id)
        chain = self.impersonation_chain
        accounts = [chain or ""] if isinstance(chain, str | None) else chain
        if not isinstance(accounts, list | tuple) or not all(isinstance(account, str) for account in accounts):
            raise _invalid("impersonation_chain", "a service account or a list of them", chain)


class DeferrableMixin(GeminiBaseOperator):
    """An operator that defers to a :class:`~gemini_tuning.triggers.waiting.WaitingTrigger`."""

    def defer_to_trigger(
        self, trigger: type[WaitingTrigger], resource: str, *, poll_interval: float, deadline: float, **more: Any
    ) -> NoReturn:
        """Defer until the resource has finished; the task resumes in ``execute_complete(context, event)``.

        The event names the resource: arguments of the deferral get lost in ``dag.test()``.

        :param deadline: in seconds since 1970 (UTC).
        """
        self.defer(
            trigger=trigger(
                resource,
                gcp_conn_id=self.gcp_conn_id,
                impersonation_chain=self.impersonation_chain,
                poll_interval=poll_interval,
                deadline=deadline,
                **more,
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=min(max(deadline - time.time(), 0), MAX_SECONDS)) + DEFERRAL_TIMEOUT_MARGIN,
        )

    def event_matches(self, resource: str, event: Mapping[str, Any]) -> bool:
        """Return whether an event is about the resource that this task waits for; if not, the task must defer again.

        SQLite reuses the ids of deleted triggers, so a late event of an old trigger may resume another task.

        :raises PermanentServiceError: when the event is an error that ended the wait, with the service's message.
        """
        found = event["resource"]
        if found != resource:
            self.log.warning("Received the event of another trigger, for %s; still waiting for %s", found, resource)
            return False
        if event["status"] == "error":
            hint = f"{found} may still be running; check it in the Google Cloud console."
            raise PermanentServiceError(event["message"], resource=found, code=event["code"], hint=hint)
        return True


def wait_until_visible(
    missing: Callable[[], str | None], timeout: float, change: str, *, resource: str, hint: str
) -> None:
    """Poll until a change is visible: what was not read back is not reported.

    :param missing: reads the resource and returns what is not visible yet, or ``None``.
    :raises VerificationError: when that is the case for ``timeout`` seconds.
    """
    end = time.monotonic() + timeout
    while (found := missing()) is not None:
        if time.monotonic() >= end:
            problem = f"{change}, but after {timeout:g} s {found}."
            raise VerificationError(problem, resource=resource, code="not_visible", hint=hint)
        time.sleep(READ_BACK_INTERVAL)


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
    """Return a templated integer; also from 3.0, which JSON does not distinguish from 3."""
    whole = int(value) if isinstance(value, float) and value.is_integer() else value
    return _number(whole, name, "an integer", int)


def optional_float(value: Any, name: str) -> float | None:
    """Return a templated number, which is finite."""
    return _number(value, name, "a number", float, math.isfinite)


def optional_seconds(value: Any, name: str) -> float | None:
    """Return a templated number of seconds."""
    expected = "a number of seconds above 0 and at most ten years"
    return _number(value, name, expected, float, lambda seconds: 0 < seconds <= MAX_SECONDS)


def _number(
    value: Any, name: str, expected: str, convert: Callable[[str], N], accepts: Callable[[N], bool] = lambda _: True
) -> N | None:
    text = optional_text(value)
    try:
        number = None if text is None else convert(text)
    except (ValueError, TypeError):
        raise _invalid(name, expected, value) from None
    if number is not None and not accepts(number):
        raise _invalid(name, expected, value)
    return number


def optional_mapping(value: Any, name: str) -> dict[str, Any]:
    """Return a mapping, which may have been templated into JSON; an empty one for nothing."""
    if isinstance(value, str) and optional_text(value):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise _invalid(name, "JSON", value) from None
    if value in (None, "", "None"):
        return {}
    if not isinstance(value, dict):
        raise _invalid(name, "a dict", value)
    return value


def as_list(value: Any, name: str) -> list[Any]:
    """Return a list, also from the lazy sequence of the XComs of mapped tasks."""
    if not isinstance(value, Iterable) or isinstance(value, str | bytes | Mapping):
        raise _invalid(name, "a list", value)
    return list(value)


def flag(value: Any, name: str) -> bool:
    """Return a templated boolean; ``False`` for nothing."""
    word = str(optional_text(value) or "false").strip().lower()
    if word not in TRUE | FALSE:
        raise _invalid(name, "true or false", value)
    return word in TRUE


def _invalid(name: str, expected: str, value: Any) -> InvalidInputError:
    return InvalidInputError(f"{name}: must be {expected}, not {short_repr(value)}.", field=name, code="invalid_value")


def run_folder(context: Context, folder: str) -> str:
    """Return the address of this run's folder in a folder, the same at each try of the task.

    A random suffix, kept in the task state store, separates Airflow deployments that share a bucket.
    """
    store, ti = context["task_state_store"], context["ti"]
    if (suffix := store.get(RUN_FOLDER_KEY)) is None:
        suffix = uuid.uuid4().hex[:8]
        store.set(RUN_FOLDER_KEY, suffix, retention=NEVER_EXPIRE)
    dag, run = (re.sub(r"[^A-Za-z0-9_.+-]", "_", name).lstrip(".") or "_" for name in (ti.dag_id, ti.run_id))
    return joined(folder, dag, f"{run}-{suffix}")
