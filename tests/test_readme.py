"""README says what is there: every Param, every operator, links that lead somewhere, examples that work."""

import json
import re
import shutil
import subprocess
import sys
from textwrap import dedent

import pytest
from airflow.dag_processing.dagbag import DagBag
from support import REPOSITORY, operator_classes

from vertex_emulator.process import Emulator

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
DESIGN = (REPOSITORY / "docs" / "design.md").read_text(encoding="utf-8")


def blocks(language):
    return [dedent(block) for block in re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)]


def test_every_param_is_explained():
    bag = DagBag(str(REPOSITORY / "dags" / "gemini_checkpoint_tuning.py"), bundle_name="dags-folder")
    params = set(bag.dags["gemini_checkpoint_tuning"].params)
    table = README[README.index("| Param | what |") : README.index("A Param that the DAG does not have")]
    assert set(re.findall(r"`([a-z0-9_]+)`", table)) == params


def test_every_operator_is_explained():
    assert [name for name in operator_classes() if f"| `{name}` |" not in README] == []
    assert "| `GeminiTuningJobSensor` |" in README


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{p.name}" for p in (REPOSITORY / "docs").glob("*.md"))])
def test_links_lead_somewhere(page):
    path = REPOSITORY / page
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (path.parent / target).exists(), target


def test_the_examples_are_dag_files(tmp_path):
    suites = tmp_path / "config" / "smoke"
    suites.mkdir(parents=True)
    shutil.copy(REPOSITORY / "dags" / "config" / "smoke" / "ferry_support.yaml", suites / "support.yaml")
    for number, code in enumerate(blocks("python")):
        (tmp_path / f"example_{number}.py").write_text(code)
    bag = DagBag(str(tmp_path), bundle_name="dags-folder")
    assert bag.import_errors == {}
    assert set(bag.dags) == {"gemini_checkpoint_tuning", "support_bot"}
    assert bag.dags["support_bot"].get_task("checkpoint_tuning.validate").upstream_task_ids == {"prepare"}
    assert bag.dags["support_bot"].get_task("deploy").upstream_task_ids == {"checkpoint_tuning.promote.publish"}


def test_the_make_targets_exist():
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"(?:^|`)make ([a-z-]+)", README, flags=re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


@pytest.mark.parametrize("arguments", re.findall(r"-m vertex_emulator (.*?)(?: +#.*)?\n", README))
def test_the_emulator_takes_the_commands_shown(arguments, tmp_path):
    with Emulator(speed=0) as emulator:
        words = [str(emulator.port) if word == "8099" else word for word in arguments.split()]
        if "key" not in words:
            words.append("--help")
        done = subprocess.run(
            [sys.executable, "-m", "vertex_emulator", *words],
            cwd=tmp_path,
            env={"PYTHONPATH": str(REPOSITORY), "PATH": ""},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    if "--out" in words:
        assert json.loads((tmp_path / "key.json").read_text())["type"] == "service_account"


def test_the_connection_command_is_one_that_airflow_takes(airflow_db):
    command = next(block for block in blocks("bash") if "airflow connections add" in block)
    arguments = command.replace("\\\n", " ").strip()
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m {arguments}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Successfully added" in done.stdout + done.stderr


def test_the_map_of_the_tree_is_what_one_sees():
    top = {"dags", "demo", "docs", "plugins", "tests", "vertex_emulator"}
    listed = subprocess.run(
        ["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.split()
    assert {path.split("/")[0] for path in listed if "/" in path} - {".ci"} == top
    modules = {path.name for path in (REPOSITORY / "plugins" / "gemini_tuning").glob("*.py")} - {"__init__.py"}
    assert [name for name in modules if not re.search(rf"[`/]{name}`", DESIGN)] == []
