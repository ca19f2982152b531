"""Airflow's own API application in this process, with this project's plugin, on a database that each test fills."""

import tempfile
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient
from tuning_runs import empty


@pytest.fixture
def session(airflow_db):
    """A session with Airflow's database, in which there is nothing."""
    from airflow.utils.session import create_session

    with create_session(scoped=False) as found:
        empty(found)
        found.commit()
        yield found
        found.rollback()
        empty(found)


@pytest.fixture(scope="session")
def airflow_app(airflow_db) -> Iterator:
    """Airflow's API application."""
    from airflow.api_fastapi import app as airflow_app

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__CORE__AUTH_MANAGER", "tests.gemini_tuning.ui.dag_rights.DagRights")
        patch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS", "ada:admin,vera:viewer")
        patch.setenv("AIRFLOW__CORE__EXECUTOR", "LocalExecutor")
        patch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", "only for these tests, and long enough for its purpose " * 2)
        yield airflow_app.create_app(apps="core")
        airflow_app.purge_cached_app()


class Browser(TestClient):
    """Somebody in front of Airflow; sees the page's own paths, below its prefix."""

    def page(self, path: str, **query):
        return self.get(f"/gemini-tuning{path}", params=query)


@pytest.fixture
def browser(airflow_app, session, tmp_path, monkeypatch):
    """Return somebody who is signed in as this user, with this role; without a name nobody is."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("tests.gemini_tuning.ui.dag_rights.DagRights.refused", set())

    def sign_in(name: str | None = "ada", role: str = "ADMIN") -> Browser:
        found = Browser(airflow_app, raise_server_exceptions=False, follow_redirects=False)
        if name is not None:
            found.cookies.set(
                "_token", get_auth_manager().generate_jwt(SimpleAuthManagerUser(username=name, role=role))
            )
        return found

    return sign_in
