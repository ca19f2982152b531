"""What is known of a model's last promotion: two labels on the model, so that it can be undone. Pure.

``gemini_tuning_promoted`` is the checkpoint that was made the default, ``gemini_tuning_before`` the one that was the
default before; the second is missing where there was none. The record counts only while the default is the promoted
checkpoint: after a change elsewhere nobody knows what to go back to.
"""

from __future__ import annotations

from gemini_tuning.core.labels import BEFORE, PROMOTED, label_value
from gemini_tuning.core.resources import Model
from gemini_tuning.core.text import short_repr


class RollbackError(ValueError):
    """The record does not say to which checkpoint a model can be rolled back."""


def labels_with_record(model: Model, checkpoint_id: str) -> dict[str, str]:
    """Return a model's labels with the record of a promotion that is about to be made; all others stay.

    :param model: as it is before.
    """
    labels = {key: value for key, value in model.labels.items() if key not in (PROMOTED, BEFORE)}
    labels[PROMOTED] = label_value(checkpoint_id)
    if model.default_checkpoint_id is not None:
        labels[BEFORE] = label_value(model.default_checkpoint_id)
    return labels


def is_recorded(model: Model) -> bool:
    """Whether the record is about the checkpoint that is the default now."""
    default = model.default_checkpoint_id
    return default is not None and model.labels.get(PROMOTED) == label_value(default)


def earlier_default(model: Model) -> str:
    """Return the checkpoint that was the default before the last promotion.

    :raises RollbackError: when there is no record, it does not fit the model any more, or names no checkpoint that is
        there.
    """
    promoted, default = model.labels.get(PROMOTED), model.default_checkpoint_id
    if promoted is None:
        raise RollbackError(
            f"{model.name} has no label {PROMOTED}: nobody has recorded a promotion. The report of the run that set "
            "the default says which checkpoint was the default before; name it yourself."
        )
    if not is_recorded(model):
        raise RollbackError(
            f"the record of {model.name} says that checkpoint {_named(model, promoted)} was promoted, but the default "
            f"is {default}: somebody has changed it elsewhere. Look at the model, then name a checkpoint yourself."
        )
    before = model.labels.get(BEFORE)
    if before is None:
        raise RollbackError(
            f"before checkpoint {default} was promoted, {model.name} had no default. Name a checkpoint yourself."
        )
    found = _checkpoint(model, before)
    if found is None:
        there = ", ".join(short_repr(checkpoint.checkpoint_id) for checkpoint in model.checkpoints[:50]) or "none"
        raise RollbackError(
            f"checkpoint {short_repr(before)}, the default of {model.name} before, is not there any more; there are: "
            f"{there}. Name one of them yourself."
        )
    return found


def _checkpoint(model: Model, value: str) -> str | None:
    """Return the checkpoint that a label names; ids that are no label's value are there with a hash."""
    ids = (checkpoint.checkpoint_id for checkpoint in model.checkpoints)
    return next((identifier for identifier in ids if label_value(identifier) == value), None)


def _named(model: Model, value: str) -> str:
    return _checkpoint(model, value) or short_repr(value)
