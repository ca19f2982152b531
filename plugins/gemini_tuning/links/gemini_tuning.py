"""Buttons on the tasks: the resource in the Google Cloud console, and the run's page in Airflow.

Airflow computes them on the worker whenever a try or a part of it ends, and keeps the address as an XCom. A task that
comes back from the triggerer is a new object, and one that failed has pushed nothing; so each address is looked for
among the task's rendered fields first, and then among what it pushed.
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
    """A resource in the Google Cloud console; no address where the task never knew the resource.

    :param label: what the button says.
    :param key: where Airflow keeps the address.
    :param field: of the operator, that holds the resource's full name, or a mapping that does.
    :param pushed: XCom key, and what to take of a mapping in it, for example ``("return_value", "model")``.
    :param part: what to take of a mapping in ``field``.
    """

    label: str
    key: str
    field: str | None = None
    part: str | None = None
    pushed: tuple[str, str | None] | None = None

    @property
    def name(self) -> str:
        """What the button says."""
        return self.label

    @property
    def xcom_key(self) -> str:
        """Where Airflow keeps the address."""
        return self.key

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the address, or an empty text."""
        found = console_link(_part(getattr(operator, self.field, None), self.part)) if self.field else None
        if found is None and self.pushed is not None:
            key, part = self.pushed
            found = console_link(_part(_pushed(ti_key, key), part))
        return found or ""


@attrs.define(frozen=True)
class RunPageLink(BaseOperatorLink):
    """The run's page: checkpoints, losses, answers, decision."""

    @property
    def name(self) -> str:
        """What the button says."""
        return "Checkpoints of this run"

    @property
    def xcom_key(self) -> str:
        """Where Airflow keeps the address."""
        return "_link_run_page"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the address."""
        return run_page(ti_key.dag_id, ti_key.run_id)


@attrs.define(frozen=True)
class TuningRunLink(BaseOperatorLink):
    """The page of the tuning run that a retraining has started."""

    @property
    def name(self) -> str:
        """What the button says."""
        return "Checkpoints of the tuning run"

    @property
    def xcom_key(self) -> str:
        """Where Airflow keeps the address."""
        return "_link_tuning_run"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the address; both fields are rendered anew when the task goes on after its deferral."""
        dag_id, run_id = getattr(operator, "tuning_dag_id", None), getattr(operator, "tuning_run_id", None)
        return run_page(dag_id, run_id) if isinstance(dag_id, str) and isinstance(run_id, str) else ""


TUNING_JOB = ConsoleLink("Tuning job", "_link_tuning_job", field="tuning_job", pushed=("return_value", None))
TUNED_MODEL = ConsoleLink("Tuned model", "_link_tuned_model", field="model", pushed=("tuned_model", None))
MODEL_OF_JOB = ConsoleLink("Tuned model", "_link_tuned_model", pushed=("return_value", "model"))
ENDPOINT = ConsoleLink("Endpoint", "_link_endpoint", field="checkpoint", part="endpoint")
CHAMPION = ConsoleLink("Champion", "_link_champion", field="champion")
SOURCE_MODEL = ConsoleLink("Source model", "_link_source_model", field="source_model")
COPY = ConsoleLink("Copy", "_link_copy", pushed=("return_value", "model"))
CHECKED_COPY = ConsoleLink("Copy", "_link_copy", field="model")
RUN_PAGE = RunPageLink()
TUNING_RUN = TuningRunLink()


def run_page(dag_id: str, run_id: str) -> str:
    """Return the address of a run's page in Airflow's UI, below the path that ``[api] base_url`` has."""
    base = urlsplit(conf.get("api", "base_url", fallback="") or "").path.rstrip("/")
    return f"{base}/dags/{quote(dag_id, safe='')}/runs/{quote(run_id, safe='')}/plugin/{PAGE_ROUTE}"


def _part(value: Any, part: str | None) -> Any:
    if part is None:
        return value
    return value.get(part) if isinstance(value, Mapping) else None


def _pushed(ti_key: TaskInstanceKey, key: str) -> Any:
    from airflow.sdk.execution_time.xcom import XCom

    return XCom.get_value(ti_key=ti_key, key=key)
