"""Send one prompt to every checkpoint of a tuned model and compare the responses.

The page of a tuning run triggers this DAG with the checkpoints filled in and shows the responses, which are in the XCom
of the task. Each checkpoint's response is billed like any other prompt.
"""

from __future__ import annotations

from airflow.sdk import DAG

from gemini_tuning.operators.prompt_checkpoints import GeminiPromptCheckpointsOperator
from gemini_tuning.pipelines.params import dag_params

with DAG(
    dag_id="gemini_checkpoint_prompt",
    description="Send one prompt to every checkpoint of a tuned model",
    doc_md=__doc__,
    schedule=None,
    params=dag_params("gemini_checkpoint_prompt"),
    tags=["gemini", "tuning", "gemini-tuning-actions"],
    default_args={"retries": 1},
) as dag:
    GeminiPromptCheckpointsOperator(
        task_id="prompt_checkpoints",
        checkpoints=dag.param("checkpoints"),
        prompt=dag.param("prompt"),
        system_instruction=dag.param("system_instruction"),
        gcp_conn_id=dag.param("gcp_conn_id"),
        impersonation_chain="{{ params.impersonation_chain or '' }}",
    )
