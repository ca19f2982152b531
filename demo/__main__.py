"""``make demo``: run the pipeline in a real Airflow, show its progress, print the results."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote

import httpx
from rich.console import Console

from demo.processes import DemoError, require_free_port
from demo.stack import BUCKET, DAG_ID, REPOSITORY, Stack, seconds_between, stay_up
from demo.view import Progress, View, checkpoint_table, task_states

DATA = REPOSITORY / "demo" / "data"
RUN_TIMEOUT = 900.0  # seconds
RUN_PAGE = "gemini-tuning-run"  # the plugin's tab on a DAG run
CONF = {
    "training_dataset_uri": f"gs://{BUCKET}/ferry_support/train.jsonl",
    "validation_dataset_uri": f"gs://{BUCKET}/ferry_support/validation.jsonl",
    "tuned_model_display_name": "ferry-support",
    "epoch_count": 6,
    "suite": "ferry_support",
    "copy_location": "europe-west4",
    "poll_interval": 1,
}


def main() -> int:
    """Run the demo and return its exit status."""
    options = _options()
    console = Console(soft_wrap=not sys.stdout.isatty(), highlight=False)
    signal.signal(signal.SIGTERM, _interrupted)
    signal.signal(signal.SIGHUP, _interrupted)
    signal.signal(signal.SIGINT, _interrupted)  # a shell that starts us in the background ignores it for us
    stack = Stack(options.home.resolve(), options.airflow_port, options.emulator_port, options.speed)
    try:
        require_free_port(options.airflow_port, "--airflow-port")
        require_free_port(options.emulator_port, "--emulator-port")
        console.print("Starting Airflow and the Vertex AI emulator, which takes about half a minute …")
        with stack:
            summary = run_pipeline(stack, console)
            facts = stack.home / "summary.json"
            facts.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
            if summary["report"]:
                (stack.home / "report.md").write_text(stack.read(summary["report"]), encoding="utf-8")
            print_summary(summary, stack, console)
            if not options.exit:
                console.print(f"\nAirflow: {stack.airflow_url}  user {stack.user}  password {stack.password}")
                console.print(f"This run's page: {run_address(stack, summary)}")
                console.print("Press Ctrl-C to stop.")
                stay_up()
    except (DemoError, httpx.HTTPError, OSError) as error:
        message = str(error) if isinstance(error, DemoError) else f"{type(error).__name__}: {error}; logs: {stack.logs}"
        print(f"demo: {message}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0 if summary["dag_run_state"] == "success" else 1


def run_pipeline(stack: Stack, console: Console) -> dict[str, Any]:
    """Upload the data, trigger the DAG, show its progress until it has finished, and return the results."""
    stack.upload(DATA, "ferry_support")
    response = stack.api.trigger(DAG_ID, CONF)
    if response.is_error:
        raise DemoError(f"Airflow did not accept a run of {DAG_ID}: {response.status_code} {response.text}")
    run_id = response.json()["dag_run_id"]
    console.print(f"Run {run_id} of {DAG_ID}: {stack.airflow_url}/dags/{DAG_ID}/runs/{run_id}\n")
    view, end = View(console), time.monotonic() + RUN_TIMEOUT
    with view.showing():
        while True:
            stack.check_alive()
            state = stack.api.run(DAG_ID, run_id)["state"]
            jobs = stack.emulator("GET", "/state")["tuningJobs"]
            view.update(task_states(stack.api.tasks(DAG_ID, run_id)), Progress.of(jobs[-1] if jobs else None))
            if state in ("success", "failed"):
                return summarize(stack, run_id)
            if time.monotonic() > end:
                raise DemoError(f"the run did not finish within {RUN_TIMEOUT:g} s; logs: {stack.logs}")
            time.sleep(0.5)


def summarize(stack: Stack, run_id: str) -> dict[str, Any]:
    """Return the results, from Airflow's records and from the service."""
    run = stack.api.run(DAG_ID, run_id)
    state = stack.emulator("GET", "/state")
    job = stack.api.xcom(DAG_ID, run_id, "tune.create_tuning_job")
    report = stack.api.xcom(DAG_ID, run_id, "report") or {}
    decision = stack.api.xcom(DAG_ID, run_id, "choose", "decision") or {}
    metrics = (stack.api.xcom(DAG_ID, run_id, "evaluate.read_metrics") or {}).get("checkpoints", {})
    model: dict[str, Any] = next((m for m in state["models"] if m["name"] == report.get("tuned_model")), {})
    results = [
        stack.api.xcom(DAG_ID, run_id, "evaluate.smoke_test", map_index=task["map_index"])
        for task in stack.api.tasks(DAG_ID, run_id)
        if task["task_id"] == "evaluate.smoke_test" and task["state"] == "success"
    ]
    return {
        "dag_run_state": run["state"],
        "dag_run_id": run_id,
        "failed_tasks": [t["task_id"] for t in stack.api.tasks(DAG_ID, run_id) if t["state"] == "failed"],
        "tuning_job": job,
        "jobs_created": len(state["tuningJobs"]),
        "checkpoints": [_facts_of(result, metrics) for result in results],
        "winner": report.get("winner"),
        "reason": report.get("reason"),
        "overfitting": decision.get("overfitting"),
        "report": report.get("report_markdown"),
        "default_before": report.get("default_before"),
        "default_after": model.get("defaultCheckpointId"),
        "copy": report.get("copy"),
        "seconds": {
            "total": round(seconds_between(run["start_date"], run["end_date"]), 1),
            "vertex": round(_service_seconds(state) / stack.speed, 1),
        },
    }


def _facts_of(result: Mapping[str, Any], metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return the results of one checkpoint."""
    fields = ("checkpoint_id", "epoch", "step", "endpoint", "passed", "cases", "score", "score_interval", "latency_ms")
    losses = metrics.get(result["checkpoint_id"]) or {}
    return {**{field: result[field] for field in fields}, "eval_loss": losses.get("eval_loss")}


def _service_seconds(state: dict[str, Any]) -> float:
    """Return the seconds of tuning and copying on the emulator's clock."""
    jobs = [(job["createTime"], job["endTime"]) for job in state["tuningJobs"] if job.get("endTime")]
    copies = [op["metadata"]["genericMetadata"] for op in state["operations"]]
    spans = jobs + [(copy["createTime"], copy["updateTime"]) for copy in copies]
    return sum(seconds_between(start, end) for start, end in spans)


def print_summary(summary: dict[str, Any], stack: Stack, console: Console) -> None:
    """Print the results of the run."""
    console.print()
    if summary["dag_run_state"] != "success":
        console.print(f"The run failed in {', '.join(summary['failed_tasks']) or 'an unknown task'}.")
        console.print(f"Task logs: {stack.home / 'airflow' / 'logs'}")
        return
    console.print(checkpoint_table(summary))
    console.print(summary["reason"], highlight=False)
    if summary["overfitting"]:
        console.print(summary["overfitting"], highlight=False)
    console.print(f"Default checkpoint: {summary['default_before']} before, {summary['default_after']} after.")
    console.print(f"Copy: {summary['copy']}, with the same checkpoints and default.")
    console.print(f"Report: {summary['report']}, also in {stack.home / 'report.md'}", soft_wrap=True)
    seconds = summary["seconds"]
    console.print(f"The run took {seconds['total']} s, of which the service took {seconds['vertex']} s.")
    console.print(f"Tuning jobs created: {summary['jobs_created']}. These facts: {stack.home / 'summary.json'}")


def run_address(stack: Stack, summary: dict[str, Any]) -> str:
    """Return the address of the run's page in Airflow's UI."""
    return f"{stack.airflow_url}/dags/{DAG_ID}/runs/{quote(summary['dag_run_id'])}/plugin/{RUN_PAGE}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make demo ARGS=…", description=__doc__)
    parser.add_argument("--exit", action="store_true", help="exit after the run; status 0 only if it succeeded")
    parser.add_argument("--airflow-port", type=int, default=8080, metavar="N", help="default 8080")
    parser.add_argument("--emulator-port", type=int, default=8099, metavar="N", help="default 8099")
    parser.add_argument(
        "--home",
        type=Path,
        default=REPOSITORY / ".demo",
        metavar="DIR",
        help="output folder; emptied first",
    )
    parser.add_argument("--speed", type=float, default=1.0, metavar="X", help="speed of the emulator; default 1")
    return parser.parse_args()


def _interrupted(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
