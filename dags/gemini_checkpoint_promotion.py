"""Set a checkpoint of a tuned model as its default, or roll back to the one before; copy the model.

The page of a tuning run starts it with the fields filled in. If you want it to, the checkpoint has to pass a smoke
suite first, and a person has the last word. Defaults are set one after the other; a copy that takes hours holds nobody
up.
"""

from __future__ import annotations

from pathlib import Path

from airflow.sdk import DAG, Param, TriggerRule

from gemini_tuning.operators import (
    GeminiApproveCheckpointOperator,
    GeminiCopyModelOperator,
    GeminiGatePromotionOperator,
    GeminiPublishModelOperator,
    GeminiRouteOperator,
    GeminiSetDefaultCheckpointOperator,
    GeminiSmokeTestCheckpointOperator,
    GeminiValidatePromotionOperator,
    GeminiVerifyModelCopyOperator,
)
from gemini_tuning.pipelines.params import JOB_NAME, MODEL_NAME, tuning_param
from gemini_tuning.reporting.notifications import GeminiRunNotifier

CONFIG = Path(__file__).parent / "config"
SUITES, NOTIFICATIONS = CONFIG / "smoke", str(CONFIG / "notifications.yaml")
SUITE_NAMES = sorted(path.stem for path in SUITES.glob("*.yaml"))
CHECKS = "Smoke test and approval"

PARAMS = {
    "model": Param(
        type="string",
        pattern=MODEL_NAME,
        title="Tuned model",
        description="Full name, projects/P/locations/L/models/ID@VERSION.",
    ),
    "checkpoint_id": Param(
        None,
        type=["null", "string"],
        maxLength=64,
        title="Checkpoint",
        description="Id of the checkpoint to make the default. Empty: the default stays.",
    ),
    "roll_back": Param(
        False,
        type="boolean",
        title="Roll back",
        description="Make that checkpoint the default which was it before the last promotion, as labels on the model "
        "say. Done twice, it is undone. Leave the checkpoint empty.",
    ),
    "expected_default": Param(
        None,
        type=["null", "string"],
        maxLength=64,
        title="Default now",
        description="Id of the checkpoint that is the default as far as you know. When it is another one by then, "
        "nothing is changed. Empty: whatever it is.",
    ),
    "tuning_job": Param(
        None,
        type=["null", "string"],
        pattern=JOB_NAME,
        title="Tuning job",
        description="Full name of the job that made the model; then its endpoint is read back as well.",
    ),
    "version_aliases": tuning_param(
        "version_aliases",
        section=None,
        description="The model's version gets the alias champion, the one that had it gets previous.",
    ),
    "suite": Param(
        None,
        type=["null", "string"],
        enum=[None, *SUITE_NAMES],
        section=CHECKS,
        title="Smoke suite",
        description="The prompts that the checkpoint has to answer before: a file of dags/config/smoke. Empty: none.",
    ),
    "min_pass_rate": tuning_param(
        "min_pass_rate",
        section=CHECKS,
        description="Weighted share of the suite's cases that it must pass, 0 to 1. It must pass all critical ones.",
    ),
    "results_uri": tuning_param(
        "results_uri",
        section=CHECKS,
        description="gs://bucket/folder, or a path that all workers see. Needed with a suite. Each run gets a folder "
        "in it.",
    ),
    "require_approval": tuning_param(
        "require_approval",
        section=CHECKS,
        description="The run waits under Required Actions until somebody approves or rejects.",
    ),
    "approval_timeout_seconds": tuning_param("approval_timeout_seconds", section=CHECKS),
    "copy_location": tuning_param(
        "copy_location", description="Region that gets a copy of the model with all checkpoints. Empty: no copy."
    ),
    "copy_project_id": tuning_param("copy_project_id", description="Empty: the model's own."),
    "gcp_conn_id": tuning_param("gcp_conn_id"),
    "impersonation_chain": tuning_param("impersonation_chain"),
}

CLOUD = {
    "gcp_conn_id": "{{ params.gcp_conn_id }}",
    "impersonation_chain": "{{ params.impersonation_chain or '' }}",
    "project_id": "{{ params.model.split('/')[1] }}",
    "location": "{{ params.model.split('/')[3] }}",
}

notifier = GeminiRunNotifier(NOTIFICATIONS, publish="publish")

with DAG(
    dag_id="gemini_checkpoint_promotion",
    description="Set or roll back the default checkpoint of a tuned model, copy the model",
    doc_md=__doc__,
    schedule=None,
    params=PARAMS,
    tags=["gemini", "tuning", "gemini-tuning-actions"],
    on_success_callback=notifier,
    on_failure_callback=notifier,
    default_args={"retries": 3, **CLOUD},
) as dag:
    validate = GeminiValidatePromotionOperator(
        task_id="validate",
        **{
            name: dag.param(name)
            for name in (
                "model",
                "checkpoint_id",
                "roll_back",
                "expected_default",
                "suite",
                "results_uri",
                "require_approval",
            )
        },
    )
    route = GeminiRouteOperator(
        task_id="route",
        next_step=validate.output["next_step"],
        branches={step: step for step in ("smoke_test", "gate", "set_default")},
    )
    smoke_test = GeminiSmokeTestCheckpointOperator(
        task_id="smoke_test",
        checkpoint=validate.output["checkpoint"],
        suite=dag.param("suite"),
        suite_folder=str(SUITES),
        results_uri=validate.output["results_uri"],
    )
    gate = GeminiGatePromotionOperator(
        task_id="gate",
        promotion=validate.output,
        results=[smoke_test.output],
        model=validate.output["model"],
        min_pass_rate=dag.param("min_pass_rate"),
        trigger_rule=TriggerRule.NONE_FAILED,  # without a suite it is not asked
    )
    approve = GeminiApproveCheckpointOperator(
        task_id="approve",
        subject="Make checkpoint {{ ti.xcom_pull(task_ids='validate', key='checkpoint_id') }} the default in place of "
        "checkpoint {{ ti.xcom_pull(task_ids='validate', key='default_checkpoint_id') }}?",
        decision=gate.output["decision"],
        results=[smoke_test.output],
        default_checkpoint_id=validate.output["default_checkpoint_id"],
        model=validate.output["model"],
        tuning_job=dag.param("tuning_job"),
        required=dag.param("require_approval"),
        timeout=dag.param("approval_timeout_seconds"),
        trigger_rule=TriggerRule.NONE_FAILED,
    )
    set_default = GeminiSetDefaultCheckpointOperator(
        task_id="set_default",
        model=validate.output["model"],
        checkpoint_id=validate.output["checkpoint_id"],
        expected_default=validate.output["expected_default"],
        optional=True,
        require_approval=dag.param("require_approval"),
        approval=approve.output,
        max_active_tis_per_dag=1,
        tuning_job=dag.param("tuning_job"),
        trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS,
    )
    publish = GeminiPublishModelOperator(
        task_id="publish",
        model=validate.output["model"],
        checkpoint_id=validate.output["checkpoint_id"],
        tuning_job=dag.param("tuning_job"),
        version_aliases=dag.param("version_aliases"),
        max_active_tis_per_dag=1,
    )
    copy_model = GeminiCopyModelOperator(
        task_id="copy_model",
        model=dag.param("model"),
        destination_location=dag.param("copy_location"),
        destination_project_id=dag.param("copy_project_id"),
        poll_interval=10,
        deferrable=True,
        trigger_rule=TriggerRule.NONE_FAILED,
    )
    verify_copy = GeminiVerifyModelCopyOperator(
        task_id="verify_copy",
        source_model=dag.param("model"),
        model=copy_model.output["model"],
    )

    validate >> route >> [smoke_test, gate, approve, set_default]
    approve >> [set_default, copy_model]
    set_default >> [publish, copy_model]
