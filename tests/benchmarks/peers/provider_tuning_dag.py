"""A DAG that tunes with the Google provider's operators, as its users write it.

The provider's own example (https://github.com/apache/airflow, providers/google/tests/system/google/cloud/gen_ai/
example_gen_ai_generative_model_tuning.py) is not in the wheel. This has the same imports at the top of the file, less
those of Airflow's test suite, and the same kinds of tasks.
"""

from datetime import datetime

import requests  # noqa: F401 - for the cost of its import
from airflow.models.dag import DAG
from airflow.providers.google.cloud.operators.gcs import GCSCreateBucketOperator, GCSDeleteBucketOperator
from airflow.providers.google.cloud.operators.gen_ai import GenAISupervisedFineTuningTrainOperator
from airflow.providers.google.cloud.transfers.local_to_gcs import LocalFilesystemToGCSOperator
from airflow.providers.google.common.utils.get_secret import get_secret
from airflow.sdk import TriggerRule, task
from google.genai.types import TuningDataset

BUCKET = "bucket_of_the_tuning_dag"

with DAG("provider_tuning", schedule="@once", start_date=datetime(2024, 1, 1), catchup=False):

    @task
    def read_key() -> str:
        return str(get_secret("api_key"))

    create_bucket = GCSCreateBucketOperator(task_id="create_bucket", bucket_name=BUCKET, project_id="default")
    upload = LocalFilesystemToGCSOperator(task_id="upload", src="train.jsonl", dst="train.jsonl", bucket=BUCKET)
    tune = GenAISupervisedFineTuningTrainOperator(
        task_id="tune",
        project_id="default",
        location="us-central1",
        source_model="gemini-2.5-flash",
        training_dataset=TuningDataset(gcs_uri=f"gs://{BUCKET}/train.jsonl"),
        tuning_job_config={"tuned_model_display_name": "tuned"},
    )
    delete_bucket = GCSDeleteBucketOperator(
        task_id="delete_bucket", bucket_name=BUCKET, trigger_rule=TriggerRule.ALL_DONE
    )
    read_key() >> create_bucket >> upload >> tune >> delete_bucket
