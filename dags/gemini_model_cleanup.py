"""Delete what a tuned model does not need any more: endpoints of checkpoints that lost, and copies beyond a number.

First a plan, which says for each endpoint and copy whether it would go, and why; by default that is all. Without the
dry run a person is shown the plan, and what was approved is deleted, each thing judged anew right before. Never
deleted are the default checkpoint's endpoint, the champion, and what anybody has asked of late.

docs/cleanup.md has the rules.
"""

from __future__ import annotations

from airflow.sdk import DAG, Param, TriggerRule

from gemini_tuning.operators import GeminiApproveCleanupOperator, GeminiCleanupOperator, GeminiPlanCleanupOperator
from gemini_tuning.pipelines.params import JOB_NAME, tuning_param

MODEL_VERSION = r"^projects/[^/@]+/locations/[a-z0-9-]+/models/[A-Za-z0-9_-]+@[0-9]+$"
PROTECTED, COPIES = "What stays", "Copies"

PARAMS = {
    "model": Param(
        type="string",
        pattern=MODEL_VERSION,
        title="Tuned model",
        description="Full name, projects/P/locations/L/models/ID@VERSION. Endpoints where its checkpoints are deployed "
        "are looked at.",
    ),
    "dry_run": Param(
        True,
        type="boolean",
        title="Dry run",
        description="Only say what would be deleted, and why the rest stays.",
    ),
    "require_approval": tuning_param(
        "require_approval",
        default=True,
        section=None,
        description="The run waits under Required Actions until somebody has seen the plan. Not on a dry run.",
    ),
    "approval_timeout_seconds": tuning_param("approval_timeout_seconds", section=None),
    "champion": tuning_param(
        "champion",
        section=PROTECTED,
        description="Full name of the endpoint or the model that is in production: it stays. The default checkpoint's "
        "endpoint stays anyway.",
    ),
    "tuning_job": Param(
        None,
        type=["null", "string"],
        pattern=JOB_NAME,
        section=PROTECTED,
        title="Tuning job",
        description="Full name of the job that made the model; the endpoint that it names now stays.",
    ),
    "keep_checkpoints": Param(
        [],
        type="array",
        maxItems=100,
        items={"type": "string", "minLength": 1, "maxLength": 64},
        section=PROTECTED,
        title="Checkpoints to keep",
        description="Ids of checkpoints whose endpoints stay.",
    ),
    "idle_days": Param(
        7,
        type="number",
        minimum=1,
        maximum=42,
        section=PROTECTED,
        title="Idle for",
        description="Days. An endpoint that was asked within them stays; smoke tests count. Cloud Monitoring tells.",
    ),
    "ignore_traffic": Param(
        False,
        type="boolean",
        section=PROTECTED,
        title="Ignore traffic",
        description="Do not look whether anybody asks an endpoint: only when you know that nobody does.",
    ),
    "keep_copies": Param(
        None,
        type=["null", "integer"],
        minimum=1,
        section=COPIES,
        title="Copies to keep",
        description="So many of the newest copies stay. Empty: copies are not looked at.",
    ),
    "copy_location": tuning_param(
        "copy_location", section=COPIES, title="Copies in location", description="Region where the copies are."
    ),
    "copy_project_id": tuning_param(
        "copy_project_id", section=COPIES, title="Copies in project", description="Empty: the model's own."
    ),
    "gcp_conn_id": tuning_param("gcp_conn_id"),
    "impersonation_chain": tuning_param("impersonation_chain"),
}

CLOUD = {
    "gcp_conn_id": "{{ params.gcp_conn_id }}",
    "impersonation_chain": "{{ params.impersonation_chain or '' }}",
    "project_id": "{{ params.model.split('/')[1] }}",
    "location": "{{ params.model.split('/')[3] }}",
}

with DAG(
    dag_id="gemini_model_cleanup",
    description="Delete idle endpoints of losing checkpoints, and old copies, of a tuned model",
    doc_md=__doc__,
    schedule=None,
    params=PARAMS,
    tags=["gemini", "tuning"],
    default_args={"retries": 3, **CLOUD},
) as dag:
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
    cleanup = GeminiCleanupOperator(
        task_id="cleanup",
        plan=plan.output,
        is_dry_run=dag.param("dry_run"),
        require_approval=dag.param("require_approval"),
        approval=approve.output,
        max_active_tis_per_dag=1,
        trigger_rule=TriggerRule.NONE_FAILED,  # skipped with its own reason
    )
