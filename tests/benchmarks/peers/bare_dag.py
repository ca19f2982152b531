"""The least that a DAG file can be."""

from airflow.sdk import DAG, BaseOperator

with DAG("bare", schedule=None):
    BaseOperator(task_id="nothing")
