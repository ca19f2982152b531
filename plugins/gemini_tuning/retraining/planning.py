"""Whether a profile's run has anything to do, and from which model it goes on. Pure: no Airflow, no network."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from gemini_tuning.core.text import short_repr
from gemini_tuning.retraining.profiles import GoOnFrom

PROMOTED_OUTCOMES = frozenset({"promoted", "already default"})


@dataclass(frozen=True)
class Attempt:
    """One run of the tuning DAG for a profile.

    :param fingerprint: of the data and the parameters that it was started for.
    :param outcome: the report's, once it has ended well.
    """

    tuning_run_id: str
    fingerprint: str
    outcome: str | None = None


@dataclass(frozen=True)
class Promotion:
    """What a run has made the default.

    :param model: full name with the version.
    """

    model: str
    checkpoint_id: str


@dataclass(frozen=True)
class Memory:
    """What a profile's runs tell the next one; kept as the state of an asset of Airflow's.

    :param under_way: the run that was started last and whose end nobody has noted yet.
    :param last: the last one that ended well.
    :param promoted: by the last one that promoted anything.
    """

    under_way: Attempt | None = None
    last: Attempt | None = None
    promoted: Promotion | None = None

    @classmethod
    def from_json(cls, stored: object) -> Self:
        """Read what :meth:`as_json` gave.

        :raises ValueError: when something else is stored: taking it for nothing would pay for the same run again.
        """
        if stored is None:
            return cls()
        try:
            data = dict(stored)  # type: ignore[call-overload]
            attempts = {key: Attempt(**data.pop(key)) if data.get(key) else None for key in ("under_way", "last")}
            promoted = Promotion(**data["promoted"]) if data.get("promoted") else None
        except (TypeError, ValueError, KeyError):
            raise ValueError(
                f"the asset's state holds something else than a profile's memory: {short_repr(stored)}"
            ) from None
        return cls(**attempts, promoted=promoted)

    def as_json(self) -> dict[str, Any]:
        """Return the form that is stored."""
        return asdict(self)

    def started(self, attempt: Attempt) -> Self:
        """Note that a run is about to start."""
        return replace(self, under_way=attempt)

    def failed(self) -> Self:
        """Note that the run under way came to nothing: the next one does its work."""
        return replace(self, under_way=None)

    def ended(self, report: Mapping[str, Any]) -> Self:
        """Note that the run under way has ended well.

        :param report: what the tuning DAG's ``report`` pushed.
        """
        if self.under_way is None:
            return self
        last = replace(self.under_way, outcome=str(report.get("outcome") or "unknown"))
        return replace(self, under_way=None, last=last, promoted=_promotion(report) or self.promoted)


def _promotion(report: Mapping[str, Any]) -> Promotion | None:
    model, checkpoint = report.get("tuned_model"), report.get("default_after")
    if report.get("outcome") not in PROMOTED_OUTCOMES or not model or not checkpoint:
        return None
    return Promotion(str(model), str(checkpoint))


def fingerprint(params: Mapping[str, Any], go_on_from: GoOnFrom, data: Mapping[str, str]) -> str:
    """Return what is the same for two runs that would tune on the same data with the same parameters.

    The model to go on from does not count, else each promotion would be a reason for the next.

    :param data: checksums by address.
    """
    whole = json.dumps([dict(params), str(go_on_from), dict(data)], sort_keys=True, default=str)
    return hashlib.sha256(whole.encode()).hexdigest()


def nothing_to_do(memory: Memory, current: str, *, force: bool) -> str | None:
    """Return why there is no need to tune, or ``None``.

    :param current: fingerprint of what would be tuned on now.
    """
    last = memory.last
    if force or last is None or last.fingerprint != current:
        return None
    return (
        f"Unchanged since {last.tuning_run_id} ({last.outcome}): the same data, the same parameters. Nothing was "
        "started. The Param `force` starts a run all the same."
    )


def tuning_conf(params: Mapping[str, Any], go_on_from: GoOnFrom, memory: Memory) -> dict[str, Any]:
    """Return the Params of the tuning run; with nothing promoted so far it begins at the base model."""
    conf = dict(params)
    if go_on_from is GoOnFrom.CHAMPION:
        conf["pre_tuned_model"] = conf["champion"]
    elif go_on_from is GoOnFrom.PROMOTED and memory.promoted:
        conf["pre_tuned_model"] = memory.promoted.model
        conf["pre_tuned_model_checkpoint_id"] = memory.promoted.checkpoint_id
    return conf
