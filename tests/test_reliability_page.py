"""docs/reliability.md names a test for each promise; each of them is there."""

import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
PAGE = (REPOSITORY / "docs" / "reliability.md").read_text(encoding="utf-8")


def test_every_test_that_the_page_names_is_there():
    tests = "\n".join(path.read_text(encoding="utf-8") for path in (REPOSITORY / "tests").rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+…?)`", PAGE))
    assert len(named) > 12
    assert [name for name in named if f"def {name.removesuffix('…')}" not in tests and f"{name}.py" not in tests] == []


def test_every_file_that_the_page_names_is_there():
    names = set(re.findall(r"`((?:tests/)?[\w/]*test_[\w…]+\.py)`", PAGE))
    assert len(names) > 4
    paths = [str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "tests").rglob("*.py")]
    assert [n for n in names if not any(re.search(n.replace("…", ".*"), path) for path in paths)] == []
