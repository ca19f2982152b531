"""Imports what most tasks need in a process that forks task processes, so that they share it.

Importing Google's clients takes most of the time and memory of a short task: about a second of CPU, and 60 MB. Airflow
forks every task process from its supervisor; with LocalExecutor the supervisor is forked from the scheduler.
"""

from __future__ import annotations

import importlib

MODULES = (
    "gemini_tuning.hooks.gemini_tuning",
    "gemini_tuning.operators",
    "gemini_tuning.sensors.tuning_job",
    "google.api_core.retry",
    "google.auth.transport.requests",
    "google.cloud.storage",
    "google.genai.types",
)

# google-genai builds the pydantic validators of its response types at their first use.
RESPONSE_TYPES = ("GenerateContentResponse", "ListTuningJobsResponse", "TuningJob")


def preload() -> None:
    """Import the modules and build the validators; opens no connection and starts no thread, so a fork is safe."""
    for module in MODULES:
        importlib.import_module(module)
    from google.genai import types

    from gemini_tuning.hooks.base import tls

    for name in RESPONSE_TYPES:
        getattr(types, name).model_rebuild()
    tls()
