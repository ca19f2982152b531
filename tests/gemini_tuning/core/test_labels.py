"""Names of runs as labels: allowed by Google, and never the same for two runs."""

import re

from hypothesis import given
from hypothesis import strategies as st

from gemini_tuning.core.labels import label_value, run_labels

names = st.text(max_size=200)


@given(names)
def test_any_name_becomes_a_value_that_google_takes(name):
    assert re.fullmatch(r"[a-z0-9_-]{0,63}", label_value(name))


@given(names, names)
def test_two_names_never_become_one(one, other):
    assert (label_value(one) == label_value(other)) == (one == other)


def test_names_stay_readable():
    assert label_value("gemini_checkpoint_tuning") == "gemini_checkpoint_tuning"
    assert label_value("manual__2026-11-22T10:00:00+00:00").startswith("manual__2026-11-22t10-00-00-00-00-")
    assert label_value("a.b") != label_value("a:b") != label_value("a-b")
    long = "x" * 70
    assert label_value(long).startswith("x" * 50)
    assert label_value(long) != label_value(long + "x")


def test_the_labels_of_a_run():
    assert run_labels("d", "r", "t") == {"airflow_dag": "d", "airflow_task": "t", "airflow_run": "r"}
    assert list(run_labels("d", "r", "t", 3))[-1] == "airflow_run"  # what the service is asked to filter by
    assert run_labels("d", "r", "t", 3)["airflow_map_index"] == "3"
    assert run_labels("d", "r", "t", -1) == run_labels("d", "r", "t", None)
