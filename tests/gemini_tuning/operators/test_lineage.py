"""What Airflow's lineage collector gets from the task that lists the checkpoints."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from airflow.sdk import lineage as airflow_lineage
from airflow.sdk import plugins_manager
from airflow.sdk.lineage import HookLineageReader, NoOpCollector, get_hook_lineage_collector
from support import SPEC, context, finished_job

from gemini_tuning.core.resources import TuningJob
from gemini_tuning.operators.list_checkpoints import GeminiListCheckpointsOperator
from gemini_tuning.registry.assets import model_uri

PARENT = "projects/123/locations/us-central1"
JOB = TuningJob(
    f"{PARENT}/tuningJobs/5",
    "SUCCEEDED",
    model=f"{PARENT}/models/7@2",
    training_dataset_uri="gs://bucket/a/train.jsonl",
)
HOOK = SimpleNamespace(gcp_conn_id="google_cloud_default")


@pytest.fixture
def reader(monkeypatch):
    """A reader of Airflow's collector, as a plugin would install it."""
    monkeypatch.setattr(plugins_manager, "get_hook_lineage_readers_plugins", lambda: [HookLineageReader])
    get_hook_lineage_collector.cache_clear()
    yield HookLineageReader()
    get_hook_lineage_collector.cache_clear()


def listed(job):
    operator = GeminiListCheckpointsOperator(task_id="list", tuning_job=job.name)
    operator.execute(context())
    return operator


def test_the_collector_gets_both_datasets_and_the_model(vertex, reader):
    job = finished_job(vertex)
    listed(job)
    found = reader.retrieve_hook_lineage()
    assert [each.asset.uri for each in found.inputs] == [SPEC.training_dataset_uri, SPEC.validation_dataset_uri]
    (output,) = found.outputs
    assert output.asset.uri == model_uri(job.model)  # the asset that a promotion announces
    assert output.asset.extra == {"version": "1", "tuning_job": job.name}
    assert output.context.gcp_conn_id == "google_cloud_default"


def test_without_a_reader_nothing_happens(vertex):
    get_hook_lineage_collector.cache_clear()
    listed(finished_job(vertex))
    assert isinstance(get_hook_lineage_collector(), NoOpCollector)


def test_a_collector_that_fails_is_no_reason_to_fail(vertex, reader, monkeypatch):
    monkeypatch.setattr(airflow_lineage.HookLineageCollector, "create_asset", lambda *_, **__: 1 / 0)
    assert listed(finished_job(vertex))


@pytest.mark.parametrize(
    ("job", "inputs"),
    [
        (JOB, ["gs://bucket/a/train.jsonl"]),
        (replace(JOB, training_dataset_uri="projects/p/datasets/1"), []),
        (replace(JOB, training_dataset_uri=None), []),
    ],
)
def test_inputs_are_objects_in_cloud_storage(reader, job, inputs):
    operator = GeminiListCheckpointsOperator(task_id="list", tuning_job=job.name)
    operator.__dict__["hook"] = HOOK
    operator._collect_lineage(job, job.model)
    found = reader.retrieve_hook_lineage()
    assert [each.asset.uri for each in found.inputs] == inputs
    assert [each.asset.uri for each in found.outputs] == [model_uri(job.model)]
