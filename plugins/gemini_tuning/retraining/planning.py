"""Whether a profile's run has anything to do, and from which model it continues."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from gemini_tuning.core.exceptions import InvalidInputError
from gemini_tuning.core.text import short_repr
from gemini_tuning.retraining.profiles import ContinueFrom

PROMOTED_OUTCOMES = frozenset({"promoted", "already default"})
_CONFIG = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=_CONFIG)
class Attempt:
    """A run of the tuning DAG for a profile."""

    tuning_run_id: str
    fingerprint: str  # of its data and parameters
    outcome: str | None = None  # from its report, once it has succeeded


@dataclass(frozen=True, config=_CONFIG)
class Promotion:
    """The default that a run has set."""

    model: str  # full name with the version
    checkpoint_id: str


@dataclass(frozen=True, config=_CONFIG)
class Memory:
    """What a profile's next run needs to know of the earlier ones; kept in the state of an Airflow asset."""

    active: Attempt | None = None  # the run that was started last, until its end is recorded
    last: Attempt | None = None  # the last one that succeeded
    promoted: Promotion | None = None  # by the last one that promoted anything

    @classmethod
    def from_json(cls, stored: object) -> Self:
        """Read what ``dataclasses.asdict`` returned.

        :raises InvalidInputError: when anything else is stored: to start over would pay for the same run again.
        """
        if stored is None:
            return cls()
        try:
            return TypeAdapter(cls).validate_python(stored)
        except ValidationError as error:
            field = ".".join(str(step) for step in error.errors()[0]["loc"])
            problem = f"the state of the asset is not a profile's memory: {short_repr(stored)}."
            hint = "Delete the asset's state to start from the base model."
            raise InvalidInputError(problem, field=field, code="invalid_memory", hint=hint) from None

    def started(self, attempt: Attempt) -> Self:
        """Record that a run is about to start."""
        return replace(self, active=attempt)

    def failed(self) -> Self:
        """Record that the active run failed, so that the next one repeats it."""
        return replace(self, active=None)

    def succeeded(self, report: Mapping[str, Any]) -> Memory:
        """Record that the active run succeeded, with the XCom of its report."""
        if self.active is None:
            return self
        outcome, model, checkpoint = (report.get(key) for key in ("outcome", "tuned_model", "default_after"))
        promoted = self.promoted
        if outcome in PROMOTED_OUTCOMES and model and checkpoint:
            promoted = Promotion(str(model), str(checkpoint))
        return Memory(None, replace(self.active, outcome=str(outcome or "unknown")), promoted)


def fingerprint(params: Mapping[str, Any], continue_from: ContinueFrom, data: Mapping[str, str]) -> str:
    """Return a hash that is the same for two runs on the same data with the same parameters.

    ``data``: checksums by address. The model to continue from is not part of it: each promotion would otherwise start
    the next run.
    """
    content = json.dumps([dict(params), str(continue_from), dict(data)], sort_keys=True, default=str)
    return hashlib.sha256(content.encode()).hexdigest()


def skip_reason(memory: Memory, current: str, *, force: bool) -> str | None:
    """Return why there is nothing to tune for the fingerprint of this run; ``None`` when there is."""
    last = memory.last
    if force or last is None or last.fingerprint != current:
        return None
    reason = f"Data and parameters are unchanged since {last.tuning_run_id} ({last.outcome}), so no run was started."
    return f"{reason} Set the Param `force` to start one anyway."


def tuning_conf(params: Mapping[str, Any], continue_from: ContinueFrom, memory: Memory) -> dict[str, Any]:
    """Return the Params of the tuning run; before the first promotion it starts from the base model."""
    conf = dict(params)
    if continue_from is ContinueFrom.CHAMPION:
        conf["pre_tuned_model"] = conf["champion"]
    elif continue_from is ContinueFrom.PROMOTED and memory.promoted:
        conf["pre_tuned_model"] = memory.promoted.model
        conf["pre_tuned_model_checkpoint_id"] = memory.promoted.checkpoint_id
    return conf
