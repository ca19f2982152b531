"""Airflow DAG: send one prompt to every checkpoint of a tuned model and compare the responses."""

from gemini_tuning.pipelines import checkpoint_prompt_dag

dag = checkpoint_prompt_dag()
