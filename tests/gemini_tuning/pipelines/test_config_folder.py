"""Where the configuration is searched: argument, setting, beside the DAG file, package."""

import runpy
from pathlib import Path

import pytest

from gemini_tuning.pipelines.config_folder import PACKAGED, ConfigFolder

DAG_FILE = """
from gemini_tuning.pipelines.config_folder import ConfigFolder

def factory():
    return ConfigFolder.find({given})

found = factory()
"""


@pytest.fixture
def found_by(tmp_path):
    """Return what a factory finds that a DAG file calls."""

    def found(given=None):
        file = tmp_path / "dag_file.py"
        file.write_text(DAG_FILE.format(given=repr(given)))
        return runpy.run_path(str(file))["found"].path

    return found


def test_the_argument_comes_first(found_by, tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW__GEMINI_TUNING__CONFIG_FOLDER", "/setting")
    (tmp_path / "config").mkdir()
    assert found_by("/argument") == Path("/argument")


def test_the_setting_comes_before_the_folder_beside_the_dag_file(found_by, tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW__GEMINI_TUNING__CONFIG_FOLDER", "/setting")
    (tmp_path / "config").mkdir()
    assert found_by() == Path("/setting")


def test_the_folder_beside_the_dag_file_comes_before_the_package(found_by, tmp_path):
    (tmp_path / "config").mkdir()
    assert found_by() == tmp_path / "config"


def test_without_any_of_them_the_packaged_defaults_are_used(found_by):
    assert found_by() == PACKAGED


def test_the_files_of_a_folder():
    config = ConfigFolder(Path("/config"))
    assert (config.suites, config.prices, config.notifications, config.profiles) == (
        "/config/smoke",
        "/config/prices.yaml",
        "/config/notifications.yaml",
        "/config/retraining",
    )
