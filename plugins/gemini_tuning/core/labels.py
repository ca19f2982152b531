"""Labels that identify the run of a tuning job.

Rules: https://cloud.google.com/resource-manager/docs/labels-overview (keys and values of at most 63 characters:
lowercase letters, digits, ``_`` and ``-``). Keys have no hyphen, because the grammar of the list's filter is not
documented.
"""

from __future__ import annotations

import hashlib
import re

DAG, RUN, TASK = "airflow_dag", "airflow_run", "airflow_task"
MAP_INDEX, REQUEST = "airflow_map_index", "airflow_request"
PROMOTED, BEFORE = "gemini_tuning_promoted", "gemini_tuning_before"  # on models
RESERVED = frozenset({DAG, RUN, TASK, MAP_INDEX, REQUEST, PROMOTED, BEFORE})

MAX_VALUE = 63  # characters
_HASH_LENGTH = 12
_NOT_ALLOWED = re.compile(r"[^a-z0-9_-]")


def run_labels(dag_id: str, run_id: str, task_id: str, map_index: int | None = None) -> dict[str, str]:
    """Return the labels of a resource that a task creates. The last one, the run, is the most selective filter."""
    labels = {DAG: label_value(dag_id), TASK: label_value(task_id)}
    if map_index is not None and map_index >= 0:  # else the task is not mapped
        labels[MAP_INDEX] = str(map_index)
    return {**labels, RUN: label_value(run_id)}


def label_value(text: str) -> str:
    """Return a text as the value of a label: unchanged where that is allowed, else readable and with a hash.

    Different texts get different values, also ``a.b`` and ``a:b``, and long texts with the same beginning.
    """
    allowed = _NOT_ALLOWED.sub("-", text.lower())
    if allowed == text and len(text) <= MAX_VALUE:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:_HASH_LENGTH]
    return f"{allowed[: MAX_VALUE - _HASH_LENGTH - 1]}-{digest}"
