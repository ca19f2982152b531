"""Fixtures of all tests: an Airflow home of their own, and the local Vertex AI over real HTTP."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.configuration import set_hypothesis_home_dir

REPOSITORY = Path(__file__).resolve().parent.parent

# Before anything imports Airflow: nothing of the user's configuration counts, nothing is left behind.
for name in list(os.environ):
    if name.startswith(("AIRFLOW", "GOOGLE_", "STORAGE_EMULATOR")):
        del os.environ[name]
AIRFLOW_HOME = Path(tempfile.mkdtemp(prefix="airflow-tests-"))
os.environ |= {
    "AIRFLOW_HOME": str(AIRFLOW_HOME),
    "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "dags"),
    "AIRFLOW__CORE__PLUGINS_FOLDER": str(REPOSITORY / "plugins"),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__UNIT_TEST_MODE": "True",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{AIRFLOW_HOME}/airflow.db",
    "NO_PROXY": "127.0.0.1,localhost",
}

from support import fill, use_connection  # noqa: E402 - after the environment

from tests.vertex_emulator.discovery import check_journal  # noqa: E402
from vertex_emulator.process import Emulator  # noqa: E402

# The same examples every time, nothing written into the tree, and no example too slow on a busy machine.
# HYPOTHESIS_PROFILE=thorough looks further, with other examples each time.
_QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
set_hypothesis_home_dir(AIRFLOW_HOME / "hypothesis")
settings.register_profile(
    "quick", derandomize=True, deadline=None, database=None, max_examples=20, suppress_health_check=_QUIET
)
settings.register_profile("thorough", deadline=None, database=None, max_examples=2_000, suppress_health_check=_QUIET)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

SKIPS_ALLOWED_IN_CI: tuple[str, ...] = ()  # reasons, each with a comment why


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI a skipped test is a failure: what was not run was not seen to work."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if not os.environ.get("CI") or reporter is None:
        return
    for report in reporter.stats.get("skipped", []):
        reason = str(report.longrepr[-1])
        if not any(allowed in reason for allowed in SKIPS_ALLOWED_IN_CI):
            reporter.write_line(f"\nSKIPPED IN CI: {report.nodeid}: {reason}", red=True)
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_unconfigure() -> None:
    """Leave nothing behind."""
    shutil.rmtree(AIRFLOW_HOME, ignore_errors=True)


@pytest.fixture(autouse=True)
def _no_settling(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process there is no scheduler that a trigger could be too quick for."""
    monkeypatch.setattr("gemini_tuning.triggers.waiting.MIN_SECONDS_TO_EVENT", 0.0)


@pytest.fixture(scope="session")
def _emulator() -> Iterator[Emulator]:
    with Emulator(speed=0) as emulator:
        yield emulator


@pytest.fixture
def vertex(_emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """An empty local Vertex AI whose clock stands still, the default connection, and the demo's data in a bucket.

    After each test, its requests to Vertex AI are held against Google's discovery documents.
    """
    fill(_emulator)
    use_connection(monkeypatch, _emulator.connection())
    yield _emulator
    check_journal(_emulator)


@pytest.fixture(scope="session")
def airflow_db() -> None:
    """Make Airflow's tables in the tests' SQLite file."""
    done = subprocess.run(
        [sys.executable, "-m", "airflow", "db", "migrate"], env=os.environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
