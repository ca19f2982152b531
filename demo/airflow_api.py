"""The bit of Airflow's REST API that the demo and the end-to-end tests use."""

from __future__ import annotations

from typing import Any

import httpx

Json = dict[str, Any]


class AirflowApi:
    """A signed-in client.

    :param url: Airflow's address, without ``/api``.
    """

    def __init__(self, url: str, user: str, password: str) -> None:
        self._user, self._password = user, password
        self.http = httpx.Client(base_url=url, timeout=30, trust_env=False)

    def close(self) -> None:
        """Close the connections."""
        self.http.close()

    def login(self) -> None:
        """Get a token; later calls carry it."""
        answer = self.http.post("/auth/token", json={"username": self._user, "password": self._password})
        answer.raise_for_status()
        self.http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def get(self, path: str, **params: Any) -> Json:
        """GET ``/api/v2<path>``."""
        answer = self.http.get(f"/api/v2{path}", params=params)
        answer.raise_for_status()
        result: Json = answer.json()
        return result

    def health(self) -> dict[str, str | None]:
        """Return each component's health; empty while the API server does not answer."""
        try:
            answer = self.http.get("/api/v2/monitor/health", timeout=5)
            return {name: part.get("status") for name, part in answer.json().items()} if answer.is_success else {}
        except (httpx.HTTPError, ValueError):
            return {}

    def dag_ids(self) -> set[str]:
        """Return the DAGs that Airflow has read."""
        return {dag["dag_id"] for dag in self.get("/dags", limit=100)["dags"]}

    def import_errors(self) -> list[Json]:
        """Return the DAG files that could not be read."""
        errors: list[Json] = self.get("/importErrors")["import_errors"]
        return errors

    def trigger(self, dag_id: str, conf: Json, run_id: str | None = None) -> httpx.Response:
        """Start a run; the caller looks at the status code.

        :param run_id: by default Airflow makes one. With one, a second request does no harm: it is answered with 409.
        """
        body = {"logical_date": None, "conf": conf, "dag_run_id": run_id}
        return self.http.post(f"/api/v2/dags/{dag_id}/dagRuns", json=body)

    def run(self, dag_id: str, run_id: str) -> Json:
        """Return a DAG run."""
        return self.get(f"/dags/{dag_id}/dagRuns/{run_id}")

    def tasks(self, dag_id: str, run_id: str) -> list[Json]:
        """Return the task instances of a run."""
        found: list[Json] = self.get(f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances", limit=200)["task_instances"]
        return found

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value", map_index: int = -1) -> Any:
        """Return what a task pushed, or ``None``."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}"
        answer = self.http.get(f"/api/v2{path}", params={"map_index": map_index, "deserialize": True})
        if answer.status_code == 404:
            return None
        answer.raise_for_status()
        return answer.json()["value"]

    def log(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1, map_index: int = -1) -> str:
        """Return a task's log as the UI shows it, one JSON line a record."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{try_number}"
        answer = self.http.get(
            f"/api/v2{path}",
            params={"map_index": map_index, "full_content": True},
            headers={"Accept": "application/x-ndjson"},
        )
        answer.raise_for_status()
        return answer.text
