"""Airflow DAG: set or roll back the default checkpoint of a tuned model by hand, and copy the model."""

from gemini_tuning.pipelines import checkpoint_promotion_dag

dag = checkpoint_promotion_dag()
