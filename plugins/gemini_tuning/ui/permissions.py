"""Permissions of the page: Airflow's own, on each DAG."""

from __future__ import annotations

from collections.abc import Collection

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.base_auth_manager import ResourceMethod
from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import requires_access_dag
from airflow.models.dag import DagModel
from fastapi import Depends

# The page shows runs, task instances and XComs, so it requires the permission to read each of them.
ENTITIES = (DagAccessEntity.RUN, DagAccessEntity.TASK_INSTANCE, DagAccessEntity.XCOM)
REQUIRES_READ = [Depends(requires_access_dag("GET", entity)) for entity in ENTITIES]


def readable_dag_ids(user: BaseUser, dag_ids: Collection[str]) -> set[str]:
    """Return the DAGs whose runs, task instances and XComs the user may read."""
    return {dag_id for dag_id in dag_ids if all(_is_authorized(user, dag_id, "GET", entity) for entity in ENTITIES)}


def may_trigger(user: BaseUser, dag_id: str) -> bool:
    """Return whether the user may trigger a DAG."""
    return _is_authorized(user, dag_id, "POST", DagAccessEntity.RUN)


def may_respond(user: BaseUser, dag_id: str) -> bool:
    """Return whether the user may respond to the required actions of a DAG's runs."""
    return _is_authorized(user, dag_id, "PUT", DagAccessEntity.HITL_DETAIL)


def _is_authorized(user: BaseUser, dag_id: str, method: ResourceMethod, entity: DagAccessEntity) -> bool:
    details = DagDetails(id=dag_id, team_name=DagModel.get_team_name(dag_id))
    return get_auth_manager().is_authorized_dag(method=method, access_entity=entity, details=details, user=user)
