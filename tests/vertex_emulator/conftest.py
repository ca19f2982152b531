from collections.abc import Iterator
from typing import Any

import pytest

from tests.vertex_emulator.clients import SCOPES, make_genai_client
from tests.vertex_emulator.discovery import check_journal
from tests.vertex_emulator.examples import TRAINING, VALIDATION, jsonl
from vertex_emulator.process import Emulator


@pytest.fixture(scope="session")
def process() -> Iterator[Emulator]:
    """One process for all tests, with a clock that only advance() moves."""
    with Emulator(speed=0) as running:
        yield running


@pytest.fixture
def emulator(process: Emulator) -> Iterator[Emulator]:
    """The process, emptied, with the two dataset files.

    After each test, all its requests to Vertex AI and their replies are held against Google's discovery documents.
    """
    process.reset()
    process.put_object("gs://data/train.jsonl", jsonl(TRAINING))
    process.put_object("gs://data/valid.jsonl", jsonl(VALIDATION))
    yield process
    check_journal(process)


@pytest.fixture
def credentials(emulator: Emulator) -> Any:
    from google.oauth2 import service_account

    return service_account.Credentials.from_service_account_info(emulator.key(), scopes=SCOPES)


@pytest.fixture
def genai_client(emulator: Emulator, credentials: Any) -> Iterator[Any]:
    """google-genai on v1beta1, its default."""
    with make_genai_client(emulator, credentials, "v1beta1") as client:
        yield client


@pytest.fixture
def genai_v1(emulator: Emulator, credentials: Any) -> Iterator[Any]:
    with make_genai_client(emulator, credentials, "v1") as client:
        yield client


@pytest.fixture
def models_client(emulator: Emulator, credentials: Any) -> Iterator[Any]:
    """google-cloud-aiplatform's ModelServiceClient over REST."""
    from google.cloud.aiplatform_v1 import ModelServiceClient

    with ModelServiceClient(
        transport="rest", credentials=credentials, client_options={"api_endpoint": emulator.url}
    ) as client:
        yield client


@pytest.fixture
def storage_client(emulator: Emulator, credentials: Any) -> Any:
    from google.cloud import storage

    return storage.Client(
        project="demo-project", credentials=credentials, client_options={"api_endpoint": emulator.url}
    )
