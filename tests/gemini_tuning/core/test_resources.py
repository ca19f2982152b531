import pytest

from gemini_tuning.core.api_types import JobError
from gemini_tuning.core.exceptions import CheckpointError, InvalidInputError
from gemini_tuning.core.resources import Checkpoint, Model, TuningJob, compare_checkpoints, short_state

JOB = "projects/123/locations/us-central1/tuningJobs/456"


def test_states_lose_their_prefix():
    assert short_state("JOB_STATE_RUNNING") == "RUNNING"
    assert short_state(None) == "UNSPECIFIED"


@pytest.mark.parametrize(
    "state", ["QUEUED", "PENDING", "RUNNING", "PAUSED", "UPDATING", "CANCELLING", "UNSPECIFIED", "NEW"]
)
def test_states_that_are_not_final_are_waited_for_even_unknown_ones(state):
    assert not TuningJob(JOB, state).has_ended


@pytest.mark.parametrize("state", ["SUCCEEDED", "PARTIALLY_SUCCEEDED"])
def test_success(state):
    assert TuningJob(JOB, state).has_ended
    assert TuningJob(JOB, state).has_succeeded


@pytest.mark.parametrize("state", ["FAILED", "CANCELLED", "EXPIRED"])
def test_failure(state):
    assert TuningJob(JOB, state).has_ended
    assert not TuningJob(JOB, state).has_succeeded


def test_progress_says_what_the_service_gives():
    job = TuningJob(JOB, "RUNNING", phase="WAITING_FOR_CAPACITY", completed_epochs=2, completed_steps=28, epoch_count=6,
                    checkpoints=(Checkpoint("1"),))  # fmt: skip
    assert job.progress() == "RUNNING, waiting for capacity, epoch 2 of 6, step 28, 1 checkpoint"
    assert TuningJob(JOB, "PENDING").progress() == "PENDING"


def test_a_failed_job_that_made_a_model_says_so():
    error = JobError(13, "Failed to create endpoint. Tuned model is uploaded.")
    text = TuningJob(JOB, "FAILED", error=error, model="projects/1/locations/l/models/2@1").describe_failure()
    assert JOB in text
    assert "Failed to create endpoint. Tuned model is uploaded. (code 13)" in text
    assert "projects/1/locations/l/models/2@1" in text


def test_checkpoints_survive_the_way_through_xcom():
    checkpoint = Checkpoint("2", 2, 20, "projects/1/locations/l/endpoints/9")
    assert Checkpoint.from_mapping(checkpoint.as_dict()) == checkpoint
    assert Checkpoint.from_mapping({"checkpoint_id": 2, "epoch": "2", "step": "20", "endpoint": ""}) == Checkpoint(
        "2", 2, 20
    )
    for bad, field in (
        ({"epoch": 1}, "checkpoint.checkpoint_id"),
        ({"checkpoint_id": 1, "step": "x"}, "checkpoint.step"),
    ):
        with pytest.raises(InvalidInputError) as caught:
            Checkpoint.from_mapping(bad)
        assert (caught.value.field, caught.value.code) == (field, "invalid_checkpoint")


def test_require_checkpoint_of_an_unknown_id_lists_the_available_ones(snapshot):
    model = Model("projects/1/locations/l/models/2@1", checkpoints=(Checkpoint("1"), Checkpoint("2")))
    assert model.require_checkpoint("2").checkpoint_id == "2"
    with pytest.raises(CheckpointError) as caught:
        model.require_checkpoint("9")
    error = caught.value
    assert (error.field, error.resource, error.code) == ("checkpoint_id", model.name, "not_found_in_model")
    assert str(error) == snapshot


def test_copies_are_compared_without_endpoints():
    source = [Checkpoint("1", 1, 10, "e1"), Checkpoint("2", 2, 20, "e2")]
    assert compare_checkpoints(source, [Checkpoint("2", 2, 20), Checkpoint("1", 1, 10)]) == []
    assert compare_checkpoints(source, [Checkpoint("1", 1, 10)]) == ["checkpoint 2 is missing in the copy"]
    assert compare_checkpoints(source[:1], [Checkpoint("1", 1, 11), Checkpoint("3")]) == [
        "checkpoint 3 is only in the copy",
        "checkpoint 1: epoch and step are (1, 11) in the copy, (1, 10) in the source",
    ]
