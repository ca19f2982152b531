"""The DAG that sends a prompt to every checkpoint."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG

from gemini_tuning.operators.prompt_checkpoints import GeminiPromptCheckpointsOperator
from gemini_tuning.pipelines.params import set_params

DAG_ID = "gemini_checkpoint_prompt"
DAG_DOC = """Send one prompt to every checkpoint of a tuned model and compare the responses.

The page of a tuning run triggers this DAG with the checkpoints filled in and shows the responses, which are in the XCom
of the task. Each checkpoint's response is billed like any other prompt.
"""


def checkpoint_prompt_dag(dag_id: str = DAG_ID, **dag_arguments: Any) -> DAG:
    """Return the DAG that sends one prompt to every checkpoint of a tuned model.

    :param dag_arguments: of :class:`airflow.sdk.DAG`.
    """
    arguments: dict[str, Any] = {
        "description": "Send one prompt to every checkpoint of a tuned model",
        "doc_md": DAG_DOC,
        "schedule": None,
        "tags": ["gemini", "tuning", "gemini-tuning-actions"],
        "default_args": {"retries": 1},
    }
    with DAG(dag_id, **arguments | dag_arguments) as dag:
        _add_tasks(dag)
    set_params(dag, DAG_ID)
    return dag


def _add_tasks(dag: Any) -> None:
    GeminiPromptCheckpointsOperator(
        task_id="prompt_checkpoints",
        checkpoints=dag.param("checkpoints"),
        prompt=dag.param("prompt"),
        system_instruction=dag.param("system_instruction"),
        gcp_conn_id=dag.param("gcp_conn_id"),
        impersonation_chain="{{ params.impersonation_chain or '' }}",
    )
