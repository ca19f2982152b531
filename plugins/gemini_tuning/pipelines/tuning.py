"""The tuning pipeline: as a DAG of its own, and as a task group for the DAGs of others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Param, TaskGroup, TriggerRule, XComArg

from gemini_tuning.core.exceptions import InvalidInputError
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
from gemini_tuning.pipelines.config_folder import ConfigFolder
from gemini_tuning.pipelines.params import dag_params, set_params
from gemini_tuning.reporting.notifications import GeminiRunNotifier
from gemini_tuning.sensors.tuning_job import GeminiTuningJobSensor

DAG_ID = "gemini_checkpoint_tuning"
PAGE_TAG = "gemini-tuning"  # the page shows the runs of DAGs with this tag
COPY = ("location", "project_id", "model_id", "parent_model", "kms_key_name")
CLOUD = ("gcp_conn_id", "impersonation_chain", "project_id", "location")

DAG_DOC = """Tune a Gemini model, smoke-test every checkpoint and promote the best one.

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


def checkpoint_tuning_dag(
    dag_id: str = DAG_ID, *, config_folder: str | Path | None = None, **dag_arguments: Any
) -> DAG:
    """Return the DAG that tunes a model, smoke-tests every checkpoint and promotes the best one.

    :param config_folder: see :class:`~gemini_tuning.pipelines.config_folder.ConfigFolder`.
    :param dag_arguments: of :class:`airflow.sdk.DAG`, for example ``schedule``.
    """
    config = ConfigFolder.find(config_folder)
    notifier = GeminiRunNotifier(
        config.notifications, report="report", publish="promote.publish", tuning_job="tune.create_tuning_job"
    )
    arguments: dict[str, Any] = {
        "description": "Tune Gemini, smoke-test every checkpoint and promote the best",
        "doc_md": DAG_DOC,
        "schedule": None,
        "tags": ["gemini", "tuning", PAGE_TAG],
        "on_success_callback": notifier,
        "on_failure_callback": notifier,
        **dag_arguments,
    }
    # Templates and not dag.param() for mapped tasks: that would give the DAG a new version at every parse, because
    # Airflow writes the object's address into the serialized DAG.
    cloud = {name: _template(name) for name in CLOUD}
    default_args = {"retries": 3, **cloud, **arguments.pop("default_args", {})}
    with DAG(dag_id, default_args=default_args, **arguments) as dag:
        pipeline = _Pipeline(dag.param, _template, config, notifier)
        pipeline.add_tasks(evaluation_expected="{{ params.evaluation_metrics | length > 0 }}")
    set_params(dag, DAG_ID, config.suites)
    return dag


def checkpoint_tuning(
    group_id: str = "checkpoint_tuning",
    *,
    training_dataset_uri: str | XComArg,
    suite: str,
    config_folder: str | Path | None = None,
    **params: Any,
) -> XComArg:
    """Add a task group that tunes a model, smoke-tests every checkpoint and promotes the best one.

    Tasks upstream are those whose XComs are given; the tasks that take the returned XCom are skipped when nothing is
    promoted. A DAG can have several groups.

    :param training_dataset_uri: ``gs://bucket/train.jsonl``, also from the XCom of another task. (templated)
    :param suite: name of a suite in the configuration folder, or the ``gs://`` address of a suite.
    :param config_folder: see :class:`~gemini_tuning.pipelines.config_folder.ConfigFolder`.
    :param params: other Params of ``gemini_checkpoint_tuning``, with the same defaults. (templated)
    :returns: XCom of the promotion: ``{"model", "version", "checkpoint_id", "endpoint", "aliases", "asset"}``, each
        also under its own key, for example ``promoted["endpoint"]``.
    :raises InvalidInputError: for a Param that does not exist, or a value that its form would refuse.
    """
    config = ConfigFolder.find(config_folder)
    given = {"training_dataset_uri": training_dataset_uri, "suite": suite, **params}
    values = _resolve(given, dag_params(DAG_ID, config.suites))
    with TaskGroup(group_id, tooltip="Tune a model and promote its best checkpoint") as group:
        group.dag.tags.add(PAGE_TAG)
        group.default_args = {"retries": 3, **group.dag.default_args, **{name: values[name] for name in CLOUD}}
        notifier = GeminiRunNotifier(config.notifications)
        pipeline = _Pipeline(values.__getitem__, values.__getitem__, config, notifier, f"{group.group_id}.")
        return pipeline.add_tasks(evaluation_expected=bool(values["evaluation_metrics"]))


def _template(name: str) -> str:
    return f"{{{{ params.{name} or '' }}}}"  # the text of None would be "None"


def _resolve(given: Mapping[str, Any], params: Mapping[str, Param]) -> dict[str, Any]:
    """Return a value for each Param; those that are known now are validated as Airflow validates a Param."""
    if unknown := sorted(set(given) - set(params)):
        raise InvalidInputError(
            f"checkpoint_tuning has no parameter {', '.join(unknown)}.",
            field=unknown[0],
            code="unknown_param",
            hint=f"Parameters: {', '.join(sorted(params))}.",
        )
    values = {}
    for name, param in params.items():
        value = given.get(name, param.value)
        is_known_later = isinstance(value, XComArg) or (isinstance(value, str) and "{{" in value)
        if name in given and not is_known_later:
            try:
                Param(**param.schema).resolve(value)
            except (ValueError, TypeError) as error:  # a ParamValidationError is a ValueError
                message = f"{name}: {str(error).splitlines()[0]}"
                raise InvalidInputError(message, field=name, code="invalid_param") from None
        values[name] = value
    return values


class _Pipeline:
    """The tasks of the pipeline, added to the current DAG or task group.

    :param value: returns the value of a Param for a task.
    :param text: the same for mapped tasks.
    :param prefix: of the task ids: the id of the task group, whose DAG may have other Params.
    """

    def __init__(
        self,
        value: Callable[[str], Any],
        text: Callable[[str], Any],
        config: ConfigFolder,
        notifier: GeminiRunNotifier,
        prefix: str = "",
    ) -> None:
        self.value, self.text, self.config, self.notifier, self.prefix = value, text, config, notifier, prefix

    def add_tasks(self, *, evaluation_expected: bool | str) -> XComArg:
        """Add all tasks and return the XCom of the promotion."""
        self._validate()
        with TaskGroup("tune", tooltip="Create one tuning job and wait for it"):
            self._tune()
        with TaskGroup("evaluate", tooltip="Smoke-test every checkpoint and the champion, read the losses"):
            self._evaluate(evaluation_expected)
        self._choose()
        with TaskGroup("promote", tooltip="Set the winner as the default checkpoint and emit the asset event"):
            self._promote()
        with TaskGroup("copy", tooltip="Copy the model to another location and compare the copy"):
            self._copy()
        self._report()
        return XComArg(self.publish)

    def _validate(self) -> None:
        value = self.value
        self.validate = GeminiValidateTuningOperator(
            task_id="validate",
            tuning_request={name: value(name) for name in TuningRequest.model_fields},
            suite=value("suite"),
            suite_folder=self.config.suites,
            prices=self.config.prices,
            budget=value("budget"),
            count_tokens=value("count_tokens"),
            copy={name: value(f"copy_{name}") for name in COPY},
            results_uri=value("results_uri"),
            report_uri=value("report_uri"),
            champion=value("champion"),
            notifications=self.config.notifications,
            allow_unknown_params=bool(self.prefix),
            check_triggerer=True,
        )

    def _tune(self) -> None:
        self.job = GeminiCreateTuningJobOperator(
            task_id="create_tuning_job",
            tuning_request=self.validate.output["tuning_request"],
            force_new_job=self.value("force_new_job"),
        )
        self.wait = GeminiTuningJobSensor(
            task_id="wait_for_tuning_job",
            tuning_job=self.job.output,
            poll_interval=self.value("poll_interval"),
            deadline=self.value("deadline_seconds"),
            deferrable=True,
        )
        cancel = GeminiCancelTuningJobOperator(
            task_id="cancel_abandoned_job",
            create_task=self.job,
            wait_task=self.wait,
            retries=10,
            retry_exponential_backoff=2,
            max_retry_delay=timedelta(minutes=10),
        ).as_teardown(on_failure_fail_dagrun=True)
        self.validate >> self.job >> self.wait >> cancel

    def _evaluate(self, evaluation_expected: bool | str) -> None:
        self.checkpoints = GeminiListCheckpointsOperator(task_id="list_checkpoints", tuning_job=self.job.output)
        self.model = self.checkpoints.output["tuned_model"]
        suite = {
            "suite": self.text("suite"),
            "suite_folder": self.config.suites,
            "suite_fingerprint": self.validate.output["suite_fingerprint"],
            "results_uri": self.validate.output["results_uri"],
            "concurrency": self.text("concurrency"),
        }
        self.smoke_test = GeminiSmokeTestCheckpointOperator.partial(
            task_id="smoke_test",
            map_index_template="checkpoint {{ task.checkpoint['checkpoint_id'] }}",
            **suite,
            **{name: self.text(name) for name in CLOUD},
        ).expand(checkpoint=self.checkpoints.output)
        self.champion = GeminiSmokeTestChampionOperator(
            task_id="smoke_test_champion", champion=self.value("champion"), **suite
        )
        self.metrics = GeminiReadTuningMetricsOperator(
            task_id="read_metrics",
            tuning_job=self.job.output,
            checkpoints=self.checkpoints.output,
            evaluation_expected=evaluation_expected,
        )
        self.wait >> self.checkpoints >> self.champion

    def _choose(self) -> None:
        value = self.value
        self.choose = GeminiChooseCheckpointOperator(
            task_id="choose",
            results=self.smoke_test.output,
            champion=self.champion.output,
            champion_name=value("champion"),
            metrics=self.metrics.output,
            model=self.model,
            min_pass_rate=value("min_pass_rate"),
            max_latency_p95=value("max_latency_p95_ms"),
            allow_blocked=value("allow_blocked"),
            significance=value("significance"),
            require_improvement=value("require_improvement"),
            require_approval=value("require_approval"),
            trigger_rule=TriggerRule.NONE_FAILED,  # without a champion its task is skipped
        )
        ids = {
            "approve": ["promote.approve"],
            "set_default": ["promote.set_default"],
            "publish": ["promote.publish", "copy.copy_model"],
            "report": ["report"],
        }
        self.route = GeminiRouteOperator(
            task_id="route",
            next_step=self.choose.output["next_step"],
            branches={step: [f"{self.prefix}{task}" for task in tasks] for step, tasks in ids.items()},
        )
        self.choose >> self.route

    def _promote(self) -> None:
        value = self.value
        self.approve = GeminiApproveCheckpointOperator(
            task_id="approve",
            decision=self.choose.output["decision"],
            results=self.smoke_test.output,
            default_checkpoint_id=self.checkpoints.output["default_checkpoint_id"],
            champion=self.champion.output,
            metrics=self.metrics.output,
            tuning_job=self.job.output,
            model=self.model,
            report_uri=self.validate.output["report_uri"],
            checked=self.validate.output,
            timeout=value("approval_timeout_seconds"),
            notifiers=self.notifier,
            trigger_rule=TriggerRule.NONE_FAILED,
        )
        promoted = {
            "model": self.model,
            "checkpoint_id": self.choose.output["winner"],
            "require_approval": value("require_approval"),
            "approval": self.approve.output,
            "tuning_job": self.job.output,
        }
        self.set_default = GeminiSetDefaultCheckpointOperator(
            task_id="set_default", **promoted, trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS
        )
        self.publish = GeminiPublishModelOperator(
            task_id="publish",
            max_active_tis_per_dag=1,  # two runs may have created versions of the same model
            **promoted,
            decision=self.choose.output["decision"],
            version_aliases=value("version_aliases"),
            trigger_rule=TriggerRule.NONE_FAILED,
        )
        self.route >> [self.approve, self.set_default, self.publish]
        self.approve >> [self.set_default, self.publish]
        self.set_default >> self.publish

    def _copy(self) -> None:
        value = self.value
        self.copy_model = GeminiCopyModelOperator(
            task_id="copy_model",
            model=self.model,
            destination_location=value("copy_location"),
            **{f"{'destination_' if name == 'project_id' else ''}{name}": value(f"copy_{name}") for name in COPY[1:]},
            poll_interval=value("poll_interval"),
            deferrable=True,
            trigger_rule=TriggerRule.NONE_FAILED,
        )
        self.verify_copy = GeminiVerifyModelCopyOperator(
            task_id="verify_copy",
            source_model=self.model,
            model=self.copy_model.output["model"],
            default_checkpoint_id=value("copy_default_checkpoint_id"),
        )
        self.copy_end = EmptyOperator(task_id="end", trigger_rule=TriggerRule.ALL_DONE)
        [self.route, self.approve, self.set_default] >> self.copy_model
        self.verify_copy >> self.copy_end

    def _report(self) -> None:
        report = GeminiTuningReportOperator(
            task_id="report",
            report_uri=self.validate.output["report_uri"],
            datasets=self.validate.output,
            tuning_job=self.job.output,
            model=self.model,
            results=self.smoke_test.output,
            champion=self.champion.output,
            metrics=self.metrics.output,
            decision=self.choose.output["decision"],
            # Templates and not XComArgs: a rejection skips the tasks directly downstream of approve, and the report is
            # written after a copy that failed as well.
            approval=f"{{{{ ti.xcom_pull(task_ids='{self.approve.task_id}') | tojson }}}}",
            promotion=self.set_default.output,
            copy=f"{{{{ ti.xcom_pull(task_ids='{self.verify_copy.task_id}') | tojson }}}}",
            billed=self.checkpoints.output["billed"],
            trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS,
        )
        # The run's state: it fails with a failed copy or publication, although the report is written.
        end = EmptyOperator(task_id="end", trigger_rule=TriggerRule.NONE_FAILED)
        [self.route, self.copy_end] >> report
        [self.publish, self.verify_copy, report] >> end
