"""docs/vertex_emulator.md: its table, its rules and its shell example, held against the emulator itself."""

import json
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from vertex_emulator.app import ROUTES
from vertex_emulator.base_models import ADAPTERS
from vertex_emulator.lifecycle import Outcome
from vertex_emulator.process import Emulator

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "vertex_emulator.md").read_text()
STATES = {"covered", "approximated", "refused"}
_LOCATION = "/projects/{project}/locations/{location}"


def route_name(method: str, path: str) -> str:
    """A route as the page writes it."""
    plain = re.sub(r"\{(\w+):\w+\}", r"{\1}", path)
    return f"{method} " + plain.replace("/{version}" + _LOCATION, "…").replace("/ui" + _LOCATION, "/ui…")


def rows(heading: str) -> list[list[str]]:
    """Cells of the table below a heading."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_tables_have_the_routes_that_are_served():
    served = [route_name(entry.method, entry.path) for entry in ROUTES]
    told = [row[0].strip("`") for row in (*rows("Control"), *rows("What is covered"))]
    assert sorted(told) == sorted(served)


def test_every_row_has_a_state():
    assert {row[1] for row in rows("What is covered")} <= STATES


def test_what_is_simpler_is_told():
    silent = [row[0] for row in rows("What is covered") if row[1] != "covered" and row[2].strip("| ") == ""]
    assert silent == []


def test_all_outcomes_are_told():
    assert [row[0].strip("`") for row in rows("Fault rules")] == [outcome.value for outcome in Outcome]


@pytest.mark.parametrize("text", blocks("json"))
def test_fault_rules_are_taken(emulator, text):
    reply = httpx.post(f"{emulator.url}/_emulator/faults", json=json.loads(text))
    assert reply.status_code == 200
    assert sum(reply.json().values()) >= 1
    emulator.clear_faults()


def test_the_shell_example_runs_as_it_stands(tmp_path):
    (script,) = blocks("bash curl")
    with Emulator(speed=0) as emulator:
        script = script.replace("8085", str(emulator.port)).replace("python ", f"{sys.executable} ")
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", script.replace("key.json", str(tmp_path / "key.json"))],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"text":"Very."' in done.stdout.replace('": "', '":"')


def test_the_base_models_are_told():
    paragraph = PAGE.partition("- **Base models**: ")[2].partition("Anything else")[0]
    assert sorted(re.findall(r"`(gemini-[^`]+)`", paragraph)) == sorted(ADAPTERS)
