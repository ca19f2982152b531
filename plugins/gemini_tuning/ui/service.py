"""What a page shows: read from Airflow's database, and from the results files where a page shows cases."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from sqlalchemy.orm import Session

from gemini_tuning.core.files import Files
from gemini_tuning.core.text import redact
from gemini_tuning.core.xcom import CopyXCom, PromotionXCom
from gemini_tuning.ui import permissions, queries, results_cache
from gemini_tuning.ui.actions import Actions
from gemini_tuning.ui.defaults import Defaults, current_defaults
from gemini_tuning.ui.run_view import RunView

DEFAULT_CONNECTION = "google_cloud_default"
Shown = TypeVar("Shown")


def overview(
    session: Session, user: BaseUser, query: queries.RunQuery
) -> tuple[list[RunView], bool, set[str], set[str]]:
    """Return the runs of a page, whether there are more, the DAGs that the user may read, and those that exist."""
    tagged = queries.dag_ids_tagged(session, queries.TAG)
    readable = _readable_dag_ids(session, user)
    runs, more = queries.find_runs(session, tagged & readable, query)
    defaults, now = _defaults(session, readable), datetime.now(UTC)
    return [RunView(run, defaults, now) for run in runs], more, tagged & readable, tagged


def run_view(session: Session, user: BaseUser, run: queries.RunRecord) -> RunView:
    """Return what is shown of a run."""
    readable = _readable_dag_ids(session, user)
    copies = queries.return_values(session, readable, queries.VERIFY, CopyXCom)
    return RunView(run, _defaults(session, readable), datetime.now(UTC), list(copies))


def actions(session: Session, user: BaseUser, found: RunView) -> Actions:
    """Return what the user may do with the model of a run."""
    existing = queries.active_dag_ids_tagged(session, queries.ACTIONS_TAG)
    return Actions.of(found, lambda dag_id: dag_id in existing and permissions.may_trigger(user, dag_id))


def read_results(
    session: Session, run: queries.RunRecord, read: Callable[[Path], Shown]
) -> tuple[Shown | None, str | None]:
    """Return what ``read`` returns for the index of a run's results, or ``None`` and why they cannot be read.

    The first call for a run reads the results files, from Cloud Storage with the connection of the run.

    :param session: is closed, so that no connection to the database is held while files are read.
    """
    session.close()
    view = RunView(run, {}, datetime.now(UTC))
    if not view.results_files:
        return None, None
    try:
        return read(results_cache.index_of(view.results_files, view.results_version, _reader(run))), None
    except Exception as error:  # whatever it is, the rest of the page can be shown
        return None, f"The results cannot be read: {redact(str(error))}"


def _defaults(session: Session, readable: set[str]) -> Defaults:
    return current_defaults(queries.return_values(session, readable, queries.SET_DEFAULT, PromotionXCom))


def _readable_dag_ids(session: Session, user: BaseUser) -> set[str]:
    """Return the DAGs that tune, promote or copy whose runs the user may read."""
    return permissions.readable_dag_ids(user, queries.dag_ids_tagged(session, queries.TAG, queries.ACTIONS_TAG))


def _reader(run: queries.RunRecord) -> Callable[[str], Iterable[bytes]]:
    """Return a function that reads an object in Cloud Storage; its first call imports Google's clients."""

    @functools.cache
    def files() -> Files:
        from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook

        connection = run.connection
        return Files(
            GeminiTuningHook(connection["gcp_conn_id"] or DEFAULT_CONNECTION, connection["impersonation_chain"] or None)
        )

    return lambda uri: files().read_lines(uri)
