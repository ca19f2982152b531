"""Extra links of the tasks: to the resource in the Google Cloud console, and to the run's page in Airflow.

Airflow computes a link on the worker when a try ends or defers, and stores it as an XCom. A task that resumes after a
deferral is a new object, and one that failed has pushed nothing. So the resource is taken from the rendered fields, and
if it is not there, from the XComs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import attrs
from airflow.sdk import BaseOperatorLink, conf

from gemini_tuning.core.console import console_link

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

PAGE_ROUTE = "gemini-tuning-run"  # of the tab on a DAG run


@attrs.define(frozen=True)
class ConsoleLink(BaseOperatorLink):
    """A resource in the Google Cloud console; empty while the task knows no resource.

    :param name: text of the button.
    :param xcom_key: XCom key of the link.
    :param field: template field with the resource's full name, or a mapping that has it under ``field_key``.
    :param xcom: XCom key and, if its value is a mapping, the key in it, for example ``("return_value", "model")``.
    """

    name: str
    xcom_key: str
    field: str | None = None
    field_key: str | None = None
    xcom: tuple[str, str | None] | None = None

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the URL, or an empty string."""
        from airflow.sdk.execution_time.xcom import XCom

        url = console_link(_item(getattr(operator, self.field, None), self.field_key)) if self.field else None
        if url is None and self.xcom is not None:
            key, item = self.xcom
            url = console_link(_item(XCom.get_value(ti_key=ti_key, key=key), item))
        return url or ""


class RunPageLink(BaseOperatorLink):
    """The run's page in Airflow's UI."""

    name = "Checkpoints of this run"
    xcom_key = "_link_run_page"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the URL."""
        return run_page(ti_key.dag_id, ti_key.run_id)


class TuningRunLink(BaseOperatorLink):
    """The page of the tuning run that a retraining has triggered."""

    name = "Checkpoints of the tuning run"
    xcom_key = "_link_tuning_run"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the URL, or an empty string; both fields are rendered again when the task resumes."""
        dag_id, run_id = getattr(operator, "tuning_dag_id", None), getattr(operator, "tuning_run_id", None)
        return run_page(dag_id, run_id) if isinstance(dag_id, str) and isinstance(run_id, str) else ""


TUNING_JOB = ConsoleLink("Tuning job", "_link_tuning_job", field="tuning_job", xcom=("return_value", None))
TUNED_MODEL = ConsoleLink("Tuned model", "_link_tuned_model", field="model", xcom=("tuned_model", None))
MODEL_OF_JOB = ConsoleLink("Tuned model", "_link_tuned_model", xcom=("return_value", "model"))
ENDPOINT = ConsoleLink("Endpoint", "_link_endpoint", field="checkpoint", field_key="endpoint")
CHAMPION = ConsoleLink("Champion", "_link_champion", field="champion")
SOURCE_MODEL = ConsoleLink("Source model", "_link_source_model", field="source_model")
COPY = ConsoleLink("Copy", "_link_copy", xcom=("return_value", "model"))
CHECKED_COPY = ConsoleLink("Copy", "_link_copy", field="model")
RUN_PAGE = RunPageLink()
TUNING_RUN = TuningRunLink()


def run_page(dag_id: str, run_id: str) -> str:
    """Return the path of a run's page in Airflow's UI, below that of ``[api] base_url``."""
    base = urlsplit(conf.get("api", "base_url", fallback="") or "").path.rstrip("/")
    return f"{base}/dags/{quote(dag_id, safe='')}/runs/{quote(run_id, safe='')}/plugin/{PAGE_ROUTE}"


def _item(value: Any, key: str | None) -> Any:
    if key is None:
        return value
    return value.get(key) if isinstance(value, Mapping) else None
