"""Losses at each checkpoint's step and the service's own evaluation: the pure part, and the step that reads them."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import DATA, LOCATION, SPEC, context, finished_job, use_connection

from gemini_tuning.core import retry
from gemini_tuning.core.curves import NO_VALIDATION, Curve, gaps_of_curves, gaps_of_steps, summary
from gemini_tuning.core.exceptions import PermanentServiceError, TransientServiceError
from gemini_tuning.core.resources import Checkpoint
from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook
from gemini_tuning.operators.list_checkpoints import GeminiListCheckpointsOperator
from gemini_tuning.operators.read_tuning_metrics import GeminiReadTuningMetricsOperator
from tests.gemini_tuning.hostile_server import hostile_server

XCOM_LIMIT = 8_000  # bytes
TRAIN, EVAL = "/train_total_loss", "/eval_total_loss"
FLUENCY = {"name": "FLUENCY", "prompt_template": "Is this fluent? {response}"}
EXACT = {"name": "exact_match"}
TWO = [Checkpoint("1", 1, 10), Checkpoint("2", 2, 25)]

# ---------------------------------------------------------------------------------------------- curves


@pytest.mark.parametrize(("step", "expected"), [(9, None), (10, (10, 2.0)), (29, (20, 1.0)), (31, (30, 1.5))])
def test_the_value_of_a_step_is_its_own_or_that_of_the_last_step_before(step, expected):
    assert Curve.of([(30, 1.5), (10, 2.0), (20, 1.0)]).at(step) == expected


def test_a_step_that_was_written_twice_counts_as_it_was_written_last():
    assert Curve.of([(10, 2.0), (20, 1.0), (10, 3.0), (-1, 9.0)]).points == ((10, 3.0), (20, 1.0))


def test_a_thinned_curve_still_shows_where_it_turned():
    values = [(step, abs(step - 617) / 100) for step in range(1, 1001)]
    thinned = Curve.of(values).thinned(10, keep={500})
    assert thinned == [(s, abs(s - 617) / 100) for s in (1, 143, 286, 429, 500, 571, 617, 714, 857, 1000)]


curves = st.lists(st.tuples(st.integers(0, 10_000), st.floats())).map(Curve.of)


@given(curve=curves, most=st.integers(3, 60), keep=st.sets(st.integers(0, 10_000), max_size=5))
def test_thinning_makes_nothing_up(curve, most, keep):
    thinned = curve.thinned(most, keep)
    finite = [point for point in curve.points if math.isfinite(point.value)]
    assert len(thinned) <= most
    assert thinned == [point for point in finite if point in thinned]
    if finite:
        assert {finite[0], finite[-1]} <= {*thinned}
        assert min(point.value for point in finite) == min(point.value for point in thinned)


def test_what_the_experiment_lacks_is_named():
    whole = Curve.of([(1, 1.0)])
    assert gaps_of_curves({"train_loss": whole}, validated=False) == [NO_VALIDATION]
    assert gaps_of_curves({"train_loss": Curve(), "eval_loss": whole}, validated=True) == [
        "no train loss: the series /train_total_loss of the job's experiment has no points",
        "no eval accuracy: the job's experiment has no series /eval_fraction_of_correct_next_step_preds",
    ]


# --------------------------------------------------------------------------------------------- summary


def test_a_summary_by_hand():
    curves = {
        "train_loss": Curve.of([(10, 2.0), (25, 1.23456789)]),
        "eval_loss": Curve.of([(12, 3.0), (20, 2.5)]),
        "eval_accuracy": Curve.of([(10, 0.5), (25, math.nan)]),
    }
    evaluations = {"2": {"exact_match/STANDARD_DEVIATION": 0.1, "exact_match/AVERAGE": 0.8}}
    found = summary(TWO, curves, evaluations, ["no evaluation of checkpoint 1: because", *gaps_of_steps(TWO, curves)])
    assert found == {
        "checkpoints": {
            "1": {"train_loss": 2.0, "eval_loss": None, "eval_accuracy": 0.5, "from_step": {}, "evaluation": None},
            "2": {
                "train_loss": 1.23457,
                "eval_loss": 2.5,
                "eval_accuracy": None,
                "from_step": {"eval_loss": 20},
                "evaluation": {"exact_match/AVERAGE": 0.8, "exact_match/STANDARD_DEVIATION": 0.1},
            },
        },
        "train_loss": [[10, 2.0], [25, 1.23457]],
        "eval_loss": [[12, 3.0], [20, 2.5]],
        "missing": [
            "no evaluation of checkpoint 1: because",
            "no eval loss, as its curve begins at step 12: checkpoint 1 (step 10)",
            "eval loss is from the last step before the checkpoint's own: checkpoint 2 (step 20 for 25)",
            "no eval accuracy, as it is not a finite number: checkpoint 2 (nan at step 25)",
        ],
    }
    assert list(found["checkpoints"]["2"]["evaluation"]) == ["exact_match/AVERAGE", "exact_match/STANDARD_DEVIATION"]


def test_a_loss_that_is_no_number_is_not_replaced_by_an_earlier_one():
    checkpoints, curves = [Checkpoint("1", 1, 10)], {"train_loss": Curve.of([(9, 1.0), (10, math.inf)])}
    found = summary(checkpoints, curves, {}, [])
    assert found["checkpoints"]["1"]["train_loss"] is None
    assert gaps_of_steps(checkpoints, curves) == [
        "no train loss, as it is not a finite number: checkpoint 1 (inf at step 10)"
    ]
    assert found["train_loss"] == [[9, 1.0]]


def test_a_checkpoint_without_a_step():
    checkpoints, curves = [Checkpoint("1")], {"train_loss": Curve.of([(1, 1.0)])}
    found = summary(checkpoints, curves, {}, [])
    assert found["checkpoints"]["1"]["train_loss"] is None
    assert gaps_of_steps(checkpoints, curves) == ["no losses of checkpoint 1: the service returned no step"]


def test_an_xcom_keeps_its_size():
    """Also when everything is as long as it gets: metrics of an evaluation, reasons in another script, steps."""
    ten = [Checkpoint(str(number), number, 123_456_789 * number) for number in range(1, 11)]
    long = Curve.of([(1_234_567 * number, 1 / number) for number in range(1, 1_001)])
    evaluation = {f"{'very_long_name_of_a_metric' * 3}_{number}/AVERAGE": 1 / (number + 7) for number in range(100)}
    found = summary(
        ten,
        dict.fromkeys(("train_loss", "eval_loss", "eval_accuracy"), long),
        {checkpoint.checkpoint_id: evaluation for checkpoint in ten},
        ["😀" * 2_000] * 30,
    )
    assert len(json.dumps(found)) < XCOM_LIMIT
    assert all(line["eval_loss"] for line in found["checkpoints"].values())
    assert len(found["eval_loss"]) >= 10
    assert found["missing"][-2:] == [
        "100 more metrics of each evaluation, which do not fit",
        "28 more, which do not fit",
    ]


def test_an_ordinary_run_keeps_everything():
    ten = [Checkpoint(str(number), number, 131 * number) for number in range(1, 11)]
    curve = Curve.of([(step, 2.3456789 / step) for step in range(1, 1311)])
    evaluation = {f"FLUENCY/{name}": 4.23457 for name in ("AVERAGE", "STANDARD_DEVIATION", "MEDIAN")}
    found = summary(
        ten,
        dict.fromkeys(("train_loss", "eval_loss", "eval_accuracy"), curve),
        {checkpoint.checkpoint_id: evaluation for checkpoint in ten},
        [],
    )
    assert len(json.dumps(found)) < XCOM_LIMIT
    assert len(found["eval_loss"]) == len(found["train_loss"]) > 40
    assert all(line["evaluation"] == evaluation for line in found["checkpoints"].values())
    assert found["missing"] == []


@given(
    curve=curves,
    steps=st.lists(st.none() | st.integers(0, 10_000), max_size=10),
    evaluation=st.dictionaries(st.text(max_size=100), st.floats(allow_nan=False, allow_infinity=False), max_size=30),
    gaps=st.lists(st.text(max_size=3_000), max_size=30),
)
def test_whatever_comes_the_xcom_is_json_and_small(curve, steps, evaluation, gaps):
    checkpoints = [Checkpoint(str(number), number, step) for number, step in enumerate(steps)]
    evaluations = {checkpoint.checkpoint_id: evaluation for checkpoint in checkpoints}
    found = summary(checkpoints, {"train_loss": curve, "eval_loss": curve}, evaluations, gaps)
    assert len(json.dumps(found, allow_nan=False)) < XCOM_LIMIT


# -------------------------------------------------------------------------------------------- the step


def read(job, checkpoints=None, **change):
    if checkpoints is None:
        checkpoints = GeminiListCheckpointsOperator(task_id="list", tuning_job=job.name).execute(context())
    found = GeminiReadTuningMetricsOperator(
        task_id="read_metrics", tuning_job=job.name, checkpoints=checkpoints, **change
    ).execute(context())
    assert len(json.dumps(found, allow_nan=False)) < XCOM_LIMIT
    return found


def series(vertex, job, metric):
    """What the emulator says of one metric, on another way than the hook's: no contexts, no batch."""
    boards = f"/v1/{vertex.request('GET', f'/v1/{job.experiment}').json()['metadata']['backing_tensorboard_resource']}"
    runs = vertex.request("GET", f"{boards}/experiments/{job.experiment.rpartition('/')[2]}/runs").json()
    (run,) = runs["tensorboardRuns"]
    listed = vertex.request("GET", f"/v1/{run['name']}/timeSeries").json()["tensorboardTimeSeries"]
    (name,) = [item["name"] for item in listed if item["displayName"] == metric]
    data = vertex.request("GET", f"/v1/{name}:read?maxDataPoints=-1").json()["timeSeriesData"]
    return {int(point["step"]): point["scalar"]["value"] for point in data["values"]}


def gets(vertex, part):
    return [entry for entry in vertex.requests() if entry["method"] == "GET" and part in entry["path"]]


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(retry, "READ_TIMEOUT", 0.0)


def test_each_checkpoint_has_the_values_of_its_step(vertex):
    finished_job(
        vertex, SPEC.model_copy(update={"epoch_count": 1})
    )  # another experiment in the same store and TensorBoard
    job = finished_job(vertex)
    finished_job(vertex, SPEC.model_copy(update={"epoch_count": 2}))
    found = read(job)
    assert list(found["checkpoints"]) == [checkpoint.checkpoint_id for checkpoint in job.checkpoints]
    for name, metric in (
        ("train_loss", TRAIN),
        ("eval_loss", EVAL),
        ("eval_accuracy", "/eval_fraction_of_correct_next_step_preds"),
    ):
        values = series(vertex, job, metric)
        for checkpoint in job.checkpoints:
            line = found["checkpoints"][checkpoint.checkpoint_id]
            assert line[name] == pytest.approx(values[checkpoint.step], rel=1e-5)
            assert line["from_step"] == {}
            assert line["evaluation"] is None
        if name in found:
            assert [step for step, _ in found[name]] == sorted(values)
            assert [value for _, value in found[name]] == pytest.approx(list(values.values()), rel=1e-5)
    assert found["missing"] == []


def test_only_the_checkpoints_that_were_given(vertex):
    job = finished_job(vertex)
    found = read(job, [job.checkpoints[1].as_dict()])
    assert list(found["checkpoints"]) == ["2"]


def test_a_job_without_a_validation_dataset(vertex):
    job = finished_job(vertex, SPEC.model_copy(update={"validation_dataset_uri": None}))
    found = read(job)
    assert found["missing"] == ["no eval loss: the job has no validation dataset"]
    assert found["eval_loss"] == []
    for line in found["checkpoints"].values():
        assert line["train_loss"] > 0
        assert (line["eval_loss"], line["eval_accuracy"]) == (None, None)


@pytest.fixture
def long_job(vertex):
    """A job of more steps than one reply has points."""
    lines = (DATA / "train.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    vertex.put_object("gs://bucket/long.jsonl", "".join(lines + lines[:60]))
    return finished_job(
        vertex, SPEC.model_copy(update={"training_dataset_uri": "gs://bucket/long.jsonl", "epoch_count": 99})
    )


def test_a_curve_that_comes_as_a_sample_is_read_whole(vertex, long_job):
    steps = [checkpoint.step for checkpoint in long_job.checkpoints]
    assert steps[-1] > 1_000
    values = series(vertex, long_job, EVAL)
    found = read(long_job)
    lines = found["checkpoints"].values()
    assert [line["eval_loss"] for line in lines] == pytest.approx([values[step] for step in steps], rel=1e-5)
    assert all(line["from_step"] == {} for line in lines)
    assert found["missing"] == []
    assert {1, *steps, min(values, key=values.get)} <= {step for step, _ in found["eval_loss"]}
    assert len(found["eval_loss"]) <= 50


def test_a_sample_gives_the_last_value_before_and_says_so(vertex, long_job):
    vertex.faults([{"path": ":read$", "status": 400, "message": "Invalid value for max_data_points."}])
    values = series_of_batch(vertex, long_job)
    found = read(long_job)
    said = [gap for gap in found["missing"] if gap.startswith("eval loss is from the last step before")]
    off = [checkpoint for checkpoint in long_job.checkpoints if checkpoint.step not in values]
    assert off, "the sample must lack a step, or this tests nothing"
    for checkpoint in off:
        line, before = found["checkpoints"][checkpoint.checkpoint_id], max(s for s in values if s < checkpoint.step)
        assert line["from_step"]["eval_loss"] == before
        assert line["eval_loss"] == pytest.approx(values[before], rel=1e-5)
        assert f"checkpoint {checkpoint.checkpoint_id} (step {before} for {checkpoint.step})" in said[0]


def series_of_batch(vertex, job):
    """The sample of the eval loss that the emulator gives."""
    board = vertex.request("GET", f"/v1/{job.experiment}").json()["metadata"]["backing_tensorboard_resource"]
    stamp = job.experiment.rpartition("-")[2]
    run = f"{board}/experiments/tuning-experiment-{stamp}/runs/tuning-experiment-run-{stamp}"
    listed = vertex.request("GET", f"/v1/{run}/timeSeries").json()["tensorboardTimeSeries"]
    (name,) = [item["name"] for item in listed if item["displayName"] == EVAL]
    (data,) = vertex.request("GET", f"/v1/{board}:batchRead?timeSeries={name}").json()["timeSeriesData"]
    return {int(point["step"]): point["scalar"]["value"] for point in data["values"]}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("contexts/tuning-experiment-[0-9]+$", 403),
        ("contexts/tuning-experiment-[0-9]+$", 404),
        ("contexts$", 400),
        ("timeSeries$", 404),
        (":batchRead$", 501),
    ],
)
def test_metrics_that_the_service_refuses_are_named_in_its_words(vertex, path, status):
    job = finished_job(vertex)
    vertex.faults([{"method": "GET", "path": path, "status": status, "message": "Not for you."}])
    found = read(job)
    (gap,) = found["missing"]
    assert gap.startswith("no train loss and no eval loss: Could not read the metrics of projects/")
    assert str(status) in gap
    assert ": Not for you. " in gap, "the service's words, without the address that Google's client puts before them"
    assert "http" not in gap
    assert len(gets(vertex, "contexts")) + len(gets(vertex, "tensorboards")) <= 4
    assert all(line["train_loss"] is None for line in found["checkpoints"].values())


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("contexts/", {"status": 503}),
        (":batchRead$", {"status": 429, "retryAfter": 0.0}),
        (":read$", {"drop": "before"}),
    ],
)
def test_a_read_is_repeated(vertex, long_job, path, fault):
    vertex.faults([{"method": "GET", "path": path, "times": 1, **fault}])
    assert read(long_job)["missing"] == []


@pytest.mark.parametrize(
    ("path", "status"), [("contexts/", 429), ("contexts$", 500), (":batchRead$", 502), ("evaluationRuns/", 503)]
)
def test_a_service_that_stays_away_fails_the_task_for_airflow_to_repeat(vertex, impatient, path, status):
    job = finished_job(vertex, evaluated(EXACT))
    vertex.faults([{"method": "GET", "path": path, "status": status, "message": "Later."}])
    with pytest.raises(TransientServiceError, match=rf"{status}.*Later"):
        read(job)


@pytest.mark.parametrize("body", ["html", "malformed", "truncated"])
def test_garbage_is_no_answer(vertex, impatient, body):
    job = finished_job(vertex)
    vertex.faults([{"method": "GET", "path": ":batchRead$", "body": body}])
    with pytest.raises(TransientServiceError):
        read(job)


def test_refused_credentials_are_no_missing_evidence(vertex):
    job = finished_job(vertex)
    vertex.faults([{"method": "GET", "path": "contexts", "status": 401, "message": "Who are you?"}])
    with pytest.raises(PermanentServiceError, match=" 401"):
        read(job)


def test_a_job_that_has_not_begun_to_tune(vertex):
    job = GeminiTuningHook().create_tuning_job(SPEC, project_id=None, location=LOCATION)
    found = read(job, [Checkpoint("1", 1, 9).as_dict()])
    (gap,) = found["missing"]
    assert "has no run" in gap


@pytest.mark.parametrize("bad", ["x", "projects/p/locations/evil.example.com#/metadataStores/default/contexts/x"])
def test_an_experiment_with_a_bad_name(monkeypatch, bad):
    name = "projects/p/locations/us-central1/tuningJobs/1"
    with hostile_server() as server:
        use_connection(monkeypatch, server.connection())
        server.answer({"name": name, "state": "JOB_STATE_SUCCEEDED", "experiment": bad})
        found = GeminiReadTuningMetricsOperator(
            task_id="read_metrics", tuning_job=name, checkpoints=[Checkpoint("1", 1, 9).as_dict()]
        ).execute(context())
        assert [path.partition("?")[0] for _, path in server.seen] == [f"/v1beta1/{name}"]
    (gap,) = found["missing"]
    assert gap.startswith(f"no train loss and no eval loss: '{bad}' is not a full resource name")


def test_a_checkpoint_that_is_none(vertex):
    job = finished_job(vertex)
    for wrong in ([{"step": 1}], ["1"], "1", 7, [{"checkpoint_id": "1", "step": "soon"}]):
        with pytest.raises(ValueError, match="checkpoint"):
            read(job, wrong)


def test_a_curve_begins_after_the_first_checkpoint(vertex):
    """Nothing before a checkpoint's step is nothing: a value from after it would flatter it."""
    job = finished_job(vertex)
    found = read(job, [Checkpoint("0", 0, 0).as_dict()])
    assert found["checkpoints"]["0"]["train_loss"] is None
    assert "no train loss, as its curve begins at step 1: checkpoint 0 (step 0)" in found["missing"]


# ------------------------------------------------------------------------------------------ evaluation


def evaluated(*metrics, prefix="gs://bucket/out"):
    return SPEC.model_copy(update={"evaluation_metrics": list(metrics), "evaluation_output_uri": prefix})


def test_the_services_own_evaluation(vertex):
    job = finished_job(vertex, evaluated(FLUENCY, EXACT))
    found = read(job, evaluation_expected="True")
    raw = vertex.request("GET", f"/v1beta1/{job.name}").json()["evaluateDatasetRuns"]
    assert [run["checkpointId"] for run in raw] == list(found["checkpoints"])
    for run in raw:
        results = vertex.request("GET", f"/v1/{run['evaluationRun']}").json()["evaluationResults"]
        wanted = {
            name.removeprefix(f"checkpoint-{run['checkpointId']}/"): pytest.approx(value, rel=1e-5)
            for name, value in results["summaryMetrics"]["metrics"].items()
        }
        assert len(wanted) == 4
        assert found["checkpoints"][run["checkpointId"]]["evaluation"] == wanted
    assert found["missing"] == []


def test_the_jobs_own_list_serves_when_the_runs_cannot_be_read(vertex):
    job = finished_job(vertex, evaluated(FLUENCY, FLUENCY, EXACT))
    named = read(job)
    vertex.faults([{"method": "GET", "path": "evaluationRuns", "status": 403, "message": "Not for you."}])
    found = read(job)
    for identifier, line in found["checkpoints"].items():
        assert line["evaluation"] == named["checkpoints"][identifier]["evaluation"]
        assert "pointwise_metric_2/AVERAGE" in line["evaluation"]
    assert found["missing"] == []


def test_an_evaluation_that_failed_is_named_with_its_reason(vertex):
    job = finished_job(vertex, evaluated(EXACT, prefix="gs://nowhere/out"))
    found = read(job)
    assert [line["evaluation"] for line in found["checkpoints"].values()] == [None] * 3
    assert [gap.partition(":")[0] for gap in found["missing"]] == [
        f"no evaluation of checkpoint {number}" for number in (1, 2, 3)
    ]
    assert all("gs://nowhere/out" in gap for gap in found["missing"])


def test_an_evaluation_that_was_asked_for_and_is_not_there(vertex):
    job = finished_job(vertex)
    assert read(job)["missing"] == []
    assert read(job, evaluation_expected=True)["missing"] == ["no evaluation: the job has no evaluation runs"]
    with pytest.raises(ValueError, match="evaluation_expected"):
        read(job, evaluation_expected="perhaps")


def test_a_checkpoint_that_was_not_evaluated(vertex):
    job = finished_job(vertex, evaluated(EXACT))
    given = [*(checkpoint.as_dict() for checkpoint in job.checkpoints), Checkpoint("9", 9, 27).as_dict()]
    found = read(job, given)
    assert found["checkpoints"]["3"]["evaluation"]
    assert found["missing"] == ["no evaluation of checkpoint 9: the job has no evaluation run for it"]


def test_the_evaluation_of_the_only_checkpoint_may_not_name_it(vertex):
    job = finished_job(vertex, evaluated(EXACT).model_copy(update={"export_last_checkpoint_only": True}))
    raw = vertex.request("GET", f"/v1beta1/{job.name}").json()["evaluateDatasetRuns"]
    found = read(job)
    assert len(raw) == len(found["checkpoints"]) == 1
    (line,) = found["checkpoints"].values()
    assert line["evaluation"]


def test_the_way_to_the_metrics_is_asked_for_once(vertex):
    job, hook = finished_job(vertex), GeminiTuningHook()
    first = hook.read_curves(job.experiment, [TRAIN, EVAL], ())
    before = len(vertex.requests())
    assert hook.read_curves(job.experiment, [TRAIN, EVAL], ()) == first
    assert [request["path"].rpartition(":")[2] for request in vertex.requests()[before:]] == ["batchRead"]


def test_metrics_that_are_not_where_they_were_are_looked_for_anew(vertex):
    job, hook = finished_job(vertex), GeminiTuningHook()
    first = hook.read_curves(job.experiment, [TRAIN, EVAL], ())
    place = hook._metrics_locations[job.experiment]
    gone = {f"{name}0": metric for name, metric in place.series.items()}
    hook._metrics_locations[job.experiment] = place._replace(series=gone)
    assert hook.read_curves(job.experiment, [TRAIN, EVAL], ()) == first
