"""What the browser gets: built from the sources that are here, nothing from elsewhere."""

import hashlib
import json
import re
from pathlib import Path

import gemini_tuning.ui

PAGE = Path(gemini_tuning.ui.__file__).parent
FRONTEND, STATIC = PAGE / "frontend", PAGE / "static"


def test_script_and_style_are_built_from_these_sources():
    sources = [path for kind in ("css", "js", "json") for path in sorted(FRONTEND.glob(f"*.{kind}"))]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    assert (STATIC / "built-from.sha256").read_text().strip() == digest, "frontend/ has changed: run `make page`"


def test_the_packages_are_pinned_and_no_registry_is_named():
    lock = (FRONTEND / "package-lock.json").read_text()
    assert "integrity" in lock
    assert "resolved" not in lock


def test_the_licences_of_what_is_bundled_come_with_it():
    bundled = json.loads((FRONTEND / "package.json").read_text())["dependencies"]
    licences = (STATIC / "LICENSES.txt").read_text(encoding="utf-8")
    assert [name for name in bundled if f"==> {name}/LICENSE" not in licences] == []
    assert "Apache License" in licences


def test_the_style_loads_nothing():
    assert not re.search(r"@import|url\(", (STATIC / "page.css").read_text(encoding="utf-8"))
