"""Airflow DAG: delete idle endpoints of checkpoints that are not in use, and old copies, of a tuned model."""

from gemini_tuning.pipelines import model_cleanup_dag

dag = model_cleanup_dag()
