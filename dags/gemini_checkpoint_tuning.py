"""Airflow DAG: tune a Gemini model, smoke-test every checkpoint and promote the best one."""

from gemini_tuning.pipelines import checkpoint_tuning_dag

dag = checkpoint_tuning_dag()
