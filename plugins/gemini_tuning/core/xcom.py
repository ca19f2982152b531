"""What the steps of a run pushed, read for a report: other tasks wrote it, so nothing is trusted. Pure.

A field that is not what it should be counts as not there; a value that is no mapping at all is refused by its name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gemini_tuning.core.text import MAX_SAID, redact, short_repr

MAX_ITEMS = 200  # of a list or a mapping
MAX_DEPTH = 6
_SECRET = re.compile(
    r"(?i)passw|passphrase|secret|credential|authorization|bearer|api_?key|access_?key|private_?key|keyfile"
    r"|webhook_url|connection_string|token$"
)
REMOVED, TOO_DEEP = "[removed]", "[nested too deeply]"


def mapping(value: object, name: str) -> Mapping[str, Any]:
    """Return what a step pushed.

    :param name: of the step, for the message.
    :raises ValueError: when it is anything but a mapping.
    """
    if not isinstance(value, Mapping):
        raise ValueError(f"{name}: expected what the step pushed, not {short_repr(value)}")
    return value


def optional(value: object, name: str) -> Mapping[str, Any]:
    """Return what a step pushed that may have been skipped; then it is empty."""
    return {} if value is None else mapping(value, name)


def part(value: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return a mapping inside another; an empty one when there is none."""
    inner = value.get(key)
    return inner if isinstance(inner, Mapping) else {}


def text(value: object, limit: int = MAX_SAID) -> str | None:
    """Return a text without secrets, cut to ``limit``; ``None`` for nothing."""
    if value is None:
        return None
    return redact(value if isinstance(value, str) else short_repr(value), limit)


def texts(value: object, limit: int = MAX_SAID) -> list[str]:
    """Return a list of texts."""
    if not isinstance(value, list | tuple):
        return []
    return [redact(item if isinstance(item, str) else short_repr(item), limit) for item in value[:MAX_ITEMS]]


def number(value: object) -> float | int | None:
    """Return a finite number that JSON can carry to anybody."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) < 2**63 and math.isfinite(value) else None


def whole(value: object) -> int | None:
    """Return a whole number."""
    found = number(value)
    return found if isinstance(found, int) else None


def interval(value: object) -> list[float | int] | None:
    """Return ``[low, high]``."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        return None
    bounds = [bound for bound in map(number, value) if bound is not None]
    return bounds if len(bounds) == 2 else None


def curve(value: object) -> list[list[float | int]]:
    """Return ``[[step, value], …]``."""
    pairs = map(interval, value[:MAX_ITEMS]) if isinstance(value, list | tuple) else ()
    return [pair for pair in pairs if pair is not None]


def anything(value: object, mask: Callable[[str], str] = redact, depth: int = MAX_DEPTH) -> Any:
    """Return any value as bounded JSON without secrets: by the names of its fields, and by what texts look like.

    :param mask: removes secrets from a text.
    """
    if value is None or isinstance(value, bool) or number(value) is not None:
        return value
    if isinstance(value, Mapping | list | tuple | set) and not depth:
        return TOO_DEEP
    if isinstance(value, Mapping):
        items = [(mask(str(key)), item) for key, item in list(value.items())[:MAX_ITEMS]]
        return {
            key: REMOVED if item and _SECRET.search(key) else anything(item, mask, depth - 1) for key, item in items
        }
    if isinstance(value, list | tuple | set):
        return [anything(item, mask, depth - 1) for item in list(value)[:MAX_ITEMS]]
    return mask(value if isinstance(value, str) else short_repr(value))


def joined(parts: Iterable[Iterable[str]]) -> list[str]:
    """Return all texts of several lists, each once."""
    return list(dict.fromkeys(item for items in parts for item in items))
