"""The shape of the pipeline with nothing to do in it: what Airflow itself takes for as many tasks in the same order.

``wait_for_tuning_job`` and ``copy_model`` defer, for as short as Airflow stands: an event that comes before the
scheduler has heard of the end of the deferring process fails the task (https://github.com/apache/airflow/issues/72716).
"""

from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk import DAG, BaseOperator, TaskGroup, TriggerRule

CHECKPOINTS = 6


class Nothing(BaseOperator):
    """Do nothing; Airflow would not even run its own EmptyOperator."""

    def __init__(self, number: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.number = number

    def execute(self, context: Any) -> None:
        """Do nothing."""


class Deferred(Nothing):
    """Do nothing in the triggerer."""

    def execute(self, context: Any) -> None:
        """Defer."""
        wait = timedelta(seconds=context["params"]["settle_seconds"])
        self.defer(trigger=TimeDeltaTrigger(wait), method_name="execute_complete")

    def execute_complete(self, context: Any, event: Any) -> None:
        """Do nothing."""


with DAG("bench_floor", schedule=None, params={"settle_seconds": 2}):
    validate, choose, route, report = (Nothing(task_id=name) for name in ("validate", "choose", "route", "report"))
    with TaskGroup("tune"):
        create, wait = Nothing(task_id="create_tuning_job"), Deferred(task_id="wait_for_tuning_job")
        teardown = Nothing(task_id="cancel_abandoned_job").as_teardown()
    with TaskGroup("evaluate"):
        checkpoints = Nothing(task_id="list_checkpoints")
        tests = Nothing.partial(task_id="smoke_test").expand(number=list(range(CHECKPOINTS)))
        beside = [Nothing(task_id="smoke_test_champion"), Nothing(task_id="read_metrics")]
    with TaskGroup("promote"):
        set_default, publish = Nothing(task_id="set_default"), Nothing(task_id="publish")
    with TaskGroup("copy"):
        copy, verify = Deferred(task_id="copy_model"), Nothing(task_id="verify_copy")
        copy_end = EmptyOperator(task_id="end", trigger_rule=TriggerRule.ALL_DONE)
    end = EmptyOperator(task_id="end", trigger_rule=TriggerRule.NONE_FAILED)
    validate >> create >> wait >> [checkpoints, teardown]
    checkpoints >> [tests, *beside] >> choose >> route >> set_default >> [publish, copy]
    copy >> verify >> copy_end >> report
    [publish, verify, report] >> end
