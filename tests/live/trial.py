"""The live run itself: Airflow, the DAG ``gemini_checkpoint_tuning``, the smallest job; then all questions."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx

from demo.processes import DemoError, wait_until
from demo.stack import DAG_ID, REPOSITORY, Stack
from tests.live import sample
from tests.live.cleanup import remove_models, remove_objects, stop_jobs
from tests.live.clouds import Cloud
from tests.live.evidence import (
    RUN_LABEL,
    Asked,
    Collector,
    Evidence,
    JobWatch,
    Json,
    all_jobs,
    cancel_one,
    jobs_labelled,
)
from tests.live.promises import Outcome, broken
from tests.live.questions import observations
from tests.live.wire import Wire, dig

SUITE = Path(__file__).parent / "live.yaml"
DEADLINE = 3 * 3600  # seconds that the job may take; then the DAG cancels it
TIMEOUT = DEADLINE + 3600.0  # seconds that the run may take
PATIENCE = 300.0  # seconds that Airflow may refuse to answer: a real job is not given up for a moment's trouble
Say = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """What is done beside the run.

    :param cancel: make a second job, and cancel it at once.
    :param cleanup: delete endpoints, models and copy too.
    """

    cancel: bool = False
    cleanup: bool = False


@dataclass
class Result:
    """What came of it.

    :param observations: answers to all questions.
    :param broken: promises of this project that do not hold.
    :param left: what could not be deleted, or was to be left alone.
    """

    observations: list[Json] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    evidence: Evidence | None = None


def dags_for(folder: Path) -> Path:
    """Make a folder with the one DAG and the live suite: no other DAG can start anything that is paid.

    :param folder: that it is made in.
    """
    made = folder / "dags"
    if made.exists():
        shutil.rmtree(made)
    shutil.copytree(
        REPOSITORY / "dags" / "config", made / "config", ignore=shutil.ignore_patterns("retraining", "__pycache__")
    )
    shutil.copy(REPOSITORY / "dags" / f"{DAG_ID}.py", made)
    shutil.copy(SUITE, made / "config" / "smoke")
    return made


def params(asked: Asked, cloud: Cloud) -> Json:
    """Return the DAG's Params."""
    return {
        "training_dataset_uri": asked.uri("train.jsonl"),
        "validation_dataset_uri": asked.uri("validation.jsonl"),
        "base_model": asked.base_model,
        "tuned_model_display_name": f"gemini-tuning-live-{asked.run}",
        "epoch_count": asked.epochs,
        "labels": {"purpose": "live_test"},
        "suite": SUITE.stem,
        "min_pass_rate": 0,  # somebody has to win, or there is nothing to promote and to copy
        "results_uri": asked.uri("results"),
        "copy_location": asked.location,
        "project_id": asked.project,
        "location": asked.location,
        "poll_interval": cloud.poll_interval,
        "deadline_seconds": DEADLINE,
    }


def try_live(cloud: Cloud, asked: Asked, home: Path, options: Options, say: Say) -> Result:
    """Run the DAG against a service, ask all questions, and clean up.

    :param home: folder for all that is written; emptied first, but for the DAG folder beside it.
    :raises DemoError: when Airflow does not start, or the run does not end.
    """
    trial = None
    try:
        with cloud.stack(home / "stack", dags_for(home)) as stack:
            trial = _Trial(stack, Wire.over(cloud.connection(stack)), cloud, asked, say)
            try:
                result = trial.everything(options)
            finally:
                trial.stop_jobs()
                trial.keep(home)
            result.left = trial.cleanup(options)
            return result
    except BaseException:
        if trial and cloud.outlives_stack:
            trial.stop_jobs()  # a task may have made one until just now
        raise


class _Trial:
    """A run, from its data to its end."""

    def __init__(self, stack: Stack, wire: Wire, cloud: Cloud, asked: Asked, say: Say) -> None:
        self._stack, self._wire, self._cloud, self._asked, self._say = stack, wire, cloud, asked, say
        self.evidence = Evidence(asked)
        self._watch = JobWatch(wire, asked, self.evidence.looks)
        self._report = ""
        self._heard = 0.0  # when Airflow last answered

    def everything(self, options: Options) -> Result:
        """Run the DAG and answer all questions."""
        self.upload()
        outcome = self.run()
        self.collect(options)
        return Result(observations(self.evidence), broken(self.evidence, outcome), evidence=self.evidence)

    def stop_jobs(self) -> None:
        """Cancel what is under way, because nobody waits for it any more."""
        for said in stop_jobs(self._wire, self._asked, self._watch.name):
            self._say(said)

    def upload(self) -> None:
        """Put the data into the bucket."""
        self._cloud.prepare(self._stack, self._asked.bucket)
        for name, things in (("train.jsonl", sample.THINGS), ("validation.jsonl", sample.UNSEEN)):
            reply = self._wire.upload(self._asked.bucket, f"{self._asked.folder}/{name}", sample.lines(things))
            if not reply.ok:
                said = reply.at("error", "message") or reply.body
                raise DemoError(f"{self._asked.uri(name)} could not be written: {reply.status} {said}")

    def run(self) -> Outcome:
        """Start the DAG, look at its job until the run is over, and return how it ended."""
        self._start()
        end = time.monotonic() + TIMEOUT
        self._heard = time.monotonic()
        while (state := self._state()) not in ("success", "failed"):
            self._stack.check_alive()
            self._look()
            if time.monotonic() > end:
                raise DemoError(f"the run did not end within {TIMEOUT:g} s; logs: {self._stack.logs}")
            self._cloud.pause(self._stack, self._cloud.interval)
        self._look()
        self._say(f"Run {self._asked.run}: {state}.")
        return self._outcome(state)

    def _start(self) -> None:
        def taken() -> bool:
            # On SQLite the API server sometimes blocks itself and answers 500; a run of that id is made once (409).
            answer = self._stack.api.trigger(DAG_ID, params(self._asked, self._cloud), self._asked.run)
            if answer.is_error and answer.status_code not in (409, 500):
                raise DemoError(f"Airflow refused to start {DAG_ID}: {answer.status_code} {answer.text}")
            return answer.status_code != 500

        wait_until("the run to be taken", taken, list(self._stack.processes.values()), 60)
        self._say(f"Run {self._asked.run} of {DAG_ID}: {self._stack.airflow_url}/dags/{DAG_ID}/runs/{self._asked.run}")

    def _state(self) -> str:
        """Return the run's state; an empty one while Airflow does not answer."""
        try:
            state = str(self._stack.api.run(DAG_ID, self._asked.run)["state"])
        except httpx.HTTPError:
            if time.monotonic() - self._heard > PATIENCE:
                raise
            return ""
        self._heard = time.monotonic()
        return state

    def _look(self) -> None:
        before = len(self.evidence.looks)
        job = self._watch.look()
        if job and len(self.evidence.looks) > before:
            words = [str(job[name]) for name in ("state", "tuningJobState", "tuningJobMetadata") if name in job]
            self._say(f"  {self.evidence.looks[-1].seconds:6.0f} s  {' '.join(words)}")

    def _outcome(self, state: str) -> Outcome:
        report = self._xcom("report") or {}
        self.evidence.default_before = report.get("default_before")
        self.evidence.create_log = self._create_log()
        name = str(report.get("report_json") or "").removeprefix(f"gs://{self._asked.bucket}/")
        found = self._wire.download(self._asked.bucket, name) if name else None
        if found and found.ok:
            self._report = json.dumps(found.body, indent=2)
        tasks = self._stack.api.tasks(DAG_ID, self._asked.run)
        return Outcome(
            state,
            [task["task_id"] for task in tasks if task["state"] == "failed"],
            report,
            bool(found and found.ok and isinstance(found.body, dict)),
        )

    def _create_log(self) -> str:
        """Return what the task that creates the job has logged, a line each; nothing where there is none."""
        try:
            lines = self._stack.api.log(DAG_ID, self._asked.run, "tune.create_tuning_job").splitlines()
            return "\n".join(" ".join(str(json.loads(line).get("event")).split()) for line in lines)
        except (httpx.HTTPError, ValueError):
            return ""

    def _xcom(self, task_id: str, key: str = "return_value") -> Any:
        return self._stack.api.xcom(DAG_ID, self._asked.run, task_id, key)

    def collect(self, options: Options) -> None:
        """Ask the service all that the questions need."""
        asked = self._asked
        self._say("Asking the service …")
        labelled = {job["name"]: job for job in jobs_labelled(self._wire, asked.parent, RUN_LABEL, asked.run)}
        everywhere = (job for job in all_jobs(self._wire, asked.parent) if dig(job, "labels", RUN_LABEL) == asked.run)
        self.evidence.jobs = list({**labelled, **{job["name"]: job for job in everywhere}}.values())
        if not self._watch.name:
            return
        copied = self._xcom("copy.copy_model") or {}
        copy, operation = copied.get("model"), copied.get("operation")
        Collector(self._wire, self.evidence, self._watch.name, copy, operation).collect(self._pause)
        if options.cancel:
            self._say("Making a second job, and cancelling it …")
            cancel_one(self._wire, self.evidence, self._pause)

    def _pause(self, seconds: float) -> None:
        self._cloud.pause(self._stack, seconds)

    def keep(self, home: Path) -> None:
        """Keep what was seen, as it came, and the report."""
        path = home / "evidence.json"
        path.write_text(json.dumps(asdict(self.evidence), indent=2, default=str) + "\n", encoding="utf-8")
        if self._report:
            (home / "report.json").write_text(self._report + "\n", encoding="utf-8")
        self._say(f"Raw answers, with your project's names in them: {path}")

    def cleanup(self, options: Options) -> list[str]:
        """Delete what may go; return what stays against our will."""
        left = remove_objects(self._wire, self._asked)
        if options.cleanup:
            self._say("Deleting endpoints, copy and model …")
            left += remove_models(self._wire, self.evidence, self._pause)
        return left
