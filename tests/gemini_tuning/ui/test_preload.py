"""A scheduler that forks tasks imports for them what they need, if it is told to; nobody else imports anything."""

import os
import subprocess
import sys

import pytest
from support import REPOSITORY

START = """
import sys
from airflow.jobs.job import Job
import gemini_tuning_plugin
sys.argv = {argv}
Job()
heavy = ("gemini_tuning.operators.create_tuning_job", "gemini_tuning.hooks.gemini_tuning", "google.genai")
print([name for name in heavy if name in sys.modules])
"""
ALL = ["gemini_tuning.operators.create_tuning_job", "gemini_tuning.hooks.gemini_tuning", "google.genai"]


def imported(argv, **settings):
    """Return what of ours and of Google's a process has imported when its job begins."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", START.format(argv=["airflow", *argv])],
        env=os.environ | {"PYTHONPATH": "plugins", "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR"} | settings,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def test_a_scheduler_that_forks_tasks_imports_for_them_when_told_to():
    told = {"AIRFLOW__CORE__EXECUTOR": "LocalExecutor", "AIRFLOW__GEMINI_TUNING__PRELOAD": "True"}
    assert imported(["scheduler"], **told) == str(ALL)


@pytest.mark.parametrize(
    ("argv", "executor", "preload"),
    [
        (["scheduler"], "LocalExecutor", "False"),
        (["scheduler"], "CeleryExecutor", "True"),
        (["triggerer"], "LocalExecutor", "True"),
    ],
)
def test_others_import_nothing(argv, executor, preload):
    told = {"AIRFLOW__CORE__EXECUTOR": executor, "AIRFLOW__GEMINI_TUNING__PRELOAD": preload}
    assert imported(argv, **told) == "[]"
