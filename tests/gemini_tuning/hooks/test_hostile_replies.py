"""A service that answers anything: the hook returns one of our values or raises an error that names the resource."""

import asyncio
import gc
import json
import math
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support import SPEC, use_connection

from gemini_tuning.core import retry
from gemini_tuning.core.copy_spec import ModelCopySpec
from gemini_tuning.core.curves import Curve
from gemini_tuning.core.exceptions import (
    CreateOutcomeUnknownError,
    InvalidInputError,
    PermanentServiceError,
    ServiceError,
    TransientServiceError,
)
from gemini_tuning.core.model_response import ModelResponse
from gemini_tuning.core.names import ResourceName, ResourceNameError, operation_location
from gemini_tuning.core.resources import EvaluationRun, Model, Operation, TuningJob
from gemini_tuning.hooks import base, experiments, storage
from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook
from tests.gemini_tuning.hostile_server import ECHO, TOKEN, hostile_server
from tests.gemini_tuning.strategies import BAD_NAMES, DEEP, HTML, spoiled, wire_values

# Google's client warns of states that it does not know.
pytestmark = pytest.mark.filterwarnings("ignore:.*is not a valid:UserWarning")

PARENT = "projects/p/locations/us-central1"
JOB, MODEL, ENDPOINT = f"{PARENT}/tuningJobs/1", f"{PARENT}/models/7@1", f"{PARENT}/endpoints/9"
OPERATION = f"{PARENT}/models/7/operations/5"
EXPERIMENT, EVALUATION = f"{PARENT}/metadataStores/default/contexts/x", f"{PARENT}/evaluationRuns/3"
SERIES = f"{PARENT}/tensorboards/4/experiments/x/runs/y/timeSeries/1"
LIMIT = 4_000  # characters of a message: 2,000 of the service's, and ours
GOOD_JOB = {
    "name": JOB,
    "state": "JOB_STATE_SUCCEEDED",
    "createTime": "2026-01-01T00:00:00Z",
    "startTime": "2026-01-01T00:00:00Z",
    "endTime": "2026-01-01T00:00:00Z",
    "error": {"code": 3, "message": "no"},
    "labels": {"a": "b"},
    "experiment": EXPERIMENT,
    "evaluateDatasetRuns": [
        {
            "evaluationRun": EVALUATION,
            "checkpointId": "1",
            "error": {"code": 3, "message": "no"},
            "evaluateDatasetResponse": {
                "aggregationOutput": {
                    "aggregationResults": [{"aggregationMetric": "AVERAGE", "exactMatchMetricValue": {"score": 0.5}}]
                }
            },
        }
    ],
    "tuningDataStats": {
        "supervisedTuningDataStats": {
            "totalBillableTokenCount": "30",
            "userInputTokenDistribution": {"sum": "7", "billableSum": "6"},
            "userOutputTokenDistribution": {"sum": "4"},
        }
    },
    "baseModel": "gemini-2.5-flash",
    "tunedModelDisplayName": "x",
    "supervisedTuningSpec": {"hyperParameters": {"epochCount": "3"}},
    "tuningJobMetadata": {"completedEpochCount": "3", "completedStepCount": "30"},
    "tunedModel": {
        "model": MODEL,
        "endpoint": ENDPOINT,
        "checkpoints": [{"checkpointId": "1", "epoch": "1", "step": "10", "endpoint": ENDPOINT}],
    },
}
GOOD_MODEL = {
    "name": MODEL.partition("@")[0],
    "versionId": "1",
    "displayName": "x",
    "defaultCheckpointId": "1",
    "checkpoints": [{"checkpointId": "1", "epoch": "1", "step": "10"}],
    "labels": {"a": "b"},
}
COPIED = {"@type": "type.googleapis.com/google.cloud.aiplatform.v1.CopyModelResponse", "model": MODEL}
GOOD_OPERATION = {"name": OPERATION, "done": True, "response": COPIED}
# What each call of the way to the metrics answers, all in one: the clients pass over what they do not know.
GOOD_METRICS = {
    "name": EXPERIMENT,
    "metadata": {"backing_tensorboard_resource": f"{PARENT}/tensorboards/4"},
    "contexts": [{"name": f"{EXPERIMENT}-y", "createTime": "2026-01-01T00:00:00Z"}],
    "tensorboardTimeSeries": [{"name": SERIES, "displayName": "/train_total_loss"}],
    "timeSeriesData": [
        {
            "tensorboardTimeSeriesId": "1",
            "valueType": "SCALAR",
            "values": [{"wallTime": "2026-01-01T00:00:00Z", "step": "10", "scalar": {"value": 1.5}}],
        }
    ],
}
GOOD_EVALUATION = {
    "name": EVALUATION,
    "state": "SUCCEEDED",
    "error": {"code": 3, "message": "no"},
    "evaluationResults": {"summaryMetrics": {"metrics": {"candidate/FLUENCY/AVERAGE": 4.2}}},
}
GOOD_ANSWER = {
    "candidates": [{"content": {"role": "model", "parts": [{"text": "Hi"}]}, "finishReason": "STOP"}],
    "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 1},
}

GOOD_TUNED = {
    "name": MODEL,
    "labels": {"google-vertex-llm-tuning-base-model-id": "gemini-2-5-flash"},
}
GOOD_SERVING_MODEL = {
    "name": MODEL,
    "defaultCheckpointId": "1",
    "deployedModels": [{"endpoint": ENDPOINT, "deployedModelId": "9", "checkpointId": "1"}],
}
GOOD_ENDPOINT = {
    "name": ENDPOINT,
    "displayName": "mine",
    "labels": {"team": "ferry"},
    "deployedModels": [{"id": "1", "model": MODEL, "modelVersionId": "1", "checkpointId": "1"}],
}
GOOD_REGISTERED_MODEL = {
    **GOOD_SERVING_MODEL,
    "versionId": "1",
    "displayName": "mine",
    "checkpoints": [{"checkpointId": "1", "epoch": "1", "step": "10"}],
    "labels": {"team": "ferry"},
    "etag": "e",
    "versionAliases": ["default", "champion"],
    "versionCreateTime": "2026-01-01T00:00:00Z",
    "modelSourceInfo": {"copy": True},
    "originalModelInfo": {"model": f"{PARENT}/models/8@1"},
}
GOOD_VERSION = {**GOOD_SERVING_MODEL, "versionId": "1", "versionAliases": ["default", "champion"]}


@pytest.fixture(scope="module")
def service():
    """The server, a hook that talks to it, and a loop; nothing is tried twice, so nothing waits."""
    with pytest.MonkeyPatch.context() as patch, hostile_server() as server:
        use_connection(patch, server.connection(), "hostile")
        patch.setattr(base, "READ_ATTEMPTS", 1)
        patch.setattr(storage, "EXISTS_TIMEOUT", 0.01)
        patch.setattr(retry, "READ_TIMEOUT", 0.0)
        server.hook = GeminiTuningHook("hostile")
        with asyncio.Runner() as server.loop:
            yield server
            server.loop.run(server.hook.aclose())


CALLS: dict[str, tuple[Callable[[Any], Any], type, str, dict[str, Any]]] = {
    "get job": (lambda s: s.hook.get_tuning_job(JOB), TuningJob, JOB, GOOD_JOB),
    "get job, async": (lambda s: s.loop.run(s.hook.aget_tuning_job(JOB)), TuningJob, JOB, GOOD_JOB),
    "create": (
        lambda s: s.hook.create_tuning_job(SPEC, project_id="p", location="us-central1"), TuningJob, PARENT, GOOD_JOB
    ),
    "cancel": (lambda s: s.hook.cancel_tuning_job(JOB), type(None), JOB, {}),
    "get model": (lambda s: s.hook.get_model(MODEL), Model, MODEL, GOOD_REGISTERED_MODEL),
    "find model": (lambda s: (s.hook.find_model(MODEL),), tuple, MODEL, GOOD_MODEL),
    "find endpoint": (lambda s: (s.hook.find_endpoint(ENDPOINT),), tuple, ENDPOINT, GOOD_ENDPOINT),
    "list versions": (lambda s: s.hook.list_model_versions(MODEL), list, MODEL[:-2], {"models": [GOOD_VERSION]}),
    "set aliases": (
        lambda s: s.hook.merge_version_aliases(MODEL, ["champion", "-previous"]), type(None), MODEL, GOOD_VERSION
    ),
    "set default": (lambda s: s.hook.set_default_checkpoint(Model(MODEL), "1"), Model, MODEL, GOOD_MODEL),
    "set default and labels": (
        lambda s: s.hook.set_default_checkpoint(Model(MODEL, etag="e"), "1", {"a": "b"}), Model, MODEL,
        GOOD_REGISTERED_MODEL,
    ),
    "copy": (
        lambda s: s.hook.copy_model(MODEL, ModelCopySpec(project_id="p"), location="us-central1"), str, MODEL,
        {"name": OPERATION},
    ),
    "get operation": (lambda s: s.hook.get_operation(OPERATION), Operation, OPERATION, GOOD_OPERATION),
    "list jobs": (
        lambda s: s.hook.find_tuning_jobs({"a": "b"}, project_id="p", location="us-central1"), list, PARENT,
        {"tuningJobs": [GOOD_JOB]},
    ),
    "list jobs, page by page": (
        lambda s: [job.read(JOB) for page in s.hook.tuning_job_pages("p", "us-central1") for job in page], list, PARENT,
        {"tuningJobs": [GOOD_JOB]},
    ),
    "list operations": (lambda s: s.hook.list_operations(MODEL), list, MODEL, {"operations": [GOOD_OPERATION]}),
    "serving endpoint of a model": (lambda s: s.hook.get_serving_endpoint(MODEL), str, MODEL, GOOD_SERVING_MODEL),
    "serving endpoint": (lambda s: s.hook.get_serving_endpoint(ENDPOINT), str, ENDPOINT, {"name": ENDPOINT}),
    "read metrics": (
        lambda s: s.hook.read_curves(EXPERIMENT, ["/train_total_loss"], {10}), dict, EXPERIMENT, GOOD_METRICS
    ),
    "get evaluation": (
        lambda s: s.hook.get_evaluation_run(EVALUATION), EvaluationRun, EVALUATION, GOOD_EVALUATION
    ),
    "base model of a model": (lambda s: (s.hook.get_base_model(MODEL),), tuple, MODEL, GOOD_TUNED),
    "base model of an endpoint": (
        lambda s: (s.hook.get_base_model(ENDPOINT),), tuple, ENDPOINT, {**GOOD_TUNED, "name": ENDPOINT}
    ),
    "count tokens": (
        lambda s: s.loop.run(s.hook.acount_tokens("gemini-2.5-flash", [{"role": "user", "parts": [{"text": "Hi"}]}])),
        int, "gemini-2.5-flash", {"totalTokens": 1},
    ),
    "prompt": (lambda s: s.loop.run(s.hook.agenerate(ENDPOINT, "Hi")), ModelResponse, ENDPOINT, GOOD_ANSWER),
}  # fmt: skip
CREATES = ("create", "copy")


def call(service, name: str) -> Any:
    """Make a call; return its value, or the error that it was right to raise."""
    service.hook._metrics_locations.clear()  # each call finds its own way
    action, kind, resource, _ = CALLS[name]
    try:
        value = action(service)
    except ServiceError as error:
        assert resource in str(error)
        assert resource in error.resource
        assert len(str(error)) < LIMIT
        assert len(error.service_message) < LIMIT
        _assert_no_token(error)
        if name in CREATES and not 400 <= error.code < 500:
            assert isinstance(error, CreateOutcomeUnknownError)
            assert len(service.seen) == 1
        return error
    assert isinstance(value, kind)
    _assert_names(value)
    return value


def test_what_is_billed_is_read(service):
    service.answer(GOOD_JOB)
    job = call(service, "get job")
    assert (job.billable_tokens, job.dataset_tokens) == (30, 10)


@pytest.mark.parametrize("count", ["-3", "0", str(2**70)])
def test_odd_figures_of_the_tokens_are_left_out_and_no_reason_to_fail(service, count):
    stats = {"totalBillableTokenCount": count, "userInputTokenDistribution": {"sum": count}}
    service.answer({**GOOD_JOB, "tuningDataStats": {"supervisedTuningDataStats": stats}})
    job = call(service, "get job")
    assert (job.billable_tokens, job.dataset_tokens) == (None, None)


def test_files_that_the_service_does_not_answer_for(service):
    service.answer("", status=503)
    with pytest.raises(TransientServiceError, match="gs://bucket/1"):
        service.hook.missing_objects(["gs://bucket/1"], timeout=5.0)


def _assert_names(value) -> None:
    """What goes to XCom and is used later must be a full name of the right kind."""
    match value:
        case TuningJob():
            ResourceName.parse(value.name, "tuningJobs")
            _assert_optional(value.model, "models")
            _assert_evaluations(value.evaluations)
            for endpoint in (value.endpoint, *(c.endpoint for c in value.checkpoints)):
                _assert_optional(endpoint, "endpoints")
        case Model():
            ResourceName.parse(value.name, "models")
        case Operation(done=True, error=None):
            ResourceName.parse(value.model, "models")
        case str() if "/endpoints/" in value:
            ResourceName.parse(value, "endpoints")
        case EvaluationRun():
            _assert_evaluations([value])
        case dict():
            assert all(isinstance(curve, Curve) for curve in value.values())
        case str():
            operation_location(value)
    if isinstance(value, TuningJob | Model):
        assert len({c.checkpoint_id for c in value.checkpoints}) == len(value.checkpoints)
        assert all(c.checkpoint_id.strip() for c in value.checkpoints)


def _assert_evaluations(runs) -> None:
    for run in runs:
        _assert_optional(run.name or None, "evaluationRuns")
        assert all(math.isfinite(metric) for metric in run.metrics.values())


def _assert_optional(name: str | None, kind: str) -> None:
    if name is not None:
        ResourceName.parse(name, kind)


def _assert_no_token(error: BaseException) -> None:
    """Neither in the message nor in what the traceback would print."""
    shown: BaseException | None = error
    while shown is not None:
        assert TOKEN not in str(shown)
        assert len(str(shown)) < LIMIT
        shown = shown.__cause__ or (None if shown.__suppress_context__ else shown.__context__)


@pytest.mark.parametrize("name", CALLS)
def test_a_good_answer_is_understood(service, name):
    service.answer(CALLS[name][3])
    assert not isinstance(call(service, name), ServiceError)


@pytest.mark.parametrize("name", CALLS)
@given(body=wire_values)
@example(body=[])
@example(body={})
@example(body="")
@example(body=None)
@example(body={"error": {"code": 403, "message": "no", "status": "PERMISSION_DENIED"}})
def test_any_json(service, name, body):
    service.answer(json.dumps(body))
    call(service, name)


@pytest.mark.parametrize("name", [name for name in CALLS if CALLS[name][3]])
@given(data=st.data())
def test_any_value_in_any_field(service, name, data):
    service.answer(data.draw(_spoiled_deeply(CALLS[name][3])))
    call(service, name)


@st.composite
def _spoiled_deeply(draw, good: dict[str, Any]) -> dict[str, Any]:
    """Spoil the answer itself, or one of the messages or lists of messages in it."""
    inner = [key for key, value in good.items() if isinstance(value, dict | list) and value]
    if not inner or draw(st.booleans()):
        return draw(spoiled(good))
    key = draw(st.sampled_from(inner))
    value = good[key]
    if isinstance(value, list) and not isinstance(value[0], dict):
        return {**good, key: [*value, draw(wire_values)]}
    if isinstance(value, list):
        item = draw(_spoiled_deeply(value[0]))
        return {**good, key: draw(st.sampled_from([[item], [item, item], [value[0], item], [item, None]]))}
    return {**good, key: draw(_spoiled_deeply(value))}


GARBAGE = {
    "nothing": b"",
    "html": HTML.encode(),
    "half": b'{"name": "pro',
    "deep": DEEP.encode(),
    "deep object": b'{"name":' * 20_000,
    "not utf-8": b'{"name": "\xff\xfe"}',
    "utf-16": "{}".encode("utf-16"),
    "huge number": b'{"name": ' + b"9" * 5_000 + b"}",
    "nan": b"NaN",
    "token": f'{{"error": "{ECHO}", "name": "{ECHO}", "state": "{ECHO}"}}'.encode(),
}


@pytest.fixture
def _no_finalizers():
    """Finalizers of what other tests have left may need room on the stack, which a deeply nested answer fills."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("_no_finalizers")
@pytest.mark.parametrize("status", [200, 404])
@pytest.mark.parametrize("body", GARBAGE.values(), ids=GARBAGE)
@pytest.mark.parametrize("name", CALLS)
def test_garbage(service, name, body, status):
    service.answer(body, status=status, kind="text/html" if body[:1] == b"<" else "application/json")
    found = call(service, name)
    if name in CREATES:
        assert isinstance(found, ServiceError)


@pytest.mark.parametrize(
    "body", [HTML, "", "[]", "{}", '"x"', '{"name": "projects/p/locations/us-central1/endpoints/1"}']
)
@pytest.mark.parametrize("status", [200, 201, 204, 302])
@pytest.mark.parametrize("name", CREATES)
def test_a_create_whose_answer_is_garbage_may_have_created(service, name, status, body):
    service.answer("" if status == 204 else body, status=status)
    error = call(service, name)
    assert isinstance(error, CreateOutcomeUnknownError)
    assert error.hint in str(error)


@pytest.mark.parametrize("status", [400, 403, 429])
@pytest.mark.parametrize("name", CREATES)
def test_a_create_that_was_refused_was_refused(service, name, status):
    service.answer({"error": {"code": status, "message": "Because.", "status": "X"}}, status=status)
    error = call(service, name)
    assert not isinstance(error, CreateOutcomeUnknownError)
    assert "Because" in str(error)


@pytest.mark.parametrize("status", [200, 403, 502])
@pytest.mark.parametrize("name", CALLS)
def test_a_page_of_10_mb_is_cut_and_its_beginning_kept(service, name, status):
    service.answer(HTML.ljust(1_000, "x"), status=status, kind="text/html", times=10_000)
    error = call(service, name)
    if name != "cancel" or status != 200:  # nothing is read from the answer to a cancel
        assert isinstance(error, ServiceError)


def test_the_beginning_of_a_page_is_kept(service):
    service.answer(HTML.ljust(1_000, "x"), status=502, kind="text/html", times=1_000)
    error = call(service, "get job")
    assert "Error 502" in str(error)
    assert "cut; 1000000 characters in all" in error.service_message


@pytest.mark.parametrize("status", [200, 400, 401, 500])
@pytest.mark.parametrize("name", CALLS)
def test_a_service_that_sends_the_token_back(service, name, status):
    for body in (
        {"error": {"code": status, "message": f"bad header: Authorization: {ECHO}", "status": ECHO}},
        f"<html>{ECHO}</html>",
        {"name": ECHO, "state": ECHO, "message": ECHO},
    ):
        service.answer(body, status=status)
        found = call(service, name)
        assert TOKEN not in str(found)


@pytest.mark.parametrize("bad", [*BAD_NAMES, f"{PARENT}/tuningJobs/2", JOB.replace("/p/", "/other/"), MODEL])
def test_a_job_that_was_not_asked_for(service, bad):
    service.answer({**GOOD_JOB, "name": bad})
    assert isinstance(call(service, "get job"), ServiceError)


def test_the_number_of_a_project_may_come_for_its_id(service):
    service.answer({**GOOD_JOB, "name": JOB.replace("/p/", "/123/")})
    assert call(service, "get job").name == JOB.replace("/p/", "/123/")


@pytest.mark.parametrize("bad", [name for name in BAD_NAMES if name])
@pytest.mark.parametrize("field", ["model", "endpoint"])
def test_a_tuned_model_with_a_bad_name(service, field, bad):
    service.answer({**GOOD_JOB, "tunedModel": {**GOOD_JOB["tunedModel"], field: bad}})
    error = call(service, "get job")
    assert isinstance(error, ServiceError)
    assert field in str(error)


@pytest.mark.parametrize("bad", BAD_NAMES)
def test_a_copy_with_a_bad_name(service, bad):
    service.answer({**GOOD_OPERATION, "response": {**COPIED, "model": bad}})
    assert isinstance(call(service, "get operation"), ServiceError)
    service.answer({**GOOD_OPERATION, "name": bad})
    assert isinstance(call(service, "get operation"), ServiceError)


@pytest.mark.parametrize(
    "checkpoints",
    [
        [{"epoch": "1"}],
        [{"checkpointId": ""}],
        [{"checkpointId": "a\nb"}],
        [{"checkpointId": "x" * 500}],
        [{"checkpointId": "1"}, {"checkpointId": "1"}],
        [{"checkpointId": "1", "step": "-1"}],
        [{"checkpointId": "1", "epoch": "99999999999999999999999"}],
    ],
)
def test_checkpoints_that_cannot_be(service, checkpoints):
    service.answer({**GOOD_JOB, "tunedModel": {"checkpoints": checkpoints}})
    assert "heckpoint" in str(call(service, "get job"))
    service.answer({**GOOD_MODEL, "checkpoints": checkpoints})
    assert isinstance(call(service, "get model"), ServiceError)


def test_a_time_that_was_never_set_is_none(service):
    service.answer({**GOOD_JOB, "createTime": "0001-01-01T00:00:00Z", "endTime": "1970-01-01T00:00:00Z"})
    job = call(service, "get job")
    assert (job.create_time, job.end_time) == (None, None)


@pytest.mark.parametrize("name", ["", "../x", "projects/p/locations/evil.example.com/operations/1", None, 7])
def test_an_operation_that_is_none_gets_no_request(service, name):
    service.answer(GOOD_OPERATION)
    with pytest.raises(ResourceNameError):
        service.hook.get_operation(name)
    assert service.seen == []


@pytest.mark.parametrize("location", ["", "evil.example.com/", "us-central1#", "../x", "US", None, "a" * 100])
def test_a_location_cannot_lead_to_another_host(service, location):
    service.answer(GOOD_JOB)
    for action in (
        lambda: service.hook.create_tuning_job(SPEC, project_id="p", location=location),
        lambda: service.hook.copy_model(MODEL, ModelCopySpec(project_id="p"), location=location),
    ):
        with pytest.raises(InvalidInputError) as caught:
            action()
        assert caught.value.field == "location"
    with pytest.raises(InvalidInputError) as caught:
        service.hook.create_tuning_job(SPEC, project_id=f"p/{location}/..", location="us-central1")
    assert caught.value.field == "project_id"
    assert service.seen == []


@pytest.mark.parametrize("status", [200, 403])  # after a 502 Google's client reads again for two minutes
@pytest.mark.parametrize("body", [HTML, f"<p>{ECHO}</p>"])
def test_an_object_that_is_a_page(service, body, status):
    service.answer(body, status=status, kind="text/html")
    try:
        list(service.hook.read_lines("gs://bucket/train.jsonl"))
    except ServiceError as error:
        assert "gs://bucket/train.jsonl" in str(error)
        _assert_no_token(error)
        if status == 403:
            assert isinstance(error, PermanentServiceError)


def test_the_good_metrics_and_the_good_evaluation(service):
    service.answer(GOOD_METRICS)
    assert call(service, "read metrics") == {"/train_total_loss": Curve.of([(10, 1.5)])}
    service.answer(GOOD_EVALUATION)
    assert call(service, "get evaluation").metrics == {"FLUENCY/AVERAGE": 4.2}


@pytest.mark.parametrize("bad", [name for name in BAD_NAMES if name])
def test_no_bad_name_on_the_way_to_the_metrics_gets_into_an_address(service, bad):
    for spoilt in (
        {"metadata": {"backing_tensorboard_resource": bad}},
        {"contexts": [{"name": bad}]},
        {"contexts": [{"name": f"{EXPERIMENT}-{bad}"}]},
        {"tensorboardTimeSeries": [{"name": bad, "displayName": "/train_total_loss"}]},
        {"tensorboardTimeSeries": [{"name": f"{SERIES}{bad}", "displayName": "/train_total_loss"}]},
    ):
        service.answer({**GOOD_METRICS, **spoilt})
        found = call(service, "read metrics")
        if spoilt.get("contexts") == [{"name": bad}]:
            assert "has no run" in str(found)
        for _, path in service.seen:
            assert "%2E" not in path
            assert re.fullmatch(r"/v1/projects/p/locations/us-central1/[\w/:-]+", path.partition("?")[0], re.ASCII)


@pytest.mark.parametrize("name", ["", "../x", JOB, EXPERIMENT + "/../y", EXPERIMENT + "\n", None, 7])
def test_an_experiment_that_is_none_gets_no_request(service, name):
    service.answer(GOOD_METRICS)
    with pytest.raises(ResourceNameError):
        service.hook.read_curves(name, ["/train_total_loss"], {10})
    assert service.seen == []


def test_a_list_that_never_ends(service):
    service.answer({**GOOD_METRICS, "nextPageToken": "again"})
    assert call(service, "read metrics") == {"/train_total_loss": Curve.of([(10, 1.5)])}
    assert len(service.seen) <= 2 * experiments.MAX_PAGES + 2


def test_a_metric_that_is_no_number_is_no_zero(service):
    for point in ({"step": "10", "tensor": {"value": ""}}, {"step": "10", "blobs": {}}, {"step": "10"}):
        data = {**GOOD_METRICS["timeSeriesData"][0], "values": [point]}
        service.answer({**GOOD_METRICS, "timeSeriesData": [data]})
        assert isinstance(call(service, "read metrics"), ServiceError)


def test_a_loss_that_is_no_number_is_known_as_such(service):
    data = {**GOOD_METRICS["timeSeriesData"][0], "values": [{"step": "10", "scalar": {"value": "NaN"}}]}
    service.answer({**GOOD_METRICS, "timeSeriesData": [data]})
    assert math.isnan(call(service, "read metrics")["/train_total_loss"].at(10).value)


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        ({"a/F/AVERAGE": 1, "b/F/AVERAGE": 2}, {"a/F/AVERAGE": 1.0, "b/F/AVERAGE": 2.0}),
        ({"a/F/AVERAGE": 1, "a/G/AVERAGE": 2}, {"F/AVERAGE": 1.0, "G/AVERAGE": 2.0}),
        ({"F": 0.5, "G": True, "H": "1", "I": [1], "J": float("nan"), "K": 10**400}, {"F": 0.5}),
    ],
)
def test_metrics_of_an_evaluation(service, metrics, expected):
    results = {"summaryMetrics": {"metrics": metrics}}
    service.answer({**GOOD_EVALUATION, "evaluationResults": results})
    assert call(service, "get evaluation").metrics == expected


def test_an_evaluation_that_was_not_asked_for(service):
    service.answer({**GOOD_EVALUATION, "name": f"{PARENT}/evaluationRuns/4"})
    assert isinstance(call(service, "get evaluation"), ServiceError)


@pytest.mark.parametrize("bad", [*BAD_NAMES, MODEL])
def test_a_bad_evaluation_is_no_reason_to_lose_the_job(service, bad):
    run = {"evaluationRun": bad, "checkpointId": bad}
    service.answer({**GOOD_JOB, "evaluateDatasetRuns": [run]})
    (found,) = call(service, "get job").evaluations
    assert found.name == ""


def answered(*parts: Any, **more: Any) -> dict[str, Any]:
    return {"candidates": [{"content": {"role": "model", "parts": list(parts)}, "finishReason": "STOP", **more}]}


def test_a_long_answer_is_read_to_its_end(service):
    """The service may give an answer in pieces; google-genai asks for the next with what the last one carries."""
    piece = answered({"text": "The boat "}, finishReason="CONTINUATION", continuationToken="bW9yZQ==")
    service.answer(answered({"text": "leaves at nine."}), first=[piece, piece])
    answer = call(service, "prompt")
    assert (answer.text, answer.finish_reason) == ("The boat leaves at nine.", "STOP")
    assert len(service.seen) == 3  # once more from the start: the first answer was read by us, not by the client


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        ({}, ""),
        ({"candidates": []}, ""),
        (answered(), ""),
        (answered({"text": "Hm.", "thought": True}, {"text": "Nine"}, {"text": " o'clock"}), "Nine o'clock"),
        (answered({"functionCall": {"name": "f"}}, {"text": "Nine"}), "Nine"),
    ],
)
def test_what_an_answer_says(service, reply, text):
    service.answer(reply)
    assert call(service, "prompt").text == text


@pytest.mark.parametrize(
    "reply",
    [
        [],
        answered({"text": 7}),
        answered({"text": ["a"]}),
        {"usageMetadata": {"promptTokenCount": "many"}},
        {"usageMetadata": {"candidatesTokenCount": -1}},
        {"usageMetadata": {"candidatesTokenCount": True}},
    ],
)
def test_what_is_no_answer(service, reply):
    service.answer(reply)
    error = call(service, "prompt")
    assert isinstance(error, ServiceError)
    assert ENDPOINT in str(error)
