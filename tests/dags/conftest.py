"""What the tests that run whole DAGs share: a local Vertex AI whose jobs take a moment, with the demo's data."""

import pytest
from support import fill, use_connection

from vertex_emulator.process import Emulator


@pytest.fixture(scope="module")
def fast_emulator():
    with Emulator(speed=500) as emulator:
        yield emulator


@pytest.fixture
def vertex(fast_emulator, monkeypatch):
    fill(fast_emulator)
    use_connection(monkeypatch, fast_emulator.connection())
    return fast_emulator
