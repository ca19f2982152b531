"""One line for each tuning run. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gemini_tuning.core import xcom
from gemini_tuning.core.console import console_link
from gemini_tuning.core.names import ResourceName, ResourceNameError
from gemini_tuning.ui import queries
from gemini_tuning.ui.pace import Pace, pace_of
from gemini_tuning.ui.queries import Run

JOB_ENDED = frozenset({"SUCCEEDED", "PARTIALLY_SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED"})


@dataclass(frozen=True)
class Line:
    """A tuning run in the overview.

    :param pace: how far the tuning job is; ``None`` before it begins and after it has ended.
    :param score: share of the cases that the winner passed, 0 to 1.
    :param default_now: of the tuned model, as the last run that changed it read it back.
    :param copy: full name of the copy.
    :param seconds: that the run has taken, so far.
    """

    dag_id: str
    run_id: str
    state: str
    job_state: str | None
    job: str | None
    job_console: str | None
    display_name: str
    base_model: str
    dataset: str | None
    pace: Pace | None
    checkpoints: int | None
    winner: str | None
    score: float | None
    default_now: str | None
    copy: str | None
    copy_console: str | None
    started: datetime | None
    seconds: float | None
    started_by: str


@dataclass(frozen=True)
class Default:
    """A model's default checkpoint, as far as Airflow has recorded it.

    :param previous: what it was before it was last changed.
    """

    now: str | None = None
    previous: str | None = None


Defaults = Mapping[str, Default]


def line(run: Run, defaults: Defaults, now: datetime) -> Line:
    """Return the line of a run.

    :param defaults: of :func:`defaults_now`.
    """
    known = run.mapping(queries.WAIT, "progress")
    base_model, display_name = queries.model_names(run.conf, known)
    job, job_state = xcom.text(known.get("name") or run.pushed(queries.CREATE)), xcom.text(known.get("state"))
    winner, score = _winner(run)
    copy = xcom.text(run.mapping(queries.COPY).get("model"))
    model = xcom.text(run.pushed(queries.CHECKPOINTS, "tuned_model") or known.get("model"))
    return Line(
        dag_id=run.dag_id,
        run_id=run.run_id,
        state=run.state,
        job_state=job_state,
        job=job,
        job_console=console_link(job),
        display_name=display_name,
        base_model=base_model,
        dataset=xcom.text(run.conf.get("training_dataset_uri")),
        pace=pace_of(known, _wait_began(run), now) if run.is_live and job_state not in JOB_ENDED else None,
        checkpoints=_number_of_checkpoints(run, known),
        winner=winner,
        score=score,
        default_now=default_of(run, model, defaults).now,
        copy=copy,
        copy_console=console_link(copy),
        started=run.start,
        seconds=_seconds(run, now),
        started_by=run.started_by or run.run_type,
    )


def defaults_now(promotions: Iterable[Mapping[str, Any]]) -> dict[str, Default]:
    """Return each model's default checkpoint as it was last read back.

    :param promotions: what setting a default pushed, the newest first.
    """
    found: dict[str, Default] = {}
    for promotion in promotions:
        model = model_key(xcom.text(promotion.get("model")))
        before, after = (xcom.text(promotion.get(key)) for key in ("default_before", "default_after"))
        if after is None or not model:
            continue
        if model not in found:
            found[model] = Default(after, before if before != after else None)
        elif found[model].previous is None and before != after == found[model].now:
            found[model] = Default(after, before)
    return found


def default_of(run: Run, model: str | None, defaults: Defaults) -> Default:
    """Return the default of a run's model; before anybody has set one, the one that was listed."""
    step = run.step(queries.SET_DEFAULT)
    if step is not None and step.state == "failed" and model_key(model) not in defaults:
        return Default()  # it may have been set, and only the reading back failed
    own = defaults_now([run.mapping(queries.SET_DEFAULT)])
    listed = xcom.text(run.pushed(queries.CHECKPOINTS, "default_checkpoint_id"))
    return defaults.get(model_key(model)) or own.get(model_key(model)) or Default(listed)


def model_key(model: str | None) -> str:
    """Return what a model version is known by; an empty text when it is none."""
    try:
        return str(ResourceName.parse(model or "", "models"))
    except ResourceNameError:
        return ""


def _winner(run: Run) -> tuple[str | None, float | None]:
    decision = run.mapping(queries.CHOOSE, "decision")
    promoted = xcom.text(run.mapping(queries.SET_DEFAULT).get("default_after"))
    winner = promoted or xcom.text(decision.get("winner"))
    assessed = decision.get("checkpoints") if winner is not None else None
    for found in assessed if isinstance(assessed, list) else []:
        if isinstance(found, Mapping) and xcom.text(found.get("checkpoint_id")) == winner:
            return winner, xcom.number(found.get("pass_rate"))
    return winner, None


def _wait_began(run: Run) -> datetime | None:
    step = run.step(queries.WAIT)
    return step.start if step is not None else None


def _number_of_checkpoints(run: Run, known: Mapping[str, Any]) -> int | None:
    listed = run.pushed(queries.CHECKPOINTS)
    if isinstance(listed, list):
        return len(listed)
    so_far = known.get("checkpoints")
    return len(so_far) if isinstance(so_far, list) else None


def _seconds(run: Run, now: datetime) -> float | None:
    return ((run.end or now) - run.start).total_seconds() if run.start else None
