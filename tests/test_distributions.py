"""What the two wheels depend on: the same as requirements.txt, which is for those who copy the folders."""

import re
import tomllib

import pytest
from support import REPOSITORY

REQUIREMENTS = (REPOSITORY / "requirements.txt").read_text(encoding="utf-8")


def block(title):
    """Return the names in a block of requirements.txt."""
    text = next(part for part in REQUIREMENTS.split("# -- ") if part.startswith(title))
    return set(re.findall(r"^[A-Za-z0-9-]+", text.partition("\n")[2], flags=re.MULTILINE))


def dependencies(path):
    """Return the names of what a distribution depends on."""
    project = tomllib.loads((REPOSITORY / path).read_text(encoding="utf-8"))["project"]
    return {re.match(r"[A-Za-z0-9-]+", each)[0] for each in project["dependencies"]}


def test_the_package_depends_on_the_first_block_of_the_requirements():
    assert dependencies("pyproject.toml") == block("what the DAGs and the plugin run on")


@pytest.mark.parametrize("path", ["pyproject.toml", "vertex_emulator/pyproject.toml"])
def test_each_dependency_has_a_lower_bound_and_a_reason(path):
    lines = (REPOSITORY / path).read_text(encoding="utf-8").partition("dependencies = [\n")[2].partition("\n]")[0]
    for line in lines.splitlines():
        assert re.fullmatch(r' *"[a-z0-9-]+>=[0-9.]+(,<[0-9.]+)?", +# .+', line), line
