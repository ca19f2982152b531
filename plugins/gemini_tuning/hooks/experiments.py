"""Experiments: the training metrics of a tuning job, and the evaluations of its checkpoints.

The metrics are found as Google's own client finds them. The experiment is a context of Vertex ML Metadata that names a
TensorBoard; its run is another context; the TensorBoard has a run with the same id and a time series for each metric.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

from gemini_tuning.core.api_types import page
from gemini_tuning.core.curves import Curve
from gemini_tuning.core.exceptions import PermanentServiceError
from gemini_tuning.core.names import ContextName, ResourceName
from gemini_tuning.core.resources import EvaluationRun
from gemini_tuning.core.text import shorten
from gemini_tuning.hooks import converters
from gemini_tuning.hooks.base import GeminiBaseHook, list_pages, retry_read

MAX_PAGES = 20  # of a list; more are ignored
ALL_POINTS = -1  # "can be set to -1 to return all data" (timeSeries.read)
_ID = re.compile(r"[A-Za-z0-9_-]+")  # of a run or a time series, before it becomes part of an address
_READ = "read the metrics of"
T = TypeVar("T")


class _MetricsLocation(NamedTuple):
    """Where the metrics of an experiment are."""

    board: ResourceName
    run: str  # full name
    series: Mapping[str, str]  # names of the metrics by the full names of their time series


class ExperimentHookMixin(GeminiBaseHook):
    """Experiments and evaluations of tuning jobs.

    https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.tensorboards.experiments.runs.timeSeries
    """

    def read_curves(self, experiment: str, names: Collection[str], steps: Collection[int]) -> dict[str, Curve]:
        """Return metrics of a tuning job over its steps, by name; those that the experiment does not have are left out.

        :param experiment: full name of the job's experiment.
        :param names: of the metrics, for example ``/eval_total_loss``.
        :param steps: whose exact values are needed. tensorboards.batchRead returns a random sample of a curve of over
            1,000 points; a curve without one of the steps is read completely, if the service allows that.
        :raises PermanentServiceError: also when the experiment has no metrics.
        :raises ResourceNameError: when ``experiment`` is not the name of an experiment.
        """
        context = ContextName.parse(experiment)
        try:
            return self._read_curves(context, names, steps)
        except PermanentServiceError:
            if self._metrics_locations.pop(experiment, None) is None:
                raise
            return self._read_curves(context, names, steps)  # the metrics are no longer where they were found before

    @cached_property
    def _metrics_locations(self) -> dict[str, _MetricsLocation]:
        """Where the metrics of experiments were found, for callers that read them after each epoch."""
        return {}

    def _read_curves(self, context: ContextName, names: Collection[str], steps: Collection[int]) -> dict[str, Curve]:
        if (found := self._metrics_locations.get(str(context))) is None:
            board = self._board(context)
            found = _MetricsLocation(board, f"{board}/experiments/{context.id}/runs/{self._run_id(context)}", {})
        if not set(names) <= set(found.series.values()):  # some are written later than others
            found = found._replace(series=self._series(context, found, names))
        requested = {series: name for series, name in found.series.items() if name in names}
        curves = self._curves(context, found.board, requested, steps) if requested else {}
        self._metrics_locations[str(context)] = found
        return curves

    def get_evaluation_run(self, name: str) -> EvaluationRun:
        """Get the evaluation of a checkpoint by its full name; google-genai has no such call."""
        return self._read(EvaluationRun, name)

    def _board(self, context: ContextName) -> ResourceName:
        board = self._get(context, converters.tensorboard, str(context), context.location)
        if board is None:
            raise PermanentServiceError(f"{context} has no TensorBoard.", resource=str(context))
        return board

    def _run_id(self, context: ContextName) -> str:
        """Return the id of the experiment's run: the id of the run's context without the experiment's prefix."""
        query = f'schema_title="system.ExperimentRun" AND parent_contexts:"{context}"'
        contexts = self._items(context, f"{context.store}/contexts", context.location, "contexts", filter=query)
        newest = sorted(contexts, key=lambda found: converters.sortable_time(found.create_time), reverse=True)
        names = [found.name.partition(f"/contexts/{context.id}-")[2] for found in newest]
        ids = [run for run in names if _ID.fullmatch(run)]
        if not ids:
            message = f"{context} has no run: the job finished before its tuning began, or its metrics were deleted."
            raise PermanentServiceError(message, resource=str(context))
        if len(ids) > 1:
            self.log.warning("%s has %d runs; the newest, %s, is read", context, len(ids), ids[0])
        return ids[0]

    def _series(self, context: ContextName, found: _MetricsLocation, names: Collection[str]) -> dict[str, str]:
        """Return the time series of these metrics: name of the metric by the series' full name."""
        listed = self._items(context, f"{found.run}/timeSeries", found.board.location, "tensorboardTimeSeries")
        ids = {item.display_name: item.name.rpartition("/")[2] for item in listed}
        if absent := [name for name in names if name not in ids]:
            self.log.warning("%s has no %s; it has %s", found.run, absent, shorten(", ".join(sorted(ids))))
        return {
            f"{found.run}/timeSeries/{identifier}": name
            for name, identifier in ids.items()
            if name in names and _ID.fullmatch(identifier)
        }

    def _curves(
        self, context: ContextName, board: ResourceName, series: Mapping[str, str], steps: Collection[int]
    ) -> dict[str, Curve]:
        query = {"timeSeries": list(series)}
        samples = self._get(context, converters.curves, f"{board}:batchRead", board.location, query)
        curves = {}
        for full_name, name in series.items():
            sample = samples.get(full_name.rpartition("/")[2], Curve())
            if sample.points and sample.lacks(steps):
                sample = self._complete_curve(context, board.location, full_name) or sample
            curves[name] = sample
        return curves

    def _complete_curve(self, context: ContextName, location: str, series: str) -> Curve | None:
        """Return all points of a series, or ``None`` where the service refuses."""
        try:
            return self._get(context, converters.curve, f"{series}:read", location, {"maxDataPoints": ALL_POINTS})
        except PermanentServiceError as error:
            if error.code == 401:
                raise
            self.log.warning("Only a sample of %s can be read: %s", series, error)
            return None

    def _get(self, context: ContextName, read: Callable[[Any], T], path: str, location: str, query: Any = None) -> T:
        return retry_read(_READ, str(context), lambda: read(self._get_json(path, location, query)))

    def _items(self, context: ContextName, path: str, location: str, field: str, **query: str) -> list[converters.Item]:
        read = functools.partial(page, field=field, read=converters.Item.from_json)
        pages = list_pages(_READ, str(context), lambda query: read(self._get_json(path, location, query)), **query)
        return [item for page in itertools.islice(pages, MAX_PAGES) for item in page]
