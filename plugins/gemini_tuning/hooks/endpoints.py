"""The part of the hook that knows deployments: endpoints and copies, who asks them, and how they are taken away.

Cloud Monitoring is another service with another address. Tuned endpoints are asked about by their ``endpoint_id``:
``publisher/online_serving/…`` counts Google's own models and does not know endpoints
(https://cloud.google.com/monitoring/api/metrics_gcp_a_b#gcp-aiplatform).
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from gemini_tuning.core.exceptions import PermanentServiceError, TransientServiceError
from gemini_tuning.core.names import ResourceName, operation_location
from gemini_tuning.core.resources import Endpoint, Model, Traffic
from gemini_tuning.hooks import converters, endpoint_converters
from gemini_tuning.hooks.clients import REQUEST_TIMEOUT, GoogleClients, patiently, renewing_token
from gemini_tuning.hooks.errors import UnusableAnswerError, service_errors

if TYPE_CHECKING:
    from collections.abc import Callable

    import requests

T = TypeVar("T")

OPERATION_PATIENCE = 600.0  # seconds until an operation has to be done
OPERATION_INTERVAL = 2.0  # seconds
PAGE_SIZE = 100
POINTS_ON_A_PAGE = 10_000
MAX_PAGES = 100  # of a list; a longer one is refused, because nothing may be overlooked
MONITORING = "https://monitoring.googleapis.com"
MONITORING_ENDPOINT_EXTRA = "monitoring.endpoint"  # key of the connection's extra, like aiplatform.endpoint
REMEMBERED = 42 * 24 * 3600.0  # seconds: Cloud Monitoring keeps these metrics for six weeks
PERIOD = 3600  # seconds
METRICS = tuple(
    f"aiplatform.googleapis.com/prediction/online/{name}" for name in ("prediction_count", "response_count")
)
NOT_FOUND = 5  # google.rpc.Code


class EndpointHookMixin(GoogleClients):
    """Reads endpoints, copies and traffic; undeploys and deletes. What is gone already is no error."""

    # ---------------------------------------------------------------------------------------------- reading

    @renewing_token
    def get_endpoint(self, name: str) -> Endpoint:
        """Return an endpoint with its deployed models.

        :param name: full name.
        """
        location = ResourceName.parse(name, "endpoints").location
        with service_errors("get", name):
            return endpoint_converters.endpoint(self._read_patiently(name, location), asked=name)

    def find_endpoint(self, name: str) -> Endpoint | None:
        """Return an endpoint, or ``None`` when it does not exist.

        :param name: full name.
        """
        return found(lambda: self.get_endpoint(name))

    @renewing_token
    def list_models(self, project: str, location: str) -> list[Model]:
        """Return all models of a location, each as its default version."""
        return self._listed_models(f"projects/{project}/locations/{location}/models", location)

    @renewing_token
    def list_model_versions(self, name: str) -> list[Model]:
        """Return all versions of a model; none when it is gone.

        :param name: full name.
        """
        resource = ResourceName.parse(name, "models")
        return found(lambda: self._listed_models(f"{resource.unversioned}:listVersions", resource.location)) or []

    def _listed_models(self, path: str, location: str) -> list[Model]:
        listed: list[Model] = []
        page: dict[str, Any] = {"pageSize": PAGE_SIZE}
        with service_errors("list", path):
            for _ in range(MAX_PAGES):
                answer = self._read_patiently(path, location, page)
                models, token = converters.models(answer)
                listed += models
                if token is None:
                    return listed
                page["pageToken"] = token
        raise PermanentServiceError(f"{path} has more than {MAX_PAGES * PAGE_SIZE} entries.", resource=path)

    @renewing_token
    def read_traffic(self, endpoint: str, now: float) -> Traffic:
        """Return when an endpoint was last asked, as far as Cloud Monitoring tells.

        That it may not be read, for want of a role or because the API is off, is an answer too; a service that does not
        answer raises, because it may later.

        :param endpoint: full name.
        :param now: seconds since 1970 (UTC).
        """
        resource = ResourceName.parse(endpoint, "endpoints")
        try:
            with service_errors("read the traffic of", endpoint):
                last = [self._last_prompt(resource, metric, now) for metric in METRICS]
        except PermanentServiceError as error:
            if error.code == 401:
                raise
            return Traffic(problem=f"{f'{error.code} {error.status}'.strip()}: {error.service_message}")
        return Traffic(max((prompt for prompt in last if prompt is not None), default=None))

    def _last_prompt(self, endpoint: ResourceName, metric: str, now: float) -> float | None:
        from google.api_core.exceptions import NotFound

        found: list[float] = []
        query: dict[str, Any] = {
            "filter": f'metric.type = "{metric}" AND resource.type = "aiplatform.googleapis.com/Endpoint" '
            f'AND resource.labels.endpoint_id = "{endpoint.id}"',
            "interval.startTime": _timestamp(now - REMEMBERED),
            "interval.endTime": _timestamp(now),
            "aggregation.alignmentPeriod": f"{PERIOD}s",
            "aggregation.perSeriesAligner": "ALIGN_SUM",
            "pageSize": POINTS_ON_A_PAGE,
        }
        for _ in range(MAX_PAGES):
            try:
                answer = patiently(self._time_series)(endpoint.project, query)
            except NotFound:  # no endpoint of this project has ever written this metric
                return None
            last, token = endpoint_converters.last_prompt(answer)
            found += [] if last is None else [last]
            if token is None:
                return max(found, default=None)
            query["pageToken"] = token
        raise UnusableAnswerError(f"more than {MAX_PAGES} pages of time series came")

    def _time_series(self, project: str, query: dict[str, Any]) -> Any:
        from google.api_core.exceptions import from_http_response

        host = self._endpoint(MONITORING_ENDPOINT_EXTRA) or MONITORING
        with self._session() as session:
            url = f"{host}/v3/projects/{project}/timeSeries"
            response: requests.Response = session.get(url, params=query, timeout=REQUEST_TIMEOUT)
        if response.status_code != 200:
            raise from_http_response(response)
        return response.json()

    # --------------------------------------------------------------------------------------------- deleting

    @renewing_token
    def undeploy_model(self, endpoint: str, deployed_model_id: str) -> None:
        """Take a deployed model off an endpoint, and wait until that is done.

        :param endpoint: full name.
        """
        location = ResourceName.parse(endpoint, "endpoints").location
        body = {"deployedModelId": deployed_model_id}
        self._do("undeploy from", endpoint, "POST", f"{endpoint}:undeployModel", location=location, body=body)

    @renewing_token
    def delete_endpoint(self, name: str) -> None:
        """Delete an endpoint with nothing deployed, and wait until that is done."""
        self._do("delete", name, "DELETE", name, location=ResourceName.parse(name, "endpoints").location)

    @renewing_token
    def delete_model_version(self, name: str) -> None:
        """Delete a version of a model that is deployed nowhere, and wait until that is done.

        :param name: full name with its version.
        """
        resource = ResourceName.parse(name, "models")
        if resource.version is None:
            raise ValueError(f"{name} names no version")
        self._do("delete", name, "DELETE", f"{name}:deleteVersion", location=resource.location)

    @renewing_token
    def delete_model(self, name: str) -> None:
        """Delete a model with all its versions, which are deployed nowhere, and wait until that is done.

        :param name: full name without a version.
        """
        resource = ResourceName.parse(name, "models")
        if resource.version is not None:
            raise ValueError(f"{name} names a version: it would be deleted with all others")
        self._do("delete", name, "DELETE", name, location=resource.location)

    def _do(self, action: str, name: str, method: str, path: str, *, location: str, body: Any = None) -> None:
        """Send what is harmless to send twice, and wait for the operation; what is gone already is fine."""
        try:
            with service_errors(action, name):
                operation, done, error = endpoint_converters.finished(self._send_json(method, path, location, body))
            end = time.monotonic() + OPERATION_PATIENCE
            while not done:
                if time.monotonic() >= end:
                    raise TransientServiceError(
                        f"Could not {action} {name}: {operation} is not done after {OPERATION_PATIENCE:g} s. Look at "
                        "it before you try again.",
                        resource=name,
                    )
                time.sleep(OPERATION_INTERVAL)
                with service_errors(action, name):
                    answer = self._read_patiently(operation, operation_location(operation))
                    _, done, error = endpoint_converters.finished(answer)
        except PermanentServiceError as failure:
            if failure.code == 404:
                return
            raise
        if error is not None and error.code != NOT_FOUND:
            raise PermanentServiceError(
                f"Could not {action} {name}: {error}. Look at the service's message.",
                resource=name,
                service_message=error.message,
            )


def found(get: Callable[[], T]) -> T | None:
    """Return what a call returns; ``None`` only when the service returns 404."""
    try:
        return get()
    except PermanentServiceError as error:
        if error.code == 404:
            return None
        raise


def _timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
