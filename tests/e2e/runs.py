"""A run of the pipeline in a real Airflow: look at it, and do to it what people and accidents do."""

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import psutil
from support import LONG

from demo.processes import wait_until
from demo.stack import BUCKET, DAG_ID, Stack

TIMEOUT = 240.0  # seconds; only a stuck run takes as long
CONF = {
    "training_dataset_uri": f"gs://{BUCKET}/ferry_support/train.jsonl",
    "validation_dataset_uri": f"gs://{BUCKET}/ferry_support/validation.jsonl",
    "epoch_count": 6,
    "poll_interval": 1,
}
CREATE, WAIT, TEARDOWN = "tune.create_tuning_job", "tune.wait_for_tuning_job", "tune.cancel_abandoned_job"
COPY = "copy.copy_model"


@dataclass
class Run:
    """One run, by its id."""

    stack: Stack
    run_id: str
    dag_id: str = DAG_ID

    @classmethod
    def start(cls, stack: Stack, conf: dict[str, Any] | None = None, dag_id: str = DAG_ID, **params: Any) -> "Run":
        """Start a run with the usual Params."""
        run = cls(stack, f"test__{uuid.uuid4()}", dag_id)

        def started() -> bool:
            # On SQLite the API server sometimes blocks itself and answers 500; a run of that id is made once (409).
            answer = stack.api.trigger(dag_id, (CONF if conf is None else conf) | params, run.run_id)
            assert answer.is_success or answer.status_code in (409, 500), answer.text
            return answer.status_code != 500

        run.wait_for("the run to be taken", started)
        return run

    @property
    def path(self) -> str:
        return f"/dags/{self.dag_id}/dagRuns/{self.run_id}"

    def task(self, task_id: str) -> dict[str, Any]:
        return next(t for t in self.stack.api.tasks(self.dag_id, self.run_id) if t["task_id"] == task_id)

    def state(self, task_id: str) -> str | None:
        return self.task(task_id)["state"]

    def wait_for(self, what: str, condition: Callable[[], object]) -> None:
        """Wait until something is so."""
        wait_until(what, lambda: bool(condition()), list(self.stack.processes.values()), TIMEOUT)

    def wait_for_state(self, task_id: str, state: str) -> None:
        self.wait_for(f"{task_id} {state}", lambda: self.state(task_id) == state)

    def finish(self) -> str:
        """Wait for the end of the run and return its state."""
        return self.stack.finish(self.dag_id, self.run_id, TIMEOUT)

    def xcom(self, task_id: str, key: str = "return_value") -> Any:
        return self.stack.api.xcom(self.dag_id, self.run_id, task_id, key)

    def log(self, task_id: str, try_number: int = 1) -> str:
        """Return the messages and the errors of a task's log; nothing while there is none."""
        try:
            lines = self.stack.api.log(self.dag_id, self.run_id, task_id, try_number).splitlines()
        except httpx.HTTPStatusError:
            return ""
        records = [json.loads(line) for line in lines]
        return "\n".join(str(r.get("event")) + str(r.get("error_detail") or "") for r in records)

    def logs(self, task_id: str) -> str:
        """Return the logs of all tries."""
        return "\n".join(self.log(task_id, number) for number in range(1, self.task(task_id)["try_number"] + 1))

    def mark(self, state: str, task_id: str | None = None) -> None:
        """Mark a task, or the run, as a person would."""
        what = f"/taskInstances/{task_id}" if task_id else ""
        body = {"new_state": state} if task_id else {"state": state}

        def marked() -> bool:
            # As at the start of a run: on SQLite the API server sometimes blocks itself; marking twice is harmless.
            answer = self.stack.api.http.patch(f"/api/v2{self.path}{what}", json=body)
            assert answer.is_success or answer.status_code == 500, answer.text
            return answer.is_success

        self.wait_for(f"the mark {state}", marked)

    def clear(self, *task_ids: str, downstream: bool = False, latest_version: bool = False) -> None:
        """Clear tasks, as a person would."""
        body = {
            "dry_run": False, "dag_run_id": self.run_id, "task_ids": list(task_ids), "only_failed": False,
            "reset_dag_runs": True, "include_downstream": downstream, "run_on_latest_version": latest_version,
        }  # fmt: skip
        self.stack.api.http.post(f"/api/v2/dags/{self.dag_id}/clearTaskInstances", json=body).raise_for_status()

    def process(self, task_id: str) -> psutil.Process | None:
        """Return the process that a task runs in; its parent supervises it."""
        title = f"airflow worker -- {self.task(task_id)['id']}"
        for process in [one for part in self.stack.processes.values() for one in part.family()]:
            try:
                if " ".join(process.cmdline()).startswith(title):
                    return process
            except psutil.NoSuchProcess:
                continue
        return None


def advance(stack: Stack, seconds: float = LONG) -> None:
    """Let time pass at the service; by default so long that everything is over."""
    stack.emulator("POST", "/advance", {"seconds": seconds})


def jobs(stack: Stack) -> list[dict[str, Any]]:
    """Return the jobs at the service, the oldest first."""
    found: list[dict[str, Any]] = stack.emulator("GET", "/state")["tuningJobs"]
    return sorted(found, key=lambda job: job["createTime"])


def states(stack: Stack) -> list[str]:
    return [job["state"].removeprefix("JOB_STATE_") for job in jobs(stack)]


def requests_to(stack: Stack, ending: str) -> list[dict[str, Any]]:
    """Return the requests whose path ends so, the oldest first."""
    return [r for r in stack.emulator("GET", "/requests")["requests"] if r["path"].endswith(ending)]
