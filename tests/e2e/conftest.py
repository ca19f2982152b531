"""What the tests with a real Airflow share: before each, the service is empty, and has the demo's data."""

import pytest
from support import DATA


@pytest.fixture(autouse=True)
def _fresh_service(stack):
    stack.emulator("POST", "/reset")
    stack.emulator("DELETE", "/faults")
    stack.upload(DATA, "ferry_support")
