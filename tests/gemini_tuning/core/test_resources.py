import pytest

from gemini_tuning.core.exceptions import CheckpointError
from gemini_tuning.core.names import ContextName, ResourceName, ResourceNameError
from gemini_tuning.core.resources import Checkpoint, JobError, Model, TuningJob, compare_checkpoints, short_state

JOB = "projects/123/locations/us-central1/tuningJobs/456"


def test_a_full_name_is_taken_apart():
    name = ResourceName.parse("projects/p-1/locations/eu/models/77@3", "models")
    assert (name.project, name.location, name.id, name.version) == ("p-1", "eu", "77", "3")
    assert str(name) == "projects/p-1/locations/eu/models/77@3"
    assert name.unversioned == "projects/p-1/locations/eu/models/77"
    assert name.parent == "projects/p-1/locations/eu"


@pytest.mark.parametrize(
    ("name", "collection"),
    [
        ("456", "tuningJobs"),
        ("tuningJobs/456", "tuningJobs"),
        (JOB, "models"),
        (JOB + "/", "tuningJobs"),
        (JOB + "@1", "tuningJobs"),
        ("projects/../locations/us-central1/tuningJobs/456/../9", "tuningJobs"),
        (None, "tuningJobs"),
        ({"name": JOB}, "tuningJobs"),
        ("", "models"),
    ],
)
def test_anything_but_a_full_name_is_refused_and_named(name, collection):
    with pytest.raises(ResourceNameError, match="full resource name") as caught:
        ResourceName.parse(name, collection)
    assert repr(name) in str(caught.value)


def test_the_name_of_an_experiment_is_taken_apart():
    text = "projects/1/locations/us-central1/metadataStores/default/contexts/tuning-experiment-2"
    name = ContextName.parse(text)
    assert (name.store, name.location, name.id) == (
        text.partition("/contexts/")[0],
        "us-central1",
        "tuning-experiment-2",
    )
    assert str(name) == text


@pytest.mark.parametrize(
    "name", ["", JOB, None, 7, "projects/1/locations/l/metadataStores/d/contexts/x\n", "x" * 5_000]
)
def test_anything_but_the_name_of_an_experiment_is_refused(name):
    with pytest.raises(ResourceNameError, match="metadataStores/STORE/contexts/ID"):
        ContextName.parse(name)


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
    with pytest.raises(ValueError, match="checkpoint_id: None is not the id of a checkpoint"):
        Checkpoint.from_mapping({"epoch": 1})


def test_a_checkpoint_that_is_not_there_is_named_with_those_that_are():
    model = Model("projects/1/locations/l/models/2@1", checkpoints=(Checkpoint("1"), Checkpoint("2")))
    assert model.require_checkpoint("2").checkpoint_id == "2"
    with pytest.raises(CheckpointError, match=r"no checkpoint '9'; it has: 1, 2"):
        model.require_checkpoint("9")


def test_copies_are_compared_without_endpoints():
    source = [Checkpoint("1", 1, 10, "e1"), Checkpoint("2", 2, 20, "e2")]
    assert compare_checkpoints(source, [Checkpoint("2", 2, 20), Checkpoint("1", 1, 10)]) == []
    assert compare_checkpoints(source, [Checkpoint("1", 1, 10)]) == ["checkpoint 2 is missing in the copy"]
    assert compare_checkpoints(source[:1], [Checkpoint("1", 1, 11), Checkpoint("3")]) == [
        "checkpoint 3 is only in the copy",
        "checkpoint 1: epoch and step are (1, 11) in the copy, (1, 10) in the source",
    ]
