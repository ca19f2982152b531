"""Renders the Markdown templates in ``templates/``.

Every value of a template is shown as plain text and without secrets, ``None`` as a dash, unless a filter of this module
has made Markdown of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from gemini_tuning.core import markdown
from gemini_tuning.core.formatting import capitalize, percent
from gemini_tuning.core.text import money
from gemini_tuning.core.xcom import AssessmentXCom, SmokeTestXCom
from gemini_tuning.cost.estimate_text import known_amount

MAX_ERROR = 300  # characters of why a checkpoint could not be tested


class Markdown(str):
    """Text that is Markdown already, so that templates do not escape it."""

    def __html__(self) -> str:
        return self


def render(template: str, **values: Any) -> str:
    """Return the Markdown of a template."""
    return ENVIRONMENT.get_template(template).render(values)


def _escape(value: Any) -> Any:
    return value if hasattr(value, "__html__") else Markdown(markdown.or_dash(value))


def _link(address: object, text: object = None) -> Markdown:
    """Return an address with a link to the Google Cloud console."""
    return Markdown(markdown.place(address) if text is None else markdown.linked(text, address))


def _number(value: float | None, form: str) -> str | None:
    return None if value is None else form.format(value)


def _remarks(checkpoint_id: str, marks: Mapping[str, str | None], error: str | None) -> Markdown | None:
    """Return the marks that a checkpoint has, and why it could not be tested."""
    found = [mark for mark, identifier in marks.items() if identifier == checkpoint_id]
    found += [markdown.plain(error, MAX_ERROR)] if error else []
    return Markdown(", ".join(found)) if found else None


def _table(rows: str) -> Markdown:
    """Align the columns of a table, so that it is also readable in a log; an escaped cell contains no `` | ``."""
    cells = [row.removeprefix("| ").removesuffix(" |").split(" | ") for row in rows.splitlines()]
    return Markdown("\n".join(markdown.table(cells)) + "\n")


ENVIRONMENT = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,  # by `finalize` for Markdown: what it returns is not escaped for HTML
    finalize=_escape,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
ENVIRONMENT.filters |= {"link": _link, "number": _number, "table": _table, "capital": capitalize, "percent": percent}
ENVIRONMENT.filters |= {"json": partial(json.dumps, ensure_ascii=False), "money": money, "known_amount": known_amount}
ENVIRONMENT.globals |= {"SmokeTestXCom": SmokeTestXCom, "AssessmentXCom": AssessmentXCom, "remarks": _remarks}
