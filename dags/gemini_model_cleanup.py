"""Delete idle endpoints of checkpoints that are not in use, and old copies, of a tuned model.

**What it does.** `plan` lists every endpoint and copy with what would happen to it and why; a dry run, the default,
stops there. Otherwise a user approves the plan and `cleanup` deletes what it lists, checking each resource again
immediately before. The endpoint of the default checkpoint, the champion, and endpoints with recent traffic are kept.

**What it costs.** Nothing. Deleted endpoints and copies can be created again, under other names.

**Where the results are.** The plan is in the log of `plan` and its XCom `markdown`, the outcome in the XCom of
`cleanup`. `docs/cleanup.md` has the rules.
"""

from __future__ import annotations

from airflow.sdk import DAG, Param, TriggerRule

from gemini_tuning.operators.approve_cleanup import GeminiApproveCleanupOperator
from gemini_tuning.operators.plan_cleanup import GeminiPlanCleanupOperator
from gemini_tuning.operators.run_cleanup import GeminiCleanupOperator
from gemini_tuning.pipelines.params import JOB_NAME, tuning_param

MODEL_VERSION = r"^projects/[^/@]+/locations/[a-z0-9-]+/models/[A-Za-z0-9_-]+@[0-9]+$"
PROTECTED, COPIES = "Protected", "Copies"

PARAMS = {
    "model": Param(
        type="string",
        pattern=MODEL_VERSION,
        title="Tuned model",
        description="Full name, projects/P/locations/L/models/ID@VERSION. The plan covers the endpoints where its "
        "checkpoints are deployed.",
    ),
    "dry_run": Param(
        True,
        type="boolean",
        title="Dry run",
        description="Only plan what would be deleted, with the reasons.",
    ),
    "require_approval": tuning_param(
        "require_approval",
        default=True,
        section=None,
        description="The run waits under Required Actions until a user approves the plan. Not on a dry run.",
    ),
    "approval_timeout_seconds": tuning_param("approval_timeout_seconds", section=None),
    "champion": tuning_param(
        "champion",
        section=PROTECTED,
        description="Full name of the endpoint or the model in production, which is kept. The default checkpoint's "
        "endpoint is always kept.",
    ),
    "tuning_job": Param(
        None,
        type=["null", "string"],
        pattern=JOB_NAME,
        section=PROTECTED,
        title="Tuning job",
        description="Full name of the job that created the model; its current endpoint is kept.",
    ),
    "keep_checkpoints": Param(
        [],
        type="array",
        maxItems=100,
        items={"type": "string", "minLength": 1, "maxLength": 64},
        section=PROTECTED,
        title="Checkpoints to keep",
        description="Ids of checkpoints whose endpoints are kept.",
    ),
    "idle_days": Param(
        7,
        type="number",
        minimum=1,
        maximum=42,
        section=PROTECTED,
        title="Idle days",
        description="Days without prompts, by Cloud Monitoring, after which an endpoint is idle. Smoke tests count.",
    ),
    "ignore_traffic": Param(
        False,
        type="boolean",
        section=PROTECTED,
        title="Ignore traffic",
        description="Skip the traffic check: only when you know that the endpoints are not in use.",
    ),
    "keep_copies": Param(
        None,
        type=["null", "integer"],
        minimum=1,
        section=COPIES,
        title="Copies to keep",
        description="Number of newest copies to keep. Empty: all copies are kept.",
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

# After the tasks: each operator would otherwise get copies of all Params, in every parse and in the serialized DAG.
dag.params = PARAMS
