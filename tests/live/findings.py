"""What was observed, as a file that can be committed and as a table that can be read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tests.live.evidence import Json

AGREES = {True: "yes", False: "**no**", None: "not seen"}
LONGEST = 160  # characters of a cell


def document(date: str, location: str, base_model: str, seen: Sequence[Json], secrets: Iterable[str]) -> Json:
    """Return what is written: no project, account, bucket or id is in it.

    :param date: YYYY-MM-DD.
    :param secrets: project id and number, bucket.
    """
    known = [secret for secret in secrets if secret]
    return {
        "date": date,
        "location": location,
        "base_model": base_model,
        "observations": [{**one, "observed": redacted(one["observed"], known)} for one in seen],
    }


def redacted(value: Any, secrets: Sequence[str]) -> Any:
    """Return parsed JSON in which no text names a project, an account, a bucket or a resource's id."""
    if isinstance(value, dict):
        return {redacted(key, secrets): redacted(item, secrets) for key, item in value.items()}
    if isinstance(value, list):
        return [redacted(item, secrets) for item in value]
    return _redacted_text(value, secrets) if isinstance(value, str) else value


def _redacted_text(text: str, secrets: Sequence[str]) -> str:
    text = re.sub(r"[\w.+-]+@[\w-]+(\.[\w-]+)+", "ACCOUNT", text)
    text = re.sub(r"gs://[^/\s\"']+", "gs://BUCKET", text)
    text = re.sub(r"projects/[^/\s\"']+", "projects/PROJECT", text)
    for secret in sorted(secrets, key=len, reverse=True):
        text = re.sub(rf"(?<![\w-]){re.escape(secret)}(?![\w-])", "REDACTED", text)
    return re.sub(r"\d{9,}", _hidden, text)


def _hidden(number: re.Match[str]) -> str:
    """Return the shape of a number: as many nines as this project shows shapes with, or that it is an id."""
    return number[0] if set(number[0]) == {"9"} else "ID"


def write(folder: Path, found: Json) -> Path:
    """Write the file ``<date>-<location>.json``; one of the same day and place is replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{found['date']}-{found['location']}.json"
    path.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def table(found: Json) -> str:
    """Return the observations as a Markdown table, those that do not agree first."""
    order = [False, None, True]
    rows = sorted(found["observations"], key=lambda one: order.index(one["agrees"]))
    lines = ["| question | expected | observed | agrees |", "| --- | --- | --- | --- |"]
    for one in rows:
        cells = (one["question"], one["expected"], one["observed"])
        lines.append(f"| {' | '.join(map(_cell, cells))} | {AGREES[one['agrees']]} |")
    return "\n".join(lines)


def _cell(value: Any) -> str:
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = " ".join(text.split()).replace("|", r"\|")
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
