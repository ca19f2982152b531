"""``{{ name }}`` in a suite: a variable's text is put there, and nothing is run. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from gemini_tuning.core.text import short_repr, shorten

MAX_NAMED = 200  # characters of names in a message
# Braces around something that is no word, such as {{2}}, are text.
_PLACE = re.compile(r"\{\{\s*([^\W\d][^{}]*?)\s*\}\}")
_NAME = re.compile(r"[^\W\d][\w-]*")


class TemplateError(ValueError):
    """A text asks for a variable that is not there, or for more than a variable."""


def is_template(value: Any) -> bool:
    """Whether a text, or a text in a list or mapping, names a variable."""
    return any(True for text in _texts(value) for _ in _PLACE.finditer(text))


def problem(value: Any) -> str | None:
    """Return why a template cannot be filled, whatever the variables; ``None`` when it can."""
    for text in _texts(value):
        for match in _PLACE.finditer(text):
            if not _NAME.fullmatch(match[1]):
                return f"{short_repr(match[0])} is more than a name; filters and expressions are not supported"
    return None


def fill(value: Any, variables: Mapping[str, str]) -> Any:
    """Return a value with the variables' texts in it; what a text brings along is not filled again.

    :param value: a text, or a list or mapping with texts in it; keys stay.
    :raises TemplateError: when a name is not among the variables.
    """
    if isinstance(value, str):
        return _PLACE.sub(lambda match: _text(match[1], variables), value) if "{{" in value else value
    if isinstance(value, list):
        return [fill(child, variables) for child in value]
    if isinstance(value, Mapping):
        return {key: fill(child, variables) for key, child in value.items()}
    return value


def _text(name: str, variables: Mapping[str, str]) -> str:
    if name not in variables:
        there = shorten(", ".join(sorted(variables)), MAX_NAMED) or "none"
        raise TemplateError(f"there is no variable {shorten(name, MAX_NAMED)}; there are: {there}")
    return variables[name]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | Mapping):
        for child in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(child)
