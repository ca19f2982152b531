"""The page as a web application, mounted by Airflow's API server. It only reads: see ``docs/page.md``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import GetUserDep
from airflow.models.dag import DagModel
from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.exceptions import HTTPException as StarletteHTTPException

from gemini_tuning import __version__
from gemini_tuning.core import formatting
from gemini_tuning.core.console import console_link
from gemini_tuning.core.xcom import CopyXCom, PromotionXCom
from gemini_tuning.ui import case_view, matrix, permissions, queries
from gemini_tuning.ui.actions import Actions
from gemini_tuning.ui.defaults import Defaults, current_defaults
from gemini_tuning.ui.results_cache import read_results
from gemini_tuning.ui.run_view import RunView

HERE = Path(__file__).parent
PageNumber = Annotated[int, Query(ge=1)]
Name = Annotated[str, Query(max_length=250)]  # as many characters as a DAG's or run's id has in Airflow

# Responses of models are untrusted. Jinja escapes all of them; should one slip through, the browser runs no script and
# loads nothing from elsewhere.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'self'"
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}
NO_STORE = {"Cache-Control": "no-store"}

templates = Jinja2Templates(HERE / "templates")
FILTERS = ("duration", "last_segment", "percent", "significant", "utc")
templates.env.filters.update({name: getattr(formatting, name) for name in FILTERS}, console_link=console_link)
templates.env.globals.update(version=__version__)


def requested_run(session: SessionDep, dag_id: Name, run_id: Name, group: Name = "") -> queries.RunRecord:
    """Return the run in the query string, or 404. Airflow's permission checks read the same ``dag_id``.

    :param group: of a DAG with several tuning groups, the one to show; by default the first.
    """
    if (run := queries.get_run(session, dag_id, run_id)) is None:
        raise HTTPException(404, f"Run {run_id} of DAG {dag_id} does not exist. It may have been deleted.")
    if not run.groups:
        return run
    if group and group not in run.groups:
        raise HTTPException(404, f"Run {run_id} of DAG {dag_id} has no tuning group {group}.")
    return run.in_group(group or run.groups[0])


RunDep = Annotated[queries.RunRecord, Depends(requested_run)]


def create_app() -> FastAPI:
    """Return the application."""
    app = FastAPI(title="Gemini tuning", docs_url=None, redoc_url=None, openapi_url=None)
    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")
    app.middleware("http")(_with_headers)
    app.add_exception_handler(StarletteHTTPException, _error_page)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(Exception, _internal_error)
    app.get("/", response_class=HTMLResponse)(show_overview)
    pages = (("/run", show_run), ("/matrix", show_matrix), ("/case", show_case), ("/action", show_action))
    for path, endpoint in pages:
        app.get(path, response_class=HTMLResponse, dependencies=permissions.REQUIRES_READ)(endpoint)
    return app


def show_overview(
    request: Request, user: GetUserDep, session: SessionDep, query: Annotated[queries.RunQuery, Depends()]
) -> Response:
    """Show all tuning runs that the user may see."""
    tagged, readable = queries.dag_ids_tagged(session, queries.TAG), _readable_dag_ids(session, user)
    runs, more = queries.find_runs(session, tagged & readable, query)
    defaults = _defaults(session, readable)
    context: dict[str, Any] = {"query": query, "states": queries.STATES, "more": more}
    context |= {"dags": tagged & readable, "hidden": tagged - readable, "live": any(run.is_live for run in runs)}
    views = [RunView(part, defaults) for run in runs for part in run.parts()]
    return _page(request, "overview.html", views=views, **context)


def show_run(request: Request, user: GetUserDep, session: SessionDep, run: RunDep) -> Response:
    """Show one run."""
    readable = _readable_dag_ids(session, user)
    copies = list(queries.return_values(session, readable, queries.VERIFY, CopyXCom))
    view = RunView(run, _defaults(session, readable), copies)
    triggerable = queries.active_dag_ids_tagged(session, queries.ACTIONS_TAG)
    return _page(
        request,
        "run.html",
        view=view,
        run=run,
        actions=Actions.of(view, lambda dag_id: dag_id in triggerable and permissions.may_trigger(user, dag_id)),
        may_respond=permissions.may_respond(user, run.dag_id),
        is_tuning=run.step(queries.CREATE) is not None,
    )


def show_matrix(
    request: Request, session: SessionDep, run: RunDep, show: matrix.Filter = "all", page: PageNumber = 1
) -> Response:
    """Show a page of the cases with the result of each checkpoint."""
    table, problem = read_results(session, RunView(run), lambda index: matrix.page(index, show, page))
    return _page(request, "_matrix.html", run=run, problem=problem, matrix=table, filters=matrix.FILTERS)


def show_case(
    request: Request, session: SessionDep, run: RunDep, case_id: Annotated[str, Query(max_length=matrix.MAX_CASE_ID)]
) -> Response:
    """Show the responses to a case side by side."""
    view = RunView(run)
    lines, problem = read_results(session, view, lambda index: matrix.responses(index, case_id))
    case = case_view.case_view(case_id, lines or {}, view.winner)
    return _page(request, "_case.html", problem=problem, case=case)


def show_action(request: Request, session: SessionDep, run: RunDep) -> Response:
    """Show the progress of a run that an action triggered, and its result."""
    responses = run.xcom(queries.PROMPT)
    return _page(
        request,
        "_action.html",
        run=run,
        is_paused=bool(session.scalar(select(DagModel.is_paused).where(DagModel.dag_id == run.dag_id))),
        promotion=PromotionXCom.from_xcom(run.xcom(queries.SET_DEFAULT)),
        copy=CopyXCom.from_xcom(run.xcom(queries.VERIFY)),
        case=case_view.prompt_view(run.conf, responses) if isinstance(responses, list) else None,
    )


def _readable_dag_ids(session: Session, user: BaseUser) -> set[str]:
    return permissions.readable_dag_ids(user, queries.dag_ids_tagged(session, queries.TAG, queries.ACTIONS_TAG))


def _defaults(session: Session, readable: set[str]) -> Defaults:
    return current_defaults(queries.return_values(session, readable, queries.SET_DEFAULT, PromotionXCom))


def _page(
    request: Request, template: str, /, status: int = 200, headers: Mapping[str, str] = NO_STORE, **context: Any
) -> Response:
    """Render a template. XComs can contain half a surrogate pair, which becomes a question mark."""
    found = templates.get_template(template).render(request=request, **context)
    return HTMLResponse(found.encode("utf-8", "replace"), status, dict(headers))


async def _with_headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await call_next(request)
    response.headers.update(HEADERS)
    return response


async def _error_page(request: Request, error: Any) -> Response:
    headers = {**(error.headers or {}), **NO_STORE}
    return _page(request, "problem.html", error.status_code, headers, code=error.status_code, detail=error.detail)


async def _invalid_request(request: Request, error: Any) -> Response:
    fields = ", ".join(sorted({str(part["loc"][-1]) for part in error.errors()}))
    return await _error_page(request, HTTPException(422, f"Missing or invalid parameters: {fields}."))


async def _internal_error(request: Request, _: Exception) -> Response:
    """Show no traceback, which is in the log of the API server. The middleware for headers is not called here."""
    detail = "Internal error. The details are in the log of the API server. Reload the page to try again."
    return _page(request, "problem.html", 500, {**NO_STORE, **HEADERS}, code=500, detail=detail)
