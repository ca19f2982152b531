"""DAG factories, and the tuning pipeline as a task group.

Names are imported when they are first used, so that a DAG file loads the modules of its own DAG only.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gemini_tuning.pipelines.cleanup import model_cleanup_dag as model_cleanup_dag
    from gemini_tuning.pipelines.promotion import checkpoint_promotion_dag as checkpoint_promotion_dag
    from gemini_tuning.pipelines.prompt import checkpoint_prompt_dag as checkpoint_prompt_dag
    from gemini_tuning.pipelines.retraining import retraining_dags as retraining_dags
    from gemini_tuning.pipelines.tuning import checkpoint_tuning as checkpoint_tuning
    from gemini_tuning.pipelines.tuning import checkpoint_tuning_dag as checkpoint_tuning_dag

_MODULES = {
    "checkpoint_promotion_dag": "promotion",
    "checkpoint_prompt_dag": "prompt",
    "checkpoint_tuning": "tuning",
    "checkpoint_tuning_dag": "tuning",
    "model_cleanup_dag": "cleanup",
    "retraining_dags": "retraining",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
