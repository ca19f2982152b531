"""An auth manager with rights on single DAGs, which Airflow's simple one does not have."""

from typing import ClassVar

from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager


class DagRights(SimpleAuthManager):
    """Refuses what a test says, and otherwise does as Airflow's simple auth manager does.

    ``refused``: ``(user, DAG, entity)``.
    """

    refused: ClassVar[set] = set()

    def is_authorized_dag(self, *, method, user, access_entity=None, details=None):
        asked = (user.get_name(), details.id if details else None, access_entity)
        return asked not in self.refused and super().is_authorized_dag(
            method=method, user=user, access_entity=access_entity, details=details
        )
