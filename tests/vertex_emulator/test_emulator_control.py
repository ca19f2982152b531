"""The emulator's own API: time, faults, journal, state."""

import httpx
import pytest
from google.genai.errors import APIError, ClientError, ServerError
from google.genai.types import CreateTuningJobConfig, JobState, TuningDataset

PARENT = "projects/demo-project/locations/us-central1"


def start(client, name="job", **config):
    return client.tunings.tune(
        base_model="gemini-2.5-flash",
        training_dataset=TuningDataset(gcs_uri="gs://data/train.jsonl"),
        config=CreateTuningJobConfig(epoch_count=3, tuned_model_display_name=name, **config),
    )


def run(emulator, client, name="job", **config):
    job = start(client, name, **config)
    emulator.advance(3600)
    return client.tunings.get(name=job.name)


def test_health(emulator, genai_client):
    run(emulator, genai_client)
    health = emulator.health()
    assert (health["status"], health["speed"]) == ("ok", 0)
    assert health["counts"] == {
        "tuningJobs": 1,
        "tuningJobsByState": {"JOB_STATE_SUCCEEDED": 1},
        "models": 1,
        "endpoints": 3,
        "operations": 0,
        "buckets": 1,
    }
    assert health["requests"] == len(emulator.requests())


def test_state_and_reset(emulator, genai_client):
    job = run(emulator, genai_client)
    state = emulator.state()
    assert state["tuningJobs"][0]["name"] == job.name
    assert state["models"][0]["name"] == job.tuned_model.model
    assert len(state["endpoints"]) == 3
    assert set(state["buckets"][0]["objects"]) == {"train.jsonl", "valid.jsonl"}
    emulator.reset()
    assert not any(emulator.state().values())
    assert emulator.requests() == []
    assert list(genai_client.tunings.list()) == [], "tokens survive a reset"


@pytest.mark.parametrize("seconds", [-1, "NaN", "soon"])
def test_time_moves_forward_only(emulator, seconds):
    reply = httpx.post(f"{emulator.url}/_emulator/advance", json={"seconds": seconds})
    assert reply.status_code == 400


def test_journal(emulator, genai_client):
    job = start(genai_client)
    genai_client.tunings.get(name=job.name)
    with pytest.raises(ClientError):
        genai_client.tunings.get(name=f"{PARENT}/tuningJobs/1")
    entries = [entry for entry in emulator.requests() if "tuningJobs" in entry["path"]]
    assert [(entry["method"], entry["status"]) for entry in entries] == [("POST", 200), ("GET", 200), ("GET", 404)]
    assert entries[0]["body"]["baseModel"] == "gemini-2.5-flash"
    assert {entry["caller"]["account"] for entry in entries} == {emulator.key()["client_email"]}
    assert all("google-genai-sdk" in entry["caller"]["userAgent"] for entry in entries)
    assert "Bearer" not in str(emulator.requests())


def test_reply_faults(emulator, genai_client):
    emulator.faults(
        [
            {
                "method": "GET",
                "path": "/tuningJobs/",
                "status": 429,
                "message": "slow down",
                "times": 1,
                "retry_after": 7,
            },
            {"method": "POST", "path": ":cancel$", "status": 503, "times": 1},
        ]
    )
    job = start(genai_client)
    with pytest.raises(ClientError) as limited:
        genai_client.tunings.get(name=job.name)
    assert (limited.value.code, limited.value.status, limited.value.message) == (429, "RESOURCE_EXHAUSTED", "slow down")
    assert limited.value.response.headers["retry-after"] == "7"
    assert genai_client.tunings.get(name=job.name).name == job.name, "once only"
    with pytest.raises(ServerError):
        genai_client.tunings.cancel(name=job.name)
    assert genai_client.tunings.get(name=job.name).state == JobState.JOB_STATE_PENDING, "the request was not served"


def test_the_rules_say_what_they_have_done(emulator):
    emulator.faults([{"path": "/tuningJobs", "status": 503, "skip": 1}, {"job": {}, "outcome": "failed"}])
    for _ in range(3):
        emulator.request("GET", "/v1/projects/p/locations/us-central1/tuningJobs")
    said = httpx.get(f"{emulator.url}/_emulator/faults").json()
    assert said == {"replies": [{"seen": 3, "taken": 2}], "jobs": [{"seen": 0, "taken": 0}], "operations": []}


def test_faults_of_storage_have_its_shape_and_can_be_cleared(emulator):
    emulator.faults([{"path": "^/storage/", "status": 403, "message": "no"}])
    for _ in range(2):
        assert emulator.request("GET", "/storage/v1/b/data").json()["error"]["errors"][0]["reason"] == "forbidden"
    emulator.clear_faults()
    assert emulator.request("GET", "/storage/v1/b/data").status_code == 200


@pytest.mark.parametrize("rule", [{"path": "("}, {"outcome": "sunshine"}, {"surprise": 1}, "x"])
def test_bad_rules(emulator, rule):
    assert httpx.post(f"{emulator.url}/_emulator/faults", json=[rule]).status_code == 400


@pytest.mark.parametrize(
    ("outcome", "state", "code", "checkpoints", "endpoints"),
    [
        ("failed", "FAILED", 13, None, 0),
        ("failed_midway", "FAILED", 13, 1, 1),
        ("failed_after_model", "FAILED", 13, 3, 0),
        ("expired", "EXPIRED", 4, 1, 1),
        ("cancelled", "CANCELLED", 1, 1, 1),
        ("paused", "PAUSED", None, 1, 1),
        ("pending", "PENDING", None, None, 0),
        ("partially_succeeded", "PARTIALLY_SUCCEEDED", None, 3, 3),
        ("checkpoint_without_endpoint", "SUCCEEDED", None, 3, 2),
    ],
)
def test_fates(emulator, genai_client, outcome, state, code, checkpoints, endpoints):
    emulator.faults([{"job": {"display_name": "^doomed"}, "outcome": outcome}])
    job = run(emulator, genai_client, "doomed job")
    assert job.state == JobState(f"JOB_STATE_{state}")
    assert (job.error.code if job.error else None) == code
    if checkpoints is None:
        assert job.tuned_model is None
    else:
        assert len(job.tuned_model.checkpoints) == checkpoints
        assert len([item for item in job.tuned_model.checkpoints if item.endpoint]) == endpoints
    assert run(emulator, genai_client, "other").state == JobState.JOB_STATE_SUCCEEDED


def test_failed_after_model_is_the_failure_that_was_seen(emulator, genai_client):
    emulator.faults([{"job": {"labels": {"a": "b"}}, "outcome": "failed_after_model"}])
    job = run(emulator, genai_client, labels={"a": "b", "c": "d"})
    assert job.error.message == (
        "Failed to create endpoint. Tuned model is uploaded and can be accessed through Model Registry."
    )
    assert job.tuned_model.endpoint is None
    assert genai_client.models.get(model=job.tuned_model.model).default_checkpoint_id == "3"


def test_own_error_and_no_checkpoints(emulator, genai_client):
    error = {"code": 8, "message": "out of chips"}
    emulator.faults(
        [
            {"job": {"display_name": "a"}, "outcome": "failed", "error": error, "times": 1},
            {"job": {"display_name": "b"}, "outcome": "no_checkpoints"},
            {"job": {"display_name": "c"}, "outcome": "checkpoint_without_endpoint", "checkpoint": "3"},
        ]
    )
    job = run(emulator, genai_client, "a")
    assert (job.error.code, job.error.message) == (8, "out of chips")
    assert run(emulator, genai_client, "a").state == JobState.JOB_STATE_SUCCEEDED
    job = run(emulator, genai_client, "b")
    assert job.tuned_model.checkpoints is None
    assert job.tuned_model.endpoint
    job = run(emulator, genai_client, "c")
    assert (job.tuned_model.endpoint, job.tuned_model.checkpoints[2].endpoint) == (None, None)
    assert job.tuned_model.checkpoints[0].endpoint


def test_a_cancel_that_comes_too_late(emulator, genai_client):
    emulator.faults([{"outcome": "cancel_too_late"}])
    job = start(genai_client)
    emulator.advance(5)
    genai_client.tunings.cancel(name=job.name)
    assert genai_client.tunings.get(name=job.name).state == JobState.JOB_STATE_CANCELLING
    emulator.advance(3600)
    job = genai_client.tunings.get(name=job.name)
    assert job.state == JobState.JOB_STATE_SUCCEEDED
    assert len(job.tuned_model.checkpoints) == 3


def test_what_is_not_served_says_so(emulator):
    reply = emulator.request("POST", f"/v1/{PARENT}/tuningJobs:rebaseTunedModel", json={})
    assert (reply.status_code, reply.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert f"<code>/v1/{PARENT}/tuningJobs:rebaseTunedModel</code> was not found on this server" in reply.text
    assert "The emulator does not serve POST" in reply.text
    assert emulator.request("GET", "/v1/<x>").text.count("<x>") == 0
    storage = emulator.request("GET", "/storage/v1/surprise").json()
    assert storage["error"]["errors"][0]["reason"] == "notFound"


def test_a_client_sees_an_unknown_address_as_404(emulator, genai_client):
    with pytest.raises(ClientError) as missing:
        genai_client.caches.get(name=f"{PARENT}/cachedContents/1")
    assert missing.value.code == 404


def test_api_errors_are_all_google_json(emulator, genai_client):
    with pytest.raises(APIError):
        genai_client.tunings.get(name="nonsense")
