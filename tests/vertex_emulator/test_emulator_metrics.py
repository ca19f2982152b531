"""The metrics of a tuning job, from its experiment to the values, with google-cloud-aiplatform over REST."""

import pytest
from google.api_core import exceptions
from google.genai.types import CreateTuningJobConfig, TuningDataset, TuningValidationDataset

from tests.vertex_emulator.examples import jsonl, pairs
from vertex_emulator.metrics import Course, points

TRAIN = ["/train_total_loss", "/train_fraction_of_correct_next_step_preds", "/train_num_predictions"]
EVAL = [name.replace("train", "eval") for name in TRAIN]


@pytest.fixture
def settings(emulator, credentials):
    return {"transport": "rest", "credentials": credentials, "client_options": {"api_endpoint": emulator.url}}


@pytest.fixture
def metadata(settings):
    from google.cloud.aiplatform_v1 import MetadataServiceClient

    with MetadataServiceClient(**settings) as client:
        yield client


@pytest.fixture
def boards(settings):
    from google.cloud.aiplatform_v1 import TensorboardServiceClient

    with TensorboardServiceClient(**settings) as client:
        yield client


def tune(client, training="gs://data/train.jsonl", validated=True, **config):
    validation = TuningValidationDataset(gcs_uri="gs://data/valid.jsonl") if validated else None
    return client.tunings.tune(
        base_model="gemini-2.5-flash",
        training_dataset=TuningDataset(gcs_uri=training),
        config=CreateTuningJobConfig(validation_dataset=validation, **{"epoch_count": 6, **config}),
    )


def runs_of(metadata, experiment):
    wanted = f'schema_title="system.ExperimentRun" AND parent_contexts:"{experiment}"'
    store = experiment.partition("/contexts/")[0]
    return list(metadata.list_contexts({"parent": store, "filter": wanted}))


def curves(metadata, boards, job):
    """Steps and values of each metric, found the way Google's console does."""
    board = metadata.get_context(name=job.experiment).metadata["backing_tensorboard_resource"]
    (run,) = runs_of(metadata, job.experiment)
    run_id = run.name.removeprefix(f"{job.experiment}-")
    parent = f"{board}/experiments/{job.experiment.rpartition('/')[2]}/runs/{run_id}"
    names = {item.name: item.display_name for item in boards.list_tensorboard_time_series(parent=parent)}
    reply = boards.batch_read_tensorboard_time_series_data({"tensorboard": board, "time_series": [*names]})
    by_id = {name.rpartition("/")[2]: label for name, label in names.items()}
    return {
        by_id[data.tensorboard_time_series_id]: [(point.step, point.scalar.value) for point in data.values]
        for data in reply.time_series_data
    }


def test_a_finished_job_has_every_step(emulator, genai_client, metadata, boards):
    job = tune(genai_client)
    emulator.advance(3600)
    found = curves(metadata, boards, job)
    assert sorted(found) == sorted(TRAIN + EVAL)
    for values in found.values():
        assert [step for step, _ in values] == list(range(1, 6 * 9 + 1))
    losses = [value for _, value in found["/train_total_loss"]]
    assert losses == sorted(losses, reverse=True), "what is trained on is known better and better"
    unseen = [value for _, value in found["/eval_total_loss"]]
    assert 27 < unseen.index(min(unseen)) < 40, "140 examples overfit between epochs 3 and 4"
    right = [value for _, value in found["/eval_fraction_of_correct_next_step_preds"]]
    assert right.index(max(right)) == unseen.index(min(unseen))
    predictions = {value for _, value in found["/train_num_predictions"]}
    stats = genai_client.tunings.get(name=job.name).tuning_data_stats.supervised_tuning_data_stats
    assert predictions == {stats.user_output_token_distribution.sum / 9}


def test_they_grow_while_the_job_tunes(emulator, genai_client, metadata, boards):
    job = tune(genai_client)
    assert runs_of(metadata, job.experiment) == [], "no run before the dataset has been processed"
    emulator.advance(4)
    assert curves(metadata, boards, job) == {name: [] for name in TRAIN + EVAL}
    emulator.advance(3)
    first = curves(metadata, boards, job)
    assert [step for step, _ in first["/eval_total_loss"]] == list(range(1, 10))
    emulator.advance(3)
    second = curves(metadata, boards, job)
    assert second["/eval_total_loss"][:9] == first["/eval_total_loss"]
    assert len(second["/eval_total_loss"]) == 18
    genai_client.tunings.cancel(name=job.name)
    emulator.advance(1)
    cancelled = curves(metadata, boards, job)
    assert 18 <= len(cancelled["/eval_total_loss"]) < 21
    emulator.advance(3600)
    assert curves(metadata, boards, job) == cancelled, "a cancelled job stands still"


def test_no_evaluation_without_a_validation_dataset(emulator, genai_client, metadata, boards):
    job = tune(genai_client, validated=False)
    emulator.advance(3600)
    assert sorted(curves(metadata, boards, job)) == sorted(TRAIN)


def test_contexts_of_several_jobs(emulator, genai_client, metadata):
    jobs = [tune(genai_client) for _ in range(3)]
    emulator.advance(3600)
    store = jobs[0].experiment.partition("/contexts/")[0]
    experiments = metadata.list_contexts(
        {"parent": store, "filter": 'schema_title="system.Experiment"', "page_size": 2}
    )
    assert [item.name for item in experiments] == [job.experiment for job in reversed(jobs)]
    named = jobs[1].experiment.replace(store.split("/")[1], "demo-project")
    (run,) = runs_of(metadata, named)
    assert list(run.parent_contexts) == [jobs[1].experiment]
    assert metadata.get_context(name=run.name) == run


def test_no_two_jobs_share_an_experiment(emulator, genai_client):
    jobs = [tune(genai_client) for _ in range(40)]  # the clock stands
    assert len({job.experiment for job in jobs}) == 40


def test_reading_one_series(emulator, genai_client, metadata, boards):
    job = tune(genai_client)
    emulator.advance(3600)
    board = metadata.get_context(name=job.experiment).metadata["backing_tensorboard_resource"]
    (run,) = boards.list_tensorboard_runs(parent=f"{board}/experiments/{job.experiment.rpartition('/')[2]}")
    (series,) = boards.list_tensorboard_time_series({"parent": run.name, "filter": 'display_name="/eval_total_loss"'})
    assert series.metadata.max_step == 54
    data = boards.read_tensorboard_time_series_data({"tensorboard_time_series": series.name, "max_data_points": 5})
    steps = [point.step for point in data.time_series_data.values]
    assert len(steps) == 5 and steps[-1] == 54
    whole = boards.read_tensorboard_time_series_data({"tensorboard_time_series": series.name, "max_data_points": -1})
    assert [point.step for point in whole.time_series_data.values] == list(range(1, 55))
    for wrong in (-2, 0):
        # The client leaves a 0 out, so this one goes without it.
        reply = emulator.request("GET", f"/v1/{series.name}:read?maxDataPoints={wrong}")
        assert reply.status_code == 400, "Google's discovery document: a positive integer, or -1"
    pages = boards.list_tensorboard_time_series({"parent": run.name, "page_size": 4})
    assert [len(page.tensorboard_time_series) for page in pages.pages] == [4, 2]


def test_what_is_unknown(emulator, genai_client, metadata, boards):
    job = tune(genai_client)
    emulator.advance(3600)
    board = metadata.get_context(name=job.experiment).metadata["backing_tensorboard_resource"]
    run = f"{board}/experiments/{job.experiment.rpartition('/')[2]}/runs/x"
    for call in (
        lambda: metadata.get_context(name=f"{job.experiment}0"),
        lambda: metadata.get_context(name=job.experiment.replace("default", "other")),
        lambda: boards.get_tensorboard(name=f"{board}0"),
        lambda: boards.get_tensorboard_run(name=run),
        lambda: boards.batch_read_tensorboard_time_series_data(
            {"tensorboard": board, "time_series": [f"{run}/timeSeries/1"]}
        ),
    ):
        with pytest.raises(exceptions.NotFound):
            call()
    for name in (f"{board}/x", f"{board}0/experiments/1/runs/1/timeSeries/1"):
        with pytest.raises(exceptions.BadRequest):
            boards.batch_read_tensorboard_time_series_data({"tensorboard": board, "time_series": [name]})


@pytest.mark.parametrize(("steps", "most", "expected"), [(0, 5, []), (3, 5, [1, 2, 3]), (10, 4, [1, 4, 7, 10])])
def test_points_are_thinned_out_evenly(steps, most, expected):
    course = Course(0.0, 1.0, 10, 1, 0.0, 1.0, 100, 1.0, None)
    assert [point.step for point in points(course, lambda _course, step: step, steps, most)] == expected


def test_a_long_series_is_read_whole_only_when_asked(emulator, genai_client, metadata, boards):
    emulator.put_object("gs://data/long.jsonl", jsonl(pairs(200)))
    job = tune(genai_client, "gs://data/long.jsonl", validated=False, epoch_count=100)
    emulator.advance(10**6)
    found = curves(metadata, boards, job)["/train_total_loss"]
    steps = int(genai_client.tunings.get(name=job.name).tuned_model.checkpoints[-1].step)
    assert len(found) <= 1000 < steps == found[-1][0]
    board = metadata.get_context(name=job.experiment).metadata["backing_tensorboard_resource"]
    (run,) = boards.list_tensorboard_runs(parent=f"{board}/experiments/{job.experiment.rpartition('/')[2]}")
    name = f"{run.name}/timeSeries/1"
    whole = boards.read_tensorboard_time_series_data({"tensorboard_time_series": name, "max_data_points": -1})
    assert [point.step for point in whole.time_series_data.values] == list(range(1, steps + 1))
