"""Before a job is paid for: proof that a triggerer can run the triggers that wait for it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from airflow.sdk import Context, Variable

from gemini_tuning import __version__
from gemini_tuning.core.exceptions import GeminiTuningError
from gemini_tuning.core.text import redact
from gemini_tuning.operators.cloud_base import GeminiBaseOperator

VARIABLE = "gemini_tuning_triggerer_check"
VALID_FOR = 24 * 3600.0  # seconds
TIMEOUT = timedelta(seconds=75)  # the scheduler notices it up to 15 s later


class TriggererCheckError(GeminiTuningError):
    """No triggerer can run this package's triggers. Nothing was created and nothing was charged."""


class TriggererCheckMixin(GeminiBaseOperator):
    """An operator that defers for a moment before it starts, unless that has worked within the last day.

    Where the package is missing on the triggerer, Airflow logs this there and leaves the task deferred: a run would
    pay for a job and never notice its end. The proof is kept in the Variable ``gemini_tuning_triggerer_check``.
    """

    def require_triggerer(self) -> None:
        """Defer until a triggerer has loaded this package; the task resumes in ``execute_complete(context, event)``.

        Returns when that is already known.
        """
        known = Variable.get(VARIABLE, default=None, deserialize_json=True)
        proof = known if isinstance(known, Mapping) else {}
        age = time.time() - proof["at"] if isinstance(proof.get("at"), int | float) else VALID_FOR
        if proof.get("version") == __version__ and 0 <= age < VALID_FOR:
            return
        from gemini_tuning.triggers.triggerer_check import TriggererCheckTrigger

        self.defer(trigger=TriggererCheckTrigger(), method_name="execute_complete", timeout=TIMEOUT)

    def record_triggerer(self, event: Mapping[str, Any]) -> None:
        """Keep the proof in the event; raise when the triggerer cannot load the package, or has another version."""
        if event.get("error"):
            raise _error(f"cannot load this package: {redact(event['error'])}", "cannot_load")
        if event.get("version") != __version__:
            raise _error(f"has version {event.get('version')}, this worker has {__version__}", "other_version")
        Variable.set(VARIABLE, {"version": __version__, "at": int(time.time())}, serialize_json=True)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume, or fail with what to install where when no triggerer ran the trigger."""
        from airflow.sdk.exceptions import TaskDeferralError, TaskDeferralTimeout

        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except TaskDeferralTimeout:
            raise _error(f"did not run a trigger of this package within {TIMEOUT.seconds} s", "not_run") from None
        except TaskDeferralError as error:
            raise _error(f"cannot run this package's triggers: {redact(error)}", "cannot_run") from None


def _error(problem: str, code: str) -> TriggererCheckError:
    hint = (
        f"Install gemini-checkpoint-tuning=={__version__} where every triggerer runs (a plugins folder may not "
        "reach it) and restart it; its log has the reason. Without a running triggerer start `airflow triggerer`."
    )
    message = f"The triggerer {problem}. Nothing was created."
    return TriggererCheckError(message, resource="triggerer", code=code, hint=hint)
