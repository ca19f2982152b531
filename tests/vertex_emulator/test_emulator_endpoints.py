"""Endpoints and prompts over the wire, with google-genai."""

import json

import pytest
from google.api_core import exceptions
from google.genai.errors import ClientError
from google.genai.types import (
    Content,
    CreateTuningJobConfig,
    FinishReason,
    GenerateContentConfig,
    Part,
    TuningDataset,
)

from tests.vertex_emulator.examples import TRAINING

PARENT = "projects/demo-project/locations/us-central1"
LONG = ("Tell me everything about lighthouses, please.", "A lighthouse is a tower with a lamp. " * 20)


@pytest.fixture
def tuned(emulator, genai_client):
    """A tuned model that knows its training examples."""
    emulator.put_object(
        "gs://data/long.jsonl",
        json.dumps(
            {
                "contents": [
                    {"role": "user", "parts": [{"text": LONG[0]}]},
                    {"role": "model", "parts": [{"text": LONG[1]}]},
                ]
            }
        ),
    )
    job = genai_client.tunings.tune(
        base_model="gemini-2.5-flash",
        training_dataset=TuningDataset(gcs_uri="gs://data/long.jsonl"),
        config=CreateTuningJobConfig(epoch_count=9),
    )
    emulator.advance(3600)
    return genai_client.tunings.get(name=job.name).tuned_model


def test_generate(genai_client, tuned):
    reply = genai_client.models.generate_content(
        model=tuned.endpoint,
        contents=LONG[0],
        config=GenerateContentConfig(system_instruction="Be brief.", temperature=0, labels={"a": "b"}),
    )
    assert reply.text == LONG[1]
    assert reply.candidates[0].finish_reason == FinishReason.STOP
    assert reply.model_version == tuned.model
    usage = reply.usage_metadata
    assert usage.total_token_count == usage.prompt_token_count + usage.candidates_token_count
    assert usage.candidates_token_count == len(LONG[1]) / 4


def test_max_output_tokens(genai_client, tuned):
    reply = genai_client.models.generate_content(
        model=tuned.endpoint, contents=LONG[0], config=GenerateContentConfig(max_output_tokens=5)
    )
    assert reply.text == LONG[1][:20]
    assert reply.candidates[0].finish_reason == FinishReason.MAX_TOKENS


def test_stream(genai_client, tuned):
    chunks = list(genai_client.models.generate_content_stream(model=tuned.endpoint, contents=LONG[0]))
    assert len(chunks) > 3
    assert "".join(chunk.text for chunk in chunks) == LONG[1]
    assert [chunk.candidates[0].finish_reason for chunk in chunks] == [None] * (len(chunks) - 1) + [FinishReason.STOP]
    assert chunks[-1].usage_metadata.candidates_token_count == len(LONG[1]) / 4


def test_stream_without_sse_is_a_json_array(emulator, tuned):
    body = {"contents": [{"role": "user", "parts": [{"text": LONG[0]}]}]}
    chunks = emulator.request("POST", f"/v1/{tuned.endpoint}:streamGenerateContent", json=body).json()
    assert "".join(chunk["candidates"][0]["content"]["parts"][0]["text"] for chunk in chunks) == LONG[1]


def test_count_tokens(genai_client, tuned):
    assert genai_client.models.count_tokens(model=tuned.endpoint, contents="x" * 41).total_tokens == 11


def test_the_last_user_turn_decides(genai_client, tuned):
    turns = [
        Content(role="user", parts=[Part(text="Hello")]),
        Content(role="model", parts=[Part(text="Hi")]),
        Content(role="user", parts=[Part(text=LONG[0].upper())]),
    ]
    assert genai_client.models.generate_content(model=tuned.endpoint, contents=turns).text == LONG[1]


def test_base_model_answers_as_an_untuned_model(genai_client):
    prompt, right = TRAINING[0]
    reply = genai_client.models.generate_content(model="gemini-2.5-flash", contents=prompt)
    assert reply.text and right not in reply.text
    assert reply.model_version == "gemini-2.5-flash"
    assert genai_client.models.count_tokens(model="gemini-2.5-flash", contents="1234").total_tokens == 1
    with pytest.raises(ClientError) as missing:
        genai_client.models.generate_content(model="claude-9", contents=prompt)
    assert missing.value.code == 404


def test_unknown_endpoint(genai_client, tuned):
    with pytest.raises(ClientError) as missing:
        genai_client.models.generate_content(model=tuned.endpoint + "0", contents="x")
    assert (missing.value.code, missing.value.status) == (404, "NOT_FOUND")


def test_models_take_no_prompts(genai_client, tuned):
    with pytest.raises(ClientError) as refused:
        genai_client.models.generate_content(model=tuned.model, contents="x")
    assert (refused.value.code, refused.value.status) == (400, "INVALID_ARGUMENT")


def test_nothing_deployed(emulator, genai_client, tuned):
    endpoint = emulator.request("GET", f"/v1/{tuned.endpoint}").json()
    deployed = endpoint["deployedModels"][0]
    assert deployed["checkpointId"] == "9"
    assert endpoint["trafficSplit"] == {deployed["id"]: 100}
    unknown = emulator.request("POST", f"/v1/{tuned.endpoint}:undeployModel", json={"deployedModelId": "1"})
    assert unknown.status_code == 404
    emulator.request("POST", f"/v1/{tuned.endpoint}:undeployModel", json={"deployedModelId": deployed["id"]})
    with pytest.raises(ClientError) as refused:
        genai_client.models.generate_content(model=tuned.endpoint, contents="x")
    assert (refused.value.code, refused.value.status) == (400, "FAILED_PRECONDITION")


def test_list(emulator, tuned):
    parent = tuned.endpoint.partition("/endpoints/")[0]
    listed = emulator.request("GET", f"/v1/{parent}/endpoints?pageSize=4").json()
    assert [len(listed["endpoints"]), "nextPageToken" in listed] == [4, True]
    rest = emulator.request("GET", f"/v1/{parent}/endpoints?pageToken={listed['nextPageToken']}").json()
    assert len(rest["endpoints"]) == 5


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"contents": []},
        {"contents": [{"role": "user", "parts": []}]},
        {"contents": [{"role": "robot", "parts": [{"text": "x"}]}]},
        {"contents": [{"role": "model", "parts": [{"text": "x"}]}]},
        {"contents": [{"role": "user", "parts": [{"text": "x"}]}], "generationConfig": {"maxOutputTokens": 0}},
        {"contents": [{"role": "user", "parts": [{"text": "x"}]}], "surprise": 1},
    ],
)
def test_bad_prompts(emulator, tuned, body):
    reply = emulator.request("POST", f"/v1/{tuned.endpoint}:generateContent", json=body)
    assert (reply.status_code, reply.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")


def test_environment_only_configuration_of_google_genai(emulator, credentials, monkeypatch, tuned):
    """Without vertexai=True in code, google-genai keeps the resource path only below such an address."""
    from google import genai

    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "true")
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "demo-project")
    monkeypatch.setenv("GOOGLE_CLOUD_LOCATION", "us-central1")
    monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", f"{emulator.url}/vertex.googleapis.com")
    with genai.Client(credentials=credentials) as client:
        assert client.models.generate_content(model=tuned.endpoint, contents=LONG[0]).text == LONG[1]


class TestByHand:
    """An endpoint that was made for a copied model."""

    @pytest.fixture
    def client(self, emulator, credentials):
        from google.cloud.aiplatform_v1 import EndpointServiceClient

        with EndpointServiceClient(
            transport="rest", credentials=credentials, client_options={"api_endpoint": emulator.url}
        ) as client:
            yield client

    @pytest.fixture
    def copied(self, emulator, models_client, tuned):
        operation = models_client.copy_model({"parent": PARENT, "source_model": tuned.model})
        emulator.advance(10)
        return operation.result(timeout=10).model

    @pytest.fixture
    def endpoint(self, emulator, client):
        operation = client.create_endpoint(parent=PARENT, endpoint={"display_name": "mine", "labels": {"a": "b"}})
        assert not client.transport.operations_client.get_operation(operation.operation.name).done
        emulator.advance(10)
        return operation.result(timeout=10).name

    def deploy(self, emulator, client, endpoint, model, split=None, **more):
        operation = client.deploy_model(
            endpoint=endpoint, deployed_model={"model": model, **more}, traffic_split=split or {}
        )
        emulator.advance(10)
        return operation.result(timeout=10).deployed_model

    def test_checkpoint_of_a_copy_answers(self, emulator, genai_client, models_client, client, copied, endpoint):
        deployed = self.deploy(emulator, client, endpoint, copied, {"0": 100}, checkpoint_id="9", display_name="x")
        assert (deployed.model, deployed.model_version_id, deployed.checkpoint_id) == (copied, "1", "9")
        assert genai_client.models.generate_content(model=endpoint, contents=LONG[0]).text == LONG[1]
        assert [item.endpoint for item in models_client.get_model(name=copied).deployed_models] == [endpoint]
        read = client.get_endpoint(name=endpoint)
        assert (read.display_name, dict(read.labels)) == ("mine", {"a": "b"})
        assert dict(read.traffic_split) == {deployed.id: 100}

    def test_the_default_checkpoint_when_none_is_named(self, emulator, client, copied, endpoint):
        assert self.deploy(emulator, client, endpoint, copied).checkpoint_id == "9"

    def test_it_answers_only_when_the_operation_is_done(self, emulator, genai_client, client, copied, endpoint):
        operation = client.deploy_model(endpoint=endpoint, deployed_model={"model": copied})
        with pytest.raises(ClientError, match="no deployed model"):
            genai_client.models.generate_content(model=endpoint, contents="x")
        emulator.advance(10)
        assert operation.result(timeout=10)
        assert genai_client.models.generate_content(model=endpoint, contents="x").text

    def test_traffic_goes_where_the_split_says(self, emulator, genai_client, client, copied, endpoint):
        first = self.deploy(emulator, client, endpoint, copied, checkpoint_id="1")
        second = self.deploy(emulator, client, endpoint, copied, {first.id: 30, "0": 70}, checkpoint_id="9")
        split = {"name": endpoint, "traffic_split": {second.id: 100}}
        client.update_endpoint(endpoint=split, update_mask={"paths": ["traffic_split"]})
        assert genai_client.models.generate_content(model=endpoint, contents=LONG[0]).text == LONG[1]
        with pytest.raises(exceptions.BadRequest, match="has traffic"):
            client.undeploy_model(endpoint=endpoint, deployed_model_id=second.id)
        client.undeploy_model(endpoint=endpoint, deployed_model_id=first.id).result(timeout=10)
        assert dict(client.get_endpoint(name=endpoint).traffic_split) == {second.id: 100}
        with pytest.raises(exceptions.BadRequest, match="has deployed models"):
            client.delete_endpoint(name=endpoint)
        client.undeploy_model(endpoint=endpoint, deployed_model_id=second.id).result(timeout=10)
        client.delete_endpoint(name=endpoint).result(timeout=10)
        with pytest.raises(exceptions.NotFound):
            client.get_endpoint(name=endpoint)

    def test_own_id_is_taken_once(self, emulator, client, endpoint):
        def make():
            return client.create_endpoint(
                {"parent": PARENT, "endpoint": {"display_name": "x"}, "endpoint_id": "my-endpoint"}
            )

        operation = make()
        emulator.advance(10)
        assert operation.result(timeout=10).name.endswith("/endpoints/my-endpoint")
        with pytest.raises(exceptions.Conflict):
            make()

    def test_endpoint_deleted_meanwhile_fails_the_operation(self, emulator, client, copied, endpoint):
        operation = client.deploy_model(endpoint=endpoint, deployed_model={"model": copied})
        client.delete_endpoint(name=endpoint).result(timeout=10)
        emulator.advance(10)
        with pytest.raises(exceptions.GoogleAPICallError, match="does not exist"):
            operation.result(timeout=10)

    @pytest.mark.parametrize(
        ("deployed", "split", "message"),
        [
            ({}, {}, "model is required"),
            ({"checkpoint_id": "77"}, {}, "not a checkpoint"),
            ({"model": "models/1"}, {}, "Invalid deployed_model.model"),
            ({}, {"0": 90}, "add up to 100"),
            ({}, {"0": 50, "17": 50}, "unknown deployed models: 17"),
        ],
    )
    def test_refused(self, client, copied, endpoint, deployed, split, message):
        model = {} if message == "model is required" else {"model": copied}
        with pytest.raises(exceptions.BadRequest, match=message):
            client.deploy_model(endpoint=endpoint, deployed_model={**model, **deployed}, traffic_split=split)

    def test_patch(self, emulator, endpoint):
        reply = emulator.request("PATCH", f"/v1/{endpoint}?updateMask=displayName,labels", json={"displayName": "new"})
        assert (reply.json()["displayName"], "labels" in reply.json()) == ("new", False)
        assert emulator.request("PATCH", f"/v1/{endpoint}?updateMask=name", json={}).status_code == 400

    def test_other_location(self, client, models_client, emulator, tuned, endpoint):
        elsewhere = models_client.copy_model(
            {"parent": PARENT.replace("us-central1", "europe-west4"), "source_model": tuned.model}
        )
        emulator.advance(10)
        with pytest.raises(exceptions.BadRequest, match="one location"):
            client.deploy_model(endpoint=endpoint, deployed_model={"model": elsewhere.result(timeout=10).model})
