"""What several tests need: the demo's data in a bucket, a connection, a task's context, a job that is over."""

import importlib
import json
import pkgutil
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.execution_time.context import OutletEventAccessors

from gemini_tuning import operators
from gemini_tuning.core.resources import TuningJob
from gemini_tuning.core.tuning_request import TuningRequest
from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook
from vertex_emulator.process import Emulator

REPOSITORY = Path(__file__).resolve().parent.parent
DATA = REPOSITORY / "demo" / "data"
LONG = 100_000.0  # virtual seconds after which any job is over
LOCATION = "us-central1"
SPEC = TuningRequest(
    training_dataset_uri="gs://bucket/train.jsonl",
    validation_dataset_uri="gs://bucket/validation.jsonl",
    base_model="gemini-2.5-flash",
    epoch_count=3,
    tuned_model_display_name="test",
)


def fill(emulator: Emulator) -> None:
    """Empty a local Vertex AI and put the demo's data into its bucket."""
    emulator.reset()
    emulator.clear_faults()
    for part in ("train", "validation"):
        emulator.put_object(f"gs://bucket/{part}.jsonl", (DATA / f"{part}.jsonl").read_text(encoding="utf-8"))


def use_connection(monkeypatch: pytest.MonkeyPatch, connection: dict, name: str = "google_cloud_default") -> None:
    """Make an Airflow connection, as an environment variable."""
    monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(connection))


class TaskInstance(SimpleNamespace):
    """Keeps what a task pushes."""

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = value

    def xcom_pull(self, *, key: str) -> Any:
        return self.xcoms.get(key)


class TaskStateStore(dict):
    """Keeps what a task stores for its later tries; only what is JSON, as Airflow does."""

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        self[key] = json.loads(json.dumps(value))


def context(
    params: dict[str, Any] | None = None,
    conf: dict[str, Any] | None = None,
    *,
    store: TaskStateStore | None = None,
    run_id: str = "run",
    try_number: int = 1,
    max_tries: int = 0,
) -> Any:
    """Return the bit of a task's context that the operators use.

    :param store: what earlier tries have stored.
    """
    return {
        "ti": TaskInstance(
            xcoms={},
            dag_id="dag",
            run_id=run_id,
            task_id="task",
            map_index=-1,
            try_number=try_number,
            max_tries=max_tries,
        ),
        "task": SimpleNamespace(retries=0),
        "task_state_store": TaskStateStore() if store is None else store,
        "outlet_events": OutletEventAccessors(),
        "params": params or {},
        "dag_run": SimpleNamespace(conf=conf or {}),
        "dag": SimpleNamespace(params=params or {}),
    }


def request_arguments(**fields: Any) -> dict[str, Any]:
    """Return an operator's arguments: the fields of a tuning request become ``tuning_request``."""
    request = {name: value for name, value in fields.items() if name in TuningRequest.model_fields}
    return {"tuning_request": request, **{name: value for name, value in fields.items() if name not in request}}


def masked(error: BaseException) -> str:
    """Return an error's message for a snapshot: numbers of resources and ports differ between test runs."""
    return re.sub(r"\b\d{4,}\b|\b[0-9a-f]{16}\b", "N", str(error))


def finished_job(vertex: Emulator, spec: TuningRequest = SPEC) -> TuningJob:
    """Create a job and let it end."""
    hook = GeminiTuningHook()
    name = hook.create_tuning_job(spec, project_id=None, location=LOCATION).name
    vertex.advance(LONG)
    return hook.get_tuning_job(name)


def without_callbacks(dag: Any) -> Any:
    """Return the DAG without its callbacks.

    ``dag.test()`` calls them with the serialized DAG, and Airflow 3.3 fails to build their context when a Param has no
    default.
    """
    dag.on_success_callback = dag.on_failure_callback = None
    dag.has_on_success_callback = dag.has_on_failure_callback = False
    return dag


def operator_classes() -> dict[str, type[Any]]:
    """Return the public operators of the package by name."""
    found: dict[str, type[Any]] = {}
    for info in pkgutil.iter_modules(operators.__path__, f"{operators.__name__}."):
        module = importlib.import_module(info.name)
        found |= {
            name: value
            for name, value in vars(module).items()
            if name.startswith("Gemini") and name.endswith("Operator") and value.__module__ == info.name
        }
    return {name: value for name, value in sorted(found.items()) if name != "GeminiBaseOperator"}


def prompt_of(case):
    """Return the text of a smoke case's last turn."""
    return case.contents[-1]["parts"][0]["text"]
