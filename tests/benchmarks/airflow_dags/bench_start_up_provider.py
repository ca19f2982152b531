"""One task that asks Vertex AI for a tuning job with the provider's operator; in a file of its own, for its imports."""

from airflow.providers.google.cloud.operators.gen_ai import GenAISupervisedFineTuningTrainOperator
from airflow.sdk import DAG

with DAG("bench_start_provider", schedule=None):
    GenAISupervisedFineTuningTrainOperator(
        task_id="create",
        project_id="demo-project",
        location="us-central1",
        source_model="gemini-2.5-flash",
        training_dataset={"gcs_uri": "gs://demo-bucket/ferry_support/train.jsonl"},
    )
