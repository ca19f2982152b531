"""What the user can do with the model of a run: each action triggers a DAG with these parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
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
    """A DAG run that can be triggered."""

    dag_id: str
    label: str
    question: str  # what the user confirms; {name} is replaced by a parameter of the form
    conf: Mapping[str, Any]  # its parameters; a form adds its own


@dataclass(frozen=True)
class Actions:
    """The actions of a run; ``None`` and empty where one does not apply or is not permitted."""

    set_default: Mapping[str, Action] = field(default_factory=dict)  # by checkpoint id
    roll_back: Action | None = None
    copy: Action | None = None
    prompt: Action | None = None

    @classmethod
    def of(cls, view: RunView, may_trigger: Callable[[str], bool]) -> Actions:
        """Return the actions of a run; ``may_trigger`` says whether a DAG exists and the user may trigger it."""
        if view.run.is_live or view.run.has_several_jobs or not model_key(view.model):
            return cls()  # until it has finished, the run itself sets the default
        prompt = _prompt(view) if may_trigger(PROMPT_DAG) else None
        if not may_trigger(PROMOTION_DAG):
            return cls(prompt=prompt)
        others = [found.checkpoint_id for found in view.checkpoints if found.checkpoint_id != view.default.current]
        previous = view.default.previous
        return cls(
            set_default={other: _promotion(view, "Set as default", other) for other in others if _is_id(other)},
            roll_back=_promotion(view, f"Roll back to checkpoint {previous}", previous) if _is_id(previous) else None,
            copy=_copy(view),
            prompt=prompt,
        )


def _is_id(checkpoint_id: str | None) -> TypeGuard[str]:
    return checkpoint_id is not None and checkpoint_id != UNKNOWN and 0 < len(checkpoint_id) <= MAX_CHECKPOINT_ID


def _promotion(view: RunView, label: str, checkpoint_id: str) -> Action:
    current = view.default.current
    question = (
        f"Set checkpoint {checkpoint_id} as the default of {view.model}? The current default is checkpoint "
        f"{current or 'unknown'}. Requests that name no checkpoint will be served by the new default."
    )
    conf = {**view.run.connection, "model": view.model, "checkpoint_id": checkpoint_id}
    if _is_id(current):
        conf["expected_default"] = current  # the run changes nothing when it is another one by then
    with suppress(ResourceNameError):  # where the name of the job is known
        job = ResourceName.parse(view.job, "tuningJobs")
        conf |= {"tuning_job": str(job)} if job.id.isdecimal() else {}
    return Action(PROMOTION_DAG, label, question, conf)


def _copy(view: RunView) -> Action:
    question = (
        f"Copy {view.model}, with all its checkpoints, to {{copy_location}} {{copy_project_id}}? The copy keeps the "
        f"model's default: checkpoint {view.default.current or 'unknown'}, as far as Airflow has recorded."
    )
    return Action(PROMOTION_DAG, "Copy", question, {**view.run.connection, "model": view.model})


def _prompt(view: RunView) -> Action | None:
    found = [checkpoint for checkpoint in view.checkpoints if checkpoint.endpoint][:MAX_CHECKPOINTS]
    if not found:
        return None
    ids = ", ".join(checkpoint.checkpoint_id for checkpoint in found)
    question = f"Send this prompt to checkpoints {ids} of {view.model}? Google bills {len(found)} requests."
    checkpoints = [checkpoint.model_dump(include={"checkpoint_id", "endpoint"}) for checkpoint in found]
    return Action(PROMPT_DAG, "Send", question, {**view.run.connection, "checkpoints": checkpoints})
