"""Endpoints and prompts over the wire, with google-genai."""

import json

import pytest
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
