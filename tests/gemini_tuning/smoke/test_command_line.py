"""The same suites without a running Airflow: ``python -m gemini_tuning.smoke``."""

import json
import os
import subprocess
import sys

import pytest
from support import REPOSITORY, finished_job

from gemini_tuning.smoke.__main__ import FAILED, REFUSED, main

SUITE = str(REPOSITORY / "dags" / "config" / "smoke" / "ferry_support.yaml")


@pytest.fixture
def job(vertex):
    return finished_job(vertex)


def run(job, tmp_path, *arguments, checkpoints=(0,)):
    endpoints = [word for i in checkpoints for word in ("--endpoint", job.checkpoints[i].endpoint)]
    return main(["run", SUITE, *endpoints, "--results", str(tmp_path), *arguments])


def test_schema_prints_the_json_schema_in_the_repository(capsys):
    assert main(["schema"]) == 0
    committed = REPOSITORY / "plugins" / "gemini_tuning" / "smoke" / "suite.schema.json"
    assert capsys.readouterr().out == committed.read_text()


def test_validate_does_not_import_airflow_or_google_clients(tmp_path):
    code = (
        "import sys; from gemini_tuning.smoke.__main__ import main; code = main(sys.argv[1:]); "
        "sys.exit(code or [m for m in sys.modules if m.partition('.')[0] == 'airflow' or m == 'google.genai'])"
    )
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY / "plugins")}
    done = subprocess.run(
        [sys.executable, "-c", code, "validate", SUITE], env=env, capture_output=True, text=True, check=False
    )
    assert done.stderr in ("", "[]\n")
    assert done.stdout.startswith("ferry_support: 24 cases")


def test_a_suite_is_validated(capsys):
    assert main(["validate", SUITE]) == 0
    assert capsys.readouterr().out.startswith("ferry_support: 24 cases with ")


def test_a_bad_suite_is_refused_with_its_place(tmp_path, capsys):
    (tmp_path / "bad.yaml").write_text("cases:\n- id: a\n  prompt: Hi\n  assert: [{type: contians, value: x}]\n")
    assert main(["validate", str(tmp_path / "bad.yaml")]) == REFUSED
    error = capsys.readouterr().err
    assert f"{tmp_path}/bad.yaml:4" in error
    assert "contians" in error


def test_endpoints_are_asked_and_compared(job, tmp_path, capsys):
    assert run(job, tmp_path, checkpoints=(0, 2)) in (0, FAILED)
    out = capsys.readouterr().out
    for checkpoint in (job.checkpoints[0], job.checkpoints[2]):
        assert checkpoint.endpoint.rpartition("/")[2] in out
    assert out.count("/24") >= 2
    files = sorted(tmp_path.glob("*.jsonl"))
    assert len(files) == 2
    assert {len(file.read_text().splitlines()) for file in files} == {24}
    assert json.loads(files[0].read_text().splitlines()[0])["case_id"] == "late-for-booked-car"


def test_the_exit_code_says_whether_it_is_good_enough(job, tmp_path, vertex):
    (tmp_path / "easy.yaml").write_text(
        "cases: [{id: a, prompt: Hi, assert: [{type: not-contains, value: zebra}]}, "
        "{id: b, prompt: Ho, assert: [{type: contains, value: zebra}]}]"
    )
    arguments = ["run", str(tmp_path / "easy.yaml"), "--endpoint", job.endpoint, "--results", str(tmp_path)]
    assert main([*arguments, "--min-pass-rate", "0.5"]) == 0
    assert main([*arguments, "--min-pass-rate", "0.6"]) == FAILED


def test_an_endpoint_that_is_not_there_is_told_of(job, tmp_path, capsys):
    gone = "projects/demo-project/locations/us-central1/endpoints/404"
    assert main(["run", SUITE, "--endpoint", gone, "--results", str(tmp_path)]) == FAILED
    assert "404" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--endpoint", "endpoints/1"], "endpoints/1"),
        (["--endpoint", "projects/p/locations/l1/endpoints/1", "--results", "gs://"], "--results"),
        (["--endpoint", "projects/p/locations/us-central1/endpoints/1", "--concurrency", "0"], "--concurrency"),
    ],
)
def test_bad_arguments_are_named_and_nothing_is_asked(vertex, tmp_path, capsys, arguments, named):
    assert main(["run", SUITE, "--results", str(tmp_path), *arguments]) == REFUSED
    assert named in capsys.readouterr().err


def test_it_needs_no_airflow_that_was_set_up(job, tmp_path):
    """No database, no configuration: a connection in the environment is enough."""
    env = {
        **{k: v for k, v in os.environ.items() if not k.startswith("AIRFLOW__")},
        "AIRFLOW_HOME": str(tmp_path / "home"),
        "PYTHONPATH": str(REPOSITORY / "plugins"),
    }
    command = [sys.executable, "-m", "gemini_tuning.smoke", "run", SUITE, "--endpoint", job.endpoint]
    done = subprocess.run(
        [*command, "--results", str(tmp_path / "results")], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, FAILED), done.stderr
    assert "/24" in done.stdout
    assert len(list((tmp_path / "results").glob("*.jsonl"))) == 1
    assert not (tmp_path / "home" / "airflow.db").exists()
