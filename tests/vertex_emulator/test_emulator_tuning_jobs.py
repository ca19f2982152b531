"""Tuning jobs over the wire, with google-genai."""

import re

import pytest
from google.genai.errors import ClientError
from google.genai.types import (
    AdapterSize,
    CreateTuningJobConfig,
    HttpOptions,
    JobState,
    TuningDataset,
    TuningValidationDataset,
    UpdateModelConfig,
)

from tests.vertex_emulator.clients import make_genai_client
from tests.vertex_emulator.examples import TRAINING, VALIDATION, jsonl, line

PARENT = "projects/demo-project/locations/us-central1"


def tune(client, uri="gs://data/train.jsonl", base_model="gemini-2.5-flash", **config):
    return client.tunings.tune(
        base_model=base_model,
        training_dataset=TuningDataset(gcs_uri=uri),
        config=CreateTuningJobConfig(**config),
    )


def finished(emulator, client, job, seconds=3600):
    emulator.advance(seconds)
    return client.tunings.get(name=job.name)


def body(**changes):
    spec = {"trainingDatasetUri": "gs://data/train.jsonl", **changes.pop("spec", {})}
    return {"baseModel": "gemini-2.5-flash", "supervisedTuningSpec": spec, **changes}


def post(emulator, value, version="v1beta1"):
    return emulator.request("POST", f"/{version}/{PARENT}/tuningJobs", json=value)


def test_create_fills_in_what_the_service_fills_in(emulator, genai_client):
    job = tune(genai_client, labels={"team": "a-1"}, description="why", encryption_spec={"kms_key_name": "k"})
    assert job.state == JobState.JOB_STATE_PENDING
    assert re.fullmatch(r"projects/\d{12}/locations/us-central1/tuningJobs/\d{19}", job.name)
    assert re.fullmatch(r"gemini-2\.5-flash-[0-9a-f-]{36}", job.tuned_model_display_name)
    parameters = job.supervised_tuning_spec.hyper_parameters
    assert parameters.learning_rate_multiplier == 1.0
    assert parameters.adapter_size == AdapterSize.ADAPTER_SIZE_FOUR
    store = r"projects/\d{12}/locations/us-central1/metadataStores/default"
    assert re.fullmatch(store + r"/contexts/tuning-experiment-\d{20}", job.experiment)
    assert job.labels == {"team": "a-1"}
    assert job.description == "why"
    assert job.encryption_spec.kms_key_name == "k"
    assert job.start_time is job.end_time is job.tuned_model is None

    job = finished(emulator, genai_client, job)
    assert job.supervised_tuning_spec.hyper_parameters.epoch_count == 10, "140 examples: 10 epochs by default"
    assert job.create_time < job.start_time < job.end_time == job.update_time


def test_the_raw_reply_is_as_proto_json_writes_it(emulator):
    reply = post(emulator, body(spec={"hyperParameters": {"epochCount": 3, "adapterSize": 1}}))
    assert reply.status_code == 200
    job = reply.json()
    parameters = job["supervisedTuningSpec"]["hyperParameters"]
    assert parameters == {"epochCount": "3", "adapterSize": "ADAPTER_SIZE_ONE", "learningRateMultiplier": 1.0}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", job["createTime"])
    assert job["state"] == "JOB_STATE_PENDING"


def test_v1_lacks_what_only_v1beta1_has(emulator):
    more = body(spec={"hyperParameters": {"batchSize": "8", "learningRate": 0.1}, "tuningMode": "TUNING_MODE_FULL"})
    refused = post(emulator, more, "v1").json()["error"]["message"]
    assert refused.startswith('Invalid JSON payload received. Unknown name "batchSize" at')
    name = post(emulator, more).json()["name"]
    beta, stable = (emulator.request("GET", f"/{version}/{name}").json() for version in ("v1beta1", "v1"))
    assert beta["supervisedTuningSpec"]["hyperParameters"]["batchSize"] == "8"
    assert stable["supervisedTuningSpec"] == {
        "trainingDatasetUri": "gs://data/train.jsonl",
        "hyperParameters": {"adapterSize": "ADAPTER_SIZE_FOUR"},
    }


def test_progress_is_told_on_v1beta1_only(emulator, genai_client):
    job = tune(genai_client, epoch_count=4)
    assert genai_client.tunings.get(name=job.name).tuning_job_metadata is None
    emulator.advance(4 + 7.5)
    path = job.name
    beta = emulator.request("GET", f"/v1beta1/{path}").json()
    assert beta["tuningJobState"] == "TUNING_JOB_STATE_TUNING"
    assert beta["tuningJobMetadata"] == {"completedEpochCount": "2", "completedStepCount": "22"}
    stable = emulator.request("GET", f"/v1/{path}").json()
    assert not stable.keys() & {"tuningJobState", "tuningJobMetadata"}
    emulator.advance(3600)
    beta = emulator.request("GET", f"/v1beta1/{path}").json()
    assert beta["tuningJobMetadata"] == {"completedEpochCount": "4", "completedStepCount": "36"}
    assert "tuningJobState" not in beta


def test_checkpoints_appear_and_are_deployed_one_after_another(emulator, genai_client):
    job = tune(genai_client, epoch_count=3)
    emulator.advance(4 + 3)
    saved = genai_client.tunings.get(name=job.name).tuned_model
    assert [(item.checkpoint_id, item.endpoint) for item in saved.checkpoints] == [("1", None)]
    emulator.advance(0.8)
    deployed = genai_client.tunings.get(name=job.name).tuned_model
    assert deployed.checkpoints[0].endpoint
    assert deployed.endpoint is None, "empty while the default checkpoint, the final one, is not there yet"
    assert deployed.model.endswith("@1")


def test_export_last_checkpoint_only(emulator, genai_client):
    job = finished(emulator, genai_client, tune(genai_client, epoch_count=4, export_last_checkpoint_only=True))
    assert [(item.epoch, item.step) for item in job.tuned_model.checkpoints] == [(4, 36)]
    assert job.tuned_model.endpoint == job.tuned_model.checkpoints[0].endpoint


def test_twelve_epochs_save_ten_checkpoints(emulator, genai_client):
    job = finished(emulator, genai_client, tune(genai_client, epoch_count=12))
    assert len(job.tuned_model.checkpoints) == 10
    assert job.tuned_model.checkpoints[-1].epoch == 12
    assert job.tuned_model.checkpoints[-1].step == 12 * 9


def test_statistics_are_counted_from_the_file(emulator, genai_client):
    job = finished(emulator, genai_client, tune(genai_client, epoch_count=2))
    stats = job.tuning_data_stats.supervised_tuning_data_stats
    assert stats.tuning_dataset_example_count == 140
    assert stats.tuning_step_count == 18
    assert stats.total_tuning_character_count == sum(len(question) + len(answer) for question, answer in TRAINING)
    assert stats.user_message_per_example_distribution.mean == 2
    assert stats.user_input_token_distribution.sum + stats.user_output_token_distribution.sum == (
        stats.total_billable_token_count / 2
    )
    assert sum(bucket.count for bucket in stats.user_output_token_distribution.buckets) == 140
    assert stats.user_dataset_examples[0].parts[0].text == TRAINING[0][0]


def test_labels_go_on_to_model_and_endpoints(emulator, genai_client):
    job = finished(emulator, genai_client, tune(genai_client, epoch_count=1, labels={"team": "a"}))
    model = genai_client.models.get(model=job.tuned_model.model)
    endpoint = emulator.request("GET", f"/v1/{job.tuned_model.endpoint}").json()
    for labels in (model.labels, endpoint["labels"]):
        assert labels["team"] == "a"
        assert labels["tune-type"] == "sft"
        assert labels["google-vertex-llm-tuning-job-id"] == job.name.rpartition("/")[2]


def test_list_newest_first_in_pages(emulator, genai_client):
    names = [tune(genai_client, tuned_model_display_name=f"job {number}").name for number in range(5)]
    pager = genai_client.tunings.list(config={"page_size": 2})
    assert len(pager.page) == 2
    assert [job.name for job in pager] == names[::-1]


def test_list_filters(emulator, genai_client):
    first = tune(genai_client, labels={"run": "one"})
    emulator.advance(3600)
    second = tune(genai_client, labels={"run": "two"}, base_model="gemini-2.5-pro")

    def names(filter_):
        return [job.name for job in genai_client.tunings.list(config={"filter": filter_})]

    assert names('labels.run="one"') == [first.name]
    assert names('state="JOB_STATE_SUCCEEDED"') == [first.name]
    assert names('base_model="gemini-2.5-pro"') == [second.name]
    assert names('labels.run="two" AND state="JOB_STATE_SUCCEEDED"') == []
    assert names("labels.run:*") == [second.name, first.name]
    with pytest.raises(ClientError) as refused:
        names("labels.run ~ one")
    assert refused.value.code == 400


def test_list_filters_on_labels_with_hyphens(emulator, genai_client):
    """A create whose answer was lost is found again by the label that its run has put on it."""
    labels = {"airflow-dag-id": "tune_it", "airflow-run-id": "manual-2026-01-01t00-00-00"}
    first = tune(genai_client, labels=labels)
    tune(genai_client, labels={**labels, "airflow-run-id": "manual-2026-01-02t00-00-00"})
    tune(genai_client)

    def names(filter_):
        return [job.name for job in genai_client.tunings.list(config={"filter": filter_})]

    both = f'labels.airflow-dag-id="tune_it" AND labels.airflow-run-id="{labels["airflow-run-id"]}"'
    assert names(both) == [first.name]
    assert names('labels."airflow-run-id"="manual-2026-01-01t00-00-00"') == [first.name]
    assert len(names('labels.airflow-dag-id="tune_it"')) == 2
    assert len(names("labels:airflow-dag-id")) == 2
    assert names('labels.airflow-dag-id="tune"') == []


def test_lists_are_per_location(emulator, genai_client, credentials):
    tune(genai_client)
    with make_genai_client(emulator, credentials, "v1beta1", "europe-west4") as elsewhere:
        assert list(elsewhere.tunings.list()) == []


def test_cancel(emulator, genai_client):
    job = tune(genai_client, epoch_count=5)
    emulator.advance(4 + 3 + 1)
    genai_client.tunings.cancel(name=job.name)
    assert genai_client.tunings.get(name=job.name).state == JobState.JOB_STATE_CANCELLING
    emulator.advance(1)
    job = genai_client.tunings.get(name=job.name)
    assert job.state == JobState.JOB_STATE_CANCELLED
    assert job.error.code == 1
    assert job.end_time
    with pytest.raises(ClientError) as refused:
        genai_client.tunings.cancel(name=job.name)
    assert (refused.value.code, refused.value.status) == (400, "FAILED_PRECONDITION")
    emulator.advance(3600)
    assert len(genai_client.tunings.get(name=job.name).tuned_model.checkpoints) == 1, "no more after the cancel"


def test_cancel_before_it_starts(emulator, genai_client):
    job = tune(genai_client)
    genai_client.tunings.cancel(name=job.name)
    job = finished(emulator, genai_client, job)
    assert job.state == JobState.JOB_STATE_CANCELLED
    assert job.start_time is None


def test_unknown_job_is_404(genai_client):
    with pytest.raises(ClientError) as missing:
        genai_client.tunings.get(name=f"{PARENT}/tuningJobs/1234567890123456789")
    assert (missing.value.code, missing.value.status) == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"baseModel": "gemini-2.5-flash"}, "supervised_tuning_spec"),
        ({"baseModel": "gemini-2.5-flash", "supervisedTuningSpec": {}}, "training_dataset_uri is required"),
        (body(spec={"trainingDatasetUri": "http://data/x"}), "gs://bucket/object"),
        (body(spec={"validationDatasetUri": "gs://data"}), "validationDatasetUri"),
        (body(spec={"hyperParameters": {"epochCount": 0}}), "epoch_count"),
        (body(spec={"hyperParameters": {"epochCount": "many"}}), "epoch_count"),
        (body(spec={"hyperParameters": {"adapterSize": "ADAPTER_SIZE_FIVE"}}), "adapter_size"),
        (body(spec={"hyperParameters": {"learningRateMultiplier": -1}}), "learningRateMultiplier"),
        (body(baseModel="gpt-4"), "gpt-4 is not supported"),
        (body(baseModel=""), "base_model is required"),
        (body(preTunedModel={"tunedModelName": "x"}), "Only one of base_model and pre_tuned_model"),
        (body(labels={"Team": "a"}), "label"),
        (body(labels={"team": "a b"}), "label"),
        (body(tunedModelDisplayName="x" * 129), "128"),
        (body(surprise=1), 'Unknown name "surprise": Cannot find field.'),
        (body(evaluationConfig={}), 'Unknown name "evaluationConfig": Cannot find field.'),
        (body(spec={"surprise": 1}), "Unknown name \"surprise\" at 'supervised_tuning_spec': Cannot find field."),
        ([], "Root element must be a message."),
    ],
)
def test_bad_requests(emulator, value, message):
    reply = post(emulator, value)
    error = reply.json()["error"]
    assert (reply.status_code, error["code"], error["status"]) == (400, 400, "INVALID_ARGUMENT")
    assert message in error["message"]
    assert emulator.state()["tuningJobs"] == []


def test_body_that_is_not_json(emulator):
    reply = emulator.request("POST", f"/v1/{PARENT}/tuningJobs", content=b"{")
    assert reply.status_code == 400
    assert "Invalid JSON payload received" in reply.json()["error"]["message"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "contains no examples"),
        (line("q", "a") + "\n\n{broken\n", "Line 3 is not valid JSON"),
        (line("q", "a") + '\n{"contents": []}\n', "Line 2"),
    ],
)
def test_job_fails_for_its_dataset(emulator, genai_client, content, message):
    emulator.put_object("gs://data/bad.jsonl", content)
    job = finished(emulator, genai_client, tune(genai_client, "gs://data/bad.jsonl"))
    assert job.state == JobState.JOB_STATE_FAILED
    assert job.error.code == 3
    assert message in job.error.message
    assert "gs://data/bad.jsonl" in job.error.message
    assert job.tuned_model is None


def test_job_fails_when_the_object_is_missing(emulator, genai_client):
    job = finished(emulator, genai_client, tune(genai_client, "gs://data/nowhere.jsonl"))
    assert job.state == JobState.JOB_STATE_FAILED
    assert "No such object: data/nowhere.jsonl" in job.error.message


def test_job_fails_for_its_validation_dataset(emulator, genai_client):
    missing = TuningValidationDataset(gcs_uri="gs://data/nowhere.jsonl")
    job = finished(emulator, genai_client, tune(genai_client, validation_dataset=missing))
    assert job.state == JobState.JOB_STATE_FAILED


def test_service_account_through_extra_body(emulator, genai_client):
    options = HttpOptions(extra_body={"serviceAccount": "me@x.iam.gserviceaccount.com"})
    job = tune(genai_client, http_options=options)
    assert job.service_account == "me@x.iam.gserviceaccount.com"


class TestContinuousTuning:
    def start(self, emulator, client, **config):
        first = finished(emulator, client, tune(client, epoch_count=3, tuned_model_display_name="mine"))
        return first, client.tunings.tune(
            base_model=first.tuned_model.model,
            training_dataset=TuningDataset(gcs_uri="gs://data/train.jsonl"),
            config=CreateTuningJobConfig(epoch_count=2, **config),
        )

    def test_new_version_of_the_same_model(self, emulator, genai_client):
        first, job = self.start(emulator, genai_client, pre_tuned_model_checkpoint_id="2")
        assert job.pre_tuned_model.checkpoint_id == "2"
        job = finished(emulator, genai_client, job)
        assert job.tuned_model.model == first.tuned_model.model.replace("@1", "@2")
        assert job.tuned_model_display_name == "mine"
        versions = emulator.request("GET", f"/v1/{first.tuned_model.model}:listVersions").json()["models"]
        assert [item["versionId"] for item in versions] == ["2", "1"]
        assert [item.get("versionAliases") for item in versions] == [None, ["default"]]

    def test_new_model_under_another_name(self, emulator, genai_client):
        first, job = self.start(emulator, genai_client, tuned_model_display_name="other")
        job = finished(emulator, genai_client, job)
        assert job.tuned_model.model.endswith("@1")
        assert job.tuned_model.model != first.tuned_model.model

    def test_what_was_learnt_stays(self, emulator, genai_client):
        prompts = [prompt for prompt, _ in VALIDATION]
        emulator.put_object("gs://data/other.jsonl", jsonl(VALIDATION))
        first = finished(emulator, genai_client, tune(genai_client, epoch_count=3, tuned_model_display_name="mine"))
        job = genai_client.tunings.tune(
            base_model=first.tuned_model.model,
            training_dataset=TuningDataset(gcs_uri="gs://data/other.jsonl"),
            config=CreateTuningJobConfig(epoch_count=8),
        )
        job = finished(emulator, genai_client, job)

        def right(examples):
            return sum(
                genai_client.models.generate_content(model=job.tuned_model.endpoint, contents=prompt).text == answer
                for prompt, answer in examples
            )

        assert len(prompts) - 3 <= right(VALIDATION) <= len(prompts)
        assert right(TRAINING[:40]) > 20

    @pytest.mark.parametrize(
        ("source", "code"),
        [
            ({"tunedModelName": f"{PARENT}/models/1"}, 404),
            ({"tunedModelName": "models/1"}, 400),
            ({}, 400),
        ],
    )
    def test_unknown_source(self, emulator, source, code):
        reply = post(emulator, {**body(preTunedModel=source), "baseModel": None})
        assert reply.status_code == code

    def test_unknown_checkpoint(self, emulator, genai_client):
        with pytest.raises(ClientError, match='no checkpoint "9"'):
            self.start(emulator, genai_client, pre_tuned_model_checkpoint_id="9")


def test_gemini_3_models_come_back_in_the_multi_region(emulator, genai_client, credentials):
    job = finished(emulator, genai_client, tune(genai_client, base_model="gemini-3.5-flash", epoch_count=1))
    assert "/locations/us-central1/" in job.name
    assert "/locations/us/" in job.tuned_model.model
    assert "/locations/us/" in job.tuned_model.endpoint


def test_async_client(emulator, credentials):
    import asyncio

    async def run():
        client = make_genai_client(emulator, credentials, "v1beta1")
        async with client.aio as aio:
            job = await aio.tunings.tune(
                base_model="gemini-2.5-flash",
                training_dataset=TuningDataset(gcs_uri="gs://data/train.jsonl"),
                config=CreateTuningJobConfig(epoch_count=2),
            )
            emulator.advance(3600)
            job = await aio.tunings.get(name=job.name)
            model = await aio.models.update(
                model=job.tuned_model.model, config=UpdateModelConfig(default_checkpoint_id="1")
            )
            reply = await aio.models.generate_content(model=job.tuned_model.endpoint, contents=TRAINING[0][0])
            return job, model, reply

    job, model, reply = asyncio.run(run())
    assert job.state == JobState.JOB_STATE_SUCCEEDED
    assert model.default_checkpoint_id == "1"
    assert reply.text
