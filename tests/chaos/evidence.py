"""What a round left behind, as plain values: what Airflow says of its runs, and what the service has."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.stack import DAG_ID, Stack
from tests.chaos.journal import Journal
from tests.chaos.plan import Plan, RunPlan

Json = dict[str, Any]
LABEL = "chaos-run"


@dataclass(frozen=True)
class Run:
    """A run and what it says of itself.

    :param job: what ``create_tuning_job`` pushed.
    :param report: what ``report`` pushed.
    """

    plan: RunPlan
    run_id: str
    state: str
    job: str | None = None
    report: Json | None = None
    tasks: tuple[Json, ...] = ()


@dataclass(frozen=True)
class Evidence:
    """A round, after its runs have ended and everything is healthy again.

    :param jobs: the service's tuning jobs; each carries the label of its run.
    :param models: the service's models and copies; they inherit the job's labels.
    :param requests: the journal.
    :param slots: what is taken of each of Airflow's pools.
    """

    runs: tuple[Run, ...]
    jobs: tuple[Json, ...]
    models: tuple[Json, ...]
    requests: tuple[Json, ...]
    slots: dict[str, int]

    def jobs_of(self, run: Run) -> list[Json]:
        """Return the jobs that carry a run's label."""
        return [job for job in self.jobs if label_of(job) == run.plan.label]

    def models_of(self, run: Run, *, copies: bool) -> list[Json]:
        """Return the models that carry a run's label: those tuned, or those copied."""
        return [m for m in self.models if label_of(m) == run.plan.label and is_copy(m) is copies]

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps(dataclasses.asdict(self), indent=1, default=str), encoding="utf-8")


def label_of(resource: Json) -> str:
    """Return the run that a job or a model belongs to."""
    return str(resource.get("labels", {}).get(LABEL, ""))


def is_copy(model: Json) -> bool:
    """Return whether a model is a copy."""
    return bool(model.get("modelSourceInfo", {}).get("copy"))


def gather(stack: Stack, plan: Plan, run_ids: list[str], journal: Journal) -> Evidence:
    """Ask Airflow and the service."""
    state, api = stack.emulator("GET", "/state"), stack.api
    runs = tuple(
        Run(
            run,
            run_id,
            str(api.run(DAG_ID, run_id)["state"]),
            api.xcom(DAG_ID, run_id, "tune.create_tuning_job"),
            api.xcom(DAG_ID, run_id, "report"),
            tuple(api.tasks(DAG_ID, run_id)),
        )
        for run, run_id in zip(plan.runs, run_ids, strict=True)
    )
    pools = api.get("/pools")["pools"]
    return Evidence(
        runs,
        tuple(state["tuningJobs"]),
        tuple(state["models"]),
        tuple(journal.entries()),
        {pool["name"]: pool["occupied_slots"] + pool["deferred_slots"] for pool in pools},
    )
