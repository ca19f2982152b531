"""Hostile values in messages: bounded, in one line where it matters, without a secret. Pure; nothing here raises."""

from __future__ import annotations

import re
import reprlib

MAX_SAID = 2_000  # characters of somebody else's text in a message
MAX_SHOWN = 120  # characters of a value in a message
LEAST_SHOWN = 0.0001  # of an amount of money
_LOOKED_AT = 50_000  # characters of a huge text that are searched for secrets; the rest is never shown
_MASK = "[removed]"
_SECRETS = (
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), _MASK),
    (re.compile(r"(?i)(bearer\s+)[^\s'\"<>,;]+"), rf"\1{_MASK}"),
    (re.compile(r"\bya29\.[\w.-]+|\beyJ[\w-]+\.[\w-]+\.[\w-]*"), _MASK),
    (
        re.compile(
            r"(?i)((?:access_token|refresh_token|id_token|private_key|client_secret|assertion)"
            r"[\\\"'\s]*[:=][\\\"'\s]*)[^\s\"'&,<>}]+"
        ),
        rf"\1{_MASK}",
    ),
)


class _Short(reprlib.Repr):
    """Python's own short form, which goes only so deep into a structure and never writes a huge one out."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 3
        self.maxstring = self.maxother = self.maxlong = MAX_SHOWN

    def repr_bytes(self, value: bytes, _: int) -> str:
        return repr(value[:MAX_SHOWN])


_SHORT = _Short()


def short_repr(value: object) -> str:
    """Return a value as a message can show it, however big or odd it is."""
    try:
        return shorten(_SHORT.repr(value), 2 * MAX_SHOWN)
    except Exception:  # an int of 5,000 digits cannot be written down, and any object's repr may fail
        return f"a value of type {type(value).__name__}"


def shorten(text: str, limit: int = MAX_SAID) -> str:
    """Keep the beginning of a text; say so when something was cut."""
    return text if len(text) <= limit else f"{text[:limit]}… (cut; {len(text)} characters in all)"


def money(amount: float) -> str:
    """Return an amount as people read it: 1,234.50, or 0.0123 where there is less than one."""
    if 0 < amount < LEAST_SHOWN:
        return f"under {LEAST_SHOWN}"
    return f"{amount:,.2f}" if amount >= 1 or not amount else f"{amount:.4f}"


def is_unicode(text: str) -> bool:
    """Return whether UTF-8 can encode a text: JSON may contain half of a surrogate pair."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def replace_surrogates(text: str) -> str:
    """Return a text that UTF-8 can carry: half a character, which JSON can name, becomes a question mark."""
    return text.encode("utf-8", "replace").decode()


def redact(text: object, limit: int = MAX_SAID) -> str:
    """Return what a service said, fit for a message: secrets removed, cut to ``limit``."""
    whole = str(text)
    clean = whole[:_LOOKED_AT]
    for pattern, replacement in _SECRETS:
        clean = pattern.sub(replacement, clean)
    if len(whole) > _LOOKED_AT or len(clean) > limit:
        return f"{clean[:limit]}… (cut; {len(whole)} characters in all)"
    return clean
