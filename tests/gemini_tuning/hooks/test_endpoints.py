"""The hook's part for endpoints, copies and traffic: slow operations, lost and hostile answers."""

import time

import pytest
from pydantic import ValidationError
from support import use_connection

from gemini_tuning.core import retry
from gemini_tuning.core.exceptions import (
    InvalidInputError,
    PermanentServiceError,
    ServiceError,
    TransientServiceError,
    UnexpectedResponseError,
)
from gemini_tuning.core.resources import Endpoint, Model, Operation, Traffic
from gemini_tuning.hooks import base
from gemini_tuning.hooks.converters import last_prompt
from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook
from tests.gemini_tuning.hostile_server import hostile_server

PARENT = "projects/123/locations/us-central1"
ENDPOINT, MODEL = f"{PARENT}/endpoints/5", f"{PARENT}/models/7@2"
OPERATION = f"{ENDPOINT}/operations/9"
UNEXPECTED = (UnexpectedResponseError, ValidationError)


@pytest.fixture(scope="module")
def server():
    with hostile_server() as running:
        yield running


@pytest.fixture
def hook(server, monkeypatch):
    monkeypatch.setattr(retry, "READ_TIMEOUT", 0.0)
    monkeypatch.setattr(base, "OPERATION_INTERVAL", 0.0)
    connection = server.connection()
    connection["extra"]["monitoring.endpoint"] = server.url
    use_connection(monkeypatch, connection)
    return GeminiTuningHook()


def test_an_operation_is_waited_for(server, hook):
    server.answer({"name": OPERATION, "done": True}, first=[{"name": OPERATION}, {"name": OPERATION, "done": False}])
    hook.undeploy_model(ENDPOINT, "1")
    assert server.seen == [("POST", f"/v1/{ENDPOINT}:undeployModel")] + [("GET", f"/v1/{OPERATION}")] * 2


def test_an_operation_that_ends_with_an_error(server, hook, snapshot):
    server.answer({"name": OPERATION, "done": True, "error": {"code": 9, "message": "in use"}})
    with pytest.raises(PermanentServiceError) as caught:
        hook.undeploy_model(ENDPOINT, "1")
    assert (caught.value.resource, caught.value.service_message) == (ENDPOINT, "in use")
    assert str(caught.value) == snapshot


def test_an_operation_that_finds_nothing_to_do(server, hook):
    server.answer({"name": OPERATION, "done": True, "error": {"code": 5, "message": "gone"}})
    hook.undeploy_model(ENDPOINT, "1")


def test_an_operation_that_never_ends(server, hook, monkeypatch, snapshot):
    monkeypatch.setattr(base, "OPERATION_TIMEOUT", 0.0)
    server.answer({"name": OPERATION})
    with pytest.raises(TransientServiceError) as caught:
        hook.undeploy_model(ENDPOINT, "1")
    assert caught.value.resource == ENDPOINT
    assert str(caught.value) == snapshot


def test_what_is_gone_already_is_fine(server, hook):
    server.answer({"error": {"code": 404, "message": "no", "status": "NOT_FOUND"}}, status=404)
    hook.undeploy_model(ENDPOINT, "1")
    assert hook.find_endpoint(ENDPOINT) is None
    assert hook.find_model(MODEL) is None
    assert hook.list_model_versions(MODEL) == []
    assert hook.read_traffic(ENDPOINT, time.time()) == Traffic()


@pytest.mark.parametrize("refused", [400, 403, 409, 500])
def test_what_is_refused_is_no_success(server, hook, refused):
    server.answer({"error": {"code": refused, "message": "no"}}, status=refused)
    for call in (
        lambda: hook.undeploy_model(ENDPOINT, "1"),
        lambda: hook.find_endpoint(ENDPOINT),
        lambda: hook.find_model(MODEL),
        lambda: hook.list_model_versions(MODEL),
    ):
        with pytest.raises(ServiceError) as caught:
            call()
        assert caught.value.code == refused


@pytest.mark.parametrize("body", ["", "<html>", [], "null", 7, {"name": "x"}, {"name": f"{PARENT}/endpoints/6"}])
def test_garbage_is_no_endpoint_that_is_gone(server, hook, body):
    server.answer(body)
    with pytest.raises(ServiceError):
        hook.find_endpoint(ENDPOINT)


@pytest.mark.parametrize("body", ["", "<html>", [], 7, {"name": MODEL.replace("@2", "@3")}, {"name": MODEL[:-2]}])
def test_garbage_is_no_model_that_is_gone(server, hook, body):
    server.answer(body)
    with pytest.raises(ServiceError):
        hook.find_model(MODEL)


def test_a_list_that_never_ends_is_refused(server, hook, monkeypatch):
    monkeypatch.setattr(base, "MAX_PAGES", 3)
    server.answer({"models": [], "nextPageToken": "more"})
    for call in (
        lambda: hook.list_models("123", "us-central1"),
        lambda: hook.read_traffic(ENDPOINT, time.time()),
    ):
        with pytest.raises(PermanentServiceError, match="3 pages"):
            call()


def test_a_whole_model_is_not_deleted_for_a_version_nor_the_other_way(server, hook):
    server.answer({})
    for call, name in ((hook.delete_model, MODEL), (hook.delete_model_version, MODEL[:-2])):
        with pytest.raises(InvalidInputError) as caught:
            call(name)
        assert caught.value.code in ("version_required", "version_not_allowed")
    assert server.seen == []


def test_where_monitoring_is_asked(hook, server, monkeypatch):
    server.answer({})
    assert hook.read_traffic(ENDPOINT, 1_800_000_000.0) == Traffic()
    (first, _) = server.seen
    assert first[1].startswith("/v3/projects/123/timeSeries?")
    assert "filter=metric.type+%3D+%22aiplatform.googleapis.com" in first[1]
    assert "endpoint_id+%3D+%225%22" in first[1]
    assert "interval.startTime=2026-12-04T08%3A00%3A00Z&interval.endTime=2027-01-15T08%3A00%3A00Z" in first[1]


# ----------------------------------------------------------------------------------------------- values


def test_an_endpoint():
    raw = {
        "name": ENDPOINT,
        "displayName": "e",
        "deployedModels": [
            {"id": "1", "model": f"{PARENT}/models/7", "modelVersionId": "2", "checkpointId": "3"},
            {"id": "2", "model": MODEL},
            {"id": "3"},
        ],
    }
    found = Endpoint.from_json(raw, "projects/my-id/locations/us-central1/endpoints/5")
    assert (found.name, found.display_name) == (ENDPOINT, "e")
    assert [(each.id, str(each.model), each.checkpoint_id) for each in found.deployed_models] == [
        ("1", MODEL, "3"),
        ("2", MODEL, None),
        ("3", "None", None),
    ]


@pytest.mark.parametrize(
    "bad",
    [
        {"deployedModels": {}},
        {"deployedModels": [7]},
        {"deployedModels": [{"id": "../1", "model": MODEL}]},
        {"deployedModels": [{"id": 1, "model": MODEL}]},
        {"deployedModels": [{"id": "1", "model": "x"}]},
        {"deployedModels": [{"id": "1", "model": MODEL, "checkpointId": ["3"]}]},
        {"name": f"{PARENT}/endpoints/6"},
    ],
)
def test_an_endpoint_that_cannot_be_judged(bad):
    with pytest.raises(UNEXPECTED):
        Endpoint.from_json({"name": ENDPOINT, **bad}, ENDPOINT)


def test_a_model():
    raw = {
        "name": MODEL[:-2],
        "versionId": "2",
        "versionAliases": ["default", "champion"],
        "versionCreateTime": "2026-11-20T12:00:00.5Z",
        "defaultCheckpointId": "3",
        "checkpoints": [{"checkpointId": "1"}, {"checkpointId": "3", "epoch": "2"}],
        "deployedModels": [{"endpoint": ENDPOINT}, {"endpoint": ENDPOINT}],
        "modelSourceInfo": {"copy": True},
        "originalModelInfo": {"model": f"{PARENT}/models/8@1"},
    }
    found = Model.from_json(raw, MODEL)
    assert (found.name, found.aliases, found.default_checkpoint_id) == (MODEL, ("default", "champion"), "3")
    assert found.is_copy
    assert (found.endpoints, found.original_model, found.create_time) == (
        (ENDPOINT,),
        f"{PARENT}/models/8@1",
        1795176000.5,
    )
    assert [c.checkpoint_id for c in found.checkpoints] == ["1", "3"]
    for lacking in ({"modelSourceInfo": {"copy": "true"}}, {"modelSourceInfo": {}}):
        assert not Model.from_json({**raw, **lacking}).is_copy
    assert Model.from_json({**raw, "originalModelInfo": {}}).original_model is None
    for odd in (None, "yesterday", 7, "2026-11-20T12:00:00"):
        assert Model.from_json({**raw, "versionCreateTime": odd}).create_time is None


@pytest.mark.parametrize(
    "bad",
    [
        {"name": MODEL[:-2]},
        {"versionAliases": "champion"},
        {"versionAliases": [{"champion": 1}]},
        {"deployedModels": [{}]},
        {"deployedModels": [{"endpoint": "x"}]},
        {"modelSourceInfo": {"copy": True}, "originalModelInfo": {"model": "x"}},
        {"name": f"{PARENT}/models/7@3"},
    ],
)
def test_a_model_that_cannot_be_judged(bad):
    with pytest.raises(UNEXPECTED):
        Model.from_json({"name": MODEL, **bad}, MODEL)


def point(count, end="2026-11-20T12:00:00Z"):
    return {"value": {"int64Value": count}, "interval": {"endTime": end}}


def series(*points):
    return {"timeSeries": [{"points": [each]} for each in points]}


def test_the_last_prompt_of_all_series_counts():
    assert last_prompt(series(point("2", "2026-11-19T12:00:00Z"), point("1"), point("0", "2027-01-01T00:00:00Z"))) == (
        1795176000.0,
        None,
    )
    assert last_prompt({"nextPageToken": "t"}) == (None, "t")
    assert last_prompt(series({**point("1"), "value": {"doubleValue": 0.5}}))[0] == 1795176000.0


@pytest.mark.parametrize(
    "bad",
    [
        series(point("many")),
        series(point(["1"])),
        series(point("1", "soon")),
        series({"value": {"int64Value": "1"}}),
        {"timeSeries": {}},
        {"timeSeries": [{"points": 7}]},
        {"executionErrors": [{"code": 4}]},
        {"unreachable": ["us-central1"]},
        {"nextPageToken": 7},
        None,
    ],
)
def test_time_series_that_do_not_tell_are_not_taken_for_silence(bad):
    with pytest.raises(UNEXPECTED):
        last_prompt(bad)


def test_the_operation_of_something_that_makes_nothing():
    assert Operation.from_json({"name": OPERATION}) == Operation(OPERATION)
    for bad in ({}, {"name": "x"}, {"name": OPERATION, "error": "no"}, []):
        with pytest.raises(UNEXPECTED):
            Operation.from_json(bad)
