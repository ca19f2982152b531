"""The emulator against Google's own description of the API: every route, every request, every reply."""

import asyncio
import re
from typing import Any

import pytest
from starlette.routing import compile_path

from tests.vertex_emulator.discovery import (
    ALLOWED,
    VERSIONS,
    all_problems,
    documents,
    find_method,
    problems,
    vertex_entries,
)
from tests.vertex_emulator.examples import TRAINING, VALIDATION, jsonl, preferences
from tests.vertex_emulator.session import broad_session
from vertex_emulator.app import ROUTES
from vertex_emulator.call import Entry
from vertex_emulator.evaluation import EVALUATION_CONFIG
from vertex_emulator.process import Emulator
from vertex_emulator.routes import endpoints, models
from vertex_emulator.tuning_request import TUNING_JOB

VERTEX_ROUTES = [entry for entry in ROUTES if entry.path.startswith(("/{version:version}/", "/ui/"))]
NOT_DESCRIBED = {
    "POST models/{id:id}:generateContent": "google-genai sends a prompt there when it is given a model's name: 400.",
    "POST models/{id:id}:streamGenerateContent": "The same.",
    "POST models/{id:id}:countTokens": "The same.",
}
"""Routes that no document has, with the reason."""


def route_id(entry: Entry) -> str:
    return f"{entry.method} {entry.path.partition('/{location}/')[2]}"


def concrete(path: str, version: str) -> str:
    """A path that a route takes."""
    path = path.replace("/{version:version}/", f"/{version}/").replace("/ui/", "/v1/").replace("{collection}", "models")
    return re.sub(r"\{\w+(:\w+)?\}", "1", path)


@pytest.mark.parametrize("entry", VERTEX_ROUTES, ids=route_id)
def test_every_route_is_in_both_documents(entry):
    described = [find_method(entry.method, concrete(entry.path, version)) is not None for version in VERSIONS]
    assert all(described) != (route_id(entry) in NOT_DESCRIBED)


@pytest.fixture(scope="module")
def journal() -> list[dict[str, Any]]:
    """What the real clients sent in a long session, and what they got."""
    with Emulator(speed=0, journal=5000) as emulator:
        emulator.put_object("gs://data/train.jsonl", jsonl(TRAINING[:40]))
        emulator.put_object("gs://data/valid.jsonl", jsonl(VALIDATION[:10]))
        emulator.put_object("gs://data/preference.jsonl", preferences(TRAINING[:40]))
        asyncio.run(broad_session(emulator))
        return vertex_entries(emulator)


def test_the_session_is_as_described(journal):
    assert [problem for entry in journal for problem in problems(entry)] == []
    assert len([entry for entry in journal if entry["status"] == 200]) > len(VERTEX_ROUTES)


@pytest.mark.parametrize("allowed", ALLOWED, ids=lambda allowed: allowed.pattern)
def test_every_allowed_difference_occurs(journal, allowed):
    found = [problem for entry in journal for problem in all_problems(entry)]
    assert any(re.search(allowed.pattern, problem) for problem in found)


@pytest.mark.parametrize("entry", VERTEX_ROUTES, ids=route_id)
def test_every_route_is_exercised(journal, entry):
    pattern, _, _ = compile_path(entry.path)
    status = 400 if route_id(entry) in NOT_DESCRIBED else 200
    taken = [item["status"] for item in journal if item["method"] == entry.method and pattern.fullmatch(item["path"])]
    assert status in taken


@pytest.mark.parametrize(
    ("fields", "schema"),
    [
        (TUNING_JOB, "TuningJob"),
        (TUNING_JOB["preTunedModel"], "PreTunedModel"),
        (TUNING_JOB["supervisedTuningSpec"], "SupervisedTuningSpec"),
        (TUNING_JOB["supervisedTuningSpec"]["hyperParameters"], "SupervisedHyperParameters"),
        (TUNING_JOB["preferenceOptimizationSpec"], "PreferenceOptimizationSpec"),
        (TUNING_JOB["preferenceOptimizationSpec"]["hyperParameters"], "PreferenceOptimizationHyperParameters"),
        (EVALUATION_CONFIG, "EvaluationConfig"),
        (EVALUATION_CONFIG["metrics"].of, "Metric"),
        (models.MODEL, "Model"),
        (endpoints.ENDPOINT, "Endpoint"),
        (endpoints.DEPLOYED_MODEL, "DeployedModel"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_requests_may_hold_what_the_schema_has(fields, schema):
    described = documents()["v1beta1"]["schemas"][f"GoogleCloudAiplatformV1beta1{schema}"]["properties"]
    assert sorted(fields) == sorted(described)


PATH = "/v1/projects/1/locations/x/tuningJobs"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"path": PATH + ":surprise"}, "no such method"),
        ({"method": "PUT"}, "no such method"),
        ({"query": "requestId=7"}, "query requestId: unknown"),
        ({"body": {"baseModel": "x", "surprise": 1}}, "body .surprise: unknown field"),
        ({"body": {"base_model": 7}}, "body .base_model: 7 is not a string"),
        ({"body": {"supervisedTuningSpec": []}}, "body .supervisedTuningSpec: not an object"),
        ({"body": {"labels": {"a": 1}}}, "body .labels.a: 1 is not a string"),
        (
            {"reply": {"tunedModel": {"checkpoints": [{"epoch": 1}]}}},
            "reply .tunedModel.checkpoints[0].epoch: 1 is not",
        ),
        ({"reply": {"tunedModel": {"checkpoints": {}}}}, "reply .tunedModel.checkpoints: not a list"),
        ({"reply": {"tuningJobState": "TUNING_JOB_STATE_TUNING"}}, "reply .tuningJobState: unknown field"),
        ({"reply": {"base_model": "x"}}, "reply .base_model: unknown field"),
        ({"reply": {"state": "RUNNING"}}, "reply .state: 'RUNNING' is not among the values"),
        ({"reply": {"state": 3}}, "reply .state: enum as number"),
        ({"reply": {"createTime": "2026-01-01T00:00:00+01:00"}}, "reply .createTime: "),
        ({"status": 404, "reply": {"message": "no"}}, "not Google's error body"),
        ({"status": 404, "reply": {"error": {"code": 500, "message": "", "status": ""}}}, "wrong error"),
    ],
)
def test_the_check_sees_what_is_wrong(change, problem):
    entry = {"method": "POST", "path": PATH, "status": 200, "body": {"baseModel": "x"}, "reply": {"name": "y"}}
    assert problems(entry) == []
    assert [problem in text for text in problems({**entry, **change})] == [True]


def test_types_of_operations_belong_to_the_version():
    operation = {"name": "x", "metadata": {"@type": "type.googleapis.com/google.cloud.aiplatform.v1.CopyModelResponse"}}
    path = "/{}/projects/1/locations/x/models/1/operations/2"
    entry = {"method": "GET", "status": 200, "reply": operation}
    assert problems({**entry, "path": path.format("v1")}) == []
    assert len(problems({**entry, "path": path.format("v1beta1")})) == 1
