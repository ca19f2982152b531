"""Tuning jobs: making them, cancelling them, and what each event of their life does."""

from typing import Any

from . import lifecycle
from .base_models import Unsupported, objection
from .dataset import DatasetError, check_validation, job_statistics
from .errors import GoogleError, failed_precondition, invalid_argument, not_found
from .evaluations import Evaluations
from .faults import Faults
from .files import Files
from .lifecycle import Event, Outcome, Pace, Step
from .names import Parent, derived_id, experiment, model_location
from .records import Checkpoint, Exposure, Job, LoadedFile, Model, ModelVersion, Store, Tuning
from .registry import Registry
from .serving import Serving
from .settings import OverLimit, Settings
from .tuning_request import base_model_id

_ADAPTER_SIZE = "ADAPTER_SIZE_FOUR"
_INVALID_ARGUMENT = 3
"""google.rpc.Code."""


class TuningJobs:
    """Makes jobs and leads them through their life."""

    def __init__(
        self,
        store: Store,
        *,
        files: Files,
        registry: Registry,
        serving: Serving,
        evaluations: Evaluations,
        faults: Faults,
        settings: Settings,
    ) -> None:
        self._store = store
        self._files = files
        self._registry = registry
        self._serving = serving
        self._evaluations = evaluations
        self._faults = faults
        self._settings = settings
        self._pace: Pace = settings.pace
        self._last_created = 0.0
        self._handlers = {
            Step.PENDING: self._on_pending,
            Step.RUNNING: self._on_running,
            Step.DATASET: self._on_dataset,
            Step.CHECKPOINT: self._on_checkpoint,
            Step.DEPLOYED: self._on_deployed,
            Step.STALL: self._on_stall,
            Step.PREEMPTED: self._on_preempted,
            Step.RESUMED: self._on_resumed,
            Step.POST_PROCESSING: self._on_post_processing,
            Step.END: self._on_end,
        }

    def get(self, parent: Parent, job_id: str) -> Job:
        """Return the job, or 404."""
        name = parent.child("tuningJobs", job_id)
        if name not in self._store.jobs:
            raise not_found("TuningJob", name)
        return self._store.jobs[name]

    def create(self, parent: Parent, request: dict[str, Any], now: float) -> Job:
        """Make a job.

        :param request: from :func:`~vertex_emulator.tuning_request.read_tuning_job`.
        :param now: virtual time.
        """
        if self._settings.over_limit is OverLimit.REJECT and self._is_full(parent, lifecycle.BEFORE_RUNNING):
            raise GoogleError(429, "Quota exceeded for global concurrent tuning jobs.")
        # The experiment is named after the time, so no two jobs may share a microsecond, even while the clock stands.
        # Two are added, because a float of this size is only exact to a quarter of one.
        now = self._last_created = max(now, self._last_created + 2e-6)
        job = Job(
            seq=self._store.next_seq(),
            parent=parent,
            id=self._store.ids.new(),
            created=now,
            updated=now,
            request=request,
            experiment=experiment(parent, now),
            fate=lifecycle.Fate(),
            base_model="",
        )
        if "preTunedModel" in request:
            self._start_from_tuned(job)
        else:
            self._start_from_base(job)
        parameters = job.spec["hyperParameters"]
        if "learningRate" not in parameters:
            parameters.setdefault("learningRateMultiplier", 1.0)
        parameters.setdefault("adapterSize", _ADAPTER_SIZE)
        if self._settings.unsupported is Unsupported.REFUSE and (reason := self._objection(job)):
            raise invalid_argument(reason)
        job.fate = self._faults.fate(request["tunedModelDisplayName"], request["labels"])
        self._store.add_job(job)
        self._plan(job, lifecycle.opening(now, self._pace, job.fate))
        if job.events[0].at == now:
            self.apply(job.name, now)
        return job

    def cancel(self, job: Job, now: float) -> None:
        """Ask a job to stop, which it does a little later; 400 once it has ended."""
        if job.state in lifecycle.ENDED:
            raise failed_precondition(f"The TuningJob {job.name} can't be cancelled: its state is {job.state}.")
        if job.state == "JOB_STATE_CANCELLING":
            return
        too_late = job.fate.outcome is Outcome.CANCEL_TOO_LATE and job.state == "JOB_STATE_RUNNING"
        job.state = "JOB_STATE_CANCELLING"
        job.updated = now
        if too_late:
            return
        job.waiting = False
        job.fate = lifecycle.Fate(Outcome.CANCELLED)
        self._plan(job, [Event(now + self._pace.cancelling, Step.END, "JOB_STATE_CANCELLED")])

    def apply(self, name: str, at: float) -> None:
        """Apply the next event of a job, unless the entry of the schedule is out of date."""
        job = self._store.jobs.get(name)
        if job is None or not job.events or job.events[0].at != at:
            return
        event = job.events.pop(0)
        job.updated = event.at
        following = job.events
        self._handlers[event.step](job, event)
        if job.events is following:
            self._plan(job, following)

    def _plan(self, job: Job, events: list[Event]) -> None:
        job.events = events
        if events:
            self._store.schedule(events[0].at, "job", job.name)

    def _start_from_base(self, job: Job) -> None:
        job.base_model = base_model_id(job.request["baseModel"])
        job.request.setdefault("tunedModelDisplayName", f"{job.base_model}-{self._store.ids.uuid()}")
        job.model_id = derived_id("model", job.name)

    def _start_from_tuned(self, job: Job) -> None:
        """Continue a tuned model.

        It gets a new version, unless the request has another display name: that makes a new model (discovery document).
        """
        source = job.request["preTunedModel"]
        model, version = self._registry.resolve(source["tunedModelName"], "pre_tuned_model.tuned_model_name")
        checkpoint = version.checkpoint(source.get("checkpointId") or version.default_checkpoint)
        if checkpoint is None:
            raise invalid_argument(
                f'{model.name}@{version.version_id} has no checkpoint "{source.get("checkpointId", "")}".'
            )
        job.base_model = version.base_model
        job.base_exposures = checkpoint.exposures
        source["tunedModelName"] = f"{model.name}@{version.version_id}"
        source["baseModel"] = version.base_model
        name = job.request.setdefault("tunedModelDisplayName", version.display_name)
        same = name == version.display_name and model.parent == self._model_parent(job)
        job.model_id = model.id if same else derived_id("model", job.name)

    def _objection(self, job: Job) -> str | None:
        size = job.spec["hyperParameters"]["adapterSize"]
        return objection(job.base_model, size, self._settings.model)

    def _model_parent(self, job: Job) -> Parent:
        location = model_location(job.base_model, job.parent.location, self._settings.multi_region)
        return job.parent._replace(location=location)

    def _is_full(self, parent: Parent, also: frozenset[str] = frozenset()) -> bool:
        """Whether a project has as many jobs as it may, in all locations.

        :param also: states that count beside those of jobs that take up quota.
        """
        limit = self._settings.job_limit
        return limit > 0 and limit <= sum(
            job.parent.project == parent.project and (job.takes_quota or job.state in also)
            for job in self._store.active_jobs()
        )

    # -- events

    def _on_pending(self, job: Job, _event: Event) -> None:
        job.state = "JOB_STATE_PENDING"
        job.phase = "WAITING_FOR_CAPACITY"

    def _on_running(self, job: Job, event: Event) -> None:
        if self._is_full(job.parent):
            job.phase = "WAITING_FOR_QUOTA"
            job.waiting = True
            job.events = []
            return
        job.waiting = False
        job.state = "JOB_STATE_RUNNING"
        job.phase = "PROCESSING_DATASET"
        job.started = event.at

    def _on_dataset(self, job: Job, event: Event) -> None:
        if reason := self._objection(job):
            self._fail(job, reason, event.at)
            return
        spec = job.spec
        try:
            is_preference = job.method == "preferenceOptimizationSpec"
            training = self._files.load(spec["trainingDatasetUri"], is_preference=is_preference)
            uri = spec.get("validationDatasetUri")
            validation = self._files.load(uri, is_preference=is_preference) if uri else None
            if validation:
                check_validation(training.examples, validation.examples)
        except DatasetError as error:
            self._fail(job, str(error), event.at)
            return
        self._start_tuning(job, training, validation, event.at)

    def _start_tuning(self, job: Job, training: LoadedFile, validation: LoadedFile | None, at: float) -> None:
        spec = job.spec
        parameters = spec["hyperParameters"]
        epochs = parameters.setdefault("epochCount", lifecycle.default_epochs(training.examples))
        epoch_steps = lifecycle.steps_per_epoch(training.examples, parameters.get("batchSize"))
        plan = lifecycle.plan_checkpoints(epochs, epoch_steps, last_only=spec.get("exportLastCheckpointOnly", False))
        seconds = lifecycle.tuning_seconds(epochs, self._pace)
        job.tuning = Tuning(
            start=at,
            end=at + seconds,
            epochs=epochs,
            steps=epochs * epoch_steps,
            checkpoints=tuple(plan),
            training=training.digest,
            validation=validation.digest if validation else None,
        )
        job.stats = job_statistics(training.statistics, job.tuning.steps, epochs)
        job.phase = "TUNING"
        self._plan(job, lifecycle.tuning(at, plan, seconds, self._pace, job.fate))

    def _on_checkpoint(self, job: Job, event: Event) -> None:
        tuning = job.tuning
        assert tuning is not None  # noqa: S101  (checkpoints are planned by _start_tuning)
        planned = next(item for item in tuning.checkpoints if item.checkpoint_id == event.value)
        epochs = tuning.epochs * planned.step / tuning.steps
        exposures = _add_exposure(job.base_exposures, Exposure(tuning.training, tuning.validation, epochs, job.rate))
        checkpoint = Checkpoint(planned.checkpoint_id, planned.epoch, planned.step, exposures)
        version = self._version(job) if job.model else self._new_version(job, event.at)
        job.checkpoints.append(checkpoint)
        if version is None:
            return
        version.checkpoints.append(checkpoint)
        version.updated = event.at
        if planned is tuning.checkpoints[-1]:
            version.default_checkpoint = planned.checkpoint_id

    def _on_deployed(self, job: Job, event: Event) -> None:
        model, version = self._model(job), self._version(job)
        checkpoint = version and version.checkpoint(event.value)
        if model and version and checkpoint:
            endpoint = self._serving.deploy_to_new_endpoint(model, version, checkpoint, event.at)
            self._evaluations.run(job, checkpoint, event.at)
            if job.fate.outcome is Outcome.ENDPOINT_UNDEPLOYED and job.fate.checkpoint == checkpoint.checkpoint_id:
                self._serving.undeploy(endpoint, endpoint.deployed[0].id, event.at)

    def _on_stall(self, job: Job, _event: Event) -> None:
        job.stalled = True

    def _on_preempted(self, job: Job, _event: Event) -> None:
        job.state = "JOB_STATE_PENDING"
        job.phase = "WAITING_FOR_CAPACITY"

    def _on_resumed(self, job: Job, _event: Event) -> None:
        job.state = "JOB_STATE_RUNNING"
        job.phase = "TUNING"
        assert job.tuning is not None  # noqa: S101  (it was tuning before)
        job.tuning.start += self._pace.preemption
        job.tuning.end += self._pace.preemption

    def _on_post_processing(self, job: Job, _event: Event) -> None:
        job.phase = "POST_PROCESSING"

    def _on_end(self, job: Job, event: Event) -> None:
        self._end(job, event.value, lifecycle.end_error(job.fate), event.at)

    def _fail(self, job: Job, reason: str, at: float) -> None:
        """End a job that was not worth starting."""
        job.events = []
        self._end(job, "JOB_STATE_FAILED", {"code": _INVALID_ARGUMENT, "message": reason}, at)

    def _end(self, job: Job, state: str, error: dict[str, Any] | None, at: float) -> None:
        job.state = state
        job.error = error
        job.updated = at
        job.phase = None
        if state in lifecycle.ENDED:
            job.ended = at
            self._store.retire(job)
        self._admit(job.parent, at)

    def _admit(self, parent: Parent, at: float) -> None:
        """Start the job of this project that has waited longest for quota."""
        if not self._settings.job_limit:
            return
        for job in self._store.active_jobs():
            if job.waiting and job.parent.project == parent.project:
                job.waiting = False
                self._plan(job, [Event(at, Step.RUNNING), Event(at + self._pace.dataset, Step.DATASET)])
                return

    # -- the model of a job

    def _new_version(self, job: Job, now: float) -> ModelVersion:
        version = ModelVersion(
            version_id="",
            created=now,
            updated=now,
            display_name=job.request["tunedModelDisplayName"],
            description=job.request.get("description", ""),
            labels={**job.request["labels"], **_tuning_labels(job)},
            base_model=job.base_model,
            encryption=job.request.get("encryptionSpec"),
            shows_checkpoints=job.shows_checkpoints,
        )
        model = self._registry.add_version(self._model_parent(job), job.model_id, version)
        job.model = f"{model.name}@{version.version_id}"
        return version

    def _model(self, job: Job) -> Model | None:
        return self._store.models.get(job.model.partition("@")[0]) if job.model else None

    def _version(self, job: Job) -> ModelVersion | None:
        """Return the model version that a job made; none before its first checkpoint, and once it is deleted."""
        model = self._model(job)
        return model.versions.get(str(job.model).partition("@")[2]) if model else None

    def endpoint(self, job: Job) -> str | None:
        """Endpoint of the default checkpoint as it is now; none while that checkpoint is not deployed."""
        version = self._version(job)
        if version is None:
            return None
        for checkpoint in job.checkpoints:
            if checkpoint.checkpoint_id == version.default_checkpoint:
                return checkpoint.endpoint
        return None


def _add_exposure(before: tuple[Exposure, ...], latest: Exposure) -> tuple[Exposure, ...]:
    """Seen again, a file adds to the epochs that it was seen before."""
    earlier = sum(exposure.epochs for exposure in before if exposure.training == latest.training)
    rest = tuple(exposure for exposure in before if exposure.training != latest.training)
    return (latest._replace(epochs=latest.epochs + earlier), *rest)


def _tuning_labels(job: Job) -> dict[str, str]:
    """Labels that the service puts on tuned models and their endpoints (users' reports; that of preference tuning is
    the emulator's own).
    """
    return {
        "google-vertex-llm-tuning-base-model-id": job.base_model.replace(".", "-"),
        "google-vertex-llm-tuning-job-id": job.id,
        "tune-type": "sft" if job.method == "supervisedTuningSpec" else "preference",
    }
