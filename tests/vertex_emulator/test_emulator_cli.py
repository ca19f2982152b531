"""The command line, as processes."""

import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from tests.vertex_emulator.examples import TRAINING, jsonl
from vertex_emulator.process import Emulator

ROOT = Path(__file__).resolve().parents[2]


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "vertex_emulator", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_help():
    assert "--seconds-per-epoch" in command("--help").stdout
    assert "--connection" in command("key", "--help").stdout


@pytest.mark.parametrize("option", ["--speed=-1", "--seconds-per-epoch=0", "--port=x", "--over-limit=maybe"])
def test_bad_options(option):
    done = command(option)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_port_in_use(process):
    done = command("--port", process.port)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"can't listen on 127.0.0.1:{process.port}" in done.stderr


def test_key_command(process, tmp_path):
    printed = command("key", "--port", process.port)
    assert json.loads(printed.stdout) == process.key()
    path = tmp_path / "connection.json"
    assert command("key", "--port", process.port, "--connection", "--out", path).returncode == 0
    connection = json.loads(path.read_text())
    assert path.stat().st_mode & 0o777 == 0o600
    assert connection == process.connection()
    assert connection["conn_type"] == "google_cloud_platform"
    extra = connection["extra"]
    assert json.loads(extra["keyfile_dict"])["token_uri"] == f"{process.url}/token"
    assert extra["aiplatform.endpoint"] == extra["gcs.endpoint"] == extra["monitoring.endpoint"] == process.url
    assert extra["project"] == "demo-project"


def test_key_command_without_a_server():
    done = command("key", "--port", 1)
    assert done.returncode == 1
    assert done.stderr.startswith("vertex_emulator: no emulator answers at 127.0.0.1:1")


def test_key_file_that_is_none(tmp_path):
    path = tmp_path / "key.json"
    path.write_text("{}")
    done = command("--port", 0, "--key-file", path)
    assert done.returncode == 1
    assert done.stderr == f"vertex_emulator: {path} is not a service-account key\n"


def test_options(tmp_path):
    options = {"project": "my-project", "project_number": "42", "bucket": "one-b,two-b", "key_file": tmp_path / "k"}
    with Emulator(**options) as emulator:
        assert emulator.key()["project_id"] == "my-project"
        assert [bucket["name"] for bucket in emulator.state()["buckets"]] == ["one-b", "two-b"]
        emulator.reset()
        assert len(emulator.state()["buckets"]) == 2
        reply = emulator.request("GET", "/v1/projects/my-project/locations/x/models/1")
        assert "projects/42/" in reply.json()["error"]["message"]
        first = emulator.key()["private_key_id"]
    with emulator:
        with pytest.raises(RuntimeError, match="already running"):
            emulator.start()
        assert emulator.key()["private_key_id"] == first
        assert emulator.state()["tuningJobs"] == []


@pytest.mark.parametrize(
    ("multi_region", "base_model", "location"),
    [("always", "gemini-2.5-flash", "eu"), ("never", "gemini-3.5-flash", "europe-west4")],
)
def test_multi_region(multi_region, base_model, location):
    with Emulator(multi_region=multi_region) as emulator:
        emulator.put_object("gs://data/train.jsonl", jsonl(TRAINING))
        spec = {"trainingDatasetUri": "gs://data/train.jsonl", "hyperParameters": {"epochCount": 1}}
        path = "/v1/projects/demo-project/locations/europe-west4/tuningJobs"
        job = emulator.request("POST", path, json={"baseModel": base_model, "supervisedTuningSpec": spec}).json()
        emulator.advance(3600)
        tuned = emulator.request("GET", f"/v1/{job['name']}").json()["tunedModel"]
        assert f"/locations/{location}/" in tuned["model"]
        assert f"/locations/{location}/" in tuned["endpoint"]
        assert emulator.request("GET", f"/v1/{tuned['endpoint']}").status_code == 200


def test_jobs_may_be_queued_first():
    with Emulator(first_state="queued") as emulator:
        job = TestQuota().create(emulator).json()
        states = [job["state"]]
        for _ in range(2):
            emulator.advance(1)
            states.append(emulator.request("GET", f"/v1beta1/{job['name']}").json()["state"])
    assert states == ["JOB_STATE_QUEUED", "JOB_STATE_PENDING", "JOB_STATE_RUNNING"]


def test_the_clock_runs_as_fast_as_it_was_told():
    with Emulator(speed=1_000_000) as emulator:
        first, second = (datetime.fromisoformat(emulator.health()["virtualTime"]) for _ in range(2))
    assert (second - first).total_seconds() > 10, "two requests are well over 10 microseconds apart"


def test_environment(monkeypatch):
    from vertex_emulator.__main__ import _server_parser
    from vertex_emulator.settings import OverLimit, from_arguments

    monkeypatch.setenv("VERTEX_EMULATOR_SPEED", "7")
    monkeypatch.setenv("VERTEX_EMULATOR_OVER_LIMIT", "reject")
    monkeypatch.setenv("VERTEX_EMULATOR_BUCKET", "a,b")
    monkeypatch.setenv("VERTEX_EMULATOR_KEY_FILE", "")
    settings = from_arguments(_server_parser().parse_args(["--port", "1"]))
    assert (settings.speed, settings.over_limit, settings.bucket) == (7.0, OverLimit.REJECT, ("a", "b"))
    assert (settings.key_file, settings.port) == (None, 1)


@pytest.mark.parametrize("stop", ["terminate", "interrupt"])
def test_ends_cleanly_on_a_signal(stop):
    import signal

    emulator = Emulator().start()
    process = emulator._process
    emulator.health()
    process.send_signal(signal.SIGTERM if stop == "terminate" else signal.SIGINT)
    assert process.wait(10) == 0
    assert "Traceback" not in emulator.output
    emulator.stop()


class TestQuota:
    def create(self, emulator):
        body = {
            "baseModel": "gemini-2.5-flash",
            "supervisedTuningSpec": {
                "trainingDatasetUri": "gs://data/train.jsonl",
                "hyperParameters": {"epochCount": 1},
            },
        }
        return emulator.request("POST", "/v1beta1/projects/p/locations/us-central1/tuningJobs", json=body)

    def test_jobs_wait_for_each_other(self):
        with Emulator(job_limit=1) as emulator:
            emulator.put_object("gs://data/train.jsonl", jsonl(TRAINING))
            names = [self.create(emulator).json()["name"] for _ in range(2)]

            def states():
                jobs = [emulator.request("GET", f"/v1beta1/{name}").json() for name in names]
                return [(job["state"].removeprefix("JOB_STATE_"), job.get("tuningJobState", "")[17:]) for job in jobs]

            emulator.advance(3)
            assert states() == [("RUNNING", "PROCESSING_DATASET"), ("PENDING", "WAITING_FOR_QUOTA")]
            emulator.advance(6)
            assert states() == [("SUCCEEDED", ""), ("RUNNING", "PROCESSING_DATASET")]
            emulator.advance(60)
            assert states() == [("SUCCEEDED", ""), ("SUCCEEDED", "")]

    def test_a_preempted_job_keeps_its_place(self):
        """Another one that is ready to run meanwhile waits."""
        with Emulator(job_limit=1) as emulator:
            emulator.put_object("gs://data/train.jsonl", jsonl(TRAINING))
            emulator.faults([{"outcome": "preempted", "times": 1}])
            names = [self.create(emulator).json()["name"]]
            emulator.advance(4)
            names.append(self.create(emulator).json()["name"])
            seen = []
            for _ in range(60):
                emulator.advance(0.5)
                jobs = [emulator.request("GET", f"/v1beta1/{name}").json() for name in names]
                states = tuple(job["state"].removeprefix("JOB_STATE_") for job in jobs)
                if seen[-1:] != [states]:
                    seen.append(states)
            assert seen == [
                ("RUNNING", "PENDING"),
                ("PENDING", "PENDING"),
                ("RUNNING", "PENDING"),
                ("SUCCEEDED", "RUNNING"),
                ("SUCCEEDED", "SUCCEEDED"),
            ]

    def test_or_are_refused(self):
        with Emulator(job_limit=1, over_limit="reject") as emulator:
            self.create(emulator)
            for seconds in (0, 1, 2):
                emulator.advance(seconds)
                reply = self.create(emulator)
                assert (reply.status_code, reply.json()["error"]["status"]) == (429, "RESOURCE_EXHAUSTED")
            emulator.advance(3600)
            assert self.create(emulator).status_code == 200
