"""Cloud Monitoring: the prompts of each endpoint, as time series.

Callers ask for times by their own clock, and virtual time is another one. So the interval of a request is moved from
real to virtual time, and the times of the reply back: what was asked eight virtual days ago shows as eight days old.
"""

import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, NamedTuple

from vertex_emulator.call import Call, Entry
from vertex_emulator.clock import timestamp
from vertex_emulator.errors import GoogleError, invalid_argument
from vertex_emulator.filters import parse_filter
from vertex_emulator.paging import part
from vertex_emulator.render import Json, without_empty
from vertex_emulator.traffic import MINUTE, Asked

METRICS = tuple(
    f"aiplatform.googleapis.com/prediction/online/{name}" for name in ("prediction_count", "response_count")
)
RESOURCE = "aiplatform.googleapis.com/Endpoint"
_ALIGNERS = {"ALIGN_NONE": False, "ALIGN_SUM": True}


class _Window(NamedTuple):
    """What is asked for: an interval in virtual time, and the length of the periods in it (none: as it was counted)."""

    start: float
    end: float
    period: float | None


def list_time_series(call: Call) -> Json:
    """Return a page of points, the latest first, in the series that they belong to."""
    text = call.filter()
    if "metric.type" not in text:
        raise invalid_argument("Field filter had an invalid value: it must specify a metric type.")
    matches = parse_filter(text)
    shift = time.time() - call.now
    window = _window(call, shift)
    project = call.world.projects.number(call.path["project"])
    rows = [
        (series, _point(asked, window, shift))
        for series, endpoint in _series(call, project)
        if matches(_filtered(series))
        for asked in _aligned(call.world.traffic.of(endpoint, call.now), window)
    ]
    found, token = part(rows, call.query("pageSize"), call.query("pageToken"))
    return without_empty({"timeSeries": _gathered(found), "unit": "1", "nextPageToken": token})


def _series(call: Call, project: str) -> Iterator[tuple[Json, str]]:
    for endpoint in call.world.traffic.endpoints():
        name = call.world.projects.parse(endpoint)
        if name is None or name.parent.project != project:
            continue
        labels = {"resource_container": project, "location": name.parent.location, "endpoint_id": name.id}
        for metric in METRICS:
            counted = {"response_code": "2xx"} if metric.endswith("response_count") else {}
            series = {
                "metric": without_empty({"type": metric, "labels": counted}),
                "resource": {"type": RESOURCE, "labels": labels},
                "metricKind": "DELTA",
                "valueType": "INT64",
            }
            yield series, endpoint


def _filtered(series: Json) -> Json:
    """Return what a filter may name: ``metric.type``, ``resource.type``, ``resource.labels.endpoint_id`` and so on."""
    return {
        part: {"type": series[part]["type"], **{f"labels.{k}": v for k, v in series[part].get("labels", {}).items()}}
        for part in ("metric", "resource")
    }


def _window(call: Call, shift: float) -> _Window:
    end = _time(call, "interval.endTime")
    start = _time(call, "interval.startTime") if call.query("interval.startTime") else end
    if start > end:
        raise invalid_argument("Field interval had an invalid value: it starts after its end.")
    if call.now < end - shift + MINUTE:
        end = call.now + shift  # until now, said a moment ago; a clock that stands still has seen no moment pass
    aligner = call.query("aggregation.perSeriesAligner") or "ALIGN_NONE"
    if aligner not in _ALIGNERS or call.query("aggregation.crossSeriesReducer"):
        raise GoogleError(501, "The emulator aggregates time series with ALIGN_SUM only.")
    return _Window(start - shift, end - shift, _period(call) if _ALIGNERS[aligner] else None)


def _time(call: Call, field: str) -> float:
    try:
        return datetime.fromisoformat(call.query(field) or "").timestamp()
    except ValueError:
        raise invalid_argument(f"Field {field} had an invalid value: {call.query(field)}") from None


def _period(call: Call) -> float:
    text = call.query("aggregation.alignmentPeriod") or ""
    seconds = text.removesuffix("s")
    if seconds == text or not seconds.isdigit() or int(seconds) < MINUTE:
        raise invalid_argument(f"Field aggregation.alignmentPeriod had an invalid value: {text}; it is 60s or more.")
    return float(seconds)


def _aligned(counted: Iterable[Asked], window: _Window) -> list[Asked]:
    """Return the counts of the window, with a period as sums of periods that end where the window does."""
    inside = [asked for asked in counted if window.start < asked.until <= window.end]
    if window.period is None:
        return inside
    sums: dict[float, int] = {}
    for asked in inside:
        until = window.end - (window.end - asked.until) // window.period * window.period
        sums[until] = sums.get(until, 0) + asked.prompts
    return [Asked(until, prompts) for until, prompts in sums.items()]


def _point(asked: Asked, window: _Window, shift: float) -> Json:
    end = asked.until + shift
    interval = {"startTime": timestamp(end - (window.period or MINUTE)), "endTime": timestamp(end)}
    return {"interval": interval, "value": {"int64Value": str(asked.prompts)}}


def _gathered(rows: Iterable[tuple[Json, Json]]) -> list[Json]:
    found: list[dict[str, Any]] = []
    for series, point in rows:
        if not found or any(found[-1][key] != series[key] for key in series):
            found.append({**series, "points": []})
        found[-1]["points"].append(point)
    return found


ROUTES = [Entry("GET", "/v3/projects/{project}/timeSeries", list_time_series)]
