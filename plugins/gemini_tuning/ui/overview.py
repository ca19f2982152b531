"""One line for each tuning run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from gemini_tuning.core.console import console_link
from gemini_tuning.core.names import ResourceName, ResourceNameError
from gemini_tuning.core.xcom import CopyXCom, DecisionXCom, ProgressXCom, PromotionXCom, text
from gemini_tuning.ui import queries
from gemini_tuning.ui.queries import RunRecord

TERMINAL_JOB_STATES = frozenset({"SUCCEEDED", "PARTIALLY_SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED"})


@dataclass(frozen=True)
class JobProgress:
    """The progress of a tuning job.

    :param share: 0 to 1; ``None`` before the service reports epochs.
    :param seconds_left: estimated from the time so far; ``None`` before the first epoch is complete.
    :param text: for example ``epoch 2 of 6, step 21``.
    """

    share: float | None
    seconds_left: float | None
    text: str


@dataclass(frozen=True)
class DefaultCheckpoint:
    """The default checkpoint of a model, as far as Airflow has recorded it.

    :param previous: the default before the last change.
    """

    current: str | None = None
    previous: str | None = None


Defaults = Mapping[str, DefaultCheckpoint]  # by model_key()


@dataclass(frozen=True)
class RunLine:
    """A tuning run in the overview.

    :param progress: ``None`` before the job starts and after it has finished.
    :param pass_rate: share of the cases that the winner passed, 0 to 1.
    :param current_default: of the tuned model, as the last run that set it read it back.
    :param copy: full name of the copy.
    :param seconds: duration of the run so far.
    :param started_by: user, or the type of a run that no user triggered.
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
    progress: JobProgress | None
    checkpoints: int | None
    winner: str | None
    pass_rate: float | None
    current_default: str | None
    copy: str | None
    copy_console: str | None
    started: datetime | None
    seconds: float | None
    started_by: str


def run_line(run: RunRecord, defaults: Defaults, now: datetime) -> RunLine:
    """Return the line of a run.

    :param defaults: of :func:`current_defaults`.
    """
    job = run.progress
    base_model, display_name = queries.model_names(run.conf, job)
    name = job.name or text(run.xcom(queries.CREATE))
    winner, pass_rate = winner_of(run)
    copy = run.value(CopyXCom, queries.COPY).model
    return RunLine(
        dag_id=run.dag_id,
        run_id=run.run_id,
        state=run.state,
        job_state=job.state,
        job=name,
        job_console=console_link(name),
        display_name=display_name,
        base_model=base_model,
        dataset=text(run.conf.get("training_dataset_uri")),
        progress=_progress(run, job, now) if run.is_live and job.state not in TERMINAL_JOB_STATES else None,
        checkpoints=_number_of_checkpoints(run, job),
        winner=winner,
        pass_rate=pass_rate,
        current_default=default_of(run, tuned_model(run), defaults).current,
        copy=copy,
        copy_console=console_link(copy),
        started=run.start,
        seconds=((run.end or now) - run.start).total_seconds() if run.start else None,
        started_by=run.started_by or run.run_type,
    )


def job_progress(job: ProgressXCom, since: datetime | None, now: datetime) -> JobProgress:
    """Return the progress of a job.

    :param since: when the sensor started, by Airflow's clock, as is the time of the last poll.
    """
    done, epochs = job.completed_epochs, job.epoch_count
    share = min(done / epochs, 1.0) if done is not None and done >= 0 and epochs and epochs > 0 else None
    parts = []
    if done is not None:
        parts.append(f"epoch {done} of {epochs}" if epochs else f"epoch {done}")
    if job.completed_steps is not None:
        parts.append(f"step {job.completed_steps}")
    if not parts and job.phase:
        parts.append(job.phase.lower().replace("_", " "))
    return JobProgress(share, _seconds_left(job.at, share, since, now), ", ".join(parts))


def current_defaults(promotions: Iterable[PromotionXCom]) -> dict[str, DefaultCheckpoint]:
    """Return each model's default checkpoint as it was last read back.

    :param promotions: return values of ``set_default``, newest first.
    """
    found: dict[str, DefaultCheckpoint] = {}
    for promotion in promotions:
        model, before, after = model_key(promotion.model), promotion.default_before, promotion.default_after
        if after is None or not model:
            continue
        if model not in found:
            found[model] = DefaultCheckpoint(after, before if before != after else None)
        elif found[model].previous is None and before != after == found[model].current:
            found[model] = DefaultCheckpoint(after, before)
    return found


def default_of(run: RunRecord, model: str | None, defaults: Defaults) -> DefaultCheckpoint:
    """Return the default of a run's model; before the first promotion, the one that ``list_checkpoints`` found."""
    key = model_key(model)
    step = run.step(queries.SET_DEFAULT)
    if step is not None and step.state == "failed" and key not in defaults:
        return DefaultCheckpoint()  # it may have been set, and only the read-back failed
    own = current_defaults([run.value(PromotionXCom, queries.SET_DEFAULT)])
    listed = text(run.xcom(queries.CHECKPOINTS, queries.DEFAULT_CHECKPOINT))
    return defaults.get(key) or own.get(key) or DefaultCheckpoint(listed)


def tuned_model(run: RunRecord) -> str | None:
    """Return the full name of the tuned model, from ``list_checkpoints`` or else from the job."""
    return text(run.xcom(queries.CHECKPOINTS, queries.TUNED_MODEL)) or run.progress.model


def model_key(model: str | None) -> str:
    """Return the name by which a model version is compared; empty when it is not a resource name."""
    try:
        return str(ResourceName.parse(model, "models"))
    except ResourceNameError:
        return ""


def winner_of(run: RunRecord) -> tuple[str | None, float | None]:
    """Return the checkpoint that was promoted, or else chosen, and its pass rate, 0 to 1."""
    decision = run.value(DecisionXCom, queries.CHOOSE, queries.DECISION)
    winner = run.value(PromotionXCom, queries.SET_DEFAULT).default_after or decision.winner
    if winner is None:
        return None, None
    return winner, next((found.pass_rate for found in decision.checkpoints if found.checkpoint_id == winner), None)


def _progress(run: RunRecord, job: ProgressXCom, now: datetime) -> JobProgress | None:
    step = run.step(queries.WAIT)
    return job_progress(job, step.start, now) if step is not None and step.xcom(queries.PROGRESS) else None


def _seconds_left(polled: datetime | None, share: float | None, since: datetime | None, now: datetime) -> float | None:
    """Estimate from the share at the last poll, so that an epoch that takes long does not change the estimate."""
    if not share or since is None or polled is None or polled <= since:
        return None
    return max((polled - since).total_seconds() / share - (now - since).total_seconds(), 0.0)


def _number_of_checkpoints(run: RunRecord, job: ProgressXCom) -> int | None:
    listed = run.xcom(queries.CHECKPOINTS)
    if isinstance(listed, list):
        return len(listed)
    return len(job.checkpoints) if run.xcom(queries.WAIT, queries.PROGRESS) else None
