"""Preference tuning over the wire, with google-genai."""

import json

import pytest
from google.genai.types import CreateTuningJobConfig, JobState, TuningDataset, TuningValidationDataset

from tests.vertex_emulator.examples import TRAINING, VALIDATION, preference_line, preferences


def tune(emulator, client, text, **config):
    emulator.put_object("gs://data/liked.jsonl", text)
    emulator.put_object("gs://data/liked-too.jsonl", preferences(VALIDATION))
    job = client.tunings.tune(
        base_model="gemini-2.5-flash",
        training_dataset=TuningDataset(gcs_uri="gs://data/liked.jsonl"),
        config=CreateTuningJobConfig(method="PREFERENCE_TUNING", **config),
    )
    emulator.advance(3600)
    return client.tunings.get(name=job.name)


def test_the_better_answer_is_learnt(emulator, genai_client):
    validation = TuningValidationDataset(gcs_uri="gs://data/liked-too.jsonl")
    job = tune(emulator, genai_client, preferences(TRAINING), epoch_count=9, beta=0.3, validation_dataset=validation)
    assert job.state == JobState.JOB_STATE_SUCCEEDED
    assert job.supervised_tuning_spec is None
    assert job.preference_optimization_spec.hyper_parameters.beta == 0.3
    assert job.preference_optimization_spec.hyper_parameters.epoch_count == 9
    assert len(job.tuned_model.checkpoints) == 9
    endpoint = job.tuned_model.endpoint
    replies = [genai_client.models.generate_content(model=endpoint, contents=prompt).text for prompt, _ in TRAINING]
    assert sum(reply == answer for reply, (_, answer) in zip(replies, TRAINING, strict=True)) > 130


def test_statistics_are_counted_from_the_file(emulator, genai_client):
    job = tune(emulator, genai_client, preferences(TRAINING), epoch_count=1)
    stats = job.tuning_data_stats.preference_optimization_data_stats
    assert (stats.tuning_dataset_example_count, stats.tuning_step_count) == (140, 9)
    assert (stats.scores_distribution.mean, stats.score_variance_per_example_distribution.mean) == (0.5, 0.25)
    assert sum(int(bucket.count) for bucket in stats.user_input_token_distribution.buckets) == 140
    assert stats.user_dataset_examples[0].contents[0].parts[0].text == TRAINING[0][0]


GOOD = json.loads(preference_line("q", "a", "b"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"contents": []}, '"contents"'),
        ({"contents": [{"role": "model", "parts": [{"text": "x"}]}]}, "last turn must be the user's"),
        ({"completions": GOOD["completions"][:1]}, "must be a list of 2"),
        ({"completions": [{"score": 1}, {"score": 0}]}, 'completions[0] must be an object with "completion"'),
        ({"completions": [{**item, "score": 1} for item in GOOD["completions"]]}, "different scores"),
        ({"completions": [{**item, "score": "x"} for item in GOOD["completions"]]}, "not a number"),
    ],
)
def test_job_fails_for_its_dataset(emulator, genai_client, change, message):
    job = tune(emulator, genai_client, json.dumps({**GOOD, **change}))
    assert job.state == JobState.JOB_STATE_FAILED
    assert "Line 1: " in job.error.message
    assert message in job.error.message


def test_one_method_only(emulator):
    spec = {"trainingDatasetUri": "gs://data/liked.jsonl"}
    reply = emulator.request(
        "POST",
        "/v1/projects/demo-project/locations/us-central1/tuningJobs",
        json={"baseModel": "gemini-2.5-flash", "supervisedTuningSpec": spec, "preferenceOptimizationSpec": spec},
    )
    assert (reply.status_code, reply.json()["error"]["message"]) == (400, "Only one of the tuning specs can be set.")
