"""The pipeline's steps with the Google provider's operators, as far as they go.

They tune, and they ask an endpoint one prompt in one task. They do not: check the data before it is paid for; tell the
checkpoints of a job (XCom has the model and the default's endpoint); ask a suite, or judge answers; set a default
checkpoint; copy a model with its checkpoints. So this tunes, and asks the default checkpoint as many prompts as the
suite has: a sixth of the prompts, and nothing after them.
"""

from airflow.providers.google.cloud.operators.gen_ai import (
    GenAIGenerateContentOperator,
    GenAISupervisedFineTuningTrainOperator,
)
from airflow.sdk import DAG

CLOUD = {"project_id": "demo-project", "location": "us-central1"}
FOLDER = "gs://demo-bucket/ferry_support"
PROMPTS = 24

with DAG("bench_provider", schedule=None):
    tune = GenAISupervisedFineTuningTrainOperator(
        task_id="tune",
        source_model="gemini-2.5-flash",
        training_dataset={"gcs_uri": f"{FOLDER}/train.jsonl"},
        tuning_job_config={
            "epoch_count": 6,
            "validation_dataset": {"gcs_uri": f"{FOLDER}/validation.jsonl"},
        },
        **CLOUD,
    )
    ask = GenAIGenerateContentOperator.partial(
        task_id="ask", model="{{ ti.xcom_pull(task_ids='tune', key='tuned_model_endpoint_name') }}", **CLOUD
    ).expand(contents=[f"Is there room for a van on the {hour}:00 ferry?" for hour in range(PROMPTS)])
    tune >> ask
