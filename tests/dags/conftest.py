"""An Airflow database for the tests that run DAGs in this process."""

import os
import subprocess
import sys

import pytest


@pytest.fixture(scope="session")
def airflow_db():
    """Make Airflow's tables in the tests' SQLite file."""
    done = subprocess.run(
        [sys.executable, "-m", "airflow", "db", "migrate"], env=os.environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
