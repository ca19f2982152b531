"""Smoke suites without a running Airflow: check a suite, or run it against endpoints.

``python -m gemini_tuning.smoke validate SUITE``, ``python -m gemini_tuning.smoke run SUITE --endpoint NAME`` and
``python -m gemini_tuning.smoke schema``, with ``plugins/`` on ``PYTHONPATH`` or the package installed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from gemini_tuning import __version__
from gemini_tuning.core.exceptions import GeminiTuningError, InvalidInputError
from gemini_tuning.core.files import GCS, Files, folder_problem, joined
from gemini_tuning.core.names import ResourceName
from gemini_tuning.core.text import redact
from gemini_tuning.smoke.results import ResultsFile
from gemini_tuning.smoke.runner import EndpointUnusableError
from gemini_tuning.smoke.session import Session
from gemini_tuning.smoke.suite import Suite, load_suite
from gemini_tuning.smoke.suite_format import json_schema
from gemini_tuning.smoke.summary import summarize

if TYPE_CHECKING:
    from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook

FAILED, REFUSED = 1, 2  # exit codes: a suite did not pass; invalid input or no access


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    options = _parser().parse_args(arguments)
    if options.command == "schema":
        print(json.dumps(json_schema(), indent=2))  # noqa: T201 - for a file
        return 0
    console = Console()
    try:
        suite = load_suite(options.suite, read_lines=lambda uri: _hook(options.gcp_conn_id).read_lines(uri))
        if options.command == "run":
            return _run(suite, options, console)
    except (GeminiTuningError, ValueError, OSError) as error:
        print(redact(error), file=sys.stderr)  # noqa: T201 - unwrapped, for other programs to read
        return REFUSED
    assertions = sum(len(case.assertions) for case in suite.cases)
    console.print(f"{suite.name}: {len(suite.cases)} cases with {assertions} assertions", markup=False)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gemini-smoke", description="Smoke suites without Airflow.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("schema", help="print the JSON Schema of suites, for editors")
    validate = commands.add_parser("validate", help="check a suite without sending a prompt")
    run = commands.add_parser("run", help="run a suite against endpoints")
    for command in (validate, run):
        command.add_argument("suite", help="path of a suite file")
        about = "connection, from AIRFLOW_CONN_<ID>; without that variable Application Default Credentials are used"
        command.add_argument("--gcp-conn-id", default="google_cloud_default", help=about)
    about = "projects/P/locations/L/endpoints/ID; repeatable"
    run.add_argument("--endpoint", action="append", required=True, help=about)
    run.add_argument("--results", default="smoke_results", help="folder or gs:// prefix (smoke_results)")
    run.add_argument("--concurrency", type=int, default=8, help="concurrent prompts (8)")
    run.add_argument("--min-pass-rate", type=float, default=0.0, help="exit code 1 below it, 0 to 1 (0)")
    return parser


def _run(suite: Suite, options: argparse.Namespace, console: Console) -> int:
    if not options.results.startswith(GCS):
        options.results = str(Path(options.results).resolve())
    if problem := folder_problem("--results", options.results):
        raise InvalidInputError(problem, field="--results", code="invalid_folder")
    endpoints = [ResourceName.parse(name, "endpoints") for name in options.endpoint]
    if options.concurrency < 1:
        what = f"--concurrency must be above 0, not {options.concurrency}"
        raise InvalidInputError(what, field="--concurrency", code="out_of_range")
    hook = _hook(options.gcp_conn_id)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        summaries = [_run_endpoint(hook, suite, endpoint, options, progress) for endpoint in endpoints]
    console.print(_table(summaries))
    for summary in summaries:
        console.print(f"Results: {summary['results_uri']}", soft_wrap=True, markup=False)
    least = options.min_pass_rate
    passed = (not each["error"] and each["pass_rate"] >= least and not each["critical_failures"] for each in summaries)
    return 0 if all(passed) else FAILED


def _run_endpoint(
    hook: GeminiTuningHook, suite: Suite, name: ResourceName, options: argparse.Namespace, progress: Progress
) -> dict[str, Any]:
    file = f"{suite.name}-{re.sub(r'[^a-z0-9-]+', '-', str(name))}.jsonl"
    results = ResultsFile(Files(hook), joined(options.results, file))
    total = sum(case.repeat for case in suite.cases)
    bar = progress.add_task(name.id, total=total)
    session = Session(
        hook=hook, suite=suite, endpoint=str(name), results=results,
        concurrency=options.concurrency, project_id=name.project, location=name.location,
    )  # fmt: skip
    error = None
    try:
        asyncio.run(session.run(lambda _: progress.advance(bar)))
    except EndpointUnusableError as unusable:
        error = str(unusable)
    progress.update(bar, completed=total)
    checkpoint = {"checkpoint_id": name.id, "epoch": None, "step": None, "endpoint": str(name)}
    return summarize(suite, checkpoint, results.lines, results.uri, error=error)


def _table(summaries: Sequence[Mapping[str, Any]]) -> Table:
    table = Table("endpoint", "passed", "pass rate (95 %)", "score", "critical failed", "p50 / p95 ms", "tokens")
    for summary in summaries:
        if summary["error"]:
            table.add_row(summary["checkpoint_id"], "-", "-", "-", "-", "-", escape(summary["error"]))
            continue
        low, high = summary["pass_rate_interval"]
        table.add_row(
            summary["checkpoint_id"],
            f"{summary['passed']}/{summary['cases']}",
            f"{summary['pass_rate']:.1%} ({low:.1%} to {high:.1%})",
            f"{summary['score']:.1%}",
            str(summary["critical_failures"]),
            "{p50} / {p95}".format(**summary["latency_ms"]),
            "{prompt} + {output}".format(**summary["tokens"]),
        )
    return table


def _hook(gcp_conn_id: str) -> GeminiTuningHook:
    from airflow.sdk import Connection

    from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook

    if f"AIRFLOW_CONN_{gcp_conn_id.upper()}" in os.environ:
        return GeminiTuningHook(gcp_conn_id)
    default = Connection(conn_id=gcp_conn_id, conn_type="google_cloud_platform", extra="{}")
    return GeminiTuningHook(gcp_conn_id, connection=default)


if __name__ == "__main__":
    sys.exit(main())
