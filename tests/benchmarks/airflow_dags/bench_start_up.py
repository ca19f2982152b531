"""One task each that asks Vertex AI for a tuning job: ours, the provider's, and one that does nothing of the kind."""

from typing import Any

from airflow.sdk import DAG, BaseOperator

TRAINING = "gs://demo-bucket/ferry_support/train.jsonl"


class Bare(BaseOperator):
    """Ask the service something with nothing but the standard library: what is left is Airflow's own."""

    def execute(self, context: Any) -> None:
        """Send a request without a token; that it is refused does not matter."""
        import contextlib
        import os
        import urllib.request

        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"{os.environ['BENCH_SERVICE']}/v1/projects/p/locations/l/tuningJobs", timeout=10)


with DAG("bench_start_bare", schedule=None):
    Bare(task_id="create")

with DAG("bench_start_ours", schedule=None):
    from gemini_tuning.operators.create_tuning_job import GeminiCreateTuningJobOperator

    GeminiCreateTuningJobOperator(
        task_id="create", tuning_request={"base_model": "gemini-2.5-flash", "training_dataset_uri": TRAINING}
    )
