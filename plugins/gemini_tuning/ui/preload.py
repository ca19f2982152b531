"""Import what most tasks need, in a process that forks task processes: each then has it at once, and in shared memory.

Importing Google's clients is most of what a task of ours does: about a second of CPU, and 60 MB. Airflow forks every
task process from the one that supervises it, and that, with LocalExecutor, from the scheduler.
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


# What the service's answers are read with: google-genai builds the validators of its types at their first use.
ANSWERS = ("GenerateContentResponse", "ListTuningJobsResponse", "Model", "TuningJob")


def preload() -> None:
    """Import and build them; nothing is connected, and no thread is started, so that a fork is safe."""
    for module in MODULES:
        importlib.import_module(module)
    from google.genai import types

    from gemini_tuning.hooks.clients import tls

    for answer in ANSWERS:
        getattr(types, answer).model_rebuild()
    tls()
