"""Markdown from values of others, which it shows without being changed by them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gemini_tuning.core.console import console_link
from gemini_tuning.core.text import redact

MAX_SENTENCE = 1_000  # characters
# What Markdown or HTML could interpret; "://" and "www." would become links in some renderers.
_ACTIVE = re.compile(r"[\\`|<>\[\]*~#!&]|(?<=[a-zA-Z]):(?=//)|(?<=\bwww)\.|@(?=\w[\w-]*\.)", re.IGNORECASE)
_BLANKS = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028-\u202f\u2066-\u2069]+")


def plain(value: object, limit: int = MAX_SENTENCE) -> str:
    """Return a value as one line of Markdown that is shown as plain text, without secrets.

    It must not stand at the beginning of a line, where ``1.`` or ``===`` would still be a list or a heading.
    """
    return _ACTIVE.sub(lambda match: "\\" + match[0], _BLANKS.sub(" ", redact(value, limit)).strip())


def or_dash(value: object, limit: int = MAX_SENTENCE) -> str:
    """Return a value as :func:`plain` does; ``-`` for ``None``."""
    return "-" if value is None else plain(value, limit)


def linked(text: object, address: object) -> str:
    """Return a text with a link to a page of the Google Cloud console; without, where the console has no such page."""
    page = console_link(address)
    return f"[{plain(text)}]({page})" if page else plain(text)


def place(address: object) -> str:
    """Return an address, with a link where the console shows it; ``-`` for ``None``."""
    return "-" if address is None else linked(address, address)


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table of Markdown without line breaks, the heading first.

    Its columns are aligned, so that it is also readable in a log.
    """
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = [f"| {' | '.join(map(str.ljust, row, widths))} |" for row in rows]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]
