"""Send one prompt to every checkpoint of a tuned model and compare the responses.

The page of a tuning run triggers this DAG with the checkpoints filled in and shows the responses, which are in the XCom
of the task. Each checkpoint's response is billed like any other prompt.
"""

from __future__ import annotations

from airflow.sdk import DAG, Param

from gemini_tuning.operators.prompt_checkpoints import GeminiPromptCheckpointsOperator
from gemini_tuning.pipelines.params import tuning_param

with DAG(
    dag_id="gemini_checkpoint_prompt",
    description="Send one prompt to every checkpoint of a tuned model",
    doc_md=__doc__,
    schedule=None,
    params={
        "prompt": Param(type="string", minLength=1, maxLength=20_000, format="multiline", title="Prompt"),
        "system_instruction": Param(
            None, type=["null", "string"], maxLength=20_000, format="multiline", title="System instruction"
        ),
        "checkpoints": Param(
            [],
            type="array",
            maxItems=50,
            items={"type": "object", "required": ["checkpoint_id", "endpoint"]},
            title="Checkpoints",
            description='[{"checkpoint_id": "2", "endpoint": "projects/P/locations/L/endpoints/ID"}], as '
            "list_checkpoints pushes them.",
        ),
        "gcp_conn_id": tuning_param("gcp_conn_id"),
        "impersonation_chain": tuning_param("impersonation_chain"),
    },
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
