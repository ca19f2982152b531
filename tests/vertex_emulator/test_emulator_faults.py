"""Misbehaviour on demand, as Google's own clients meet it."""

import asyncio

import httpx
import pytest
from google.genai.errors import ClientError, ServerError
from google.genai.types import CreateTuningJobConfig, HttpOptions, HttpRetryOptions, JobState, TuningDataset

from tests.vertex_emulator.clients import make_genai_client
from tests.vertex_emulator.examples import TRAINING, jsonl
from vertex_emulator.process import Emulator

PARENT = "projects/demo-project/locations/us-central1"
JOBS = f"/v1beta1/{PARENT}/tuningJobs"


def start(client, name="job", **config):
    return client.tunings.tune(
        base_model="gemini-2.5-flash",
        training_dataset=TuningDataset(gcs_uri="gs://data/train.jsonl"),
        config=CreateTuningJobConfig(epoch_count=4, tuned_model_display_name=name, **config),
    )


def run(emulator, client, name="job", **config):
    job = start(client, name, **config)
    emulator.advance(3600)
    return client.tunings.get(name=job.name)


def statuses(emulator, count, path="/v1/projects/p/locations/l/tuningJobs"):
    return [emulator.request("GET", path).status_code for _ in range(count)]


class TestWhichRequests:
    def test_from_the_nth_to_the_mth(self, emulator):
        emulator.faults([{"path": "tuningJobs", "status": 500, "skip": 2, "times": 3}])
        assert statuses(emulator, 7) == [200, 200, 500, 500, 500, 200, 200]

    def test_rules_follow_each_other(self, emulator):
        emulator.faults([{"status": 500, "times": 1}, {"status": 429, "times": 2}, {"status": 404, "skip": 1}])
        assert statuses(emulator, 6) == [500, 429, 429, 200, 404, 404]

    def test_probability_is_the_same_for_a_seed(self, emulator):
        def sample(**rule):
            emulator.clear_faults()
            emulator.faults([{"path": "tuningJobs", "status": 500, "probability": 0.3, **rule}])
            return statuses(emulator, 60)

        one = sample(seed=1)
        assert one == sample(seed=1) != sample(seed="another")
        assert 5 < one.count(500) < 31
        assert sample() == sample(), "the emulator's seed, when the rule has none"
        assert sample(probability=0).count(500) == 0
        assert sample(probability=1).count(500) == 60

    def test_a_rule_that_takes_none(self, emulator):
        emulator.faults([{"status": 500, "times": 0}])
        assert statuses(emulator, 2) == [200, 200]

    @pytest.mark.parametrize(
        "rule",
        [
            {"probability": 2},
            {"skip": -1},
            {"status": 99},
            {"drop": "sometimes"},
            {"drop": "after", "body": "html"},
            {"token": "expired", "status": 500},
            {"operation": "copy", "outcome": "paused"},
            {"operation": "copy"},
            {"model": "("},
            {"outcome": "failed", "job": {"display_name": "("}},
        ],
    )
    def test_rules_that_make_no_sense_change_nothing(self, emulator, rule):
        reply = httpx.post(f"{emulator.url}/_emulator/faults", json=[{"status": 500}, rule])
        assert reply.status_code == 400
        assert statuses(emulator, 1) == [200]

    def test_counts_outlive_the_process(self, tmp_path):
        emulator = Emulator(state=tmp_path).start()
        emulator.faults([{"path": "tuningJobs", "status": 500, "skip": 1, "times": 3}])
        assert statuses(emulator, 3) == [200, 500, 500]
        emulator.kill()
        with emulator:
            assert statuses(emulator, 3) == [500, 200, 200]


class TestDrops:
    def test_before_the_request_took_effect(self, emulator, genai_client):
        emulator.faults([{"method": "POST", "path": "tuningJobs$", "drop": "before", "times": 1}])
        with pytest.raises(httpx.RemoteProtocolError, match="disconnected"):
            start(genai_client)
        assert emulator.state()["tuningJobs"] == []
        assert start(genai_client).name

    def test_after_the_request_took_effect(self, emulator, genai_client):
        emulator.faults([{"method": "POST", "path": "tuningJobs$", "drop": "after", "times": 1}])
        with pytest.raises(httpx.RemoteProtocolError):
            start(genai_client)
        (job,) = genai_client.tunings.list()
        assert job.tuned_model_display_name == "job"
        entry = next(entry for entry in emulator.requests() if entry["method"] == "POST" and "tuning" in entry["path"])
        assert (entry["status"], entry["fault"]) == (0, "drop after")

    def test_the_async_client_sends_a_create_twice(self, emulator, credentials):
        """The hazard that such rules are for: see the project's notes on google-genai."""
        emulator.faults([{"method": "POST", "path": "tuningJobs$", "drop": "after", "times": 1}])

        async def tune():
            client = make_genai_client(emulator, credentials, "v1beta1")
            async with client.aio as aio:
                return await aio.tunings.tune(
                    base_model="gemini-2.5-flash", training_dataset=TuningDataset(gcs_uri="gs://data/train.jsonl")
                )

        job = asyncio.run(tune())
        names = [item["name"] for item in emulator.state()["tuningJobs"]]
        assert len(names) == 2
        assert names[1] == job.name

    def test_of_storage(self, emulator, storage_client):
        emulator.faults([{"method": "GET", "path": "^/(download/)?storage/", "drop": "before", "times": 1}])
        blob = storage_client.bucket("data").blob("train.jsonl")
        assert blob.download_as_text() == jsonl(TRAINING), "the client asks again"

    def test_the_server_has_nothing_to_complain_about(self, emulator):
        emulator.faults([{"drop": "before", "times": 1}, {"body": "truncated", "times": 1}])
        for _ in range(2):
            with pytest.raises(httpx.RemoteProtocolError):
                statuses(emulator, 1)
        assert statuses(emulator, 1) == [200]
        assert "ASGI" not in emulator.output


class TestBodies:
    def test_truncated(self, emulator):
        emulator.faults([{"path": "tuningJobs$", "body": "truncated", "times": 1}])
        with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
            emulator.request("POST", JOBS, json={"baseModel": "x"})

    def test_malformed(self, emulator, genai_client):
        job = start(genai_client)
        emulator.faults([{"path": "tuningJobs/", "body": "malformed", "times": 1}])
        reply = emulator.request("GET", f"/v1/{job.name}")
        assert reply.status_code == 200
        with pytest.raises(ValueError, match="Unterminated"):
            reply.json()
        whole = emulator.request("GET", f"/v1/{job.name}")
        assert whole.text.startswith(reply.text)

    def test_html(self, emulator, genai_client):
        emulator.faults([{"method": "POST", "path": "tuningJobs$", "body": "html", "message": "<oops>"}])
        with pytest.raises(ServerError) as error:
            start(genai_client)
        assert error.value.code == 502
        reply = emulator.request("POST", JOBS, json={})
        assert reply.headers["content-type"].startswith("text/html")
        assert "&lt;oops&gt;" in reply.text
        assert emulator.state()["tuningJobs"] == []

    def test_html_with_status_200(self, emulator):
        emulator.faults([{"path": "tuningJobs", "body": "html", "status": 200}])
        reply = emulator.request("GET", JOBS)
        assert (reply.status_code, reply.text[:15]) == (200, "<!DOCTYPE html>")


class TestErrors:
    def test_after_the_request_took_effect(self, emulator, genai_client):
        emulator.faults([{"method": "POST", "path": "tuningJobs$", "status": 503, "applied": True, "times": 1}])
        with pytest.raises(ServerError):
            start(genai_client)
        assert len(list(genai_client.tunings.list())) == 1

    def test_retries_follow_retry_after(self, emulator, credentials):
        emulator.faults([{"path": "tuningJobs/", "status": 429, "retry_after": 0, "times": 2}])
        from google import genai

        options = HttpOptions(
            base_url=emulator.url, retry_options=HttpRetryOptions(attempts=3, initial_delay=0.01, max_delay=0.01)
        )
        with genai.Client(
            vertexai=True, project="demo-project", location="us-central1", credentials=credentials, http_options=options
        ) as client:
            name = start(client).name
            assert client.tunings.get(name=name).name == name

    def test_an_expired_token_is_replaced(self, emulator, credentials, storage_client):
        emulator.faults([{"path": "^/storage/", "token": "expired", "times": 1}])
        assert storage_client.get_bucket("data").name == "data"
        exchanges = [entry for entry in emulator.requests() if entry["path"] == "/token"]
        assert len(exchanges) >= 2, "google-auth gets a new token and asks again"

    def test_an_expired_token_says_so(self, emulator):
        emulator.faults([{"path": "tuningJobs", "token": "expired"}])
        reply = emulator.request("GET", JOBS)
        assert (reply.status_code, reply.json()["error"]["status"]) == (401, "UNAUTHENTICATED")
        assert reply.headers["www-authenticate"].startswith("Bearer")


class TestDelays:
    def test_the_caller_gives_up_and_the_request_takes_effect_later(self, emulator):
        emulator.faults([{"method": "POST", "path": "tuningJobs$", "delay": 0.3, "times": 1}])
        body = {"baseModel": "gemini-2.5-flash", "supervisedTuningSpec": {"trainingDatasetUri": "gs://data/x"}}
        emulator.token()
        with pytest.raises(httpx.ReadTimeout):
            emulator.request("POST", JOBS, json=body, timeout=0.05)
        while not emulator.state()["tuningJobs"]:
            pass
        assert [entry["fault"] for entry in emulator.requests() if entry["path"] == JOBS] == ["delay"]

    def test_and_an_error_after_it(self, emulator):
        emulator.faults([{"path": "tuningJobs", "delay": 0.01, "status": 504}])
        assert statuses(emulator, 1) == [504]


class TestCheckpoints:
    def test_one_checkpoint_answers_with_errors(self, emulator, genai_client):
        job = run(emulator, genai_client)
        emulator.faults([{"checkpoint": "2", "status": 500}])
        first, second, *_ = (item.endpoint for item in job.tuned_model.checkpoints)
        assert genai_client.models.generate_content(model=first, contents="Hello?").text
        with pytest.raises(ServerError):
            genai_client.models.generate_content(model=second, contents="Hello?")
        assert genai_client.models.get(model=job.tuned_model.model), "requests that are no prompts are not meant"

    def test_one_checkpoint_answers_slowly(self, emulator, genai_client):
        job = run(emulator, genai_client)
        emulator.faults([{"checkpoint": "1", "delay": 60}])
        path = f"/v1/{job.tuned_model.checkpoints[0].endpoint}:generateContent"
        body = {"contents": [{"role": "user", "parts": [{"text": "Hello?"}]}]}
        with pytest.raises(httpx.ReadTimeout):
            emulator.request("POST", path, json=body, timeout=0.05)
        last = job.tuned_model.checkpoints[-1].endpoint
        assert genai_client.models.generate_content(model=last, contents="Hello?").text

    @pytest.mark.parametrize("pattern", ["^good job$", "/models/{id}@1$"])
    def test_of_one_model(self, emulator, genai_client, pattern):
        good, bad = run(emulator, genai_client, "good job"), run(emulator, genai_client, "bad job")
        emulator.faults([{"model": pattern.format(id=good.tuned_model.model.rpartition("/")[2][:-2]), "status": 429}])
        with pytest.raises(ClientError):
            genai_client.models.generate_content(model=good.tuned_model.endpoint, contents="Hello?")
        assert genai_client.models.generate_content(model=bad.tuned_model.endpoint, contents="Hello?").text

    def test_an_endpoint_that_stays_undeployed(self, emulator, genai_client):
        emulator.faults([{"outcome": "endpoint_undeployed", "checkpoint": "3"}])
        job = run(emulator, genai_client)
        assert job.state == JobState.JOB_STATE_SUCCEEDED
        third = job.tuned_model.checkpoints[2].endpoint
        assert "deployedModels" not in emulator.request("GET", f"/v1/{third}").json()
        with pytest.raises(ClientError, match="no deployed model"):
            genai_client.models.generate_content(model=third, contents="Hello?")
        model = genai_client.models.get(model=job.tuned_model.model)
        assert third not in [item.name for item in model.endpoints]
        assert len(model.endpoints) == 3


class TestCopies:
    def copy(self, emulator, model):
        body = {"sourceModel": model, "modelId": "copied"}
        return emulator.request("POST", f"/v1/{PARENT}/models:copy", json=body).json()

    def test_one_that_fails(self, emulator, genai_client, models_client):
        from google.api_core.exceptions import GoogleAPICallError
        from google.cloud.aiplatform_v1.types import CopyModelRequest

        job = run(emulator, genai_client)
        error = {"code": 8, "message": "no room"}
        emulator.faults([{"operation": "copy", "outcome": "failed", "error": error, "times": 1}])
        request = CopyModelRequest(parent=PARENT, source_model=job.tuned_model.model, model_id="copied")
        operation = models_client.copy_model(request)
        emulator.advance(60)
        with pytest.raises(GoogleAPICallError, match="no room"):
            operation.result(timeout=60)
        assert len(emulator.state()["models"]) == 1
        operation = models_client.copy_model(request)
        emulator.advance(60)
        assert operation.result(timeout=60).model.endswith("/models/copied"), "the id is free again"

    def test_one_that_never_ends(self, emulator, genai_client):
        job = run(emulator, genai_client)
        emulator.faults([{"operation": "copy", "outcome": "stalled", "times": 1}])
        operation = self.copy(emulator, job.tuned_model.model)
        emulator.advance(36000)
        assert "done" not in emulator.request("GET", f"/v1/{operation['name']}").json()


class TestJobs:
    def test_one_that_stalls(self, emulator, genai_client):
        emulator.faults([{"outcome": "stalled"}])
        job = start(genai_client)
        seen = []
        for _ in range(3):
            emulator.advance(3600)
            seen.append(emulator.request("GET", f"/v1beta1/{job.name}").json())
        assert seen[0] == seen[1] == seen[2]
        assert seen[0]["state"] == "JOB_STATE_RUNNING"
        assert seen[0]["tuningJobState"] == "TUNING_JOB_STATE_TUNING"
        assert seen[0]["tuningJobMetadata"]["completedEpochCount"] == "2"
        genai_client.tunings.cancel(name=job.name)
        emulator.advance(10)
        assert genai_client.tunings.get(name=job.name).state == JobState.JOB_STATE_CANCELLED

    def test_one_that_is_preempted(self, emulator, genai_client):
        emulator.faults([{"job": {"display_name": "unlucky"}, "outcome": "preempted"}])
        names = [start(genai_client, name).name for name in ("unlucky", "lucky")]
        seen = {name: [] for name in names}
        steps = []
        for _ in range(60):
            emulator.advance(0.5)
            for name in names:
                job = emulator.request("GET", f"/v1beta1/{name}").json()
                state = job["state"].removeprefix("JOB_STATE_")
                if seen[name][-1:] != [state]:
                    seen[name].append(state)
                if name == names[0]:
                    steps.append(int(job.get("tuningJobMetadata", {}).get("completedStepCount", 0)))
        assert seen[names[0]][-5:] == ["PENDING", "RUNNING", "PENDING", "RUNNING", "SUCCEEDED"]
        assert seen[names[1]][-3:] == ["PENDING", "RUNNING", "SUCCEEDED"]
        assert steps == sorted(steps), "it goes on from where it was"
        unlucky, lucky = (genai_client.tunings.get(name=name) for name in names)
        assert unlucky.end_time > lucky.end_time
        assert [(item.step, bool(item.endpoint)) for item in unlucky.tuned_model.checkpoints] == [
            (item.step, bool(item.endpoint)) for item in lucky.tuned_model.checkpoints
        ]

    def test_counted_as_requests_are(self, emulator, genai_client):
        emulator.faults([{"outcome": "failed", "skip": 1, "times": 1}])
        states = [run(emulator, genai_client).state.name[10:] for _ in range(3)]
        assert states == ["SUCCEEDED", "FAILED", "SUCCEEDED"]
