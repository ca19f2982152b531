"""The part of the hook that knows experiments: a job's training metrics, and the evaluation of its checkpoints.

The way to the metrics, as Google's own client goes it: the experiment is a context of Vertex ML Metadata and names a
TensorBoard; its run is another context; the TensorBoard has a run of the same id, with a time series for each metric.
Google's clients are imported inside functions, as in :mod:`gemini_tuning.hook`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from tenacity import Retrying, retry_if_exception_type, stop_before_delay

from gemini_tuning import api_values
from gemini_tuning.api_errors import UnusableAnswerError, service_errors
from gemini_tuning.backoff import backoff
from gemini_tuning.clients import REQUEST_TIMEOUT, GoogleClients, renewing_token
from gemini_tuning.exceptions import PermanentServiceError, TransientServiceError
from gemini_tuning.resources import ContextName, EvaluationRun, ResourceName
from gemini_tuning.tuning_metrics import Curve
from gemini_tuning.wording import shortened, shown

if TYPE_CHECKING:
    from google.cloud.aiplatform_v1.services.metadata_service import MetadataServiceClient
    from google.cloud.aiplatform_v1.services.tensorboard_service import TensorboardServiceClient
    from google.cloud.aiplatform_v1.types import TimeSeriesData

T = TypeVar("T")

METRICS_PATIENCE = 60.0  # seconds that one read is repeated
MAX_PAGES = 20  # of a list, so that one that never ends does
PAGE_SIZE = 100
ALL_POINTS = -1  # "can be set to -1 to return all data" (timeSeries.read)
_ID = re.compile(r"[A-Za-z0-9_-]+")  # what may become part of an address
_READ = "read the metrics of"
# Read once, without the clients' own repeating: it is repeated here.
_ONCE: Mapping[str, Any] = {"retry": None, "timeout": REQUEST_TIMEOUT}


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
            with self._metadata_service(context.location) as metadata:
                board = _board(metadata, context)
                run = f"{board}/experiments/{context.id}/runs/{self._run_id(metadata, context)}"
            with self._tensorboard_service(board.location) as tensorboards:
                series = self._series(tensorboards, context, run, names)
                return self._curves(tensorboards, context, series, steps) if series else {}

    @renewing_token
    def get_evaluation_run(self, name: str) -> EvaluationRun:
        """Return what the service's evaluation of a checkpoint found.

        :param name: full name of the evaluation run.
        """
        location = ResourceName.parse(name, "evaluationRuns").location
        # google-genai and google-cloud-aiplatform's generated clients have no such call.
        return _patiently("get", name, lambda: api_values.evaluation_run(self._get_json(name, location), asked=name))

    def _run_id(self, metadata: MetadataServiceClient, context: ContextName) -> str:
        """Return the id of the experiment's run: that of the run's context without the experiment's before it."""
        wanted = f'schema_title="system.ExperimentRun" AND parent_contexts:"{context}"'
        request = {"parent": context.store, "filter": wanted, "page_size": PAGE_SIZE}
        contexts = _patiently(
            _READ, str(context), lambda: _listed(metadata.list_contexts(request, **_ONCE).pages, "contexts")
        )
        newest = sorted(contexts, key=lambda found: str(found.create_time), reverse=True)
        ids: list[str] = [
            run for found in newest if _ID.fullmatch(run := found.name.partition(f"/contexts/{context.id}-")[2])
        ]
        if not ids:
            raise PermanentServiceError(
                f"{context} has no run: the job ended before its tuning began, or its metrics were deleted.",
                resource=str(context),
            )
        if len(ids) > 1:
            self.log.warning("%s has %d runs; the newest, %s, is read", context, len(ids), ids[0])
        return ids[0]

    def _series(
        self, tensorboards: TensorboardServiceClient, context: ContextName, run: str, names: Collection[str]
    ) -> dict[str, str]:
        """Return the wanted time series of a run: name of the metric by the series' full name."""
        request = {"parent": run, "page_size": PAGE_SIZE}

        def read() -> list[Any]:
            return _listed(tensorboards.list_tensorboard_time_series(request, **_ONCE).pages, "tensorboard_time_series")

        there = {item.display_name: item.name.rpartition("/")[2] for item in _patiently(_READ, str(context), read)}
        if absent := [name for name in names if name not in there]:
            self.log.warning("%s has no %s; it has %s", run, absent, shortened(", ".join(sorted(there))))
        return {
            f"{run}/timeSeries/{identifier}": name
            for name, identifier in there.items()
            if name in names and _ID.fullmatch(identifier)
        }

    def _curves(
        self,
        tensorboards: TensorboardServiceClient,
        context: ContextName,
        series: Mapping[str, str],
        steps: Collection[int],
    ) -> dict[str, Curve]:
        board = next(iter(series)).partition("/experiments/")[0]
        request = {"tensorboard": board, "time_series": list(series)}

        def read() -> dict[str, Curve]:
            reply = tensorboards.batch_read_tensorboard_time_series_data(request, **_ONCE)
            return {data.tensorboard_time_series_id: _curve(data) for data in reply.time_series_data}

        samples = _patiently(_READ, str(context), read)
        curves = {}
        for full_name, name in series.items():
            sample = samples.get(full_name.rpartition("/")[2], Curve())
            if sample.points and sample.lacks(steps):
                sample = self._whole(tensorboards, context, full_name) or sample
            curves[name] = sample
        return curves

    def _whole(self, tensorboards: TensorboardServiceClient, context: ContextName, series: str) -> Curve | None:
        """Return all points of a series, or ``None`` where the service refuses."""
        request = {"tensorboard_time_series": series, "max_data_points": ALL_POINTS}

        def read() -> Curve:
            return _curve(tensorboards.read_tensorboard_time_series_data(request, **_ONCE).time_series_data)

        try:
            return _patiently(_READ, str(context), read)
        except PermanentServiceError as error:
            if error.code == 401:
                raise
            self.log.warning("Only a sample of %s can be read: %s", series, error)
            return None


def _board(metadata: MetadataServiceClient, context: ContextName) -> ResourceName:
    """Return the TensorBoard behind an experiment."""
    found = _patiently(_READ, str(context), lambda: metadata.get_context(name=str(context), **_ONCE))
    board = dict(found.metadata or {}).get("backing_tensorboard_resource")
    if not board:
        raise PermanentServiceError(f"{context} names no TensorBoard.", resource=str(context))
    try:
        return ResourceName.parse(board, "tensorboards")
    except ValueError as error:
        raise UnusableAnswerError(f"the answer names the TensorBoard wrongly: {error}") from None


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


def _listed(pages: Iterable[Any], field: str) -> list[Any]:
    return [item for page in islice(pages, MAX_PAGES) for item in getattr(page, field)]


def _curve(data: TimeSeriesData) -> Curve:
    """Return the scalars of a time series."""
    scalars = [point for point in data.values if "scalar" in point]
    if len(scalars) < len(data.values):
        raise UnusableAnswerError(f"the answer gives {shown(data.value_type)} as a metric, not numbers")
    written = sorted(scalars, key=lambda point: str(point.wall_time))
    return Curve.of((point.step, point.scalar.value) for point in written)
