import pytest

from gemini_tuning.core.exceptions import InvalidInputError
from gemini_tuning.core.tuning_request import TuningRequest

GOOD = {"training_dataset_uri": "gs://bucket/train.jsonl", "base_model": "gemini-2.5-flash"}
MODEL = "projects/1/locations/us-central1/models/2@1"


def test_the_smallest_job_is_acceptable():
    assert TuningRequest.parse(GOOD).as_dict() == GOOD


def test_everything_at_once_is_acceptable():
    full = TuningRequest(
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
    assert TuningRequest.parse(full.as_dict()) == full


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"base_model": None}, "base_model"),
        ({"epochs": 3}, "epochs"),
        ({"epoch_count": True}, "epoch_count"),
        ({"epoch_count": 2.5}, "epoch_count"),
        ({"labels": {"airflow_run": "x"}}, "labels"),
        ({"labels": '["team"]'}, "labels"),
        ({"description": ["a"]}, "description"),
        ({"description": "half \ud800"}, "description"),
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
def test_what_the_service_would_refuse_is_an_error_with_its_field(snapshot, change, field):
    with pytest.raises(InvalidInputError) as error:
        TuningRequest.parse({**GOOD, **change})
    assert error.value.field == field
    assert error.value.code
    assert str(error.value) == snapshot


def test_templated_text_becomes_numbers_and_ids_stay_text():
    request = TuningRequest.parse(
        {
            "training_dataset_uri": "gs://bucket/train.jsonl",
            "base_model": "gemini-2.5-flash",  # the default of the form
            "pre_tuned_model": MODEL,
            "pre_tuned_model_checkpoint_id": 2,
            "epoch_count": "4",
            "adapter_size": 8.0,
            "learning_rate_multiplier": "0.5",
            "export_last_checkpoint_only": "True",
            "labels": '{"team": "ferry"}',
            "evaluation_metrics": '[{"name": "F"}]',
            "evaluation_output_uri": "gs://bucket/out",
            "description": "None",
            "service_account": " ",
        }
    )
    assert request == TuningRequest(
        training_dataset_uri="gs://bucket/train.jsonl",
        pre_tuned_model=MODEL,
        pre_tuned_model_checkpoint_id="2",
        epoch_count=4,
        adapter_size=8,
        learning_rate_multiplier=0.5,
        export_last_checkpoint_only=True,
        labels={"team": "ferry"},
        evaluation_metrics=[{"name": "F"}],
        evaluation_output_uri="gs://bucket/out",
    )


def test_all_problems_are_in_one_error(snapshot):
    with pytest.raises(InvalidInputError) as error:
        TuningRequest.parse({**GOOD, "epoch_count": "many", "adapter_size": 3, "labels": "team=ferry", "epochs": 2})
    assert error.value.field == "epoch_count"
    assert str(error.value) == snapshot


def test_a_request_with_both_models_is_refused():
    with pytest.raises(ValueError, match="base_model"):
        TuningRequest(**GOOD, pre_tuned_model=MODEL)
