"""The Params of the DAGs: the fields of their trigger forms, and of a retraining profile."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Param, yaml

# Connection fields of a DAG whose Param "model" is a full name.
MODEL_CLOUD = {
    "gcp_conn_id": "{{ params.gcp_conn_id }}",
    "impersonation_chain": "{{ params.impersonation_chain or '' }}",
    "project_id": "{{ params.model.split('/')[1] }}",
    "location": "{{ params.model.split('/')[3] }}",
}


def dag_params(form: str, suites: str | None = None) -> dict[str, Param]:
    """Return the Params of a DAG, as ``params.yaml`` defines them.

    New ones with each call, because Airflow writes a run's values into a DAG's Params.

    :param form: the DAG's key in that file.
    :param suites: folder of the smoke suites that the Param ``suite`` offers, if the DAG has one.
    """
    params: dict[str, Param] = {}
    for section, fields in _load_forms()[form].items():
        for name, field in fields.items():
            schema = {"default": None, **field} if "null" in field["type"] else dict(field)
            if name == "suite" and suites:
                schema["enum"] = [*field["enum"], *sorted(path.stem for path in Path(suites).glob("*.yaml"))]
                schema["default"] = next(iter(schema["enum"]), None)
            params[name] = Param(**schema, **({"section": section} if section else {}))
    return params


def set_params(dag: DAG, form: str, suites: str | None = None) -> None:
    """Set the Params of a DAG that has its tasks: each task added later would get copies of all Params."""
    dag.params = dag_params(form, suites)  # type: ignore[assignment]  # attrs converts it


@functools.cache
def _load_forms() -> dict[str, Any]:
    forms: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("params.yaml").read_bytes())
    return forms
