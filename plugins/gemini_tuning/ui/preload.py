"""Imports what most tasks need in a process that forks task processes, so that they share it.

Importing Google's clients takes most of the time and memory of a short task: about a second of CPU, and 60 MB. Airflow
forks every task process from its supervisor; with LocalExecutor the supervisor is forked from the scheduler.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from typing import TypeVar

import gemini_tuning

GOOGLE_MODULES = (
    "google.api_core.retry",
    "google.auth.transport.requests",
    "google.cloud.storage",
    "google.genai.types",
)

# google-genai builds the pydantic validators of its response types at their first use.
RESPONSE_TYPES = ("GenerateContentResponse", "ListTuningJobsResponse", "TuningJob")

T = TypeVar("T")


def preload() -> None:
    """Import the modules and build the validators; opens no connection and starts no thread, so a fork is safe."""
    modules = pkgutil.walk_packages(gemini_tuning.__path__, "gemini_tuning.")
    # task processes import neither the page nor command lines
    ours = [module.name for module in modules if ".ui" not in module.name and not module.name.endswith("__main__")]
    for name in (*GOOGLE_MODULES, *ours):
        importlib.import_module(name)
    from google.genai import types
    from pydantic import BaseModel

    from gemini_tuning.core.api_types import ApiValue
    from gemini_tuning.hooks.base import tls

    for name in RESPONSE_TYPES:
        getattr(types, name).model_rebuild()
    for model in _ours(BaseModel):
        model.model_rebuild()
    for value in _ours(ApiValue):
        value.adapter()
    tls()


def _ours(base: type[T]) -> Iterator[type[T]]:
    """Yield the subclasses that this package defines: their validators are built at first use too."""
    for found in base.__subclasses__():
        if found.__module__.startswith("gemini_tuning."):
            yield found
        yield from _ours(found)
