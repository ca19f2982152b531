"""Cluster policy of the Airflow under chaos: the DAG's patience in shorter steps.

The DAG waits 2 x 30 s for a service that is away. A shorter delay alone would make it less patient than it is.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

SHORTER_STEPS = {"retries": 12, "retry_delay": timedelta(seconds=5), "retry_exponential_backoff": 0}


def task_policy(task: Any) -> None:
    """Airflow calls this for every task of every DAG that it reads."""
    if not task.retries:
        return
    if hasattr(task, "partial_kwargs"):  # mapped
        task.partial_kwargs.update(SHORTER_STEPS)
        return
    for name, value in SHORTER_STEPS.items():
        setattr(task, name, value)
