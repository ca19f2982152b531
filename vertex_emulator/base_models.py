"""Which base models can be tuned, and with which adapter sizes. Pure functions.

Sizes: Google's page on supervised fine-tuning, in its versions of 2025 (Gemini 2.0) and 2026 (the others).
"""

from collections.abc import Collection, Mapping
from enum import StrEnum

from .protojson import ADAPTER_SIZES

_UP_TO_8 = frozenset(f"ADAPTER_SIZE_{size}" for size in ("ONE", "TWO", "FOUR", "EIGHT"))
_UP_TO_16 = _UP_TO_8 | {"ADAPTER_SIZE_SIXTEEN"}
ADAPTERS: Mapping[str, frozenset[str]] = {
    "gemini-2.0-flash-001": _UP_TO_8,
    "gemini-2.0-flash-lite-001": _UP_TO_8,
    "gemini-2.5-pro": _UP_TO_8,
    "gemini-2.5-flash": _UP_TO_16,
    "gemini-2.5-flash-lite": _UP_TO_16,
    "gemini-3.1-flash-lite": _UP_TO_16,
    "gemini-3.5-flash": _UP_TO_16,
}
"""The base models, each with the adapter sizes that it takes."""
_ALL_SIZES = frozenset(ADAPTER_SIZES.numbers)


class Unsupported(StrEnum):
    """What becomes of a job whose base model can't be tuned, or not with its adapter size."""

    REFUSE = "refuse"
    """There is none: 400, in the words that users have reported."""
    FAIL = "fail"
    """It is made, and fails with the same words when its dataset is looked at."""


def objection(base_model: str, adapter_size: str, more: Collection[str] = ()) -> str | None:
    """Say why a base model can't be tuned so; None when it can.

    The words are Google's: googleapis/python-genai issue 908 for the size, users' notes for the model.

    :param more: names of other base models; any adapter size will do for them.
    """
    sizes = _ALL_SIZES if base_model in more else ADAPTERS.get(base_model)
    if sizes is None:
        return f"Base model {base_model} is not supported."
    return None if adapter_size in sizes else "The adapter size is not supported for this base model."
