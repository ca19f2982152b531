"""What a bench found: rows with repeated values, as JSON and as Markdown."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

PACKAGES = ("apache-airflow", "apache-airflow-providers-google", "google-genai")


@dataclass(frozen=True)
class Row:
    """One thing that was measured, once for each repetition.

    :param what: what it is.
    :param unit: of the values.
    :param ours: this project's values.
    :param peer: those of what is used today, measured in turns with ours; none where there is nothing like it.
    :param bar: what was to be reached, in words.
    :param met: whether it was; ``None`` where there is no bar, or the run was too small to tell.
    :param note: what one has to know to read it.
    """

    what: str
    unit: str
    ours: Sequence[float]
    peer: Sequence[float] = ()
    bar: str = ""
    met: bool | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """How many times more the peer needs, at the median."""
        if not self.peer or not median(self.ours):
            return None
        return median(self.peer) / median(self.ours)

    def as_dict(self) -> dict[str, Any]:
        """Return everything, as JSON has it."""
        return {
            "what": self.what,
            "unit": self.unit,
            "ours": _spread(self.ours),
            "peer": _spread(self.peer) if self.peer else None,
            "peer_over_ours": self.ratio,
            "bar": self.bar,
            "met": self.met,
            "note": self.note,
        }


def _spread(values: Sequence[float]) -> dict[str, Any]:
    return {"median": median(values), "min": min(values), "max": max(values), "values": list(values)}


def machine() -> dict[str, Any]:
    """Say what the figures were measured on."""
    return {
        "cpu": _first("/proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "ram_gb": round(int(_first("/proc/meminfo", "MemTotal").split()[0] or 0) / 1e6, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }


def _first(path: str, name: str) -> str:
    """Return the value of the first line of that name; Linux only."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return "0"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "0")


def markdown(found: Mapping[str, Any]) -> str:
    """Write the results as tables, one for each bench.

    :param found: ``{"machine": …, "benches": {name: {"title", "method", "measured_at", "small", "rows"}}}``.
    """
    parts = ["# Benchmarks", "Medians, with the smallest and the largest value of all repetitions."]
    parts += [", ".join(f"{name.replace('_', ' ')} {value}" for name, value in found["machine"].items())]
    for name, bench in found["benches"].items():
        size = ", small size: not to be judged" if bench["small"] else ""
        took = f"`{name}`, {bench['measured_at']}, {bench['seconds']} s{size}."
        parts += [f"## {bench['title']}", took, bench["method"], "\n".join(_table(bench["rows"]))]
    return "\n\n".join(parts) + "\n"


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = ["| what | unit | ours | peer | peer / ours | bar | |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        ratio = f"{row['peer_over_ours']:.3g} times" if row["peer_over_ours"] is not None else ""
        met = {True: "met", False: "**missed**", None: ""}[row["met"]]
        bar = f"{row['bar']}: {met}" if met else row["bar"]
        cells = (row["what"], row["unit"], _shown(row["ours"]), _shown(row["peer"]), ratio, bar, row["note"])
        lines.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")
    return lines


def _shown(spread: Mapping[str, Any] | None) -> str:
    if spread is None:
        return ""
    if len(spread["values"]) == 1:
        return f"{spread['median']:.4g}"
    return f"{spread['median']:.4g} ({spread['min']:.4g} to {spread['max']:.4g})"
