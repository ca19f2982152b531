"""The DAGs that retrain on a schedule or on new data, one for each profile."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG, TriggerRule

from gemini_tuning.operators.plan_retraining import GeminiPlanRetrainingOperator
from gemini_tuning.operators.wait_for_tuning_run import GeminiWaitForTuningRunOperator
from gemini_tuning.pipelines.config_folder import ConfigFolder
from gemini_tuning.pipelines.params import dag_params
from gemini_tuning.pipelines.retraining_schedules import RejectedProfile, check_params, memory_of, schedule_of
from gemini_tuning.retraining.profiles import RetrainingProfile, load_profiles

TUNING_DAG_ID, REPORT_TASK_ID = "gemini_checkpoint_tuning", "report"
DAG_DOC = """Retrain on a schedule or on new data: one DAG for each profile in `config/retraining`, paused on creation.

A run starts `gemini_checkpoint_tuning` with the Params of the profile and waits for it in the triggerer. It is skipped
while data and parameters are those of the last run that succeeded; the Param `force` starts one anyway. The outcome is
in the XCom of `wait_for_tuning_run`, with a link to the tuning run.
"""


def retraining_dags(
    folder: str | Path | None = None, *, config_folder: str | Path | None = None, tuning_dag_id: str = TUNING_DAG_ID
) -> list[DAG]:
    """Return a DAG for each profile, paused on creation, and one with an import error for each rejected profile.

    :param folder: of the profiles; by default ``retraining`` in the configuration folder.
    :param config_folder: see :class:`~gemini_tuning.pipelines.config_folder.ConfigFolder`.
    :param tuning_dag_id: DAG of :func:`~gemini_tuning.pipelines.tuning.checkpoint_tuning_dag`.
    """
    config = ConfigFolder.find(config_folder)
    check = partial(check_params, params=dag_params(TUNING_DAG_ID, config.suites))
    profiles, errors = load_profiles(Path(folder or config.profiles), check=check)
    dags = [_dag(profile, tuning_dag_id) for profile in profiles]
    for error in errors:
        with RejectedProfile(error) as dag:  # entering a DAG registers it, also in a list
            dags.append(dag)
    return dags


def _dag(profile: RetrainingProfile, tuning_dag_id: str) -> DAG:
    memory = memory_of(profile)
    with DAG(
        dag_id=f"gemini_retraining_{profile.name}",
        description=profile.description,
        doc_md=DAG_DOC,
        schedule=schedule_of(profile),
        catchup=False,
        max_active_runs=1,
        is_paused_upon_creation=True,
        params=dag_params("gemini_scheduled_retraining"),
        tags=["gemini", "tuning", "retraining"],
        default_args={"retries": 3},
    ) as dag:
        plan = GeminiPlanRetrainingOperator(
            task_id="plan",
            tuning_params=dict(profile.params),
            continue_from=profile.continue_from.value,
            memory=memory,
            tuning_dag_id=tuning_dag_id,
            report_task_id=REPORT_TASK_ID,
            tuning_run_id="{{ dag.dag_id }}__{{ run_id }}",
            force="{{ params.force }}",
            gcp_conn_id=profile.connection[0],
            impersonation_chain=profile.connection[1],
        )
        start_tuning_run = TriggerDagRunOperator(
            task_id="start_tuning_run",
            trigger_dag_id=tuning_dag_id,
            # The same run id for each try, so that a retry cannot start, and pay for, a second run.
            trigger_run_id=plan.output["tuning_run_id"],
            conf=plan.output["conf"],
            skip_when_already_exists=True,
        )
        wait_for_tuning_run = GeminiWaitForTuningRunOperator(
            task_id="wait_for_tuning_run",
            tuning_run_id=plan.output["tuning_run_id"],
            memory=memory,
            tuning_dag_id=tuning_dag_id,
            report_task_id=REPORT_TASK_ID,
            trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS,  # start_tuning_run skips if an earlier try succeeded
        )
        plan >> start_tuning_run >> wait_for_tuning_run
    return dag
