"""Cloud Monitoring: what endpoints were asked, and when, by the caller's clock."""

import json
import time
from datetime import UTC, datetime
from pathlib import Path

import googleapiclient
import pytest

from tests.vertex_emulator.schemas import check
from vertex_emulator.traffic import KEPT, MINUTE, Traffic

DAY = 24 * 3600
PROJECT = "demo-project"
PROMPT = {"contents": [{"role": "user", "parts": [{"text": "How tall is it?"}]}]}
COUNT = "aiplatform.googleapis.com/prediction/online/prediction_count"
RESPONSES = "aiplatform.googleapis.com/prediction/online/response_count"
DOCUMENT = Path(googleapiclient.__file__).parent / "discovery_cache" / "documents" / "monitoring.v3.json"


@pytest.fixture
def endpoints(emulator):
    """Endpoints of the three checkpoints of a tuned model."""
    spec = {"trainingDatasetUri": "gs://data/train.jsonl", "hyperParameters": {"epochCount": 3}}
    path = f"/v1/projects/{PROJECT}/locations/us-central1/tuningJobs"
    name = emulator.request("POST", path, json={"baseModel": "gemini-2.5-flash", "supervisedTuningSpec": spec}).json()[
        "name"
    ]
    emulator.advance(3600)
    job = emulator.request("GET", f"/v1/{name}").json()
    return [checkpoint["endpoint"] for checkpoint in job["tunedModel"]["checkpoints"]]


def ask(emulator, endpoint, times=1, verb="generateContent"):
    for _ in range(times):
        assert emulator.request("POST", f"/v1/{endpoint}:{verb}", json=PROMPT).status_code == 200


def moment(days_ago=0.0):
    return datetime.fromtimestamp(time.time() - days_ago * DAY, UTC).isoformat()


def series(emulator, endpoint="", metric=COUNT, days=42, project=PROJECT, **more):
    wanted = f' AND resource.labels.endpoint_id = "{endpoint.rpartition("/")[2]}"' if endpoint else ""
    query = {
        "filter": f'metric.type = "{metric}" AND resource.type = "aiplatform.googleapis.com/Endpoint"{wanted}',
        "interval.startTime": moment(days),
        "interval.endTime": moment(),
        **more,
    }
    reply = emulator.request("GET", f"/v3/projects/{project}/timeSeries", params=query)
    document = json.loads(DOCUMENT.read_text())
    if reply.status_code == 200:
        assert list(check(reply.json(), {"$ref": "ListTimeSeriesResponse"}, document, lenient=False)) == []
    return reply


def counts(reply):
    return {
        each["resource"]["labels"]["endpoint_id"]: [int(point["value"]["int64Value"]) for point in each["points"]]
        for each in reply.json().get("timeSeries", [])
    }


def test_prompts_count_for_their_endpoint_and_tokens_do_not(emulator, endpoints):
    first, second, third = endpoints
    ask(emulator, first, 3)
    ask(emulator, second, verb="streamGenerateContent")
    ask(emulator, third, verb="countTokens")
    ids = [endpoint.rpartition("/")[2] for endpoint in endpoints]
    assert counts(series(emulator)) == {ids[0]: [3], ids[1]: [1]}
    assert counts(series(emulator, first)) == counts(series(emulator, first, RESPONSES)) == {ids[0]: [3]}
    assert counts(series(emulator, third)) == counts(series(emulator, first, project="other")) == {}
    number = first.split("/")[1]
    assert counts(series(emulator, first, project=number)) == {ids[0]: [3]}


def test_a_prompt_that_was_not_answered_does_not_count(emulator, endpoints):
    assert emulator.request("POST", f"/v1/{endpoints[0]}:generateContent", json={"contents": []}).status_code == 400
    assert counts(series(emulator)) == {}


def test_prompts_grow_old_with_virtual_time(emulator, endpoints):
    ask(emulator, endpoints[0])
    emulator.advance(8 * DAY)
    assert counts(series(emulator, days=7)) == {}
    (found,) = series(emulator, days=9).json()["timeSeries"]
    end = datetime.fromisoformat(found["points"][0]["interval"]["endTime"]).timestamp()
    assert time.time() - end == pytest.approx(8 * DAY, abs=60)


def test_sums_of_periods_come_in_pages_the_latest_first(emulator, endpoints):
    for _ in range(3):
        ask(emulator, endpoints[0], 2)
        emulator.advance(120)
    hourly = {"aggregation.perSeriesAligner": "ALIGN_SUM", "aggregation.alignmentPeriod": "3600s"}
    assert list(counts(series(emulator, **hourly)).values()) == [[6]]
    assert list(counts(series(emulator)).values()) == [[2, 2, 2]]
    page = series(emulator, pageSize=2)
    ends = [point["interval"]["endTime"] for point in page.json()["timeSeries"][0]["points"]]
    assert ends == sorted(ends, reverse=True)
    assert len(ends) == 2
    rest = series(emulator, pageSize=2, pageToken=page.json()["nextPageToken"])
    assert list(counts(rest).values()) == [[2]]
    assert "nextPageToken" not in rest.json()


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"filter": 'resource.type = "x"'}, 400),
        ({"filter": "metric.type ="}, 400),
        ({"interval.endTime": "now"}, 400),
        ({"interval.endTime": ""}, 400),
        ({"interval.startTime": "2100-01-01T00:00:00Z"}, 400),
        ({"aggregation.perSeriesAligner": "ALIGN_SUM"}, 400),
        ({"aggregation.perSeriesAligner": "ALIGN_SUM", "aggregation.alignmentPeriod": "1s"}, 400),
        ({"aggregation.perSeriesAligner": "ALIGN_MEAN"}, 501),
        ({"aggregation.crossSeriesReducer": "REDUCE_SUM"}, 501),
    ],
)
def test_what_is_refused(emulator, change, status):
    assert series(emulator, **change).status_code == status


def test_a_token_is_needed(emulator):
    assert emulator.request("GET", "/v3/projects/p/timeSeries", headers={"Authorization": ""}).status_code == 401


def test_what_is_older_than_six_weeks_is_forgotten():
    traffic, now = Traffic(), 1_000_000_000.0
    for at in (now, now + MINUTE, now + (KEPT + 1) * MINUTE):
        traffic.note("e", at)
    assert [asked.prompts for asked in traffic.of("e", now + (KEPT + 1) * MINUTE)] == [1, 1]
