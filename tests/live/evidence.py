"""What is asked of the service while a run is under way and after it, and kept as it came: the raw answers.

Nothing is judged here; :mod:`tests.live.questions` does that. Nothing here asks our own code about the service.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.live.sample import UNSEEN, question
from tests.live.wire import Reply, Wire, dig

Json = dict[str, Any]
Pause = Callable[[float], None]  # lets seconds pass

RUN_LABEL = "airflow_run"  # that the DAG puts on its job
CANCEL_LABEL = "live_cancelled"  # that we put on ours
ENDED = frozenset(f"JOB_STATE_{end}" for end in ("SUCCEEDED", "PARTIALLY_SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED"))
TUNING = "v1beta1"  # tells progress
MOST_PAGES = 10
LOOKS_AT_DEFAULT = 20
BETWEEN_LOOKS = 3.0  # seconds
CANCEL_PATIENCE = 200  # looks


@dataclass(frozen=True)
class Asked:
    """What is run.

    :param project: its id.
    :param bucket: without ``gs://``.
    :param location: region of the job and of the copy.
    :param base_model: model that is tuned.
    :param run: id of the run, and its label: a-z, 0-9 and hyphens.
    :param epochs: passes over the training file.
    """

    project: str
    bucket: str
    location: str
    base_model: str
    run: str
    epochs: int = 2

    @property
    def parent(self) -> str:
        """Return where the job is made."""
        return f"projects/{self.project}/locations/{self.location}"

    @property
    def folder(self) -> str:
        """Return the prefix of all its objects."""
        return f"gemini-tuning-live/{self.run}"

    def uri(self, name: str) -> str:
        """Return an object's address."""
        return f"gs://{self.bucket}/{self.folder}/{name}"


@dataclass(frozen=True)
class Look:
    """A job as it was.

    :param seconds: since the first look at it.
    """

    seconds: float
    job: Json


@dataclass
class Evidence:
    """All that was seen.

    :param looks: at the run's job, whenever it had changed.
    :param replies: of the service, by what was asked.
    :param cancelled: looks at the job that was made to be cancelled; none when there was none.
    :param default_before: id of the checkpoint that was the default before anybody changed it.
    :param default_shown_after: looks that it took until the job showed the new default's endpoint; ``None`` when it
        never did.
    :param create_log: log of the task that creates the job.
    :param jobs: all jobs with the run's label when the run was over.
    """

    asked: Asked
    looks: list[Look] = field(default_factory=list)
    replies: dict[str, Reply] = field(default_factory=dict)
    cancelled: list[Look] = field(default_factory=list)
    default_before: str | None = None
    default_shown_after: int | None = None
    create_log: str = ""
    jobs: list[Json] = field(default_factory=list)

    def reply(self, name: str) -> Reply:
        """Return an answer; an empty one when nothing was asked."""
        return self.replies.get(name) or Reply(f"{name}: not asked", 0, None)

    @property
    def job(self) -> Json:
        """Return the run's job as it ended; empty when there was none."""
        found = self.reply("job").body
        return found if isinstance(found, dict) else {}

    @property
    def checkpoints(self) -> list[Json]:
        """Return the checkpoints of the job."""
        found = dig(self.job, "tunedModel", "checkpoints")
        return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


class JobWatch:
    """Looks at a run's job while others work with it.

    :param looks: gets one more whenever the job has changed.
    """

    def __init__(self, wire: Wire, asked: Asked, looks: list[Look]) -> None:
        self._wire, self._asked, self._looks = wire, asked, looks
        self._began = 0.0
        self.name = ""

    def look(self) -> Json | None:
        """Look once; return the job, or ``None`` while there is none or the service does not answer."""
        if not self.name:
            found = jobs_labelled(self._wire, self._asked.parent, RUN_LABEL, self._asked.run)
            if not found:
                return None
            self.name, self._began = str(found[0].get("name")), time.monotonic()
        reply = self._wire.vertex("GET", self.name, version=TUNING)
        if not reply.ok or not isinstance(reply.body, dict):
            return None
        if not self._looks or _essence(reply.body) != _essence(self._looks[-1].job):
            self._looks.append(Look(round(time.monotonic() - self._began, 1), reply.body))
        return reply.body


def _essence(job: Json) -> Json:
    return {key: value for key, value in job.items() if key != "updateTime"}


def has_ended(job: Json | None) -> bool:
    """Return whether a job is over."""
    return bool(job) and dig(job, "state") in ENDED


def jobs_labelled(wire: Wire, parent: str, key: str, value: str) -> list[Json]:
    """Return the jobs with a label; they are matched here too, and where the filter is refused, here only."""
    reply = wire.vertex("GET", f"{parent}/tuningJobs", version=TUNING, filter=f'labels.{key}="{value}"', pageSize=100)
    jobs = iter(reply.items("tuningJobs")) if reply.ok else all_jobs(wire, parent)
    return [job for job in jobs if dig(job, "labels", key) == value]


def all_jobs(wire: Wire, parent: str) -> Iterator[Json]:
    """Yield the jobs of a project in a location, the newest thousand."""
    query: Json = {"pageSize": 100}
    for _ in range(MOST_PAGES):
        page = wire.vertex("GET", f"{parent}/tuningJobs", version=TUNING, **query)
        yield from (job for job in page.items("tuningJobs") if isinstance(job, dict))
        token = page.at("nextPageToken")
        if not token or token == query.get("pageToken"):
            return
        query["pageToken"] = token


class Collector:
    """Asks all that can be asked of a job that has succeeded.

    :param copy: full name of the copy of its model.
    :param operation: full name of the operation that made it.
    """

    def __init__(self, wire: Wire, evidence: Evidence, job: str, copy: str | None, operation: str | None) -> None:
        self._wire, self._evidence, self._asked = wire, evidence, evidence.asked
        self._job, self._copy, self._operation = job, copy, operation

    def collect(self, pause: Pause) -> None:
        """Ask everything."""
        self._ask_lists()
        self._ask_job()
        self._ask_endpoints()
        self._ask_metrics()
        if model := dig(self._evidence.job, "tunedModel", "model"):
            self._ask_model(str(model))
            self._try_another_default(str(model), pause)
        if self._copy and self._operation:
            self._ask_copy(self._copy, self._operation)

    def _ask(self, name: str, method: str, path: str, **more: Any) -> Reply:
        reply = self._evidence.replies[name] = self._wire.vertex(method, path, **more)
        return reply

    def _ask_lists(self) -> None:
        jobs = f"{self._asked.parent}/tuningJobs"
        label = f'labels.{RUN_LABEL}="{self._asked.run}"'
        self._ask("list_by_label", "GET", jobs, version=TUNING, filter=label, pageSize=100)
        self._ask("list_by_absent_label", "GET", jobs, version=TUNING, filter=f'labels.{RUN_LABEL}="nobody"')
        self._ask("absent_job", "GET", f"{jobs}/1", version=TUNING)

    def _ask_job(self) -> None:
        self._ask("job", "GET", self._job, version=TUNING)
        self._ask("job_v1", "GET", self._job)
        self._ask("cancel_ended", "POST", f"{self._job}:cancel", version=TUNING)

    def _ask_model(self, model: str) -> None:
        self._ask("model", "GET", model)
        self._ask("model_without_version", "GET", model.partition("@")[0])
        self._ask("list_checkpoints", "GET", f"{model}:listCheckpoints")
        self._ask("list_versions", "GET", f"{model.partition('@')[0]}:listVersions")
        self._ask("prompt_model", "POST", f"{model.partition('@')[0]}:generateContent", body=_prompt())

    def _ask_endpoints(self) -> None:
        for number, checkpoint in enumerate(self._evidence.checkpoints, 1):
            if endpoint := checkpoint.get("endpoint"):
                self._ask(f"endpoint_{number}", "GET", str(endpoint))
                self._ask(f"prompt_{number}", "POST", f"{endpoint}:generateContent", body=_prompt())

    def _ask_metrics(self) -> None:
        experiment = self._evidence.job.get("experiment")
        if not isinstance(experiment, str):
            return
        context = self._ask("experiment", "GET", experiment)
        board = context.at("metadata", "backing_tensorboard_resource")
        store, _, name = experiment.rpartition("/contexts/")
        runs = self._ask(
            "experiment_runs",
            "GET",
            f"{store}/contexts",
            filter=f'schema_title="system.ExperimentRun" AND parent_contexts:"{experiment}"',
        )
        run = str(dig(runs.at("contexts", 0), "name")).partition(f"/contexts/{name}-")[2]
        if not isinstance(board, str) or not run:
            return
        series = self._ask("time_series", "GET", f"{board}/experiments/{name}/runs/{run}/timeSeries", pageSize=100)
        names = [str(dig(one, "name")) for one in series.items("tensorboardTimeSeries")]
        if names:
            self._ask("batch_read", "GET", f"{board}:batchRead", timeSeries=names)

    def _ask_copy(self, copy: str, operation: str) -> None:
        self._ask("copy", "GET", copy)
        self._ask("copy_operation", "GET", operation)
        self._ask("copy_operation_ui", "GET", operation, version="ui")
        self._ask("copy_operations", "GET", f"{copy.partition('@')[0]}/operations", pageSize=100)

    def _try_another_default(self, model: str, pause: Pause) -> None:
        """Set another default as google-genai does it, without updateMask, look what follows, and set the old one."""
        default = self._evidence.reply("model").at("defaultCheckpointId")
        others = [one for one in self._evidence.checkpoints if one.get("checkpointId") != default]
        if not default or not others:
            return
        try:
            self._ask("patch", "PATCH", model, body={"defaultCheckpointId": others[0].get("checkpointId")})
            self._ask("model_patched", "GET", model)
            self._evidence.default_shown_after = self._looks_until(others[0].get("endpoint"), pause)
        finally:
            self._ask("patch_back", "PATCH", model, body={"defaultCheckpointId": default})
            self._ask("model_restored", "GET", model)

    def _looks_until(self, endpoint: Any, pause: Pause) -> int | None:
        for looks in range(1, LOOKS_AT_DEFAULT + 1):
            if self._ask("job_patched", "GET", self._job, version=TUNING).at("tunedModel", "endpoint") == endpoint:
                return looks
            pause(BETWEEN_LOOKS)
        return None


def cancel_one(wire: Wire, evidence: Evidence, pause: Pause) -> None:
    """Make another tiny job, cancel it at once, and look at it until it is over."""
    asked = evidence.asked
    body = {
        "baseModel": asked.base_model,
        "tunedModelDisplayName": f"gemini-tuning-live-cancelled-{asked.run}",
        "labels": {CANCEL_LABEL: asked.run},
        "supervisedTuningSpec": {
            "trainingDatasetUri": asked.uri("train.jsonl"),
            "hyperParameters": {"epochCount": 1},
        },
    }
    began = time.monotonic()

    def saw(job: Json) -> None:
        evidence.cancelled.append(Look(round(time.monotonic() - began, 1), job))

    made = evidence.replies["cancelled_create"] = wire.vertex(
        "POST", f"{asked.parent}/tuningJobs", version=TUNING, body=body
    )
    if made.ok and isinstance(made.body, dict):
        saw(made.body)
    # An answer may be lost; then the label finds what was made.
    name = made.at("name") or next(
        (job.get("name") for job in jobs_labelled(wire, asked.parent, CANCEL_LABEL, asked.run)), None
    )
    if not name:
        return
    evidence.replies["cancelled_cancel"] = wire.vertex("POST", f"{name}:cancel", version=TUNING)
    for _ in range(CANCEL_PATIENCE):
        reply = wire.vertex("GET", str(name), version=TUNING)
        if reply.ok and isinstance(reply.body, dict):
            saw(reply.body)
            if has_ended(reply.body):
                return
        pause(BETWEEN_LOOKS)


def _prompt() -> Json:
    turn = {"role": "user", "parts": [{"text": question(UNSEEN[0])}]}
    return {"contents": [turn], "generationConfig": {"temperature": 0, "maxOutputTokens": 16}}
