"""What this project adds to Airflow's UI: a page with all tuning runs, and a tab on each DAG run.

Airflow loads this file in every process, task processes too: nothing is imported here that only the API server needs.
"""

from __future__ import annotations

import sys
from functools import cached_property
from typing import Any, ClassVar

from airflow.configuration import conf
from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin

PREFIX = "/gemini-tuning"
HREF = "gemini-tuning/"  # relative: below whatever path Airflow is under


class _Preload:
    """With ``[gemini_tuning] preload``, a scheduler that forks the tasks imports for them what they need."""

    @hookimpl
    def on_starting(self, component: Any) -> None:
        """Airflow calls this before the scheduler starts its executor; also elsewhere, and in each task process."""
        forks_tasks = sys.argv[1:2] == ["scheduler"] and "LocalExecutor" in conf.get("core", "executor")
        if forks_tasks and conf.getboolean("gemini_tuning", "preload", fallback=False):
            from gemini_tuning.ui.preload import preload

            preload()


class GeminiTuningPlugin(AirflowPlugin):
    """The page."""

    name = "gemini_tuning"
    listeners: ClassVar[list[Any]] = [_Preload()]
    external_views: ClassVar[list[Any]] = [
        {
            "name": "Gemini tuning",
            "href": HREF,
            "destination": "nav",
            "category": "browse",
            "url_route": "gemini-tuning",
        },
        {
            "name": "Tuning",
            "href": f"{HREF}run?dag_id={{DAG_ID}}&run_id={{RUN_ID}}",
            "destination": "dag_run",
            "url_route": "gemini-tuning-run",
        },
    ]

    @cached_property
    def fastapi_apps(self) -> list[Any]:  # type: ignore[override]
        """The web application; only the API server asks for it."""
        from gemini_tuning.ui.app import create_app

        return [{"app": create_app(), "url_prefix": PREFIX, "name": "Gemini tuning"}]
