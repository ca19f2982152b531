"""A stranger can use the emulator without the rest of the project."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
import pkgutil, sys
import vertex_emulator
for module in pkgutil.walk_packages(vertex_emulator.__path__, "vertex_emulator."):
    if not module.name.endswith("__main__"):
        __import__(module.name)
print(sorted({name.split(".")[0] for name in sys.modules} & {"airflow", "gemini_tuning", "demo", "google"}))
"""


def test_it_imports_nothing_of_airflow_of_google_or_of_this_project():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=True, env={"PATH": ""}
    )
    assert done.stdout.strip() in ("[]", "['google']")  # a namespace package that some installers preload
