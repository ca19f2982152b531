"""The page as a web application, mounted by Airflow's API server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates
from sqlalchemy.orm import Session
from starlette.exceptions import HTTPException as StarletteHTTPException

from gemini_tuning.page import access, answers, matrix, overview, records, results_cache, wording
from gemini_tuning.page.run_view import RunView, view

HERE = Path(__file__).parent
STATES = ("queued", "running", "success", "failed")

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
    "Cache-Control": "no-store",
}

RunQuery = Annotated[str, Query(max_length=250)]
templates = Jinja2Templates(HERE / "templates")
templates.env.filters.update(wording.FILTERS)


def create_app() -> FastAPI:
    """Return the application."""
    app = FastAPI(title="Gemini tuning", docs_url=None, redoc_url=None, openapi_url=None)
    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")
    app.middleware("http")(_with_headers)
    app.add_exception_handler(StarletteHTTPException, _friendly)
    app.get("/", response_class=HTMLResponse)(show_overview)
    for path, endpoint in (("/run", show_run), ("/matrix", show_matrix), ("/case", show_case)):
        app.get(path, response_class=HTMLResponse, dependencies=access.READS_RUN)(endpoint)
    return app


def show_overview(
    request: Request,
    user: GetUserDep,
    session: SessionDep,
    state: Annotated[str, Query()] = "",
    base_model: Annotated[str, Query(max_length=128)] = "",
    display_name: Annotated[str, Query(max_length=128)] = "",
    page: Annotated[int, Query(ge=1, le=10_000)] = 1,
) -> Response:
    """Show all tuning runs that the user may see."""
    query = records.Query(
        states=(state,) if state in STATES else (), base_model=base_model, display_name=display_name, page=page
    )
    tagged = records.tuning_dag_ids(session)
    dag_ids = {dag_id for dag_id in tagged if access.may_read(user, dag_id)}
    runs, more = records.find_runs(session, dag_ids, query)
    now = datetime.now(UTC)
    defaults = overview.defaults_now(records.promotions(session, dag_ids))
    lines = [overview.line(run, defaults, now) for run in runs]
    return templates.TemplateResponse(
        request,
        "overview.html",
        {
            "lines": lines,
            "query": query,
            "states": STATES,
            "more": more,
            "hidden": len(tagged) - len(dag_ids),
            "dags": dag_ids,
            "live": any(run.is_live for run in runs),
        },
    )


def show_run(request: Request, user: GetUserDep, session: SessionDep, dag_id: RunQuery, run_id: RunQuery) -> Response:
    """Show one run."""
    found = _view(session, dag_id, run_id)
    if found is None:
        return templates.TemplateResponse(request, "no_run.html", {"dag_id": dag_id, "run_id": run_id}, 404)
    return templates.TemplateResponse(
        request,
        "run.html",
        {
            "view": found,
            "run": found.run,
            "head": found.head,
            "may_answer": access.may_answer(user, dag_id),
            "is_tuning": found.run.step(records.CREATE) is not None,
        },
    )


def show_matrix(
    request: Request,
    session: SessionDep,
    dag_id: RunQuery,
    run_id: RunQuery,
    show: Annotated[matrix.Filter, Query()] = "all",
    page: Annotated[int, Query(ge=1)] = 1,
) -> Response:
    """Show a page of the cases and what each checkpoint made of them."""
    found = _required(session, dag_id, run_id)
    path, problem = _results(found)
    context = {
        "view": found,
        "problem": problem,
        "matrix": matrix.page(path, show, page) if path else None,
        "filters": matrix.FILTERS,
    }
    return templates.TemplateResponse(request, "_matrix.html", context)


def show_case(
    request: Request,
    session: SessionDep,
    dag_id: RunQuery,
    run_id: RunQuery,
    case_id: Annotated[str, Query(max_length=1_000)],
) -> Response:
    """Show the answers to a case side by side."""
    found = _required(session, dag_id, run_id)
    path, problem = _results(found)
    lines = matrix.answers(path, case_id) if path else {}
    context = {"problem": problem, "case": answers.case(case_id, lines, found.head.winner)}
    return templates.TemplateResponse(request, "_case.html", context)


def _view(session: Session, dag_id: str, run_id: str) -> RunView | None:
    run = records.get_run(session, dag_id, run_id)
    if run is None:
        return None
    defaults = overview.defaults_now(records.promotions(session, [dag_id]))
    return view(run, defaults, datetime.now(UTC))


def _required(session: Session, dag_id: str, run_id: str) -> RunView:
    found = _view(session, dag_id, run_id)
    if found is None:
        raise HTTPException(404, f"There is no run {run_id} of {dag_id}.")
    return found


def _results(found: RunView) -> tuple[Path | None, str | None]:
    """Return where the run's results are kept here, or why they are not."""
    if not found.results:
        return None, None
    try:
        return results_cache.kept(found.results, found.results_version, _reader(found)), None
    except Exception as error:  # whatever it is, the rest of the page is fine
        return None, f"The results can't be read: {error}"


def _reader(found: RunView) -> Callable[[str], Iterable[bytes]]:
    from gemini_tuning.files import GCS, Files
    from gemini_tuning.hook import GeminiTuningHook

    conf = found.run.conf
    hook: GeminiTuningHook | None = None

    def read_lines(uri: str) -> Iterable[bytes]:
        nonlocal hook
        if uri.startswith(GCS) and hook is None:
            hook = GeminiTuningHook(
                conf.get("gcp_conn_id") or "google_cloud_default", conf.get("impersonation_chain") or None
            )
        return Files(hook).read_lines(uri)

    return read_lines


async def _with_headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await call_next(request)
    for name, value in HEADERS.items():
        if name != "Cache-Control" or not request.url.path.rpartition("/static/")[1]:
            response.headers[name] = value
    return response


async def _friendly(request: Request, error: Any) -> Response:
    """Return an error as a page that says what to do."""
    return templates.TemplateResponse(
        request, "problem.html", {"status": error.status_code, "detail": error.detail}, error.status_code
    )
