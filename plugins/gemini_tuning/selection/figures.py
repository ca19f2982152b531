"""Figures and names as a sentence about a checkpoint has them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gemini_tuning.core.text import redact, short_repr
from gemini_tuning.selection.candidate import Candidate
from gemini_tuning.selection.paired_test import Comparison

MAX_NAMES = 5
MAX_NAME = 40  # characters
MAX_REASON = 200  # characters of why something could not be asked


def percent(share: float, digits: int = 1) -> str:
    """0.912 -> ``91.2%``."""
    return f"{share:.{digits}%}"


def milliseconds(time: float, digits: int = 0) -> str:
    """1234.5 -> ``1,234 ms``."""
    return f"{time:,.{digits}f} ms"


def apart(one: float, other: float, form: Callable[[float, int], str], digits: int) -> tuple[str, str]:
    """Write two figures with as many digits as it takes to see which is greater: never *80.0% is below 80.0%*."""
    texts = form(one, digits), form(other, digits)
    while texts[0] == texts[1] and one != other and digits < 9:
        digits += 1
        texts = form(one, digits), form(other, digits)
    return texts


def points(difference: float) -> str:
    """Write a difference of scores without its sign: 0.031 -> ``3.1 points``."""
    return f"{apart(abs(difference), 0, _hundredths, 1)[0]} points"


def _hundredths(share: float, digits: int) -> str:
    return f"{100 * share:.{digits}f}"


def p_value(p: float) -> str:
    """0.0123 -> ``p = 0.0123``; tiny ones are not written out."""
    return f"p = {p:.3g}" if p >= 0.001 else "p < 0.001"


def tested(comparison: Comparison) -> str:
    """``p = 0.0123, exact McNemar``."""
    return f"{p_value(comparison.p)}, {comparison.method}"


def name(text: str) -> str:
    """Return an id as a sentence can hold it: one line, short."""
    clean = text if text.isprintable() else short_repr(text)
    return clean if len(clean) <= MAX_NAME else f"{clean[: MAX_NAME - 1]}…"


def names(ids: Sequence[str]) -> str:
    """Return the first few of many ids, and how many more there are."""
    more = f" and {len(ids) - MAX_NAMES} more" if len(ids) > MAX_NAMES else ""
    return ", ".join(name(i) for i in ids[:MAX_NAMES]) + more


def label(contender: Candidate, *, epoch: bool = False) -> str:
    """``checkpoint 3 (epoch 3)``."""
    when = f" (epoch {contender.epoch})" if epoch and contender.epoch is not None else ""
    return f"checkpoint {name(contender.checkpoint_id)}{when}"


def counted(number: int, thing: str) -> str:
    """``1 case``, ``2 cases``."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def capital(sentence: str) -> str:
    """Let a sentence begin with a capital letter; unlike ``str.capitalize`` it leaves the rest alone."""
    return sentence[:1].upper() + sentence[1:]


def why_not_asked(contender: Candidate) -> str:
    """Return why there are no answers, in one line."""
    return " ".join(redact(contender.error or "it answered no case", MAX_REASON).split())
