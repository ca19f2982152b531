"""The tuning pipeline as a task group in a DAG of somebody else."""

from functools import partial

import pytest
from airflow.sdk import DAG, task
from support import REPOSITORY

from gemini_tuning import pipelines
from gemini_tuning.core.exceptions import InvalidInputError
from gemini_tuning.pipelines.params import dag_params
from gemini_tuning.ui import queries

TRAIN = "gs://bucket/train.jsonl"
checkpoint_tuning = partial(
    pipelines.checkpoint_tuning, suite="ferry_support", config_folder=REPOSITORY / "dags" / "config"
)


@pytest.fixture
def dag():
    with DAG("mine", default_args={"retries": 7, "owner": "me"}) as dag:
        yield dag


def test_xcoms_of_other_tasks_order_the_group_between_them(dag):
    @task
    def prepare():
        return TRAIN

    @task
    def deploy(model):
        return model

    deploy(checkpoint_tuning("ferry", training_dataset_uri=prepare())["model"])
    assert dag.get_task("ferry.validate").upstream_task_ids == {"prepare"}
    assert dag.get_task("deploy").upstream_task_ids == {"ferry.promote.publish"}


def test_two_groups_in_a_dag_share_no_task(dag):
    for name in ("first", "second"):
        checkpoint_tuning(name, training_dataset_uri=TRAIN)
    first, second = (
        {task_id.partition(".")[2] for task_id in dag.task_ids if task_id.startswith(f"{name}.")}
        for name in ("first", "second")
    )
    assert first == second
    assert len(dag.task_ids) == 2 * len(first)


def test_the_page_finds_the_dag_of_a_group(dag):
    checkpoint_tuning("ferry", training_dataset_uri=TRAIN)
    assert queries.TAG in dag.tags


@pytest.mark.parametrize("step", ["approve", "set_default", "publish", "report"])
def test_the_route_of_a_group_leads_to_tasks_of_the_group(dag, step):
    checkpoint_tuning("ferry", training_dataset_uri=TRAIN)
    route = dag.get_task("ferry.route")
    assert set(route.branches[step]) <= route.downstream_task_ids


def test_arguments_that_are_not_given_have_the_defaults_of_the_form(dag):
    checkpoint_tuning("ferry", training_dataset_uri=TRAIN, epoch_count=3)
    request = dag.get_task("ferry.validate").tuning_request
    assert (request["epoch_count"], request["base_model"]) == (
        3,
        dag_params("gemini_checkpoint_tuning")["base_model"].value,
    )


def test_default_args_of_the_dag_reach_the_tasks_and_the_connection_is_that_of_the_group(dag):
    checkpoint_tuning("ferry", training_dataset_uri=TRAIN, gcp_conn_id="mine", location="eu-x1")
    create = dag.get_task("ferry.tune.create_tuning_job")
    assert (create.retries, create.owner, create.gcp_conn_id, create.location) == (7, "me", "mine", "eu-x1")


@pytest.mark.parametrize(
    ("arguments", "field", "code"),
    [
        ({"epochs": 3}, "epochs", "unknown_param"),
        ({"epoch_count": 0}, "epoch_count", "invalid_param"),
        ({"training_dataset_uri": "/tmp/train.jsonl"}, "training_dataset_uri", "invalid_param"),
        ({"min_pass_rate": "high"}, "min_pass_rate", "invalid_param"),
        ({"suite": "unknown"}, "suite", "invalid_param"),
    ],
)
def test_an_argument_that_the_form_would_refuse_is_refused_when_the_dag_is_read(dag, arguments, field, code):
    with pytest.raises(InvalidInputError) as caught:
        checkpoint_tuning(**{"training_dataset_uri": TRAIN, **arguments})
    assert (caught.value.field, caught.value.code) == (field, code)


def test_a_templated_argument_is_checked_when_the_run_starts(dag):
    checkpoint_tuning("ferry", training_dataset_uri="gs://bucket/{{ ds }}.jsonl")
    assert dag.get_task("ferry.validate").tuning_request["training_dataset_uri"] == "gs://bucket/{{ ds }}.jsonl"
