"""Who may see what: Airflow's own permissions on each DAG."""

from __future__ import annotations

from typing import Annotated

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
from airflow.models.dag import DagModel
from fastapi import Depends

ENTITIES = (DagAccessEntity.RUN, DagAccessEntity.TASK_INSTANCE, DagAccessEntity.XCOM)

# What the page shows comes from runs, task instances and XComs; so it takes the right to read each of them.
READS_RUN = [Depends(requires_access_dag("GET", entity)) for entity in ENTITIES]

User = Annotated[GetUserDep, None]


def may_read(user: GetUserDep, dag_id: str) -> bool:
    """Return whether somebody may see the runs of a DAG with what their tasks pushed."""
    return all(_may(user, dag_id, "GET", entity) for entity in ENTITIES)


def may_trigger(user: GetUserDep, dag_id: str) -> bool:
    """Return whether somebody may trigger a DAG."""
    return _may(user, dag_id, "POST", DagAccessEntity.RUN)


def may_answer(user: GetUserDep, dag_id: str) -> bool:
    """Return whether somebody may answer what a run asks."""
    return _may(user, dag_id, "PUT", DagAccessEntity.HITL_DETAIL)


def _may(user: GetUserDep, dag_id: str, method: str, entity: DagAccessEntity) -> bool:
    details = DagDetails(id=dag_id, team_name=DagModel.get_team_name(dag_id))
    return get_auth_manager().is_authorized_dag(method=method, access_entity=entity, details=details, user=user)  # type: ignore[arg-type]
