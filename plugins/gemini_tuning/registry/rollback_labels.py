"""The record of a model's last promotion: two labels on the model, so that it can be rolled back.

``gemini_tuning_promoted`` is the checkpoint that was set as the default, ``gemini_tuning_before`` the default before,
if there was one. The record is valid only while the default is the promoted checkpoint: after a change elsewhere it is
unknown what to roll back to.
"""

from __future__ import annotations

from gemini_tuning.core.exceptions import InvalidInputError
from gemini_tuning.core.labels import BEFORE, PROMOTED, label_value
from gemini_tuning.core.resources import Model
from gemini_tuning.core.text import short_repr


class RollbackError(InvalidInputError):
    """The labels do not tell to which checkpoint a model can be rolled back."""

    def __init__(self, model: Model, message: str, code: str, hint: str = "Set checkpoint_id.") -> None:
        super().__init__(message, field="checkpoint_id", resource=model.name, code=code, hint=hint)


def labels_with_record(model: Model, checkpoint_id: str) -> dict[str, str]:
    """Return the labels of a model before a promotion with the record of it; all other labels are kept."""
    labels = {key: value for key, value in model.labels.items() if key not in (PROMOTED, BEFORE)}
    labels[PROMOTED] = label_value(checkpoint_id)
    if model.default_checkpoint_id is not None:
        labels[BEFORE] = label_value(model.default_checkpoint_id)
    return labels


def is_recorded(model: Model) -> bool:
    """Whether the record is about the current default checkpoint."""
    default = model.default_checkpoint_id
    return default is not None and model.labels.get(PROMOTED) == label_value(default)


def earlier_default(model: Model) -> str:
    """Return the checkpoint that was the default before the last promotion, or raise a :class:`RollbackError`."""
    promoted, before, default = model.labels.get(PROMOTED), model.labels.get(BEFORE), model.default_checkpoint_id
    # By label value: an id that is not a valid one is recorded with a hash.
    checkpoints = {label_value(checkpoint.checkpoint_id): checkpoint.checkpoint_id for checkpoint in model.checkpoints}
    if promoted is None:
        problem = f"{model.name} has no label {PROMOTED}: no promotion was recorded."
        hint = "Set checkpoint_id; the earlier default is in the report of the run that set the current one."
        raise RollbackError(model, problem, "no_record", hint)
    if not is_recorded(model):
        recorded = checkpoints.get(promoted) or short_repr(promoted)
        problem = f"The labels of {model.name} record the promotion of checkpoint {recorded}"
        problem = f"{problem}, but the default is {default}: it was changed elsewhere."
        raise RollbackError(model, problem, "default_changed", "Check the model, then set checkpoint_id.")
    if before is None:
        problem = f"Before checkpoint {default} was promoted, {model.name} had no default."
        raise RollbackError(model, problem, "no_earlier_default")
    if before not in checkpoints:
        there = ", ".join(map(short_repr, list(checkpoints.values())[:50])) or "none"
        problem = f"Checkpoint {short_repr(before)}, the earlier default of {model.name}, does not exist"
        raise RollbackError(model, f"{problem}; the model has: {there}.", "not_found_in_model")
    return checkpoints[before]
