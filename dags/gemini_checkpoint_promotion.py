"""Set a checkpoint of a tuned model as its default, or roll back to an earlier one; copy the model.

The page of a tuning run starts it with the fields filled in. Defaults are set one after the other, so that two people
cannot undo each other unseen; a copy that takes hours holds nobody up.
"""

from __future__ import annotations

from airflow.sdk import DAG, Param, TriggerRule

from gemini_tuning.operators import (
    GeminiCopyModelOperator,
    GeminiSetDefaultCheckpointOperator,
    GeminiVerifyModelCopyOperator,
)

MODEL_NAME = r"^projects/[^/@]+/locations/[a-z0-9-]+/models/[A-Za-z0-9_-]+(@[A-Za-z0-9_-]+)?$"
JOB_NAME = r"^projects/[^/]+/locations/[a-z0-9-]+/tuningJobs/[0-9]+$"
COPY, CLOUD = "Copy", "Google Cloud"

PARAMS = {
    "model": Param(
        type="string",
        pattern=MODEL_NAME,
        title="Tuned model",
        description="Full name, projects/P/locations/L/models/ID@VERSION.",
    ),
    "checkpoint_id": Param(
        None,
        type=["null", "string"],
        maxLength=64,
        title="Checkpoint",
        description="Id of the checkpoint to make the default; to roll back, that of the one before. Empty: the "
        "default stays.",
    ),
    "expected_default": Param(
        None,
        type=["null", "string"],
        maxLength=64,
        title="Default now",
        description="Id of the checkpoint that is the default as far as you know. When it is another one by then, "
        "nothing is changed. Empty: whatever it is.",
    ),
    "tuning_job": Param(
        None,
        type=["null", "string"],
        pattern=JOB_NAME,
        title="Tuning job",
        description="Full name of the job that made the model; then its endpoint is read back as well.",
    ),
    "copy_location": Param(
        None,
        type=["null", "string"],
        pattern="^[a-z]+(-[a-z]+[0-9]+)?$",
        section=COPY,
        title="Copy to location",
        description="Region that gets a copy of the model with all checkpoints. Empty: no copy.",
    ),
    "copy_project_id": Param(
        None,
        type=["null", "string"],
        section=COPY,
        title="Copy to project",
        description="Empty: the model's own.",
    ),
    "gcp_conn_id": Param(
        "google_cloud_default",
        type="string",
        section=CLOUD,
        title="Airflow connection",
        description="Of type Google Cloud.",
    ),
    "impersonation_chain": Param(
        None,
        type=["null", "string"],
        section=CLOUD,
        title="Act as",
        description="Service account to impersonate.",
    ),
}

with DAG(
    dag_id="gemini_checkpoint_promotion",
    description="Set or roll back the default checkpoint of a tuned model, copy the model",
    doc_md=__doc__,
    schedule=None,
    params=PARAMS,
    tags=["gemini", "tuning", "gemini-tuning-actions"],
    default_args={"retries": 3},
) as dag:
    cloud = {
        "gcp_conn_id": dag.param("gcp_conn_id"),
        "impersonation_chain": "{{ params.impersonation_chain or '' }}",
        "project_id": "{{ params.model.split('/')[1] }}",
        "location": "{{ params.model.split('/')[3] }}",
    }

    set_default = GeminiSetDefaultCheckpointOperator(
        task_id="set_default",
        model=dag.param("model"),
        checkpoint_id=dag.param("checkpoint_id"),
        expected_default=dag.param("expected_default"),
        optional=True,
        max_active_tis_per_dag=1,
        tuning_job=dag.param("tuning_job"),
        **cloud,
    )
    copy_model = GeminiCopyModelOperator(
        task_id="copy_model",
        model=dag.param("model"),
        destination_location=dag.param("copy_location"),
        destination_project_id=dag.param("copy_project_id"),
        poll_interval=10,
        deferrable=True,
        trigger_rule=TriggerRule.NONE_FAILED,
        **cloud,
    )
    verify_copy = GeminiVerifyModelCopyOperator(
        task_id="verify_copy",
        source_model=dag.param("model"),
        model=copy_model.output["model"],
        **cloud,
    )

    set_default >> copy_model
