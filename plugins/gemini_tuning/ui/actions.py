"""What the user can do with the model of a run: each action triggers a DAG with these parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from gemini_tuning.core.names import ResourceName, ResourceNameError
from gemini_tuning.ui.defaults import model_key
from gemini_tuning.ui.run_view import RunView

PROMOTION_DAG = "gemini_checkpoint_promotion"
PROMPT_DAG = "gemini_checkpoint_prompt"
MAX_CHECKPOINTS = 50  # that a prompt is sent to
MAX_CHECKPOINT_ID = 64  # characters
UNKNOWN = "unknown"  # of a checkpoint whose id is not in the XCom


@dataclass(frozen=True)
class Action:
    """A DAG run that can be triggered.

    :param conf: its parameters; a form adds its own.
    :param question: what the user confirms; ``{name}`` is replaced by a parameter of the form.
    """

    dag_id: str
    label: str
    question: str
    conf: Mapping[str, Any]


@dataclass(frozen=True)
class Actions:
    """The actions of a run; ``None`` and empty where one does not apply or is not permitted.

    :param set_default: by checkpoint id.
    """

    set_default: Mapping[str, Action] = field(default_factory=dict)
    roll_back: Action | None = None
    copy: Action | None = None
    prompt: Action | None = None

    @classmethod
    def of(cls, view: RunView, may_trigger: Callable[[str], bool]) -> Actions:
        """Return the actions of a run.

        :param may_trigger: whether a DAG exists and the user may trigger it.
        """
        if view.run.is_live or view.run.has_several_jobs or not model_key(view.model):
            return cls()  # until it has finished, the run itself sets the default
        promotes, prompts = may_trigger(PROMOTION_DAG), may_trigger(PROMPT_DAG)
        return cls(
            set_default=_set_default(view) if promotes else {},
            roll_back=_roll_back(view) if promotes else None,
            copy=_copy(view) if promotes else None,
            prompt=_prompt(view) if prompts else None,
        )


def _set_default(view: RunView) -> dict[str, Action]:
    ids = [checkpoint.checkpoint_id for checkpoint in view.checkpoints]
    return {
        checkpoint_id: _promotion(view, "Set as default", checkpoint_id)
        for checkpoint_id in ids
        if checkpoint_id != view.default.current and _is_id(checkpoint_id)
    }


def _roll_back(view: RunView) -> Action | None:
    previous = view.default.previous
    return _promotion(view, f"Roll back to checkpoint {previous}", previous) if _is_id(previous) else None


def _is_id(checkpoint_id: str | None) -> TypeGuard[str]:
    return checkpoint_id is not None and checkpoint_id != UNKNOWN and 0 < len(checkpoint_id) <= MAX_CHECKPOINT_ID


def _promotion(view: RunView, label: str, checkpoint_id: str) -> Action:
    return Action(
        PROMOTION_DAG,
        label,
        f"Set checkpoint {checkpoint_id} as the default of {view.model}? The current default is checkpoint "
        f"{view.default.current or 'unknown'}. Requests that name no checkpoint will be served by the new default.",
        {**_connection(view), "model": view.model, "checkpoint_id": checkpoint_id, **_expected(view), **_job(view)},
    )


def _copy(view: RunView) -> Action:
    return Action(
        PROMOTION_DAG,
        "Copy",
        f"Copy {view.model}, with all its checkpoints, to {{copy_location}} {{copy_project_id}}? The copy keeps the "
        f"model's default: checkpoint {view.default.current or 'unknown'}, as far as Airflow has recorded.",
        {**_connection(view), "model": view.model},
    )


def _prompt(view: RunView) -> Action | None:
    checkpoints = [
        {"checkpoint_id": checkpoint.checkpoint_id, "endpoint": checkpoint.endpoint}
        for checkpoint in view.checkpoints
        if checkpoint.endpoint
    ][:MAX_CHECKPOINTS]
    if not checkpoints:
        return None
    ids = ", ".join(checkpoint["checkpoint_id"] for checkpoint in checkpoints)
    return Action(
        PROMPT_DAG,
        "Send",
        f"Send this prompt to checkpoints {ids} of {view.model}? Google bills {len(checkpoints)} requests.",
        {**_connection(view), "checkpoints": checkpoints},
    )


def _connection(view: RunView) -> dict[str, Any]:
    """Return the connection of the run."""
    return {name: value for name, value in view.run.connection.items() if value}


def _expected(view: RunView) -> dict[str, str]:
    """Return the default that the question names: the run changes nothing when it is another one by then."""
    return {"expected_default": view.default.current} if _is_id(view.default.current) else {}


def _job(view: RunView) -> dict[str, str]:
    """Return the job that created the model, where its name is known."""
    try:
        name = ResourceName.parse(view.job, "tuningJobs")
    except ResourceNameError:
        return {}
    return {"tuning_job": str(name)} if name.id.isdecimal() else {}
