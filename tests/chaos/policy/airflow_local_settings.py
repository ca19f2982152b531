"""Cluster policy of the Airflow under chaos: the DAG's patience in shorter steps.

By default a task of the DAG waits 3 x 5 minutes for a service that is away, and a lost create is looked for 90 seconds.
A shorter delay alone would make it less patient than it is; the emulator shows at once what it has made.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

SHORTER_STEPS = {"retries": 12, "retry_delay": timedelta(seconds=5), "retry_exponential_backoff": 0}
LOOKUP_TIMEOUT = 5.0  # seconds, after the 15 in which a request may leave


def task_policy(task: Any) -> None:
    """Airflow calls this for every task of every DAG that it reads."""
    if not task.retries:
        return
    if hasattr(task, "partial_kwargs"):  # mapped
        task.partial_kwargs.update(SHORTER_STEPS)
        return
    for name, value in SHORTER_STEPS.items():
        setattr(task, name, value)
    if hasattr(task, "lookup_timeout"):
        task.lookup_timeout = LOOKUP_TIMEOUT
