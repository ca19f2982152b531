"""Tune a Gemini model, smoke-test every checkpoint and promote the best one.

**What it does.** `validate` checks the parameters, the datasets and the suite before anything is charged. `tune`
creates exactly one supervised tuning job and waits for it without a worker slot. `evaluate` runs the suite on every
checkpoint and on the champion and reads the losses. `choose` compares them. `promote` requests an approval if required,
sets the winner as the model's default checkpoint and emits an asset event. `copy` copies the model to another location.
Without an eligible checkpoint nothing is changed.

**What it costs.** The tuning job by the tokens of the training dataset times the epochs, and the prompts of the suite
for each checkpoint. The log of `validate` has the estimate; with *Budget* a run above it fails before the job is
created. A cleared task never pays for a second job unless *New job when cleared* is set.

**Where the results are.** In `report.md` and `report.json` in the folder for the report, in the log of `report`, and on
the page *Gemini tuning* of the run.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, TaskGroup, TriggerRule

from gemini_tuning.core.tuning_request import TuningRequest
from gemini_tuning.operators.approve_checkpoint import GeminiApproveCheckpointOperator
from gemini_tuning.operators.cancel_tuning_job import GeminiCancelTuningJobOperator
from gemini_tuning.operators.choose_checkpoint import GeminiChooseCheckpointOperator
from gemini_tuning.operators.copy_model import GeminiCopyModelOperator
from gemini_tuning.operators.create_tuning_job import GeminiCreateTuningJobOperator
from gemini_tuning.operators.list_checkpoints import GeminiListCheckpointsOperator
from gemini_tuning.operators.publish_model import GeminiPublishModelOperator
from gemini_tuning.operators.read_tuning_metrics import GeminiReadTuningMetricsOperator
from gemini_tuning.operators.route import GeminiRouteOperator
from gemini_tuning.operators.set_default_checkpoint import GeminiSetDefaultCheckpointOperator
from gemini_tuning.operators.smoke_test_champion import GeminiSmokeTestChampionOperator
from gemini_tuning.operators.smoke_test_checkpoint import GeminiSmokeTestCheckpointOperator
from gemini_tuning.operators.validate_tuning import GeminiValidateTuningOperator
from gemini_tuning.operators.verify_model_copy import GeminiVerifyModelCopyOperator
from gemini_tuning.operators.write_report import GeminiTuningReportOperator
from gemini_tuning.pipelines.params import dag_params
from gemini_tuning.reporting.notifications import GeminiRunNotifier
from gemini_tuning.sensors.tuning_job import GeminiTuningJobSensor

CONFIG = Path(__file__).parent / "config"
SUITES, PRICES, NOTIFICATIONS = CONFIG / "smoke", str(CONFIG / "prices.yaml"), str(CONFIG / "notifications.yaml")

# Templates and not dag.param(): in a mapped task that would give the DAG a new version at every parse, because Airflow
# writes the object's address into the serialized DAG.
CLOUD = {
    "gcp_conn_id": "{{ params.gcp_conn_id }}",
    "impersonation_chain": "{{ params.impersonation_chain or '' }}",
    "project_id": "{{ params.project_id or '' }}",
    "location": "{{ params.location }}",
}

notifier = GeminiRunNotifier(
    NOTIFICATIONS, report="report", publish="promote.publish", tuning_job="tune.create_tuning_job"
)

with DAG(
    dag_id="gemini_checkpoint_tuning",
    description="Tune Gemini, smoke-test every checkpoint and promote the best",
    doc_md=__doc__,
    schedule=None,
    tags=["gemini", "tuning", "gemini-tuning"],
    on_success_callback=notifier,
    on_failure_callback=notifier,
    default_args={"retries": 3, **CLOUD},  # retry delay: [core] default_task_retry_delay
) as dag:
    validate = GeminiValidateTuningOperator(
        task_id="validate",
        tuning_request={name: dag.param(name) for name in TuningRequest.model_fields},
        suite=dag.param("suite"),
        suite_folder=str(SUITES),
        prices=PRICES,
        budget=dag.param("budget"),
        count_tokens=dag.param("count_tokens"),
        copy={
            name: dag.param(f"copy_{name}")
            for name in ("location", "project_id", "model_id", "parent_model", "kms_key_name")
        },
        results_uri=dag.param("results_uri"),
        report_uri=dag.param("report_uri"),
        champion=dag.param("champion"),
        notifications=NOTIFICATIONS,
    )
    with TaskGroup("tune", tooltip="Create one tuning job and wait for it"):
        create_tuning_job = GeminiCreateTuningJobOperator(
            task_id="create_tuning_job",
            tuning_request=validate.output["tuning_request"],
            force_new_job=dag.param("force_new_job"),
        )
        wait_for_tuning_job = GeminiTuningJobSensor(
            task_id="wait_for_tuning_job",
            tuning_job=create_tuning_job.output,
            poll_interval=dag.param("poll_interval"),
            deadline=dag.param("deadline_seconds"),
            deferrable=True,
        )
        cancel_abandoned_job = GeminiCancelTuningJobOperator(
            task_id="cancel_abandoned_job",
            create_task=create_tuning_job,
            wait_task=wait_for_tuning_job,
            retries=10,
            retry_exponential_backoff=2,
            max_retry_delay=timedelta(minutes=10),
        ).as_teardown(on_failure_fail_dagrun=True)
    with TaskGroup("evaluate", tooltip="Smoke-test every checkpoint and the champion, read the losses"):
        list_checkpoints = GeminiListCheckpointsOperator(
            task_id="list_checkpoints", tuning_job=create_tuning_job.output
        )
        suite = {
            "suite": "{{ params.suite }}",
            "suite_folder": str(SUITES),
            "suite_fingerprint": validate.output["suite_fingerprint"],
            "results_uri": validate.output["results_uri"],
            "concurrency": "{{ params.concurrency }}",
        }
        smoke_test = GeminiSmokeTestCheckpointOperator.partial(
            task_id="smoke_test",
            map_index_template="checkpoint {{ task.checkpoint['checkpoint_id'] }}",
            **suite,
            **CLOUD,
        ).expand(checkpoint=list_checkpoints.output)
        smoke_test_champion = GeminiSmokeTestChampionOperator(
            task_id="smoke_test_champion", champion=dag.param("champion"), **suite
        )
        read_metrics = GeminiReadTuningMetricsOperator(
            task_id="read_metrics",
            tuning_job=create_tuning_job.output,
            checkpoints=list_checkpoints.output,
            evaluation_expected="{{ params.evaluation_metrics | length > 0 }}",
        )
    choose = GeminiChooseCheckpointOperator(
        task_id="choose",
        results=smoke_test.output,
        champion=smoke_test_champion.output,
        champion_name=dag.param("champion"),
        metrics=read_metrics.output,
        model=list_checkpoints.output["tuned_model"],
        min_pass_rate=dag.param("min_pass_rate"),
        max_latency_p95=dag.param("max_latency_p95_ms"),
        allow_blocked=dag.param("allow_blocked"),
        significance=dag.param("significance"),
        require_improvement=dag.param("require_improvement"),
        require_approval=dag.param("require_approval"),
        trigger_rule=TriggerRule.NONE_FAILED,  # without a champion its task is skipped
    )
    route = GeminiRouteOperator(
        task_id="route",
        next_step=choose.output["next_step"],
        branches={
            "approve": "promote.approve",
            "set_default": "promote.set_default",
            "publish": ["promote.publish", "copy.copy_model"],
            "report": "report",
        },
    )
    with TaskGroup("promote", tooltip="Set the winner as the default checkpoint and emit the asset event"):
        approve = GeminiApproveCheckpointOperator(
            task_id="approve",
            decision=choose.output["decision"],
            results=smoke_test.output,
            default_checkpoint_id=list_checkpoints.output["default_checkpoint_id"],
            champion=smoke_test_champion.output,
            metrics=read_metrics.output,
            tuning_job=create_tuning_job.output,
            model=list_checkpoints.output["tuned_model"],
            report_uri=validate.output["report_uri"],
            checked=validate.output,
            timeout=dag.param("approval_timeout_seconds"),
            notifiers=notifier,
            trigger_rule=TriggerRule.NONE_FAILED,
        )
        set_default = GeminiSetDefaultCheckpointOperator(
            task_id="set_default",
            model=list_checkpoints.output["tuned_model"],
            checkpoint_id=choose.output["winner"],
            require_approval=dag.param("require_approval"),
            approval=approve.output,
            tuning_job=create_tuning_job.output,
            trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS,
        )
        publish = GeminiPublishModelOperator(
            task_id="publish",
            max_active_tis_per_dag=1,  # two runs may have made versions of the same model
            model=list_checkpoints.output["tuned_model"],
            checkpoint_id=choose.output["winner"],
            require_approval=dag.param("require_approval"),
            approval=approve.output,
            decision=choose.output["decision"],
            tuning_job=create_tuning_job.output,
            version_aliases=dag.param("version_aliases"),
            trigger_rule=TriggerRule.NONE_FAILED,
        )
    with TaskGroup("copy", tooltip="Copy the model to another location and compare the copy"):
        copy_model = GeminiCopyModelOperator(
            task_id="copy_model",
            model=list_checkpoints.output["tuned_model"],
            destination_location=dag.param("copy_location"),
            destination_project_id=dag.param("copy_project_id"),
            model_id=dag.param("copy_model_id"),
            parent_model=dag.param("copy_parent_model"),
            kms_key_name=dag.param("copy_kms_key_name"),
            poll_interval=dag.param("poll_interval"),
            deferrable=True,
            trigger_rule=TriggerRule.NONE_FAILED,
        )
        verify_copy = GeminiVerifyModelCopyOperator(
            task_id="verify_copy",
            source_model=list_checkpoints.output["tuned_model"],
            model=copy_model.output["model"],
            default_checkpoint_id=dag.param("copy_default_checkpoint_id"),
        )
        copy_end = EmptyOperator(task_id="end", trigger_rule=TriggerRule.ALL_DONE)
    report = GeminiTuningReportOperator(
        task_id="report",
        report_uri=validate.output["report_uri"],
        datasets=validate.output,
        tuning_job=create_tuning_job.output,
        model=list_checkpoints.output["tuned_model"],
        results=smoke_test.output,
        champion=smoke_test_champion.output,
        metrics=read_metrics.output,
        decision=choose.output["decision"],
        # Templates and not XComArgs: a rejection skips the tasks directly downstream of approve, and the report is
        # written after a copy that failed as well.
        approval="{{ ti.xcom_pull(task_ids='promote.approve') | tojson }}",
        promotion=set_default.output,
        copy="{{ ti.xcom_pull(task_ids='copy.verify_copy') | tojson }}",
        billed=list_checkpoints.output["billed"],
        trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS,
    )

    # The run's state: it fails with a failed copy or publication, although the report is written.
    end = EmptyOperator(task_id="end", trigger_rule=TriggerRule.NONE_FAILED)

    validate >> create_tuning_job >> wait_for_tuning_job >> [list_checkpoints, cancel_abandoned_job]
    list_checkpoints >> smoke_test_champion
    choose >> route >> [approve, set_default, publish, copy_model, report]
    approve >> [set_default, publish, copy_model]
    set_default >> [publish, copy_model]
    verify_copy >> copy_end >> report
    [publish, verify_copy, report] >> end

# After the tasks: each operator would otherwise get copies of all Params, in every parse and in the serialized DAG.
dag.params = dag_params("gemini_checkpoint_tuning", SUITES)
