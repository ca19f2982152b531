"""projects.locations.metadataStores.contexts and .tensorboards: where the metrics of a tuning job are read."""

import re

from vertex_emulator.call import Call, Entry
from vertex_emulator.clock import timestamp
from vertex_emulator.errors import invalid_argument, not_found
from vertex_emulator.experiments import Context, Series, tensorboard, tensorboard_run
from vertex_emulator.filters import parse_filter
from vertex_emulator.metrics import MAX_POINTS
from vertex_emulator.paging import page, part
from vertex_emulator.records import Job
from vertex_emulator.render import Json, without_empty

_LOCATION = "/{version:version}/projects/{project}/locations/{location}"
_CONTEXTS = _LOCATION + "/metadataStores/{store}/contexts"
_TENSORBOARD = _LOCATION + "/tensorboards/{tensorboard:id}"
_EXPERIMENT = _TENSORBOARD + "/experiments/{experiment:id}"
_RUN = _EXPERIMENT + "/runs/{run:id}"
_SERIES = _RUN + "/timeSeries/{series:id}"
_PROJECT = re.compile(r"projects/([^/\"']+)/")


def get_context(call: Call) -> Json:
    """One context: an experiment or its run."""
    return call.world.experiments.context(f"{_store(call)}/contexts/{call.path['id']}")


def list_contexts(call: Call) -> Json:
    """Return a page of contexts, newest first. The filter may name projects by id, as every request may."""
    number = call.world.projects.number
    matches = parse_filter(_PROJECT.sub(lambda match: f"projects/{number(match[1])}/", call.filter()))
    store = _store(call)

    def wanted(context: Context) -> bool:
        return context.body["name"].startswith(f"{store}/") and matches(context.body)

    found, token = page(call.world.experiments.contexts(), wanted, call.query("pageSize"), call.query("pageToken"))
    return without_empty({"contexts": [context.body for context in found], "nextPageToken": token})


def get_tensorboard(call: Call) -> Json:
    """Return the TensorBoard of the location; it is made with the first job."""
    jobs = [job for job in call.world.store.jobs.values() if job.parent == call.parent]
    name = call.parent.child("tensorboards", call.path["tensorboard"])
    if not jobs or name != tensorboard(call.parent):
        raise not_found("Tensorboard", name)
    return {"name": name, "displayName": "Tuning", "isDefault": True, **_times(jobs[0].created, jobs[-1].updated)}


def get_experiment(call: Call) -> Json:
    """One experiment of the TensorBoard."""
    job = call.world.experiments.job(call.parent, call.path["tensorboard"], call.path["experiment"])
    name = tensorboard_run(job).partition("/runs/")[0]
    return {"name": name, "displayName": call.path["experiment"], **_times(job.created, job.updated)}


def list_runs(call: Call) -> Json:
    """Return the run of an experiment, once tuning has begun."""
    job = call.world.experiments.job(call.parent, call.path["tensorboard"], call.path["experiment"])
    runs, token = part([_run(job)] if job.tuning else [], call.query("pageSize"), call.query("pageToken"))
    return without_empty({"tensorboardRuns": runs, "nextPageToken": token})


def get_run(call: Call) -> Json:
    """One run."""
    return _run(_job(call))


def list_series(call: Call) -> Json:
    """Return a page of a run's time series."""
    matches = parse_filter(call.filter())
    all_series = [_describe(item, call.now) for item in call.world.experiments.series(_job(call))]
    wanted = [item for item in all_series if matches(item)]
    found, token = part(wanted, call.query("pageSize"), call.query("pageToken"))
    return without_empty({"tensorboardTimeSeries": found, "nextPageToken": token})


def get_series(call: Call) -> Json:
    """One time series, without its values."""
    return _describe(_one_series(call), call.now)


def read_series(call: Call) -> Json:
    """Values of one time series; -1 data points are all there are (discovery document)."""
    asked = call.query("maxDataPoints") or str(MAX_POINTS)
    series = _one_series(call)
    if asked == "-1":
        return {"timeSeriesData": _data(series, call.now, series.course.steps)}
    if not asked.isdigit() or int(asked) == 0:
        raise invalid_argument(f"Invalid value for max_data_points: {asked}")
    return {"timeSeriesData": _data(series, call.now, int(asked))}


def batch_read(call: Call) -> Json:
    """Values of several time series, named in full."""
    number = call.world.projects.number
    found = []
    for name in call.request.query_params.getlist("timeSeries"):
        full = _PROJECT.sub(lambda match: f"projects/{number(match[1])}/", name, count=1)
        if not full.startswith(f"{call.parent.child('tensorboards', call.path['tensorboard'])}/"):
            raise invalid_argument(f"time_series must belong to the Tensorboard: {name}")
        found.append(call.world.experiments.one_series(call.parent, full))
    return without_empty({"timeSeriesData": [_data(item, call.now, MAX_POINTS) for item in found]})


def _store(call: Call) -> str:
    store = call.parent.child("metadataStores", call.path["store"])
    if call.path["store"] != "default":
        raise not_found("MetadataStore", store)
    return store


def _job(call: Call) -> Job:
    path = call.path
    return call.world.experiments.run(call.parent, path["tensorboard"], path["experiment"], path["run"])


def _one_series(call: Call) -> Series:
    name = f"{tensorboard_run(_job(call))}/timeSeries/{call.path['series']}"
    return call.world.experiments.one_series(call.parent, name)


def _run(job: Job) -> Json:
    name = tensorboard_run(job)
    return {"name": name, "displayName": name.rpartition("/")[2], **_times(job.created, job.updated)}


def _describe(series: Series, now: float) -> Json:
    last = series.points(now, 1)
    metadata = {"maxStep": str(last[0].step), "maxWallTime": timestamp(last[0].at)} if last else {}
    return without_empty(
        {
            "name": series.name,
            "displayName": series.display_name,
            "valueType": "SCALAR",
            "pluginName": "scalars",
            "metadata": metadata,
            **_times(series.course.start, last[0].at if last else series.course.start),
        }
    )


def _data(series: Series, now: float, most: int) -> Json:
    values = [
        {"wallTime": timestamp(point.at), "step": str(point.step), "scalar": {"value": point.value}}
        for point in series.points(now, most)
    ]
    return without_empty({"tensorboardTimeSeriesId": series.id, "valueType": "SCALAR", "values": values})


def _times(created: float, updated: float) -> Json:
    return {"createTime": timestamp(created), "updateTime": timestamp(updated), "etag": f"{updated:.6f}"}


ROUTES = [
    Entry("GET", _CONTEXTS + "/{id:id}", get_context),
    Entry("GET", _CONTEXTS, list_contexts),
    Entry("GET", _TENSORBOARD, get_tensorboard),
    Entry("GET", _TENSORBOARD + ":batchRead", batch_read),
    Entry("GET", _EXPERIMENT, get_experiment),
    Entry("GET", _EXPERIMENT + "/runs", list_runs),
    Entry("GET", _RUN, get_run),
    Entry("GET", _RUN + "/timeSeries", list_series),
    Entry("GET", _SERIES, get_series),
    Entry("GET", _SERIES + ":read", read_series),
]
