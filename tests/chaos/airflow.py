"""A real Airflow that recovers quickly, with two triggerers, beside an emulator that survives being killed.

The database is SQLite, one file for each campaign. Airflow sets it to WAL, in which a process that is killed can't
damage it.
"""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

from demo.stack import REPOSITORY, Stack

_init = (REPOSITORY / "plugins" / "gemini_tuning" / "__init__.py").read_text(encoding="utf-8")
VERSION = re.findall(r'__version__ = "(.+)"', _init)[0]

# By default Airflow gives a process minutes before it counts as dead. A round can't wait that long; these are still
# above what a busy machine with two cores may need for an answer.
QUICK_RECOVERY = {
    # A scheduler that is dead: its tasks are taken over by the next one.
    "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "2",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "15",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
    # A task whose process is dead: it is tried again.
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "15",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
    # A task that was given to a worker which died before it began with it.
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": "40",
    "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": "5",
    # A triggerer that is dead: the other one takes its triggers over.
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "12",
    # The proof of a triggerer stands already: a run must get as far as its job although no triggerer runs.
    "AIRFLOW_VAR_GEMINI_TUNING_TRIGGERER_CHECK": json.dumps({"version": VERSION, "at": int(time.time())}),
}
TRIGGERERS = ("triggerer", "triggerer-2")


def make_stack(home: Path) -> Stack:
    """Return the two systems, not started yet.

    :param home: folder for everything that is written.
    """
    policy = Path(__file__).parent / "policy"
    return Stack(
        home,
        emulator_options=("--state", str(home / "vertex"), "--journal", "100000"),
        airflow_env={**QUICK_RECOVERY, "PYTHONPATH": str(policy)},
        triggerers=len(TRIGGERERS),
        lock_patience=25,  # a scheduler may be stopped with the lock in its hand, which would end the other parts
    )
