"""The DAGs of the retraining profiles, as Airflow finds them in a DAG file."""

import pytest
from airflow.dag_processing.dagbag import DagBag
from support import REPOSITORY

DAG_FILE = (REPOSITORY / "dags" / "gemini_scheduled_retraining.py").read_text()
PROFILE = (REPOSITORY / "dags" / "config" / "retraining" / "ferry_support.yaml").read_text()


@pytest.fixture
def found(tmp_path):
    """Return the DAGs of profiles, given by name."""

    def dags(**profiles):
        folder = tmp_path / "config" / "retraining"
        folder.mkdir(parents=True)
        (tmp_path / "config" / "smoke").mkdir()
        (tmp_path / "config" / "smoke" / "ferry_support.yaml").touch()
        (tmp_path / "retraining.py").write_text(DAG_FILE)
        for name, text in profiles.items():
            (folder / f"{name}.yaml").write_text(text)
        bag = DagBag(str(tmp_path), bundle_name="dags-folder")
        assert bag.import_errors == {}
        return bag.dags

    return dags


def test_each_profile_is_a_dag_that_is_paused_at_first(found):
    dags = found(first=PROFILE, second=PROFILE)
    assert set(dags) == {"gemini_retraining_first", "gemini_retraining_second"}
    assert all(dag.is_paused_upon_creation for dag in dags.values())


def test_a_rejected_profile_is_a_dag_too_which_carries_its_error(found):
    assert set(found(good=PROFILE, broken="schedule: [")) == {"gemini_retraining_good", "rejected_broken"}
