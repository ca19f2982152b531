"""Base models and adapter sizes that can't be tuned."""

import pytest
from google.genai.errors import ClientError
from google.genai.types import AdapterSize, CreateTuningJobConfig, TuningDataset

from tests.vertex_emulator.clients import SCOPES, make_genai_client
from tests.vertex_emulator.examples import TRAINING, jsonl
from vertex_emulator.base_models import ADAPTERS, objection
from vertex_emulator.process import Emulator
from vertex_emulator.protojson import ADAPTER_SIZES

SIZE = "The adapter size is not supported for this base model."


def tune(client, base_model, size=None):
    return client.tunings.tune(
        base_model=base_model,
        training_dataset=TuningDataset(gcs_uri="gs://data/train.jsonl"),
        config=CreateTuningJobConfig(epoch_count=1, adapter_size=size),
    )


def connected(emulator):
    from google.oauth2 import service_account

    emulator.put_object("gs://data/train.jsonl", jsonl(TRAINING))
    credentials = service_account.Credentials.from_service_account_info(emulator.key(), scopes=SCOPES)
    return make_genai_client(emulator, credentials, "v1beta1")


@pytest.mark.parametrize("base_model", ADAPTERS)
def test_known_models_take_the_usual_size_and_not_the_largest(base_model):
    assert objection(base_model, "ADAPTER_SIZE_FOUR") is None
    assert objection(base_model, "ADAPTER_SIZE_THIRTY_TWO") == SIZE


def test_only_some_take_sixteen():
    takes = [name for name in ADAPTERS if objection(name, "ADAPTER_SIZE_SIXTEEN") is None]
    assert [name for name in ADAPTERS if name not in takes] == [
        "gemini-2.0-flash-001",
        "gemini-2.0-flash-lite-001",
        "gemini-2.5-pro",
    ]


def test_a_model_that_was_named_takes_every_size():
    assert all(objection("gemini-9", size, ["gemini-9"]) is None for size in ADAPTER_SIZES.numbers)
    assert objection("gemini-9", "ADAPTER_SIZE_FOUR", ["gemini-8"]) == "Base model gemini-9 is not supported."


@pytest.mark.parametrize(
    ("base_model", "size", "message"),
    [
        ("gemini-2.5-pro", AdapterSize.ADAPTER_SIZE_SIXTEEN, SIZE),
        ("gemini-2.0-flash", None, "Base model gemini-2.0-flash is not supported."),
        ("publishers/google/models/gemini-9-ultra", None, "Base model gemini-9-ultra is not supported."),
    ],
)
def test_refused_as_users_report_it(emulator, genai_client, base_model, size, message):
    with pytest.raises(ClientError) as refused:
        tune(genai_client, base_model, size)
    assert (refused.value.code, refused.value.status) == (400, "INVALID_ARGUMENT")
    assert refused.value.message == message
    assert emulator.state()["tuningJobs"] == []


def test_a_size_is_held_against_the_base_model_of_a_tuned_model(emulator, genai_client):
    job = tune(genai_client, "gemini-2.5-pro", AdapterSize.ADAPTER_SIZE_EIGHT)
    emulator.advance(3600)
    model = genai_client.tunings.get(name=job.name).tuned_model.model
    with pytest.raises(ClientError, match="adapter size"):
        tune(genai_client, model, AdapterSize.ADAPTER_SIZE_SIXTEEN)


@pytest.mark.parametrize(
    ("base_model", "size", "message"),
    [
        ("gemini-2.5-pro", AdapterSize.ADAPTER_SIZE_SIXTEEN, SIZE),
        ("gemini-9-ultra", None, "Base model gemini-9-ultra is not supported."),
    ],
)
def test_or_the_job_is_made_and_fails(base_model, size, message):
    with Emulator(speed=0, unsupported="fail") as emulator, connected(emulator) as client:
        job = tune(client, base_model, size)
        assert job.state == "JOB_STATE_PENDING"
        emulator.advance(3600)
        job = client.tunings.get(name=job.name)
        assert job.state == "JOB_STATE_FAILED"
        assert (job.error.code, job.error.message) == (3, message)
        assert job.start_time and job.end_time
        assert job.tuned_model is None


def test_more_models_by_an_option():
    with Emulator(speed=0, model="gemini-9-ultra,gemini-8") as emulator, connected(emulator) as client:
        job = tune(client, "gemini-9-ultra", AdapterSize.ADAPTER_SIZE_THIRTY_TWO)
        emulator.advance(3600)
        assert client.tunings.get(name=job.name).state == "JOB_STATE_SUCCEEDED"
