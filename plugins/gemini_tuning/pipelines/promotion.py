"""The DAG that promotes a checkpoint by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from airflow.sdk import DAG, TriggerRule

from gemini_tuning.operators.approve_checkpoint import GeminiApproveCheckpointOperator
from gemini_tuning.operators.copy_model import GeminiCopyModelOperator
from gemini_tuning.operators.gate_promotion import GeminiGatePromotionOperator
from gemini_tuning.operators.publish_model import GeminiPublishModelOperator
from gemini_tuning.operators.route import GeminiRouteOperator
from gemini_tuning.operators.set_default_checkpoint import GeminiSetDefaultCheckpointOperator
from gemini_tuning.operators.smoke_test_checkpoint import GeminiSmokeTestCheckpointOperator
from gemini_tuning.operators.validate_promotion import GeminiValidatePromotionOperator
from gemini_tuning.operators.verify_model_copy import GeminiVerifyModelCopyOperator
from gemini_tuning.pipelines.config_folder import ConfigFolder
from gemini_tuning.pipelines.params import MODEL_CLOUD, set_params
from gemini_tuning.reporting.notifications import GeminiRunNotifier

DAG_ID = "gemini_checkpoint_promotion"
DAG_DOC = """Promote a checkpoint of a tuned model by hand, roll back to the previous default, or copy the model.

**What it does.** `validate` refuses what is not possible before anything is changed. With *Smoke suite* the checkpoint
must pass the suite first, with *Require approval* a user must approve. `set_default` sets the default checkpoint and
reads it back, `publish` emits the asset event, `copy_model` copies the model if a location is given. The page of a
tuning run triggers this DAG with the fields filled in.

**What it costs.** Only the prompts of the suite, if one is given, and the stored copy.

**Where the results are.** In the XComs of `set_default` and `verify_copy`; with a suite in the folder for results.
"""


def checkpoint_promotion_dag(
    dag_id: str = DAG_ID, *, config_folder: str | Path | None = None, **dag_arguments: Any
) -> DAG:
    """Return the DAG that sets or rolls back the default checkpoint of a tuned model, and copies the model.

    :param config_folder: see :class:`~gemini_tuning.pipelines.config_folder.ConfigFolder`.
    :param dag_arguments: of :class:`airflow.sdk.DAG`.
    """
    config = ConfigFolder.find(config_folder)
    notifier = GeminiRunNotifier(config.notifications, publish="publish")
    arguments: dict[str, Any] = {
        "description": "Set or roll back the default checkpoint of a tuned model, copy the model",
        "doc_md": DAG_DOC,
        "schedule": None,
        "tags": ["gemini", "tuning", "gemini-tuning-actions"],
        "on_success_callback": notifier,
        "on_failure_callback": notifier,
        "default_args": {"retries": 3, **MODEL_CLOUD},
    }
    with DAG(dag_id, **arguments | dag_arguments) as dag:
        _add_tasks(dag, config)
    set_params(dag, DAG_ID, config.suites)
    return dag


def _add_tasks(dag: Any, config: ConfigFolder) -> None:
    validate = GeminiValidatePromotionOperator(
        task_id="validate",
        model=dag.param("model"),
        checkpoint_id=dag.param("checkpoint_id"),
        roll_back=dag.param("roll_back"),
        expected_default=dag.param("expected_default"),
        suite=dag.param("suite"),
        results_uri=dag.param("results_uri"),
        require_approval=dag.param("require_approval"),
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
        suite_folder=config.suites,
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
    GeminiVerifyModelCopyOperator(
        task_id="verify_copy",
        source_model=dag.param("model"),
        model=copy_model.output["model"],
    )

    validate >> route >> [smoke_test, gate, approve, set_default]
    approve >> [set_default, copy_model]
    set_default >> [publish, copy_model]
