"""Promote a checkpoint of a tuned model by hand, roll back to the previous default, or copy the model.

**What it does.** `validate` refuses what is not possible before anything is changed. With *Smoke suite* the checkpoint
must pass the suite first, with *Require approval* a user must approve. `set_default` sets the default checkpoint and
reads it back, `publish` emits the asset event, `copy_model` copies the model if a location is given. The page of a
tuning run triggers this DAG with the fields filled in.

**What it costs.** Only the prompts of the suite, if one is given, and the stored copy.

**Where the results are.** In the XComs of `set_default` and `verify_copy`; with a suite in the folder for results.
"""

from __future__ import annotations

from pathlib import Path

from airflow.sdk import DAG, Param, TriggerRule

from gemini_tuning.operators.approve_checkpoint import GeminiApproveCheckpointOperator
from gemini_tuning.operators.copy_model import GeminiCopyModelOperator
from gemini_tuning.operators.gate_promotion import GeminiGatePromotionOperator
from gemini_tuning.operators.publish_model import GeminiPublishModelOperator
from gemini_tuning.operators.route import GeminiRouteOperator
from gemini_tuning.operators.set_default_checkpoint import GeminiSetDefaultCheckpointOperator
from gemini_tuning.operators.smoke_test_checkpoint import GeminiSmokeTestCheckpointOperator
from gemini_tuning.operators.validate_promotion import GeminiValidatePromotionOperator
from gemini_tuning.operators.verify_model_copy import GeminiVerifyModelCopyOperator
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
        description="Id of the checkpoint to set as the default. Empty: the default is unchanged.",
    ),
    "roll_back": Param(
        False,
        type="boolean",
        title="Roll back",
        description="Set the checkpoint that was the default before the last promotion, by the model's labels. "
        "A second rollback reverts the first. Leave the checkpoint empty.",
    ),
    "expected_default": Param(
        None,
        type=["null", "string"],
        maxLength=64,
        title="Expected current default",
        description="Checkpoint id. If another checkpoint is the default by then, nothing is changed. Empty: any.",
    ),
    "tuning_job": Param(
        None,
        type=["null", "string"],
        pattern=JOB_NAME,
        title="Tuning job",
        description="Full name of the job that created the model; its endpoint is read back too.",
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
        description="The checkpoint must pass it first: a file of dags/config/smoke. Empty: none.",
    ),
    "min_pass_rate": tuning_param(
        "min_pass_rate",
        section=CHECKS,
        description="Weighted share of cases that it must pass, 0 to 1. It must pass all critical ones.",
    ),
    "results_uri": tuning_param(
        "results_uri",
        section=CHECKS,
        description="gs://bucket/folder, or a path that all workers see. Required with a suite. Each run creates a "
        "folder in it.",
    ),
    "require_approval": tuning_param(
        "require_approval",
        section=CHECKS,
        description="The run waits under Required Actions until a user approves or rejects.",
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
        trigger_rule=TriggerRule.NONE_FAILED,  # smoke_test is skipped without a suite
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

# After the tasks: each operator would otherwise get copies of all Params, in every parse and in the serialized DAG.
dag.params = PARAMS
