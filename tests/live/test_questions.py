"""The live test's parts against the local Vertex AI, without an Airflow: evidence, questions, promises, cleanup."""

import inspect
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from support import REPOSITORY

from gemini_tuning.core import labels
from gemini_tuning.operators.create_tuning_job import GeminiCreateTuningJobOperator
from gemini_tuning.operators.idempotent_create import IdempotentCreateMixin
from gemini_tuning.smoke.suite import load_suite
from tests.live import findings, sample, trial
from tests.live.cleanup import remove_models, remove_objects, stop_jobs
from tests.live.clouds import CONNECTION, LocalVertex, RealProject
from tests.live.evidence import (
    RUN_LABEL,
    TUNING,
    Asked,
    Collector,
    Evidence,
    JobWatch,
    Look,
    all_jobs,
    cancel_one,
    has_ended,
    jobs_labelled,
)
from tests.live.promises import Outcome, broken
from tests.live.questions import NO_QUOTA, QUESTIONS, observations
from tests.live.wire import NoCredentialsError, Reply, Wire, dig
from vertex_emulator.process import Emulator

ASKED = Asked("demo-project", "live-bucket", "us-central1", "gemini-2.5-flash-lite", "live-1")
OPEN = {one.id for one in QUESTIONS if not one.provoked}
LONG = 1000.0


@pytest.fixture
def wire(vertex):
    return Wire.over(json.dumps(vertex.connection()))


def create(vertex, wire):
    """Make a job as the DAG would."""
    vertex.make_bucket(ASKED.bucket)
    for name, things in (("train.jsonl", sample.THINGS), ("validation.jsonl", sample.UNSEEN)):
        assert wire.upload(ASKED.bucket, f"{ASKED.folder}/{name}", sample.lines(things)).ok
    body = {
        "baseModel": ASKED.base_model,
        "labels": {RUN_LABEL: ASKED.run, "purpose": "live_test"},
        "supervisedTuningSpec": {
            "trainingDatasetUri": ASKED.uri("train.jsonl"),
            "validationDatasetUri": ASKED.uri("validation.jsonl"),
            "hyperParameters": {"epochCount": ASKED.epochs},
        },
    }
    reply = wire.vertex("POST", f"{ASKED.parent}/tuningJobs", version=TUNING, body=body)
    assert reply.ok, reply
    return reply.at("name")


def watched(vertex, wire, *, copied=True, cancelled=True):
    """Let a job run to its end, look at it meanwhile, and ask everything."""
    evidence = Evidence(ASKED)
    watch = JobWatch(wire, ASKED, evidence.looks)
    assert watch.look() is None
    name = create(vertex, wire)
    while not has_ended(watch.look()):
        vertex.advance(LocalVertex.interval)
    assert watch.name == name
    evidence.default_before = str(ASKED.epochs)
    evidence.jobs = [job for job in all_jobs(wire, ASKED.parent) if dig(job, "labels", RUN_LABEL) == ASKED.run]
    model, operation = evidence.looks[-1].job["tunedModel"]["model"], None
    if copied:
        started = wire.vertex("POST", f"{ASKED.parent}/models:copy", body={"sourceModel": model})
        vertex.advance(LONG)
        operation = wire.vertex("GET", started.at("name"))
    copy = operation and f"{operation.at('response', 'model')}@1"
    Collector(wire, evidence, name, copy, operation and operation.at("name")).collect(vertex.advance)
    if cancelled:
        cancel_one(wire, evidence, vertex.advance)
    return evidence


def differing(evidence):
    return {one["id"] for one in observations(evidence) if one["agrees"] is False}


def unanswered(evidence):
    return {one["id"] for one in observations(evidence) if one["agrees"] is None}


def seen(evidence, question):
    (found,) = [one for one in observations(evidence) if one["id"] == question]
    return found["agrees"], str(found["observed"])


# ------------------------------------------------------------------------------------------------------ questions


def test_every_question_is_answered_and_the_local_vertex_ai_does_what_is_expected_of_it(vertex, wire):
    evidence = watched(vertex, wire)
    found = observations(evidence)
    assert [(one["id"], one["observed"]) for one in found if one["agrees"] is False] == []
    assert unanswered(evidence) == {"over_quota"}
    assert all(set(one) == {"id", "question", "expected", "observed", "agrees"} for one in found)
    assert json.loads(json.dumps(found)) == found


def test_a_question_has_a_name_of_its_own():
    assert len({one.id for one in QUESTIONS}) == len(QUESTIONS) == len({one.text for one in QUESTIONS})


def test_without_a_copy_and_a_second_job_only_their_questions_stay_open(vertex, wire):
    evidence = watched(vertex, wire, copied=False, cancelled=False)
    assert differing(evidence) == set()
    assert unanswered(evidence) == OPEN | {one.id for one in QUESTIONS if one.id.startswith("copy_")}


def test_without_any_job_nothing_is_claimed():
    assert differing(Evidence(ASKED)) == set()
    assert unanswered(Evidence(ASKED)) == {one.id for one in QUESTIONS}


@pytest.mark.parametrize(
    ("rule", "ids"),
    [
        ({"method": "PATCH", "path": "/models/", "status": 400, "message": "updateMask: required"},
         {"patch_without_mask"}),
        ({"method": "GET", "path": "^/ui/", "status": 404, "message": "no"}, {"copy_operation_below_ui"}),
        ({"method": "GET", "path": "/contexts$", "status": 400, "message": "bad filter"}, {"metrics"}),
        ({"outcome": "checkpoint_without_endpoint", "checkpoint": "1"},
         {"endpoint_each", "endpoint_answers", "labels_on_endpoints"}),
    ],
)  # fmt: skip
def test_a_service_that_does_otherwise_is_noticed(vertex, wire, rule, ids):
    vertex.faults([rule])
    evidence = watched(vertex, wire, cancelled=False)
    assert ids <= differing(evidence)
    assert all(rule.get("message", "") in seen(evidence, one)[1] for one in ids)


def test_what_may_not_be_asked_is_not_held_against_the_service(vertex, wire):
    vertex.faults([{"method": "PATCH", "path": "/models/", "status": 403, "message": "Permission denied"}])
    evidence = watched(vertex, wire, cancelled=False)
    assert differing(evidence) == set()
    agrees, observed = seen(evidence, "patch_without_mask")
    assert agrees is None
    assert "403" in observed and "Permission denied" in observed


def test_a_filter_that_is_refused_does_not_hide_the_job(vertex, wire):
    name = create(vertex, wire)
    vertex.faults([{"method": "GET", "path": "/tuningJobs$", "status": 400, "message": "bad filter", "times": 1}])
    assert [job["name"] for job in jobs_labelled(wire, ASKED.parent, RUN_LABEL, ASKED.run)] == [name]


@pytest.mark.parametrize("first_state", ["pending", "queued"])
def test_the_first_state_is_that_of_the_first_look(first_state):
    with Emulator(speed=0, first_state=first_state) as vertex:
        wire = Wire.over(json.dumps(vertex.connection()))
        evidence = Evidence(ASKED)
        create(vertex, wire)
        JobWatch(wire, ASKED, evidence.looks).look()
    assert seen(evidence, "first_state") == (first_state == "pending", first_state.upper())


@pytest.mark.parametrize(
    ("over_limit", "expected"),
    [("wait", (True, "it waits in PENDING")), ("reject", (False, "the create is refused with 429"))],
)
def test_a_job_over_the_quota_is_noticed_when_it_happens(over_limit, expected):
    with Emulator(speed=0, job_limit=1, over_limit=over_limit) as vertex:
        wire = Wire.over(json.dumps(vertex.connection()))
        create(vertex, wire)
        vertex.advance(4)
        evidence = Evidence(replace(ASKED, run="live-2"))
        if over_limit == "reject":
            cancel_one(wire, evidence, vertex.advance)
        else:
            body = {
                "baseModel": ASKED.base_model,
                "labels": {RUN_LABEL: "live-2"},
                "supervisedTuningSpec": {"trainingDatasetUri": ASKED.uri("train.jsonl")},
            }
            wire.vertex("POST", f"{ASKED.parent}/tuningJobs", body=body)
            vertex.advance(3)
            JobWatch(wire, evidence.asked, evidence.looks).look()
    agrees, observed = seen(evidence, "over_quota")
    assert (agrees, observed.partition(",")[0]) == expected


def test_a_create_that_was_refused_is_known_by_the_words_of_the_task():
    said = "No quota for another tuning job; retrying in 60 s. 429 Quota exceeded."
    evidence = Evidence(ASKED, [Look(0.0, {"state": "JOB_STATE_PENDING"})], create_log=f"Looking.\n{said}\n")
    assert seen(evidence, "over_quota") == (False, f"the create is refused with 429, {said}")
    assert '"No quota for another %s' in inspect.getsource(IdempotentCreateMixin)
    assert f"No quota for another {GeminiCreateTuningJobOperator.kind}" == NO_QUOTA


@pytest.mark.parametrize("body", [None, [], "html", {"tunedModel": 7, "checkpoints": {}, "labels": []}, {"error": 1}])
def test_garbage_for_an_answer_is_a_finding_and_no_crash(body):
    asked = {f"endpoint_{number}" for number in (1, 2)} | {"job", "job_v1", "model", "copy", "patch", "experiment"}
    for status in (200, 400):
        spoilt = Evidence(ASKED, replies={name: Reply(name, status, body) for name in asked})
        assert len(observations(spoilt)) == len(QUESTIONS)


# ------------------------------------------------------------------------------------------------------ promises


def test_a_promise_that_does_not_hold_is_named(vertex, wire):
    evidence = watched(vertex, wire)
    good = Outcome("success", [], {"winner": "2"}, report_there=True)
    assert broken(evidence, good) == []
    assert broken(evidence, replace(good, state="failed", failed_tasks=["copy.copy_model"])) == [
        "The run ends well: it is failed, failed: copy.copy_model."
    ]
    assert "The winner is the default: 1 won, 2 is." in broken(evidence, replace(good, report={"winner": "1"}))
    evidence.jobs = [*evidence.jobs, {**evidence.jobs[0], "name": "projects/1/x", "state": "JOB_STATE_RUNNING"}]
    assert broken(evidence, good) == [
        "A run makes one job: there are 2.",
        "No job is left running: ['projects/1/x'].",
    ]


# ------------------------------------------------------------------------------------------------------ cleanup


def test_a_job_that_nobody_waits_for_is_cancelled(vertex, wire):
    name = create(vertex, wire)
    assert stop_jobs(wire, ASKED) == [f"{name} was under way and is cancelled."]
    vertex.advance(LONG)
    assert wire.vertex("GET", name).at("state") == "JOB_STATE_CANCELLED"
    assert stop_jobs(wire, ASKED, name) == []


def test_a_job_that_can_not_be_cancelled_is_shouted_about(vertex, wire):
    name = create(vertex, wire)
    vertex.faults([{"path": ":cancel$", "status": 403, "message": "no"}])
    (said,) = stop_jobs(wire, ASKED)
    assert said == f"{name} MAY STILL RUN, AND COST: its cancel said 403 no. Cancel it in the console."


def test_cleanup_takes_all_of_the_run_and_nothing_else(vertex, wire):
    evidence = watched(vertex, wire, cancelled=False)
    other = f"gemini-tuning-live/{ASKED.run}-of-somebody-else/train.jsonl"
    wire.upload(ASKED.bucket, other, "x")
    assert remove_objects(wire, ASKED) == []
    assert wire.objects(ASKED.bucket, "") == [other]
    assert remove_models(wire, evidence, vertex.advance) == []
    state = vertex.state()
    assert (state["models"], state["endpoints"]) == ([], [])


def test_a_model_that_got_another_version_is_left_alone(vertex, wire):
    evidence = watched(vertex, wire, copied=False, cancelled=False)
    body = {
        "preTunedModel": {"tunedModelName": evidence.reply("model").at("name")},
        "supervisedTuningSpec": {"trainingDatasetUri": ASKED.uri("train.jsonl")},
    }
    assert wire.vertex("POST", f"{ASKED.parent}/tuningJobs", body=body).ok
    vertex.advance(LONG)
    (said,) = remove_models(wire, evidence, vertex.advance)
    assert "is left alone: it has 2 versions" in said
    assert len(wire.vertex("GET", f"{ASKED.parent}/models").items("models")) == 1


# ------------------------------------------------------------------------------------------------------ findings


SECRETS = ("my-project", "123456789012", "my-bucket")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("projects/my-project/locations/us-central1/models/7426268073353567650@1",
         "projects/PROJECT/locations/us-central1/models/ID@1"),
        ("service-123456789012@gcp-sa-aiplatform.iam.gserviceaccount.com may not", "ACCOUNT may not"),
        ("gs://my-bucket/x and gs://other/y", "gs://BUCKET/x and gs://BUCKET/y"),
        ("project my-project (123456789012) has no quota", "project REDACTED (REDACTED) has no quota"),
        ("my-project-2 is another", "my-project-2 is another"),
        ("9999-99-99T99:99:99.999999Z", "9999-99-99T99:99:99.999999Z"),
        ("tuning-experiment-99999999999999999999", "tuning-experiment-99999999999999999999"),
    ],
)  # fmt: skip
def test_nothing_that_names_a_project_is_written(text, expected):
    assert findings.redacted({"a": [text, 7, None]}, SECRETS) == {"a": [expected, 7, None]}


def test_what_was_observed_is_written_without_names(vertex, wire, tmp_path):
    evidence = watched(vertex, wire)
    number = evidence.job["name"].split("/")[1]
    found = findings.document("2026-01-02", "us-central1", "m", observations(evidence), ("demo-project", number))
    path = findings.write(tmp_path / "observed", found)
    assert path.name == "2026-01-02-us-central1.json"
    text = path.read_text()
    assert not re.search(rf"demo-project|{number}|[1-8]\d{{9,}}", text)
    assert json.loads(text) == found
    table = findings.table(found)
    assert table.count("\n") == len(QUESTIONS) + 1
    assert max(map(len, table.splitlines())) < 600


def test_what_was_committed_is_of_this_kind():
    for path in sorted((Path(trial.__file__).parent / "observed").glob("*.json")):
        found = json.loads(path.read_text())
        assert set(found) == {"date", "location", "base_model", "observations"}, path
        assert f"{found['date']}-{found['location']}" == path.stem


# ---------------------------------------------------------------------------------------------------- what is run


def test_the_questions_of_the_suite_are_those_of_the_files():
    cases = yaml.safe_load(trial.SUITE.read_text())["cases"]
    asked = {case["vars"]["thing"]: case["assert"][0]["value"] for case in cases}
    assert {thing: sample.shelf(thing) for thing in asked} == asked
    assert set(asked) - set(sample.THINGS) <= set(sample.UNSEEN)
    suite = load_suite(str(trial.SUITE))
    assert [case.contents[-1]["parts"][0]["text"] for case in suite.cases] == [
        sample.question(thing) for thing in asked
    ]


def test_the_file_is_small_and_its_size_is_a_bound():
    size = sample.size(2)
    assert size.examples == 20
    assert size.likely < size.most < 10_000
    assert size.most == 2 * len((sample.lines(sample.THINGS) + sample.lines(sample.UNSEEN)).encode())


def test_only_the_one_dag_is_there_and_it_takes_the_params(tmp_path):
    from airflow.dag_processing.dagbag import DagBag

    folder = trial.dags_for(tmp_path)
    bag = DagBag(str(folder), bundle_name="dags-folder")
    assert bag.import_errors == {}
    assert list(bag.dags) == [trial.DAG_ID]
    params = bag.dags[trial.DAG_ID].params
    for name, value in trial.params(ASKED, LocalVertex()).items():
        params.get_param(name).resolve(value)


def test_the_labels_are_the_dags():
    assert labels.RUN == RUN_LABEL
    assert labels.label_value("live-20260102-030405-abcd") == "live-20260102-030405-abcd"


def test_a_real_project_gets_the_callers_credentials_and_nothing_else(tmp_path):
    environ = {
        "GOOGLE_APPLICATION_CREDENTIALS": "/key.json",
        "GOOGLE_VERTEX_BASE_URL": "http://elsewhere",
        "GOOGLE_API_KEY": "another way in",
        "CLOUDSDK_CONFIG": "/gcloud",
        "AIRFLOW__CORE__FERNET_KEY": "theirs",
        "NO_PROXY": "internal",
        "HOME": "/root",
    }
    stack = RealProject("my-project", environ).stack(tmp_path, tmp_path / "dags")
    connection = json.dumps({"conn_type": "google_cloud_platform", "extra": {"project": "my-project"}})
    assert stack.google_cloud == {
        "GOOGLE_APPLICATION_CREDENTIALS": "/key.json",
        "CLOUDSDK_CONFIG": "/gcloud",
        "NO_PROXY": "internal,127.0.0.1,localhost",
        CONNECTION: connection,
    }
    given = RealProject("my-project", {CONNECTION: "google-cloud-platform://?project=theirs"})
    assert given.connection(stack) == "google-cloud-platform://?project=theirs"


def run_cli(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "tests.live", *arguments],
        cwd=REPOSITORY, env=dict(os.environ), stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "make test-live PROJECT=my-project BUCKET=my-bucket"),
        (("--project", "p"), "BUCKET is missing"),
        (("--project", "p", "--bucket", "gs://b"), "BUCKET: 'gs://b' can't be one."),
        (("--project", "p", "--bucket", "bucket", "--location", "the moon"), "LOCATION: 'the moon' can't be one."),
        (("--project", "my-project", "--bucket", "my-bucket"), "CONFIRM=yes says so beforehand"),
        (("--project", "my-project", "--bucket", "my-bucket", "--confirm", "no"), "Nothing was run."),
    ],
)
def test_nothing_is_run_that_was_not_asked_for_in_full(arguments, words, tmp_path):
    done = run_cli(*arguments, "--home", str(tmp_path / "home"))
    assert done.returncode == 2
    assert words in done.stderr
    assert not (tmp_path / "home").exists()


def test_what_it_costs_at_most_is_said_first():
    done = run_cli("--project", "my-project", "--bucket", "my-bucket", "--cancel")
    size = sample.size(2)
    assert f"about {size.likely:,}, at most {size.most:,}" in done.stdout
    assert "two jobs" in done.stdout
    amount = 1.5 * size.most / 1e6  # gemini-2.5-flash-lite in dags/config/prices.yaml
    assert f"at most USD {amount:.4f} a job" in done.stdout
    assert "https://cloud.google.com/vertex-ai/generative-ai/pricing" in done.stdout


class GivenUp:
    """Stands for an Airflow whose run has made its job when somebody presses Ctrl-C."""

    airflow_url, logs, processes = "http://127.0.0.1", Path("logs"), {}

    def __init__(self, vertex, wire):
        self.api, self._vertex, self._wire = self, vertex, wire

    def __enter__(self):
        return self

    def __exit__(self, *_):
        create(self._vertex, self._wire)  # a task that was just about to

    def trigger(self, *_):
        self.job = create(self._vertex, self._wire)
        return SimpleNamespace(is_error=False, status_code=200)

    def run(self, *_):
        raise KeyboardInterrupt


def test_a_run_that_is_given_up_leaves_no_job_running(vertex, wire, tmp_path):
    vertex.make_bucket(ASKED.bucket)
    cloud = RealProject(ASKED.project, {CONNECTION: json.dumps(vertex.connection())})
    cloud.stack = lambda *_: GivenUp(vertex, wire)
    said = []
    with pytest.raises(KeyboardInterrupt):
        trial.try_live(cloud, ASKED, tmp_path, trial.Options(), said.append)
    assert [job["state"] for job in vertex.state()["tuningJobs"]] == ["JOB_STATE_CANCELLING"] * 2
    assert sum("was under way and is cancelled" in line for line in said) == 2
    assert (tmp_path / "evidence.json").exists()


def test_without_credentials_nothing_starts(tmp_path):
    nowhere = json.dumps({"conn_type": "google_cloud_platform", "extra": {"key_path": str(tmp_path / "none.json")}})
    with pytest.raises(NoCredentialsError, match="none"):
        RealProject("my-project", {CONNECTION: nowhere}).check()
