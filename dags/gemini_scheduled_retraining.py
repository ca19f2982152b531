"""Airflow DAGs: retrain on a schedule or on new data, one DAG for each profile in `config/retraining`."""

from gemini_tuning.pipelines import retraining_dags

dags = {dag.dag_id: dag for dag in retraining_dags()}
