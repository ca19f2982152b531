"""Evaluation of the checkpoints of a tuning job, with google-genai and google-cloud-storage."""

import json

import pytest
from google.genai.types import (
    CreateTuningJobConfig,
    EvaluationConfig,
    GcsDestination,
    Metric,
    OutputConfig,
    TuningDataset,
    TuningValidationDataset,
)

from tests.vertex_emulator.examples import VALIDATION
from vertex_emulator.evaluation import Case, evaluate, metric_names, score

JUDGED = Metric(name="FLUENCY", prompt_template="Evaluate this {response}")
EXACT = Metric(name="exact_match")


def tune(emulator, client, *metrics, prefix="gs://data/out/", validated=True, seconds=3600):
    validation = TuningValidationDataset(gcs_uri="gs://data/valid.jsonl") if validated else None
    job = client.tunings.tune(
        base_model="gemini-2.5-flash",
        training_dataset=TuningDataset(gcs_uri="gs://data/train.jsonl"),
        config=CreateTuningJobConfig(
            epoch_count=6,
            validation_dataset=validation,
            evaluation_config=EvaluationConfig(
                metrics=list(metrics),
                output_config=OutputConfig(gcs_destination=GcsDestination(output_uri_prefix=prefix)),
            ),
        ),
    )
    emulator.advance(seconds)
    return client.tunings.get(name=job.name)


def averages(run, field):
    results = run.evaluate_dataset_response.aggregation_output.aggregation_results
    return [
        getattr(item, field).score for item in results if item.aggregation_metric == "AVERAGE" and getattr(item, field)
    ]


def rows(storage_client, run, name):
    bucket, _, directory = run.evaluate_dataset_response.output_info.gcs_output_directory[5:].partition("/")
    text = storage_client.bucket(bucket).blob(f"{directory}/{name}").download_as_text()
    return [json.loads(line) for line in text.splitlines()]


def test_every_checkpoint_is_evaluated(emulator, genai_client, storage_client):
    job = tune(emulator, genai_client, JUDGED, EXACT)
    runs = job.evaluate_dataset_runs
    assert [run.checkpoint_id for run in runs] == [item.checkpoint_id for item in job.tuned_model.checkpoints]
    assert len({run.evaluation_run for run in runs}) == 6
    exact = [averages(run, "exact_match_metric_value")[0] for run in runs]
    assert exact.index(max(exact)) in (2, 3), "140 examples overfit between epochs 3 and 4"
    judged = [averages(run, "pointwise_metric_result")[0] for run in runs]
    assert judged.index(max(judged)) == exact.index(max(exact))

    best = runs[exact.index(max(exact))]
    found = rows(storage_client, best, "evaluation_results.jsonl")
    assert [row["instance"]["prompt"] for row in found] == [prompt for prompt, _ in VALIDATION]
    right = [row["instance"]["response"] == row["instance"]["reference"] for row in found]
    assert sum(right) / len(right) == pytest.approx(max(exact))
    endpoint = next(item.endpoint for item in job.tuned_model.checkpoints if item.checkpoint_id == best.checkpoint_id)
    said = genai_client.models.generate_content(model=endpoint, contents=VALIDATION[0][0]).text
    assert found[0]["instance"]["response"] == said
    aggregated = rows(storage_client, best, "aggregation_results.jsonl")
    assert [item["aggregationMetric"] for item in aggregated] == ["AVERAGE", "STANDARD_DEVIATION"] * 2


def test_they_come_with_the_endpoints(emulator, genai_client):
    job = tune(emulator, genai_client, EXACT, seconds=4 + 3 + 1)
    assert [item.checkpoint_id for item in job.tuned_model.checkpoints if item.endpoint] == ["1"]
    assert [run.checkpoint_id for run in job.evaluate_dataset_runs] == ["1"]


def test_the_training_dataset_without_a_validation_dataset(emulator, genai_client):
    job = tune(emulator, genai_client, EXACT, validated=False)
    output = job.evaluate_dataset_runs[-1].evaluate_dataset_response.aggregation_output
    assert output.dataset.gcs_source.uris == ["gs://data/train.jsonl"]
    assert averages(job.evaluate_dataset_runs[-1], "exact_match_metric_value")[0] > 0.9


def test_no_bucket_for_the_results(emulator, genai_client):
    job = tune(emulator, genai_client, EXACT, prefix="gs://nowhere/x")
    run = job.evaluate_dataset_runs[0]
    assert run.error.code == 5
    assert "gs://nowhere/x" in run.error.message
    assert job.state == "JOB_STATE_SUCCEEDED"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "metrics is required"),
        ({"metrics": [{"exactMatchSpec": {}}]}, "output_config"),
        ({"metrics": [{"pairwiseMetricSpec": {}}]}, "pairwise"),
        ({"metrics": [{}]}, "must have one spec"),
        ({"metrics": [{"surprise": 1}]}, 'Unknown name "surprise" at \'supervised_tuning_spec.evaluation_config'),
        ({"metrics": [{"aggregationMetrics": ["BEST"]}]}, "aggregation_metrics[0]"),
    ],
)
def test_refused(emulator, config, message):
    output = {} if message == "output_config" else {"outputConfig": {"gcsDestination": {"outputUriPrefix": "gs://x/y"}}}
    spec = {"trainingDatasetUri": "gs://data/train.jsonl", "evaluationConfig": {**output, **config}}
    reply = emulator.request(
        "POST",
        "/v1/projects/demo-project/locations/us-central1/tuningJobs",
        json={"baseModel": "gemini-2.5-flash", "supervisedTuningSpec": spec},
    )
    assert reply.status_code == 400
    assert message in reply.json()["error"]["message"]


RIGHT = Case("q", "The answer.", "the answer")
WRONG = Case("q", "The answer.", "no idea")


@pytest.mark.parametrize(
    ("kind", "least", "most"),
    [("exactMatchSpec", 0, 1), ("bleuSpec", 0, 1), ("rougeSpec", 0, 1), ("predefinedMetricSpec", 1, 5)],
)
def test_scores(kind, least, most):
    assert least <= score(kind, WRONG) < score(kind, RIGHT) <= most


def test_aggregation():
    wanted = ["AVERAGE", "MODE", "STANDARD_DEVIATION", "VARIANCE", "MINIMUM", "MAXIMUM", "MEDIAN", "PERCENTILE_P90"]
    metric = {"computationBasedMetricSpec": {"type": "EXACT_MATCH"}, "aggregationMetrics": wanted}
    found = evaluate([metric], [RIGHT, RIGHT, RIGHT, WRONG]).aggregations
    assert [item["exactMatchMetricValue"]["score"] for item in found] == [
        0.75, 1.0, pytest.approx(0.4330127), 0.1875, 0.0, 1.0, 1.0, 1.0
    ]  # fmt: skip


class TestEvaluationRuns:
    """The resources that evaluateDatasetRuns name."""

    def get(self, emulator, path, version="v1"):
        return emulator.request("GET", f"/{version}/{path}")

    def test_each_can_be_read(self, emulator, genai_client):
        job = tune(emulator, genai_client, JUDGED, EXACT)
        for shown in job.evaluate_dataset_runs:
            run, beta = (self.get(emulator, shown.evaluation_run, version).json() for version in ("v1", "v1beta1"))
            assert run == beta
            assert run["name"] == shown.evaluation_run
            assert (run["state"], run["createTime"]) == ("SUCCEEDED", run["completionTime"])
            assert run["metadata"] == {"tuningJob": job.name, "checkpointId": shown.checkpoint_id}
            (checkpoint,) = [x for x in job.tuned_model.checkpoints if x.checkpoint_id == shown.checkpoint_id]
            candidate = f"checkpoint-{shown.checkpoint_id}"
            assert run["inferenceConfigs"] == {candidate: {"model": checkpoint.endpoint}}
            summary = run["evaluationResults"]["summaryMetrics"]
            assert summary["totalItems"] == len(VALIDATION)
            means = {name: value for name, value in summary["metrics"].items() if name.endswith("/AVERAGE")}
            assert means == {
                f"{candidate}/pointwise_metric/AVERAGE": averages(shown, "pointwise_metric_result")[0],
                f"{candidate}/exact_match/AVERAGE": averages(shown, "exact_match_metric_value")[0],
            }
            assert [item["metric"] for item in run["evaluationConfig"]["metrics"]] == [
                "pointwise_metric",
                "exact_match",
            ]
            output = run["evaluationConfig"]["outputConfig"]
            assert output == {"gcsDestination": {"outputUriPrefix": "gs://data/out/"}}

    def test_one_whose_results_could_not_be_written(self, emulator, genai_client):
        job = tune(emulator, genai_client, EXACT, prefix="gs://nowhere/out")
        run = self.get(emulator, job.evaluate_dataset_runs[0].evaluation_run).json()
        assert run["state"] == "FAILED"
        assert run["error"]["message"] == job.evaluate_dataset_runs[0].error.message
        assert "evaluationResults" not in run

    def test_list(self, emulator, genai_client):
        job = tune(emulator, genai_client, EXACT)
        parent = job.name.partition("/tuningJobs/")[0]
        names = [run.evaluation_run for run in job.evaluate_dataset_runs]

        def listed(query="", where=parent):
            reply = self.get(emulator, f"{where}/evaluationRuns{query}").json()
            return [run["name"] for run in reply.get("evaluationRuns", [])]

        assert listed() == names[::-1]
        assert listed("?orderBy=create_time") == names
        assert listed('?filter=state="SUCCEEDED"&pageSize=2') == names[:-3:-1]
        assert listed('?filter=metadata.checkpointId="3"') == names[2:3]
        assert listed(where=parent.replace("us-central1", "europe-west4")) == []

    def test_unknown(self, emulator):
        missing = self.get(emulator, "projects/demo-project/locations/us-central1/evaluationRuns/1")
        assert (missing.status_code, missing.json()["error"]["status"]) == (404, "NOT_FOUND")


def test_metrics_are_named_apart():
    predefined = {"predefinedMetricSpec": {"metricSpecName": "fluency_v1"}}
    metrics = [{"exactMatchSpec": {}}, {"pointwiseMetricSpec": {}}, predefined, {"pointwiseMetricSpec": {}}]
    assert metric_names(metrics) == ["exact_match", "pointwise_metric", "fluency_v1", "pointwise_metric_4"]
