"""Experiments of tuning jobs: contexts of Vertex ML Metadata, and the TensorBoard run behind each.

None of it is kept: it follows from the jobs, so it grows while a job tunes.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from .clock import timestamp
from .errors import invalid_argument, not_found
from .metrics import MAX_POINTS, Course, Metric, Point, points, series
from .names import Parent, derived_id
from .records import Exposure, Job, LoadedFile, Store, Tuning
from .render import Json

_SCHEMA_VERSION = "0.0.1"


@dataclass(frozen=True, slots=True)
class Context:
    """A context of the metadata store: an experiment, or its run."""

    seq: int
    body: Json


@dataclass(frozen=True, slots=True)
class Series:
    """A time series of a run."""

    name: str
    display_name: str
    job: Job
    course: Course
    metric: Metric

    @property
    def id(self) -> str:
        """Last part of the name."""
        return self.name.rpartition("/")[2]

    def points(self, now: float, most: int = MAX_POINTS) -> list[Point]:
        """Values up to a (virtual) time."""
        return points(self.course, self.metric, self.job.steps_done(now), most)


class Experiments:
    """Finds the experiment, run and time series of a job."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def contexts(self) -> Iterator[Context]:
        """All contexts, newest first."""
        for job in reversed(self._store.jobs.values()):
            if job.tuning:
                yield Context(2 * job.seq + 1, _run_context(job))
            yield Context(2 * job.seq, _experiment_context(job))

    def context(self, name: str) -> Json:
        """Return the context with this name, or 404."""
        for job in self._store.jobs.values():
            if job.experiment == name:
                return _experiment_context(job)
            if name.startswith(job.experiment) and job.tuning and name == run_name(job):
                return _run_context(job)
        raise not_found("Context", name)

    def job(self, parent: Parent, tensorboard_id: str, experiment_id: str) -> Job:
        """Return the job behind an experiment of a TensorBoard, or 404."""
        name = tensorboard(parent).rpartition("/")[0] + f"/{tensorboard_id}/experiments/{experiment_id}"
        for job in self._store.jobs.values():
            if tensorboard(job.parent) + "/experiments/" + _experiment_id(job) == name:
                return job
        raise not_found("TensorboardExperiment", name)

    def run(self, parent: Parent, tensorboard_id: str, experiment_id: str, run_id: str) -> Job:
        """Return the job behind a run, or 404; there is none until tuning begins."""
        job = self.job(parent, tensorboard_id, experiment_id)
        if job.tuning is None or run_id != _run_id(job):
            name = f"{tensorboard(job.parent)}/experiments/{experiment_id}/runs/{run_id}"
            raise not_found("TensorboardRun", name)
        return job

    def series(self, job: Job) -> list[Series]:
        """Time series of a job's run."""
        if job.tuning is None:
            return []
        course = self._course(job, job.tuning)
        return [
            Series(f"{tensorboard_run(job)}/timeSeries/{number}", name, job, course, metric)
            for number, (name, metric) in enumerate(series(course).items(), 1)
        ]

    def one_series(self, parent: Parent, name: str) -> Series:
        """Return the time series with this full name, or 404.

        :param parent: of the TensorBoard that was asked.
        """
        parts = name.split("/")
        if parts[6:13:2] != ["experiments", "runs", "timeSeries"] or len(parts) != 12:
            raise invalid_argument(f"Invalid time_series: {name}")
        job = self.run(parent, parts[5], parts[7], parts[9])
        for found in self.series(job):
            if found.id == parts[11]:
                return found
        raise not_found("TensorboardTimeSeries", name)

    def _course(self, job: Job, tuning: Tuning) -> Course:
        training = self._store.files[tuning.training]
        validation = self._store.files[tuning.validation] if tuning.validation else None
        return Course(
            start=tuning.start,
            end=tuning.end,
            steps=tuning.steps,
            epochs=tuning.epochs,
            earlier=_earlier(job.base_exposures, tuning.training),
            rate=job.rate,
            examples=len(training.corpus),
            predictions=_output_tokens(training) * tuning.epochs / tuning.steps,
            eval_predictions=_output_tokens(validation) if validation else None,
        )


def tensorboard(parent: Parent) -> str:
    """Name of the TensorBoard of a location: all jobs share it."""
    return parent.child("tensorboards", derived_id("tensorboard", str(parent)))


def tensorboard_run(job: Job) -> str:
    """Name of the TensorBoard run of a job."""
    return f"{tensorboard(job.parent)}/experiments/{_experiment_id(job)}/runs/{_run_id(job)}"


def run_name(job: Job) -> str:
    """Name of the run's context: the experiment's id stands before that of the run."""
    return f"{job.experiment}-{_run_id(job)}"


def _experiment_id(job: Job) -> str:
    return job.experiment.rpartition("/")[2]


def _run_id(job: Job) -> str:
    return f"tuning-experiment-run-{_experiment_id(job).rpartition('-')[2]}"


def _output_tokens(file: LoadedFile) -> float:
    return float(file.statistics["userOutputTokenDistribution"]["sum"])


def _earlier(exposures: tuple[Exposure, ...], training: str) -> float:
    return sum(exposure.epochs for exposure in exposures if exposure.training == training)


def _experiment_context(job: Job) -> Json:
    metadata = {"experiment_deleted": False, "backing_tensorboard_resource": tensorboard(job.parent)}
    return {"name": job.experiment, "schemaTitle": "system.Experiment", "metadata": metadata, **_common(job)}


def _run_context(job: Job) -> Json:
    return {
        "name": run_name(job),
        "schemaTitle": "system.ExperimentRun",
        "parentContexts": [job.experiment],
        **_common(job),
        "displayName": _run_id(job),
    }


def _common(job: Job) -> Json:
    return {
        "displayName": _experiment_id(job),
        "schemaVersion": _SCHEMA_VERSION,
        "createTime": timestamp(job.created),
        "updateTime": timestamp(job.updated),
        "etag": f"{job.updated:.6f}",
    }
