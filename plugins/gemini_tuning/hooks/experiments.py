"""The part of the hook that knows experiments: a job's training metrics, and the evaluation of its checkpoints.

The way to the metrics, as Google's own client goes it: the experiment is a context of Vertex ML Metadata and names a
TensorBoard; its run is another context; the TensorBoard has a run of the same id, with a time series for each metric.
It is asked over plain HTTP: :meth:`~gemini_tuning.hooks.clients.GoogleClients._send_json` says why.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from tenacity import Retrying, retry_if_exception_type, stop_before_delay

from gemini_tuning.core.curves import Curve
from gemini_tuning.core.exceptions import PermanentServiceError, TransientServiceError
from gemini_tuning.core.names import ContextName, ResourceName
from gemini_tuning.core.resources import EvaluationRun
from gemini_tuning.core.retry import backoff
from gemini_tuning.core.text import shorten
from gemini_tuning.hooks import converters
from gemini_tuning.hooks.clients import GoogleClients, renewing_token
from gemini_tuning.hooks.errors import service_errors

T = TypeVar("T")

METRICS_PATIENCE = 60.0  # seconds that one read is repeated
MAX_PAGES = 20  # of a list, so that one that never ends does
PAGE_SIZE = 100
ALL_POINTS = -1  # "can be set to -1 to return all data" (timeSeries.read)
_ID = re.compile(r"[A-Za-z0-9_-]+")  # what may become part of an address
_READ = "read the metrics of"


class _Place(NamedTuple):
    """Where the metrics of an experiment are."""

    board: ResourceName
    run: str
    series: Mapping[str, str] = MappingProxyType({})  # name of the metric by the series' full name


class ExperimentReader(GoogleClients):
    """Reads the experiments and evaluations of tuning jobs; every read is repeated for a minute."""

    @renewing_token
    def read_curves(self, experiment: str, names: Collection[str], steps: Collection[int]) -> dict[str, Curve]:
        """Return metrics of a tuning job over its steps, by name; one that the experiment lacks is left out.

        :param experiment: full name of the job's experiment.
        :param names: of the metrics, for example ``/eval_total_loss``.
        :param steps: that exact values are wanted of. A curve of over 1,000 points comes as a random sample (Google's
            discovery document of tensorboards.batchRead); one that lacks a step is read whole, if the service allows.
        :raises PermanentServiceError: also when the experiment leads to no metrics.
        :raises ResourceNameError: when ``experiment`` is no such name.
        """
        context = ContextName.parse(experiment)
        with service_errors(_READ, experiment):
            try:
                return self._read_curves(context, names, steps)
            except PermanentServiceError:
                if self._places.pop(experiment, None) is None:
                    raise
                return self._read_curves(context, names, steps)  # not where it was the last time

    @cached_property
    def _places(self) -> dict[str, _Place]:
        """Where the metrics of experiments were found: who reads them with every epoch asks for the way once."""
        return {}

    def _read_curves(self, context: ContextName, names: Collection[str], steps: Collection[int]) -> dict[str, Curve]:
        if (place := self._places.get(str(context))) is None:
            board = self._board(context)
            place = _Place(board, f"{board}/experiments/{context.id}/runs/{self._run_id(context)}")
        if not set(names) <= set(place.series.values()):  # some are written later than others
            place = place._replace(series=self._series(context, place, names))
        wanted = {series: name for series, name in place.series.items() if name in names}
        curves = self._curves(context, place.board, wanted, steps) if wanted else {}
        self._places[str(context)] = place
        return curves

    @renewing_token
    def get_evaluation_run(self, name: str) -> EvaluationRun:
        """Return what the service's evaluation of a checkpoint found.

        :param name: full name of the evaluation run.
        """
        location = ResourceName.parse(name, "evaluationRuns").location
        # google-genai and google-cloud-aiplatform's generated clients have no such call.
        return _patiently("get", name, lambda: converters.evaluation_run(self._get_json(name, location), asked=name))

    def _board(self, context: ContextName) -> ResourceName:
        """Return the TensorBoard behind an experiment."""
        found = _patiently(_READ, str(context), lambda: self._get_json(str(context), context.location))
        if (board := converters.tensorboard_of(found)) is None:
            raise PermanentServiceError(f"{context} names no TensorBoard.", resource=str(context))
        return ResourceName.parse(board, "tensorboards")

    def _run_id(self, context: ContextName) -> str:
        """Return the id of the experiment's run: that of the run's context without the experiment's before it."""
        wanted = f'schema_title="system.ExperimentRun" AND parent_contexts:"{context}"'
        contexts = self._listed(context, f"{context.store}/contexts", context.location, "contexts", filter=wanted)
        newest = sorted(contexts, key=lambda found: converters.written_at(found.get("createTime")), reverse=True)
        names = [str(found.get("name")).partition(f"/contexts/{context.id}-")[2] for found in newest]
        ids = [run for run in names if _ID.fullmatch(run)]
        if not ids:
            raise PermanentServiceError(
                f"{context} has no run: the job ended before its tuning began, or its metrics were deleted.",
                resource=str(context),
            )
        if len(ids) > 1:
            self.log.warning("%s has %d runs; the newest, %s, is read", context, len(ids), ids[0])
        return ids[0]

    def _series(self, context: ContextName, place: _Place, names: Collection[str]) -> dict[str, str]:
        """Return the wanted time series of a run: name of the metric by the series' full name."""
        listed = self._listed(context, f"{place.run}/timeSeries", place.board.location, "tensorboardTimeSeries")
        there = {str(item.get("displayName")): str(item.get("name")).rpartition("/")[2] for item in listed}
        if absent := [name for name in names if name not in there]:
            self.log.warning("%s has no %s; it has %s", place.run, absent, shorten(", ".join(sorted(there))))
        return {
            f"{place.run}/timeSeries/{identifier}": name
            for name, identifier in there.items()
            if name in names and _ID.fullmatch(identifier)
        }

    def _curves(
        self, context: ContextName, board: ResourceName, series: Mapping[str, str], steps: Collection[int]
    ) -> dict[str, Curve]:
        def read() -> dict[str, Curve]:
            wanted = {"timeSeries": list(series)}
            return converters.series_data(self._get_json(f"{board}:batchRead", board.location, wanted))

        samples = _patiently(_READ, str(context), read)
        curves = {}
        for full_name, name in series.items():
            sample = samples.get(full_name.rpartition("/")[2], Curve())
            if sample.points and sample.lacks(steps):
                sample = self._whole(context, board.location, full_name) or sample
            curves[name] = sample
        return curves

    def _whole(self, context: ContextName, location: str, series: str) -> Curve | None:
        """Return all points of a series, or ``None`` where the service refuses."""

        def read() -> Curve:
            return converters.one_series(self._get_json(f"{series}:read", location, {"maxDataPoints": ALL_POINTS}))

        try:
            return _patiently(_READ, str(context), read)
        except PermanentServiceError as error:
            if error.code == 401:
                raise
            self.log.warning("Only a sample of %s can be read: %s", series, error)
            return None

    def _listed(
        self, context: ContextName, path: str, location: str, field: str, **query: str
    ) -> list[Mapping[str, Any]]:
        """Return all of a list, as far as it ends."""

        def read() -> list[Mapping[str, Any]]:
            found: list[Mapping[str, Any]] = []
            page: dict[str, Any] = {"pageSize": PAGE_SIZE, **query}
            for _ in range(MAX_PAGES):
                items, token = converters.page(self._get_json(path, location, page), field)
                found += items
                if token is None:
                    break
                page["pageToken"] = token
            return found

        return _patiently(_READ, str(context), read)


def _patiently(action: str, resource: str, read: Callable[[], T]) -> T:
    """Repeat a read that may succeed later."""

    def once() -> T:
        with service_errors(action, resource):
            return read()

    return Retrying(
        retry=retry_if_exception_type(TransientServiceError),
        wait=backoff,
        stop=stop_before_delay(METRICS_PATIENCE),
        reraise=True,
    )(once)
