"""The DAG that deletes idle endpoints and old copies."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, TriggerRule

from gemini_tuning.operators.approve_cleanup import GeminiApproveCleanupOperator
from gemini_tuning.operators.plan_cleanup import GeminiPlanCleanupOperator
from gemini_tuning.operators.run_cleanup import GeminiCleanupOperator
from gemini_tuning.pipelines.params import MODEL_CLOUD, set_params

DAG_ID = "gemini_model_cleanup"
DAG_DOC = """Delete idle endpoints of checkpoints that are not in use, and old copies, of a tuned model.

**What it does.** `plan` lists every endpoint and copy with what would happen to it and why; a dry run, the default,
stops there. Otherwise a user approves the plan and `cleanup` deletes what it lists, checking each resource again
immediately before. The endpoint of the default checkpoint, the champion, and endpoints with recent traffic are kept.

**What it costs.** Nothing. Deleted endpoints and copies can be created again, under other names.

**Where the results are.** The plan is in the log of `plan` and its XCom `markdown`, the outcome in the XCom of
`cleanup`. `docs/cleanup.md` has the rules.
"""


def model_cleanup_dag(dag_id: str = DAG_ID, **dag_arguments: Any) -> DAG:
    """Return the DAG that deletes idle endpoints of checkpoints, and old copies, of a tuned model.

    :param dag_arguments: of :class:`airflow.sdk.DAG`.
    """
    arguments: dict[str, Any] = {
        "description": "Delete idle endpoints of losing checkpoints, and old copies, of a tuned model",
        "doc_md": DAG_DOC,
        "schedule": None,
        "tags": ["gemini", "tuning"],
        "default_args": {"retries": 3, **MODEL_CLOUD},
    }
    with DAG(dag_id, **arguments | dag_arguments) as dag:
        _add_tasks(dag)
    set_params(dag, DAG_ID)
    return dag


def _add_tasks(dag: Any) -> None:
    plan = GeminiPlanCleanupOperator(
        task_id="plan",
        model=dag.param("model"),
        tuning_job=dag.param("tuning_job"),
        champion=dag.param("champion"),
        keep_checkpoints=dag.param("keep_checkpoints"),
        idle_days=dag.param("idle_days"),
        ignore_traffic=dag.param("ignore_traffic"),
        keep_copies=dag.param("keep_copies"),
        copy_location=dag.param("copy_location"),
        copy_project_id=dag.param("copy_project_id"),
    )
    approve = GeminiApproveCleanupOperator(
        task_id="approve",
        plan=plan.output,
        is_dry_run=dag.param("dry_run"),
        required=dag.param("require_approval"),
        timeout=dag.param("approval_timeout_seconds"),
    )
    GeminiCleanupOperator(
        task_id="cleanup",
        plan=plan.output,
        is_dry_run=dag.param("dry_run"),
        require_approval=dag.param("require_approval"),
        approval=approve.output,
        max_active_tis_per_dag=1,
        trigger_rule=TriggerRule.NONE_FAILED,  # skipped with its own reason
    )
