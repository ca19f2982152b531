"""The two wheels in environments without this checkout, in the layout of Google's managed Airflow.

There ``plugins/`` reaches neither the scheduler nor the triggerer, and ``dags/`` does not reach the triggerer.
"""

import json
import shutil
import subprocess
import sys

import pytest
from runs import CONF, CREATE, TIMEOUT, WAIT, Run, requests_to
from support import DATA, REPOSITORY

from demo.processes import wait_until
from demo.stack import DAG_ID, Stack

pytestmark = pytest.mark.airflow

PAGE = "/gemini-tuning/"
VALIDATE = "validate"
DAG_FILE = """
# An Airflow DAG file
from gemini_tuning.pipelines import checkpoint_tuning_dag
dag = checkpoint_tuning_dag()
"""
OWN_DAG = """
from airflow.sdk import DAG, task
from gemini_tuning.pipelines import checkpoint_tuning

@task
def prepare() -> dict[str, str]:
    return {part: f"gs://demo-bucket/ferry_support/{part}.jsonl" for part in ("train", "validation")}

@task
def deploy(a: str, b: str) -> list[str]:
    return [a, b]

with DAG("mine", schedule=None):
    data = prepare()
    common = {"training_dataset_uri": data["train"], "validation_dataset_uri": data["validation"], "epoch_count": 6}
    a = checkpoint_tuning("a", suite="ferry_support", **common)
    b = checkpoint_tuning("b", suite="strict", **common)
    deploy(a["model"], b["model"])
"""


def uv(*arguments, cwd=REPOSITORY):
    done = subprocess.run(
        [sys.executable, "-m", "uv", *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    for project in (".", "vertex_emulator"):
        uv("build", "--wheel", "--out-dir", folder, project)
    return sorted(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def python(tmp_path_factory, wheels):
    """An interpreter that has Airflow and the two wheels, and nothing else of this project."""
    folder = tmp_path_factory.mktemp("installed")
    uv("venv", "--python", sys.executable, folder)
    python = folder / "bin" / "python"
    uv("pip", "install", "--python", python, "apache-airflow", *wheels, "-c", REPOSITORY / "constraints.txt")
    return str(python)


@pytest.fixture(scope="module")
def dags(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dags")
    (folder / "tuning.py").write_text(DAG_FILE)
    (folder / "mine.py").write_text(OWN_DAG)
    shutil.copytree(REPOSITORY / "dags" / "config", folder / "config")
    suite = (folder / "config" / "smoke" / "ferry_support.yaml").read_text()
    (folder / "config" / "smoke" / "strict.yaml").write_text(suite)
    return folder


@pytest.fixture
def layout(tmp_path, dags):
    """Where the parts look for DAGs and plugins."""
    empty = tmp_path / "empty"
    empty.mkdir()
    everywhere = {"AIRFLOW__CORE__DAGS_FOLDER": str(dags), "AIRFLOW__CORE__PLUGINS_FOLDER": str(empty)}
    return everywhere, {"triggerer": {"AIRFLOW__CORE__DAGS_FOLDER": str(empty)}}


@pytest.fixture(autouse=True)
def _fresh_service():
    """Each test starts a service of its own."""


def test_airflow_lists_the_provider_and_one_plugin(python, tmp_path):
    """Also when the folder was copied as well."""
    plugins = tmp_path / "plugins"
    shutil.copytree(REPOSITORY / "plugins", plugins)
    env = {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__CORE__PLUGINS_FOLDER": str(plugins), "PATH": "/usr/bin:/bin"}
    env["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"

    def airflow(*arguments):
        command = [python, "-m", "airflow", *arguments, "-o", "json"]
        done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=True)
        return json.loads(done.stdout[done.stdout.index("[") :])

    assert [each["package_name"] for each in airflow("providers", "list")].count("gemini-checkpoint-tuning") == 1
    assert [each["name"] for each in airflow("plugins")].count("gemini_tuning") == 1


def test_five_runs_in_the_managed_layout_are_right_although_a_triggerer_dies(python, layout, tmp_path):
    everywhere, part_env = layout
    with Stack(
        tmp_path / "home", speed=1, triggerers=2, python={"": python}, airflow_env=everywhere, part_env=part_env
    ) as stack:
        stack.upload(DATA, "ferry_support")
        runs = [Run.start(stack) for _ in range(4)] + [Run.start(stack, {}, dag_id="mine")]
        runs[0].wait_for_state(WAIT, "deferred")
        stack.processes.pop("triggerer").kill()
        assert [run.finish() for run in runs] == ["success"] * 5
        jobs = stack.emulator("GET", "/state")["tuningJobs"]
        assert len(jobs) == 6  # the DAG with two groups has two
        assert len({run.xcom(CREATE) for run in runs[:4]}) == 4
        winners = {run.xcom("report")["default_after"] for run in runs[:4]}
        assert None not in winners
        assert set(runs[4].xcom("deploy")) == {runs[4].xcom(f"{name}.promote.publish", "model") for name in "ab"}
        for group in "ab":
            shown = {"dag_id": "mine", "run_id": runs[4].run_id, "group": group}
            page = stack.api.http.get(f"{PAGE}run", params=shown)
            assert page.status_code == 200
            assert runs[4].xcom(f"{group}.tune.create_tuning_job") in page.text


def test_a_triggerer_without_the_package_stops_the_run_before_anything_is_paid(python, layout, tmp_path):
    everywhere, part_env = layout
    interpreters = {"": python, "triggerer": sys.executable}
    with Stack(tmp_path / "home", speed=5, python=interpreters, airflow_env=everywhere, part_env=part_env) as stack:
        stack.upload(DATA, "ferry_support")
        run = Run.start(stack, CONF)
        wait_until("the end of validate", lambda: run.state(VALIDATE) == "failed", [], TIMEOUT)
        assert run.finish() == "failed"
        assert "gemini-checkpoint-tuning==" in run.xcom(VALIDATE, "error")
        assert [r for r in requests_to(stack, "/tuningJobs") if r["method"] == "POST"] == []
        assert DAG_ID in stack.api.dag_ids()
