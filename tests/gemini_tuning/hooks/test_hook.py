"""The hook against the local Vertex AI, with Google's own clients over HTTP."""

import asyncio
import logging
import time

import pytest
from support import LOCATION, LONG, SPEC, finished_job, use_connection

from gemini_tuning.core.copy_spec import ModelCopySpec
from gemini_tuning.core.exceptions import (
    CreateOutcomeUnknownError,
    InvalidInputError,
    NotSentError,
    PermanentServiceError,
    TransientServiceError,
)
from gemini_tuning.core.names import ResourceNameError
from gemini_tuning.core.tuning_request import TuningRequest
from gemini_tuning.hooks import base, storage
from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook
from vertex_emulator.process import Emulator

ABSENT = f"projects/demo-project/locations/{LOCATION}"


@pytest.fixture
def hook(vertex):
    return GeminiTuningHook()


@pytest.fixture
def impatient(monkeypatch):
    """Google's client waits a second and more between its own attempts; one attempt shows what comes of the last."""
    monkeypatch.setattr(base, "READ_ATTEMPTS", 1)


def posts(vertex, path):
    return [r for r in vertex.requests() if r["method"] == "POST" and r["path"].endswith(path)]


def test_a_job_from_its_creation_to_its_checkpoints(hook, vertex):
    created = hook.create_tuning_job(SPEC, project_id=None, location=LOCATION)
    assert not created.has_ended
    assert "/locations/us-central1/tuningJobs/" in created.name
    vertex.advance(LONG)
    job = hook.get_tuning_job(created.name)
    assert job.state == "SUCCEEDED"
    assert (job.completed_epochs, job.epoch_count) == (3, 3)
    assert [c.checkpoint_id for c in job.checkpoints] == ["1", "2", "3"]
    assert len({c.endpoint for c in job.checkpoints}) == 3
    assert job.endpoint == job.checkpoints[-1].endpoint
    model = hook.get_model(job.model)
    assert model.name == job.model
    assert model.default_checkpoint_id == "3"
    assert [(c.epoch, c.step) for c in model.checkpoints] == [(c.epoch, c.step) for c in job.checkpoints]


@pytest.mark.parametrize(("path", "heard"), [("/v1/projects/-/serviceAccounts/a@b/allowedLocations", 0), ("/token", 1)])
def test_a_look_up_of_google_auths_that_fails_is_not_warned_of(hook, caplog, path, heard):
    logging.getLogger("urllib3.connectionpool").warning("Retrying (%r) after connection broken by %r: %s", 2, "x", path)
    assert len(caplog.records) == heard


def test_everything_the_guide_shows_reaches_the_service(hook, vertex):
    spec = TuningRequest.parse(
        SPEC.model_dump()
        | {
            "description": "A test",
            "labels": {"team": "ferry"},
            "adapter_size": 8,
            "learning_rate_multiplier": 0.5,
            "export_last_checkpoint_only": True,
            "evaluation_metrics": [{"name": "FLUENCY", "prompt_template": "Evaluate this {response}"}],
            "evaluation_output_uri": "gs://bucket/evaluation",
            "kms_key_name": "projects/p/locations/l/keyRings/r/cryptoKeys/k",
            "service_account": "tuner@demo-project.iam.gserviceaccount.com",
        }
    )
    hook.create_tuning_job(spec, project_id="demo-project", location="europe-west4")
    (request,) = posts(vertex, "/tuningJobs")
    assert request["path"] == "/v1beta1/projects/demo-project/locations/europe-west4/tuningJobs"
    body = request["body"]
    tuning = body["supervisedTuningSpec"]
    assert body["baseModel"] == "gemini-2.5-flash"
    assert body["description"] == "A test"
    assert body["labels"] == {"team": "ferry"}
    assert body["tunedModelDisplayName"] == "test"
    assert body["serviceAccount"] == spec.service_account
    assert body["encryptionSpec"] in ({"kmsKeyName": spec.kms_key_name}, {"kms_key_name": spec.kms_key_name})
    assert tuning["exportLastCheckpointOnly"] is True
    assert tuning["hyperParameters"]["adapterSize"] == "ADAPTER_SIZE_EIGHT"
    assert tuning["hyperParameters"]["learningRateMultiplier"] == 0.5
    assert tuning["validationDatasetUri"] == "gs://bucket/validation.jsonl"
    assert "Evaluate this {response}" in str(tuning["evaluationConfig"]["metrics"])
    assert "gs://bucket/evaluation" in str(tuning["evaluationConfig"]["outputConfig"])


def test_continuous_tuning_makes_the_next_version_of_the_model(hook, vertex):
    first = finished_job(vertex)
    change = {"base_model": None, "pre_tuned_model": first.model, "pre_tuned_model_checkpoint_id": "2"}
    spec = SPEC.model_copy(update={**change, "tuned_model_display_name": None})
    second = finished_job(vertex, spec)
    assert posts(vertex, "/tuningJobs")[-1]["body"]["preTunedModel"] == {
        "tuned_model_name": first.model,
        "checkpoint_id": "2",
    }
    assert second.model == first.model.replace("@1", "@2")


def test_another_default_shows_on_the_model_and_the_job(hook, vertex):
    job = finished_job(vertex)
    hook.set_default_checkpoint(hook.get_model(job.model), "2")
    assert hook.get_model(job.model).default_checkpoint_id == "2"
    assert hook.get_tuning_job(job.name).endpoint == job.checkpoints[1].endpoint


def test_a_copy_in_another_location(hook, vertex):
    job = finished_job(vertex)
    name = hook.copy_model(job.model, ModelCopySpec(model_id="ferry-copy"), location="europe-west4")
    assert not hook.get_operation(name).done
    vertex.advance(LONG)
    operation = hook.get_operation(name, retry=False)
    assert operation.done
    assert operation.model.endswith("/locations/europe-west4/models/ferry-copy@1")
    copy = hook.get_model(operation.model)
    assert len(copy.checkpoints) == 3
    assert copy.default_checkpoint_id == "3"


def test_a_copy_as_a_new_version_with_a_key(hook, vertex):
    job = finished_job(vertex)
    hook.copy_model(job.model, ModelCopySpec(model_id="target"), location="europe-west4")
    vertex.advance(LONG)
    target = "projects/demo-project/locations/europe-west4/models/target"
    key = "projects/p/locations/europe-west4/keyRings/r/cryptoKeys/k"
    name = hook.copy_model(job.model, ModelCopySpec(parent_model=target, kms_key_name=key), location="europe-west4")
    vertex.advance(LONG)
    assert hook.get_operation(name).model.endswith("models/target@2")
    assert key in str(posts(vertex, "models:copy")[-1]["body"])


def test_a_prompt_and_its_answer(hook, vertex):
    job = finished_job(vertex)

    async def ask():
        answer = await hook.agenerate(
            job.endpoint, "When is the next boat to the island?", system_instruction="Be brief."
        )
        await hook.aclose()
        return answer

    answer = asyncio.run(ask())
    assert answer.text
    assert answer.finish_reason == "STOP"
    assert answer.latency > 0
    assert answer.prompt_tokens > 0
    assert answer.output_tokens > 0


def test_objects_are_read_line_by_line(hook):
    assert sum(1 for _ in hook.read_lines("gs://bucket/train.jsonl")) == 140


def test_an_object_that_is_not_there(hook):
    with pytest.raises(PermanentServiceError) as caught:
        list(hook.read_lines("gs://bucket/absent.jsonl"))
    assert (caught.value.code, caught.value.resource) == (404, "gs://bucket/absent.jsonl")


def test_an_unknown_job_is_named_with_the_services_message(hook, snapshot):
    name = f"{ABSENT}/tuningJobs/404"
    with pytest.raises(PermanentServiceError) as caught:
        hook.get_tuning_job(name)
    error = caught.value
    assert (error.code, error.status, error.resource) == (404, "NOT_FOUND", name)
    assert name in str(error)
    assert error.service_message in str(error)
    assert error.hint in str(error)
    assert str(error) == snapshot


def test_a_job_asked_for_in_another_location_is_not_found(hook, vertex):
    name = finished_job(vertex).name.replace("us-central1", "europe-west4")
    with pytest.raises(PermanentServiceError) as caught:
        hook.get_tuning_job(name)
    assert caught.value.code == 404


@pytest.mark.parametrize("name", ["123", "tuningJobs/123", f"{ABSENT}/models/1", None])
def test_short_names_are_refused_before_a_request(hook, vertex, name):
    before = len(vertex.requests())
    with pytest.raises(ResourceNameError):
        hook.get_tuning_job(name)
    assert len(vertex.requests()) == before


def test_a_bad_request_brings_the_services_reason(hook):
    with pytest.raises(PermanentServiceError) as caught:
        hook.create_tuning_job(
            SPEC.model_copy(update={"base_model": "no-such-model"}), project_id=None, location=LOCATION
        )
    assert caught.value.code == 400
    assert not isinstance(caught.value, CreateOutcomeUnknownError)


@pytest.mark.parametrize(("status", "transient"), [(400, False), (403, False), (409, False), (429, True), (503, True)])
def test_errors_say_whether_a_retry_can_help(hook, vertex, impatient, status, transient):
    vertex.faults([{"path": "tuningJobs/1$", "status": status, "message": "Because of the weather."}])
    with pytest.raises(TransientServiceError if transient else PermanentServiceError) as caught:
        hook.get_tuning_job(f"{ABSENT}/tuningJobs/1")
    assert caught.value.retryable is transient
    assert caught.value.service_message == "Because of the weather."
    assert "Because of the weather" in str(caught.value)


def test_a_read_is_repeated_by_googles_client(hook, vertex):
    job = finished_job(vertex)
    vertex.faults([{"method": "GET", "path": "tuningJobs", "status": 503, "times": 1}])
    assert hook.get_tuning_job(job.name).state == "SUCCEEDED"


@pytest.mark.parametrize("status", [500, 503])
def test_a_create_without_a_clear_refusal_is_sent_once_and_never_again(hook, vertex, status, snapshot):
    vertex.faults([{"method": "POST", "path": "tuningJobs$", "status": status, "message": "Backend away."}])
    with pytest.raises(CreateOutcomeUnknownError) as caught:
        hook.create_tuning_job(SPEC, project_id=None, location=LOCATION)
    error = caught.value
    assert (error.code, error.retryable, error.service_message) == (status, False, "Backend away.")
    assert SPEC.tuned_model_display_name in error.resource
    assert str(error) == snapshot
    assert len(posts(vertex, "/tuningJobs")) == 1


def test_a_create_that_could_not_even_be_written_down_was_not_sent(hook, vertex):
    metric = {"name": "F", "prompt_template": "E {response}", "return_raw_output": "maybe"}
    spec = SPEC.model_copy(update={"evaluation_metrics": [metric], "evaluation_output_uri": "gs://bucket/out"})
    with pytest.raises(InvalidInputError, match="return_raw_output") as caught:
        hook.create_tuning_job(spec, project_id=None, location=LOCATION)
    assert (caught.value.field, caught.value.code) == ("evaluation_metrics[0]", "invalid_metric")
    assert posts(vertex, "/tuningJobs") == []


def test_a_create_in_a_location_the_service_refuses(hook, vertex):
    vertex.faults(
        [{"method": "POST", "path": "mars-north1", "status": 400, "message": "Location mars-north1 unknown."}]
    )
    with pytest.raises(PermanentServiceError) as caught:
        hook.create_tuning_job(SPEC, project_id=None, location="mars-north1")
    assert (caught.value.code, caught.value.service_message) == (400, "Location mars-north1 unknown.")


def test_the_read_of_an_operation_is_repeated(hook, vertex):
    job = finished_job(vertex)
    name = hook.copy_model(job.model, ModelCopySpec(), location="europe-west4")
    vertex.faults([{"method": "GET", "path": "operations", "status": 503, "times": 1}])
    assert hook.get_operation(name).name == name


def prompt(hook, target, contents, **options):
    async def ask():
        try:
            return await hook.agenerate(target, contents, **options)
        finally:
            await hook.aclose()

    return asyncio.run(ask())


def test_a_prompt_is_sent_once(hook, vertex):
    job = finished_job(vertex)
    vertex.faults([{"path": "generateContent", "status": 429, "times": 1}])
    with pytest.raises(TransientServiceError) as caught:
        prompt(hook, job.endpoint, "When is the next boat?")
    assert (caught.value.code, caught.value.resource) == (429, job.endpoint)
    assert len(posts(vertex, ":generateContent")) == 1


def test_a_prompt_of_several_turns_with_an_image(hook, vertex):
    job = finished_job(vertex)
    image = {"file_uri": "gs://bucket/quay.png", "mime_type": "image/png"}
    turns = [
        {"role": "user", "parts": [{"text": "Where is this?"}, image]},
        {"role": "model", "parts": [{"text": "Norrick."}]},
        {"role": "user", "parts": [{"text": "Is there a boat?"}]},
    ]
    prompt(hook, job.endpoint, turns)
    sent = posts(vertex, ":generateContent")[-1]["body"]["contents"]
    assert [turn["role"] for turn in sent] == ["user", "model", "user"]
    assert sent[0]["parts"][1] == {"fileData": image}


def test_one_of_googles_models_can_be_asked(hook, vertex):
    answer = prompt(hook, "gemini-2.5-flash", "Is this answer right?", location="europe-west4")
    assert answer.text
    path = posts(vertex, ":generateContent")[-1]["path"]
    assert path.endswith("/locations/europe-west4/publishers/google/models/gemini-2.5-flash:generateContent")


def test_the_endpoint_that_serves_a_models_default_checkpoint(hook, vertex):
    job = finished_job(vertex)
    assert hook.get_serving_endpoint(job.model) == job.checkpoints[-1].endpoint
    hook.set_default_checkpoint(hook.get_model(job.model), "1")
    assert hook.get_serving_endpoint(job.model) == job.checkpoints[0].endpoint
    assert hook.get_serving_endpoint(job.checkpoints[1].endpoint) == job.checkpoints[1].endpoint


def test_a_model_that_is_not_deployed_serves_nothing(hook, vertex):
    vertex.faults([{"job": {}, "outcome": "checkpoint_without_endpoint", "checkpoint": "3"}])
    job = finished_job(vertex)
    with pytest.raises(PermanentServiceError, match="not deployed") as caught:
        hook.get_serving_endpoint(job.model)
    assert caught.value.resource == job.model


def test_prompts_that_are_refused_together_are_all_asked_again(hook, vertex):
    """The first to notice renews the token; the others must not take that for the end."""
    job = finished_job(vertex)

    async def ask_many():
        await hook.agenerate(job.endpoint, "Hello?")
        vertex.faults([{"path": "generateContent", "status": 401, "times": 8}])
        try:
            return await asyncio.gather(*(hook.agenerate(job.endpoint, f"Prompt {n}") for n in range(8)))
        finally:
            await hook.aclose()

    assert len(asyncio.run(ask_many())) == 8


def test_concurrent_prompts_share_one_client(hook, vertex):
    job = finished_job(vertex)

    async def ask_many():
        await asyncio.gather(*(hook.agenerate(job.endpoint, f"Prompt {n}") for n in range(8)))
        clients = len(hook._clients)
        await hook.aclose()
        return clients

    before = len(hook._clients)
    assert asyncio.run(ask_many()) == before + 1


def test_a_long_line_comes_in_pieces(hook, vertex, monkeypatch):
    monkeypatch.setattr(storage, "MAX_LINE", 10)
    vertex.put_object("gs://bucket/long.txt", "x" * 25 + "\ny\n")
    assert list(hook.read_lines("gs://bucket/long.txt")) == [b"x" * 10, b"x" * 10, b"x" * 5 + b"\n", b"y\n"]


def test_reading_an_object_needs_no_project(hook, monkeypatch):
    monkeypatch.setattr(GeminiTuningHook, "project_id", None)
    assert next(hook.read_lines("gs://bucket/train.jsonl")).startswith(b"{")


def test_a_create_over_quota_is_a_clear_refusal(hook, vertex):
    vertex.faults([{"method": "POST", "path": "tuningJobs$", "status": 429, "message": "Quota."}])
    with pytest.raises(TransientServiceError) as caught:
        hook.create_tuning_job(SPEC, project_id=None, location=LOCATION)
    assert (caught.value.code, caught.value.service_message) == (429, "Quota.")
    assert len(posts(vertex, "/tuningJobs")) == 1


def test_a_copy_without_a_clear_refusal_is_sent_once(hook, vertex):
    job = finished_job(vertex)
    vertex.faults([{"method": "POST", "path": "models:copy", "status": 503, "message": "Backend away."}])
    with pytest.raises(CreateOutcomeUnknownError):
        hook.copy_model(job.model, ModelCopySpec(), location="europe-west4")
    assert len(posts(vertex, "models:copy")) == 1


def test_a_service_that_is_away(monkeypatch, impatient):
    with Emulator(speed=0) as gone:
        use_connection(monkeypatch, gone.connection())
        hook = GeminiTuningHook()
        hook.get_credentials().refresh(_requests_transport())
    with pytest.raises(TransientServiceError) as caught:
        hook.get_tuning_job(f"{ABSENT}/tuningJobs/1")
    assert caught.value.code == 0
    with pytest.raises(TransientServiceError):
        asyncio.run(hook.aget_tuning_job(f"{ABSENT}/tuningJobs/1"))
    for create in (
        lambda: hook.create_tuning_job(SPEC, project_id=None, location=LOCATION),
        lambda: hook.copy_model(f"{ABSENT}/models/1@1", ModelCopySpec(), location=LOCATION),
    ):
        with pytest.raises(NotSentError):  # nobody was there to take it
            create()


def test_a_token_server_that_is_away_is_no_refusal(monkeypatch, impatient):
    with Emulator(speed=0) as gone:
        use_connection(monkeypatch, gone.connection())
        hook = GeminiTuningHook()
    for call in (hook.get_tuning_job, lambda name: asyncio.run(hook.aget_tuning_job(name))):
        with pytest.raises(TransientServiceError, match="no token"):
            call(f"{ABSENT}/tuningJobs/1")
    with pytest.raises(NotSentError, match="no token"):
        hook.create_tuning_job(SPEC, project_id=None, location=LOCATION)


def _requests_transport():
    from google.auth.transport.requests import Request

    return Request()


def test_a_token_that_is_refused(vertex, monkeypatch):
    connection = vertex.connection()
    with Emulator(speed=0) as other:  # a key of another server: well-formed, unknown here
        foreign = other.connection()["extra"]["keyfile_dict"].replace(other.url, vertex.url)
    use_connection(monkeypatch, {**connection, "extra": {**connection["extra"], "keyfile_dict": foreign}})
    with pytest.raises(PermanentServiceError) as caught:
        GeminiTuningHook().get_tuning_job(f"{ABSENT}/tuningJobs/1")
    assert caught.value.code == 401
    assert caught.value.code == 401
    assert "PRIVATE KEY" not in str(caught.value)


@pytest.mark.parametrize("way", ["sync", "async"])
def test_a_token_that_expired_early_is_renewed(hook, vertex, impatient, way):
    name = finished_job(vertex).name
    read = hook.get_tuning_job if way == "sync" else lambda n: asyncio.run(_closing(hook, hook.aget_tuning_job(n)))
    read(name)
    vertex.faults([{"path": "tuningJobs/", "token": "expired", "times": 1}])
    assert read(name).state == "SUCCEEDED"
    vertex.faults([{"path": "tuningJobs/", "token": "expired"}])
    with pytest.raises(PermanentServiceError) as caught:
        read(name)
    assert caught.value.code == 401


async def _closing(hook, awaitable):
    try:
        return await awaitable
    finally:
        await hook.aclose()


def test_a_create_that_was_refused_for_its_token_is_sent_again(hook, vertex):
    vertex.faults([{"method": "POST", "path": "tuningJobs$", "token": "expired", "times": 1}])
    hook.find_tuning_jobs({"a": "b"}, project_id=None, location=LOCATION)  # so that there is a token
    assert hook.create_tuning_job(SPEC, project_id=None, location=LOCATION).name
    assert [r["status"] for r in posts(vertex, "/tuningJobs")] == [401, 200]


@pytest.mark.parametrize("way", ["sync", "async"])
def test_the_wait_that_the_service_asks_for_is_told(hook, vertex, impatient, way):
    name = finished_job(vertex).name
    vertex.faults([{"path": "tuningJobs/", "status": 429, "retry_after": 7}])
    with pytest.raises(TransientServiceError) as caught:
        if way == "sync":
            hook.get_tuning_job(name)
        else:
            asyncio.run(_closing(hook, hook.aget_tuning_job(name)))
    assert caught.value.retry_after == 7


def test_a_create_does_not_leave_later_than_announced(hook, vertex):
    with pytest.raises(NotSentError, match="not sent"):
        hook.create_tuning_job(SPEC, project_id=None, location=LOCATION, not_after=time.time() - 1)
    assert posts(vertex, "/tuningJobs") == []
    assert hook.create_tuning_job(SPEC, project_id=None, location=LOCATION, not_after=time.time() + 60).name


@pytest.mark.parametrize("filter_known", [True, False])
def test_jobs_are_found_by_all_their_labels(hook, vertex, filter_known):
    def new(**labels):
        return hook.create_tuning_job(
            SPEC.model_copy(update={"labels": labels}), project_id=None, location=LOCATION
        ).name

    first = new(airflow_run="a", airflow_request="1")
    new(airflow_run="b", airflow_request="1")
    second = new(airflow_run="a", airflow_request="1", team="x")
    if not filter_known:  # what Google's filter takes is documented nowhere
        vertex.faults([{"method": "GET", "path": "tuningJobs$", "status": 400, "message": "Bad filter.", "times": 1}])
    found = hook.find_tuning_jobs({"airflow_run": "a", "airflow_request": "1"}, project_id=None, location=LOCATION)
    assert [job.name for job in found] == [first, second]
    assert not hook.find_tuning_jobs({"airflow_run": "a", "x": "1"}, project_id=None, location=LOCATION)
    lists = [r["query"] for r in vertex.requests() if r["method"] == "GET" and r["path"].endswith("/tuningJobs")]
    assert "airflow_request" in str(lists[0])


def test_all_pages_are_looked_through(hook, vertex, monkeypatch):
    monkeypatch.setattr(base, "PAGE_SIZE", 2)
    spec = SPEC.model_copy(update={"labels": {"run": "a"}})
    names = [hook.create_tuning_job(spec, project_id=None, location=LOCATION).name for _ in range(5)]
    found = hook.find_tuning_jobs({"run": "a"}, project_id=None, location=LOCATION)
    assert [job.name for job in found] == names


def test_cancelling(hook, vertex):
    job = hook.create_tuning_job(SPEC, project_id=None, location=LOCATION)
    vertex.advance(5)
    hook.cancel_tuning_job(job.name)
    vertex.advance(LONG)
    cancelled = hook.get_tuning_job(job.name)
    assert cancelled.state == "CANCELLED"
    assert cancelled.error.code == 1


@pytest.mark.parametrize(
    ("location", "host"),
    [("us-central1", "us-central1-aiplatform.googleapis.com"), ("eu", "aiplatform.eu.rep.googleapis.com")],
)
def test_the_host_follows_the_resource(hook, monkeypatch, location, host):
    monkeypatch.delitem(hook.extras, "aiplatform.endpoint")
    assert hook._client(base.ClientOptions("p", location))._api_client._http_options.base_url == f"https://{host}/"
    assert hook._vertex_endpoint(location) == f"https://{host}"


@pytest.mark.parametrize(
    ("given", "used"),
    [("private.example.org", "https://private.example.org"), ("http://127.0.0.1:1/", "http://127.0.0.1:1"), ("", None)],
)
def test_an_address_in_the_connection(hook, monkeypatch, given, used):
    monkeypatch.setitem(hook.extras, "aiplatform.endpoint", given)
    assert hook._endpoint("aiplatform.endpoint") == used


def test_an_address_that_makes_no_sense_is_refused(hook, monkeypatch):
    monkeypatch.setitem(hook.extras, "aiplatform.endpoint", "ftp://example.org")
    with pytest.raises(PermanentServiceError, match="ftp://example") as caught:
        hook.get_model(f"{ABSENT}/models/1")
    assert (caught.value.field, caught.value.resource) == ("aiplatform.endpoint", "google_cloud_default")


def test_without_a_project_anywhere(vertex, monkeypatch):
    monkeypatch.setattr(GeminiTuningHook, "project_id", None)
    with pytest.raises(PermanentServiceError) as caught:
        GeminiTuningHook().create_tuning_job(SPEC, project_id=None, location=LOCATION)
    assert caught.value.field == "project_id"


def test_a_hook_made_in_an_event_loop(vertex):
    async def project():
        return (await GeminiTuningHook.acreate("google_cloud_default")).project(None)

    assert asyncio.run(project()) == "demo-project"
