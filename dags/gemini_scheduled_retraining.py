"""Tune again on a schedule: one DAG for each profile in ``config/retraining``, paused until someone wants it.

Each starts a run of ``gemini_checkpoint_tuning`` with the profile's Params and waits for it without a worker slot.
"""

from __future__ import annotations

from pathlib import Path

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG

from gemini_tuning.retraining import load_profile

PROFILES = Path(__file__).parent / "config" / "retraining"

for path in sorted(PROFILES.glob("*.yaml")):
    profile = load_profile(path)
    with DAG(
        dag_id=f"gemini_retraining_{profile.name}",
        description=profile.description,
        doc_md=__doc__,
        schedule=profile.schedule,
        catchup=False,
        max_active_runs=1,
        is_paused_upon_creation=True,
        tags=["gemini", "tuning", "retraining"],
    ):
        TriggerDagRunOperator(
            task_id="tune",
            trigger_dag_id="gemini_checkpoint_tuning",
            # The same run id on a second try: Airflow then refuses to start, and to pay, a second run.
            trigger_run_id="{{ dag.dag_id }}__{{ run_id }}",
            conf=dict(profile.params),
            wait_for_completion=True,
            deferrable=True,
            poke_interval=30,
            retries=0,
        )
