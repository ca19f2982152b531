"""Every bench works, in its small size; nothing depends on how long anything takes."""

import json
import subprocess
import sys

import pytest

from tests.benchmarks.__main__ import NAMES, ROOT
from tests.benchmarks.table import Row, markdown

REAL_AIRFLOW = {"end_to_end", "start_up"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.airflow] * (name in REAL_AIRFLOW)) for name in NAMES]
)
def test_a_bench_works(name, tmp_path):
    command = [sys.executable, "-m", "tests.benchmarks", "--only", name, "--small", "--home", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert found["machine"]["cores"]
    assert list(found["benches"]) == [name]
    rows = found["benches"][name]["rows"]
    assert rows
    for row in rows:
        assert row["ours"]["values"]
        assert row["met"] is None  # small sizes are not judged
        assert row["what"] in (tmp_path / "results.md").read_text(encoding="utf-8")


def test_the_table_shows_medians_spread_ratio_and_bar():
    row = Row("calls", "s", [2.0, 1.0, 9.0], [20.0, 30.0, 10.0], "5 times fewer", met=True)
    bench = {"title": "T", "method": "M", "measured_at": "now", "seconds": 1, "small": False, "rows": [row.as_dict()]}
    assert "| calls | s | 2 (1 to 9) | 20 (10 to 30) | 10 times | 5 times fewer: met |  |" in markdown(
        {"machine": {}, "benches": {"b": bench}}
    )
