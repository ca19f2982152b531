from dataclasses import replace

import pytest

from gemini_tuning.core.tuning_spec import TuningJobSpec

GOOD = TuningJobSpec(training_dataset_uri="gs://bucket/train.jsonl", base_model="gemini-2.5-flash")
MODEL = "projects/1/locations/us-central1/models/2@1"


def test_the_smallest_job_is_acceptable():
    assert GOOD.problems() == []


def test_everything_at_once_is_acceptable():
    full = TuningJobSpec(
        training_dataset_uri="gs://bucket/train.jsonl",
        validation_dataset_uri="gs://bucket/a folder/v.jsonl".replace(" ", "_"),
        pre_tuned_model=MODEL,
        pre_tuned_model_checkpoint_id="2",
        epoch_count=100,
        adapter_size=32,
        learning_rate_multiplier=1e-5,
        tuned_model_display_name="x" * 128,
        labels={"team": "search", "empty": ""},
        evaluation_metrics=[{"name": "FLUENCY"}],
        evaluation_output_uri="gs://bucket/out",
        kms_key_name="projects/p/locations/l/keyRings/r/cryptoKeys/k",
        service_account="tuner@p.iam.gserviceaccount.com",
    )
    assert full.problems() == []


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"base_model": None}, "base_model"),
        ({"pre_tuned_model": MODEL}, "base_model"),
        ({"base_model": "publishers/google/models/gemini-2.5-flash"}, "base_model"),
        ({"base_model": None, "pre_tuned_model": "models/2"}, "pre_tuned_model"),
        ({"pre_tuned_model_checkpoint_id": "1"}, "pre_tuned_model_checkpoint_id"),
        ({"training_dataset_uri": ""}, "training_dataset_uri"),
        ({"training_dataset_uri": "https://example.org/t.jsonl"}, "training_dataset_uri"),
        ({"validation_dataset_uri": "gs://bucket"}, "validation_dataset_uri"),
        ({"epoch_count": 0}, "epoch_count"),
        ({"epoch_count": 101}, "epoch_count"),
        ({"adapter_size": 3}, "adapter_size"),
        ({"learning_rate_multiplier": 0.0}, "learning_rate_multiplier"),
        ({"learning_rate_multiplier": float("nan")}, "learning_rate_multiplier"),
        ({"tuned_model_display_name": "x" * 129}, "tuned_model_display_name"),
        ({"labels": {"Team": "x"}}, "labels"),
        ({"labels": {"team": "X y"}}, "labels"),
        ({"labels": {f"k{i}": "v" for i in range(65)}}, "labels"),
        ({"evaluation_metrics": [{"name": "FLUENCY"}]}, "evaluation_metrics"),
        ({"evaluation_metrics": [{"name": "F"}], "evaluation_output_uri": "/tmp/out"}, "evaluation_output_uri"),
        ({"kms_key_name": "my-key"}, "kms_key_name"),
    ],
)
def test_what_the_service_would_refuse_is_named_by_its_field(change, field):
    problems = replace(GOOD, **change).problems()
    assert [problem.split(":")[0] for problem in problems] == [field]
