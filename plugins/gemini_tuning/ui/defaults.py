"""The current default checkpoint of each model, as far as Airflow has recorded it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gemini_tuning.core.names import ResourceName, ResourceNameError
from gemini_tuning.core.xcom import PromotionXCom


@dataclass(frozen=True)
class DefaultCheckpoint:
    """The default checkpoint of a model."""

    current: str | None = None
    previous: str | None = None  # the default before the last change


Defaults = Mapping[str, DefaultCheckpoint]  # by model_key()


def current_defaults(promotions: Iterable[PromotionXCom]) -> dict[str, DefaultCheckpoint]:
    """Return each model's default checkpoint as it was last read back, from promotions with the newest first."""
    found: dict[str, DefaultCheckpoint] = {}
    for promotion in promotions:
        model, before, after = model_key(promotion.model), promotion.default_before, promotion.default_after
        if after is None or not model:
            continue
        if model not in found:
            found[model] = DefaultCheckpoint(after, before if before != after else None)
        elif found[model].previous is None and before != after == found[model].current:
            found[model] = DefaultCheckpoint(after, before)
    return found


def model_key(model: str | None) -> str:
    """Return the name by which a model version is compared; empty when it is not a resource name."""
    try:
        return str(ResourceName.parse(model, "models"))
    except ResourceNameError:
        return ""
