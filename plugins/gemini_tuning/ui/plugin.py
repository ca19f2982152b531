"""The Airflow plugin: a page that lists all tuning runs, and a tab on each DAG run.

Airflow imports this module in every process, task processes included, so it imports only Airflow's own modules. The web
application is imported by the API server alone.
"""

from __future__ import annotations

import sys
from functools import cached_property
from typing import Any, ClassVar

from airflow.configuration import conf
from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin

URL_PREFIX = "/gemini-tuning"
HREF = "gemini-tuning/"  # relative, so that it works under any path of [api] base_url


class PreloadListener:
    """With ``[gemini_tuning] preload``, imports in a scheduler that forks task processes what most tasks need."""

    @hookimpl
    def on_starting(self, component: Any) -> None:
        """Preload; Airflow calls this before the scheduler starts its executor, and in other processes too."""
        forks_tasks = sys.argv[1:2] == ["scheduler"] and "LocalExecutor" in conf.get("core", "executor")
        if forks_tasks and conf.getboolean("gemini_tuning", "preload", fallback=False):
            from gemini_tuning.ui.preload import preload

            preload()


class GeminiTuningPlugin(AirflowPlugin):
    """Adds the page, the tab and the preload listener to Airflow."""

    name = "gemini_tuning"
    listeners: ClassVar[list[Any]] = [PreloadListener()]  # type: ignore[misc]
    external_views: ClassVar[list[Any]] = [  # type: ignore[misc]
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
        """The web application; only the API server reads this attribute."""
        from gemini_tuning.ui.app import create_app

        return [{"app": create_app(), "url_prefix": URL_PREFIX, "name": "Gemini tuning"}]
