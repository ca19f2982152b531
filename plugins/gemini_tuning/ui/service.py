"""Puts together what a page needs from Airflow's database, and from the results files when they are asked for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from sqlalchemy.orm import Session

from gemini_tuning.core.files import FILE, GCS, Files
from gemini_tuning.core.text import redact, short_repr
from gemini_tuning.ui import access, queries, results_cache
from gemini_tuning.ui.actions import Actions
from gemini_tuning.ui.overview import Defaults, Line, defaults_now, line
from gemini_tuning.ui.run_view import RunView, view

if TYPE_CHECKING:
    from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook

DEFAULT_CONNECTION = "google_cloud_default"
RESULTS_FILE = re.compile(r"/checkpoint-[^/]+\.jsonl$")


def overview(session: Session, user: BaseUser, query: queries.Query) -> tuple[list[Line], bool, set[str], set[str]]:
    """Return the lines of a page, whether there are more, the DAGs that the user may read, and those that exist."""
    tagged = queries.dag_ids_tagged(session, queries.TAG)
    told = _readable(session, user)
    runs, more = queries.find_runs(session, tagged & told, query)
    defaults, now = _defaults(session, told), datetime.now(UTC)
    return [line(run, defaults, now) for run in runs], more, tagged & told, tagged


def run_view(session: Session, user: BaseUser, dag_id: str, run_id: str) -> RunView | None:
    """Return what is shown of a run; ``None`` when there is none."""
    run = queries.get_run(session, dag_id, run_id)
    if run is None:
        return None
    told = _readable(session, user)
    copies = queries.pushed_by(session, told, queries.VERIFY)
    return view(run, _defaults(session, told), copies, datetime.now(UTC))


def actions(session: Session, user: BaseUser, found: RunView) -> Actions:
    """Return what somebody may do with a run's model."""
    there = queries.dag_ids_to_start(session, queries.ACTIONS_TAG)
    return Actions.of(found, lambda dag_id: dag_id in there and access.may_trigger(user, dag_id))


def results(session: Session, found: RunView) -> tuple[Path | None, str | None]:
    """Return where a run's results are kept on this machine, or else why they are not.

    This reads from Cloud Storage with the connection of the run, once; pages themselves never do.

    :param session: is closed, so that the reading holds no connection to the database.
    """
    session.close()
    if not found.results:
        return None, None
    try:
        return results_cache.kept(found.results, found.results_version, _reader(found)), None
    except Exception as error:  # whatever it is, the rest of the page is fine
        return None, f"The results can't be read: {redact(error)}"


def _defaults(session: Session, told: set[str]) -> Defaults:
    return defaults_now(queries.pushed_by(session, told, queries.SET_DEFAULT))


def _readable(session: Session, user: BaseUser) -> set[str]:
    """Return the DAGs that tune, promote or copy, as far as the user may read their runs."""
    return access.readable(user, queries.dag_ids_tagged(session, queries.TAG, queries.ACTIONS_TAG))


def _reader(found: RunView) -> Callable[[str], Iterable[bytes]]:
    hook: GeminiTuningHook | None = None

    def read_lines(uri: str) -> Iterable[bytes]:
        nonlocal hook
        if not RESULTS_FILE.search(uri):  # it comes from an XCom: whoever may write those must not read any file here
            raise ValueError(f"{short_repr(uri)} is not the name of a results file")
        if not uri.startswith(GCS) and not Path(uri.removeprefix(FILE)).is_file():  # a device would never end
            raise FileNotFoundError(f"there is no file {short_repr(uri)} on this machine")
        if uri.startswith(GCS) and hook is None:
            from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook

            connection = found.run.connection
            hook = GeminiTuningHook(
                connection["gcp_conn_id"] or DEFAULT_CONNECTION, connection["impersonation_chain"] or None
            )
        return Files(hook).read_lines(uri)

    return read_lines
