"""What can be done with a run's model: each action is a run of a DAG, with these parameters. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from gemini_tuning.core.names import ResourceName, ResourceNameError
from gemini_tuning.ui.overview import model_key
from gemini_tuning.ui.run_view import RunView

PROMOTION_DAG = "gemini_checkpoint_promotion"
PROMPT_DAG = "gemini_checkpoint_prompt"
MAX_CHECKPOINTS = 50  # that a prompt is sent to
UNKNOWN = "unknown"  # of a checkpoint whose id nobody has pushed
MAX_CHECKPOINT_ID = 64  # characters


@dataclass(frozen=True)
class Action:
    """A run that can be started.

    :param conf: its parameters; a form adds its own.
    :param question: what the person confirms; ``{name}`` stands for a parameter of the form.
    """

    dag_id: str
    label: str
    question: str
    conf: Mapping[str, Any]


@dataclass(frozen=True)
class Actions:
    """What is offered; ``None`` and empty where it makes no sense or is not allowed.

    :param set_default: by checkpoint id.
    """

    set_default: Mapping[str, Action] = field(default_factory=dict)
    roll_back: Action | None = None
    copy: Action | None = None
    prompt: Action | None = None

    @property
    def any(self) -> bool:
        """Whether there is one below the tables."""
        return bool(self.roll_back or self.copy or self.prompt)

    @classmethod
    def of(cls, view: RunView, may_trigger: Callable[[str], bool]) -> Actions:
        """Return what is offered for a run.

        :param may_trigger: whether the person may trigger a DAG, and it exists.
        """
        if view.run.is_live or view.run.has_several_jobs or not model_key(view.model):
            return cls()  # while it is under way the run itself sets the default
        promotes, prompts = may_trigger(PROMOTION_DAG), may_trigger(PROMPT_DAG)
        return cls(
            set_default=_set_default(view) if promotes else {},
            roll_back=_roll_back(view) if promotes else None,
            copy=_copy(view) if promotes else None,
            prompt=_prompt(view) if prompts else None,
        )


def _set_default(view: RunView) -> dict[str, Action]:
    ids = [entry["checkpoint_id"] for entry in view.checkpoints]
    return {
        identifier: _promotion(view, "Set as default", identifier)
        for identifier in ids
        if identifier != view.default.now and _is_id(identifier)
    }


def _roll_back(view: RunView) -> Action | None:
    previous = view.default.previous
    return _promotion(view, f"Roll back to checkpoint {previous}", previous) if _is_id(previous) else None


def _is_id(identifier: str | None) -> TypeGuard[str]:
    return identifier is not None and identifier != UNKNOWN and 0 < len(identifier) <= MAX_CHECKPOINT_ID


def _promotion(view: RunView, label: str, checkpoint_id: str) -> Action:
    return Action(
        PROMOTION_DAG,
        label,
        f"Make checkpoint {checkpoint_id} the default of {view.model}? The default is checkpoint "
        f"{view.default.now or 'unknown'} now. Whoever uses the model without naming a checkpoint gets the new one.",
        {**_conf(view), "checkpoint_id": checkpoint_id, **_expected(view), **_job(view)},
    )


def _copy(view: RunView) -> Action:
    return Action(
        PROMOTION_DAG,
        "Copy",
        f"Copy {view.model}, with all checkpoints, to {{copy_location}} {{copy_project_id}}? The copy keeps "
        f"the model's default, checkpoint {view.default.now or 'unknown'} as far as is known.",
        _conf(view),
    )


def _prompt(view: RunView) -> Action | None:
    asked = [
        {"checkpoint_id": entry["checkpoint_id"], "endpoint": entry["endpoint"]}
        for entry in view.checkpoints
        if entry["endpoint"]
    ][:MAX_CHECKPOINTS]
    if not asked:
        return None
    names = ", ".join(entry["checkpoint_id"] for entry in asked)
    return Action(
        PROMPT_DAG,
        "Ask",
        f"Ask checkpoints {names} of {view.model}? Google bills {len(asked)} prompts.",
        {**_cloud(view), "checkpoints": asked},
    )


def _conf(view: RunView) -> dict[str, Any]:
    return {**_cloud(view), "model": view.model}


def _expected(view: RunView) -> dict[str, str]:
    """Return the default that the person is told: when it is another one by then, nothing is changed."""
    return {"expected_default": view.default.now} if _is_id(view.default.now) else {}


def _job(view: RunView) -> dict[str, str]:
    """Return the job that made the model, where its name is one."""
    try:
        name = ResourceName.parse(view.head.job, "tuningJobs")
    except ResourceNameError:
        return {}
    return {"tuning_job": str(name)} if name.id.isdecimal() else {}


def _cloud(view: RunView) -> dict[str, Any]:
    """Return the connection that the run used."""
    return {name: value for name, value in view.run.connection.items() if value}
