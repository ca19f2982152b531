"""The page as a web application, mounted by Airflow's API server. It only reads; see :mod:`gemini_tuning.ui`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import GetUserDep
from airflow.models.dag import DagModel
from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates
from sqlalchemy import select
from starlette.exceptions import HTTPException as StarletteHTTPException

from gemini_tuning.core import xcom
from gemini_tuning.ui import access, answers, formatting, matrix, queries, service
from gemini_tuning.ui.run_view import RunView, errors

HERE = Path(__file__).parent
STATES = ("queued", "running", "success", "failed")
MAX_NAME = 250  # characters of a DAG's or run's id in Airflow

# Answers of models are hostile text. Jinja escapes all of it; should some slip through, the browser runs no script and
# loads nothing that is not ours.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'self'",
    )
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}
NOT_KEPT = {"Cache-Control": "no-store"}

templates = Jinja2Templates(HERE / "templates")
templates.env.filters.update(formatting.FILTERS)


@dataclass(frozen=True)
class RunRef:
    """The run that a request is about. Airflow's permission checks read the same ``dag_id``."""

    dag_id: Annotated[str, Query(max_length=MAX_NAME)]
    run_id: Annotated[str, Query(max_length=MAX_NAME)]


@dataclass(frozen=True)
class Filters:
    """What the overview is narrowed down to."""

    state: str = ""
    base_model: Annotated[str, Query(max_length=128)] = ""
    display_name: Annotated[str, Query(max_length=128)] = ""
    page: Annotated[int, Query(ge=1, le=10_000)] = 1

    def query(self) -> queries.Query:
        """Return what is looked for."""
        states = (self.state,) if self.state in STATES else ()
        return queries.Query(states, self.base_model, self.display_name, self.page)


def run_of(session: SessionDep, user: GetUserDep, ref: Annotated[RunRef, Depends()]) -> RunView:
    """Return the run that a request is about.

    :raises HTTPException: 404 when it is not there.
    """
    found = service.run_view(session, user, ref.dag_id, ref.run_id)
    if found is None:
        raise HTTPException(404, f"There is no run {ref.run_id} of {ref.dag_id}: it was deleted, or never was.")
    return found


RunDep = Annotated[RunView, Depends(run_of)]


def create_app() -> FastAPI:
    """Return the application."""
    app = FastAPI(title="Gemini tuning", docs_url=None, redoc_url=None, openapi_url=None)
    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")
    app.middleware("http")(_with_headers)
    app.add_exception_handler(StarletteHTTPException, _friendly)
    app.add_exception_handler(RequestValidationError, _bad_request)
    app.add_exception_handler(Exception, _broken)
    app.get("/", response_class=HTMLResponse)(show_overview)
    for path, endpoint in (
        ("/run", show_run),
        ("/matrix", show_matrix),
        ("/case", show_case),
        ("/action", show_action),
    ):
        app.get(path, response_class=HTMLResponse, dependencies=access.READS_RUN)(endpoint)
    return app


def show_overview(
    request: Request, user: GetUserDep, session: SessionDep, filters: Annotated[Filters, Depends()]
) -> Response:
    """Show all tuning runs that the user may see."""
    query = filters.query()
    lines, more, dag_ids, tagged = service.overview(session, user, query)
    return _page(
        request,
        "overview.html",
        lines=lines,
        query=query,
        states=STATES,
        more=more,
        dags=dag_ids,
        hidden=len(tagged) - len(dag_ids),
        live=any(line.state in queries.LIVE for line in lines),
    )


def show_run(request: Request, user: GetUserDep, session: SessionDep, found: RunDep) -> Response:
    """Show one run."""
    return _page(
        request,
        "run.html",
        view=found,
        run=found.run,
        head=found.head,
        actions=service.actions(session, user, found),
        may_answer=access.may_answer(user, found.head.dag_id),
        is_tuning=found.run.step(queries.CREATE) is not None,
        is_action=found.run.is_action,
    )


def show_matrix(
    request: Request,
    session: SessionDep,
    found: RunDep,
    show: matrix.Filter = "all",
    page: Annotated[int, Query(ge=1)] = 1,
) -> Response:
    """Show a page of the cases and what each checkpoint made of them."""
    path, problem = service.results(session, found)
    table = matrix.page(path, show, page) if path else None
    return _page(request, "_matrix.html", view=found, problem=problem, matrix=table, filters=matrix.FILTERS)


def show_case(
    request: Request, session: SessionDep, found: RunDep, case_id: Annotated[str, Query(max_length=matrix.MAX_CASE_ID)]
) -> Response:
    """Show the answers to a case side by side."""
    path, problem = service.results(session, found)
    lines = matrix.answers(path, case_id) if path else {}
    return _page(request, "_case.html", problem=problem, case=answers.case(case_id, lines, found.head.winner))


def show_action(request: Request, session: SessionDep, ref: Annotated[RunRef, Depends()]) -> Response:
    """Show how far a run is that an action has started, and what came of it."""
    run = queries.get_run(session, ref.dag_id, ref.run_id)
    if run is None:
        raise HTTPException(404, f"There is no run {ref.run_id} of {ref.dag_id}.")
    replies = run.pushed(queries.PROMPT)
    return _page(
        request,
        "_action.html",
        run=run,
        errors=errors(run),
        is_paused=bool(session.scalar(select(DagModel.is_paused).where(DagModel.dag_id == ref.dag_id))),
        promotion=_told(run, queries.SET_DEFAULT, ("model", "default_before", "default_after")),
        copy=_told(run, queries.VERIFY, ("model", "checkpoints", "default_checkpoint_id")),
        case=answers.prompted(run.conf, replies) if isinstance(replies, list) else None,
    )


def _told(run: queries.Run, operator: str, keys: Iterable[str]) -> dict[str, str | None]:
    """Return what a step pushed as texts; empty when it pushed nothing."""
    found = run.mapping(operator)
    return {key: xcom.text(found.get(key)) for key in keys} if found else {}


def _page(
    request: Request, template: str, /, status: int = 200, headers: Mapping[str, str] = NOT_KEPT, **context: Any
) -> Response:
    """Return a page; half a character, which texts of others may have, becomes a question mark."""
    found = templates.get_template(template).render(request=request, **context)
    return HTMLResponse(found.encode("utf-8", "replace"), status, dict(headers))


async def _with_headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await call_next(request)
    response.headers.update(HEADERS)
    return response


async def _friendly(request: Request, error: Any) -> Response:
    """Return an error as a page that says what to do."""
    headers = {**(error.headers or {}), **NOT_KEPT}
    return _page(request, "problem.html", error.status_code, headers, code=error.status_code, detail=error.detail)


async def _bad_request(request: Request, error: Any) -> Response:
    fields = ", ".join(sorted({str(part["loc"][-1]) for part in error.errors()}))
    return await _friendly(request, HTTPException(422, f"This address is not complete or not right: {fields}."))


async def _broken(request: Request, _: Exception) -> Response:
    """Return a page in place of a traceback; the server's log has that. The headers' middleware is passed by here."""
    detail = "Something went wrong on the server. Its log says what; reload to try again."
    return _page(request, "problem.html", 500, {**NOT_KEPT, **HEADERS}, code=500, detail=detail)
