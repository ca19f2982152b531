"""The folders of the package stand in one order, and each imports only from those before it."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "plugins" / "gemini_tuning"

ORDER = (
    "core",  # values, names, errors, text; imports no other folder
    "datasets",
    "smoke",
    "selection",
    "registry",
    "cost",
    "retraining",
    "reporting",
    "hooks",  # from here on: Google's clients, Airflow
    "triggers",
    "links",
    "operators",
    "sensors",
    "pipelines",
    "ui",
)
INDEPENDENT = {("smoke", "selection"), ("selection", "smoke")}  # what both need is in core
WITHOUT_AIRFLOW = ORDER[: ORDER.index("hooks")]
COMMANDS = {"smoke/__main__.py"}  # a command line puts folders together, as a DAG does
PRELOAD = "ui/preload.py"  # imports Google's clients for the tasks that the scheduler forks
# Assets and notifiers are Airflow's.
AIRFLOW_GLUE = {
    *COMMANDS,
    "registry/assets.py",
    "reporting/notifications.py",
    "reporting/notification_sender.py",
}


def modules(folder):
    return sorted(p for p in (PACKAGE / folder).rglob("*.py") if "node_modules" not in p.parts)


def imports_of(path, *, typing_only=False):
    """Return (module, line) of each import, inside functions too; those under TYPE_CHECKING only on request."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    guarded = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.dump(block.test)
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        if typing_only is not (id(node) in guarded):
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = [node.module] if node.module != "gemini_tuning" else [f"gemini_tuning.{a.name}" for a in node.names]
            yield from ((name, node.lineno) for name in names)


def place(path):
    return str(path.relative_to(PACKAGE))


def test_every_folder_of_the_package_has_a_place_in_the_order():
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == set(ORDER)
    assert [path.name for path in PACKAGE.glob("*.py")] == ["__init__.py"]


@pytest.mark.parametrize("folder", ORDER)
def test_a_folder_imports_only_from_folders_before_it(folder):
    allowed = {*ORDER[: ORDER.index(folder) + 1]} - {b for a, b in INDEPENDENT if a == folder}
    found = [
        f"{place(path)}:{line} imports {name}"
        for path in modules(folder)
        if place(path) not in COMMANDS
        for name, line in imports_of(path)
        if name.startswith("gemini_tuning.") and name.split(".")[1] not in {"__version__", *allowed}
    ]
    assert found == []


@pytest.mark.parametrize("folder", WITHOUT_AIRFLOW)
def test_a_folder_before_hooks_imports_neither_airflow_nor_google(folder):
    found = [
        f"{place(path)}:{line} imports {name}"
        for path in modules(folder)
        if place(path) not in AIRFLOW_GLUE
        for name, line in imports_of(path)
        if name.split(".")[0] in {"airflow", "google", "googleapiclient", "vertexai"}
    ]
    assert found == []


def test_only_hooks_import_google_clients():
    found = [
        f"{place(path)}:{line} imports {name}"
        for folder in ORDER
        if folder != "hooks"
        for path in modules(folder)
        if place(path) != PRELOAD
        for name, line in imports_of(path)
        if name.split(".")[0] in {"google", "googleapiclient"} or name.startswith("airflow.providers.google")
    ]
    assert found == []
