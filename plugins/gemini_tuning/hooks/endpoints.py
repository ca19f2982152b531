"""Endpoints: get, undeploy, delete, and their traffic."""

from __future__ import annotations

from datetime import UTC, datetime

from gemini_tuning.core.exceptions import PermanentServiceError
from gemini_tuning.core.names import ResourceName
from gemini_tuning.core.resources import Endpoint, Traffic
from gemini_tuning.hooks import converters
from gemini_tuning.hooks.base import GeminiBaseHook, list_pages, none_if_missing

POINTS_PER_PAGE = 10_000
MONITORING = "https://monitoring.googleapis.com"
MONITORING_ENDPOINT_EXTRA = "monitoring.endpoint"  # key of the connection's extra, like aiplatform.endpoint
RETENTION = 42 * 24 * 3600.0  # seconds: Cloud Monitoring keeps these metrics for six weeks
PERIOD = 3600  # seconds
# Of tuned endpoints by their endpoint_id; publisher/online_serving/… counts Google's own models only
# (https://cloud.google.com/monitoring/api/metrics_gcp_a_b#gcp-aiplatform).
METRICS = tuple(
    f"aiplatform.googleapis.com/prediction/online/{name}" for name in ("prediction_count", "response_count")
)


class EndpointHookMixin(GeminiBaseHook):
    """Endpoints (https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.endpoints)."""

    def get_endpoint(self, name: str) -> Endpoint:
        """Get an endpoint, given by its full name, with its deployed models."""
        return self._read(Endpoint, name)

    def find_endpoint(self, name: str) -> Endpoint | None:
        """Return an endpoint, given by its full name, or ``None`` when it does not exist."""
        return none_if_missing(lambda: self.get_endpoint(name))

    def undeploy_model(self, endpoint: str, deployed_model_id: str) -> None:
        """Undeploy a model from an endpoint, given by its full name, and wait; a missing one is no error."""
        path, body = f"{endpoint}:undeployModel", {"deployedModelId": deployed_model_id}
        self._run_operation("undeploy from", endpoint, "POST", path, kind=Endpoint, body=body)

    def delete_endpoint(self, name: str) -> None:
        """Delete an endpoint without deployed models and wait for the operation; a missing one is no error."""
        self._run_operation("delete", name, "DELETE", name, kind=Endpoint)

    def read_traffic(self, endpoint: str, now: float) -> Traffic:
        """Return when an endpoint was last prompted, as far as Cloud Monitoring counts it.

        Missing permission or a disabled API is a :attr:`Traffic.problem`; an unavailable service raises.
        See https://cloud.google.com/monitoring/api/ref_v3/rest/v3/projects.timeSeries/list.

        :param endpoint: full name.
        :param now: seconds since 1970 (UTC).
        """
        resource = ResourceName.parse(endpoint, "endpoints")
        try:
            prompts = [self._last_prompt(resource, metric, now) for metric in METRICS]
        except PermanentServiceError as error:
            if error.code in (0, 401):
                raise
            return Traffic(problem=f"{f'{error.code} {error.status}'.strip()}: {error.service_message}")
        return Traffic(max((prompt for prompt in prompts if prompt is not None), default=None))

    def _last_prompt(self, endpoint: ResourceName, metric: str, now: float) -> float | None:
        host = self._endpoint(MONITORING_ENDPOINT_EXTRA) or MONITORING
        url = f"{host}/v3/projects/{endpoint.project}/timeSeries"
        query = {
            "filter": f'metric.type = "{metric}" AND resource.type = "aiplatform.googleapis.com/Endpoint" '
            f'AND resource.labels.endpoint_id = "{endpoint.id}"',
            "interval.startTime": _timestamp(now - RETENTION),
            "interval.endTime": _timestamp(now),
            "aggregation.alignmentPeriod": f"{PERIOD}s",
            "aggregation.perSeriesAligner": "ALIGN_SUM",
            "pageSize": POINTS_PER_PAGE,
        }
        pages = list_pages(
            "read the traffic of",
            str(endpoint),
            lambda query: converters.last_prompt(self._request("GET", url, params=query)),
            **query,
        )
        # 404: no endpoint of this project has ever written this metric.
        return none_if_missing(lambda: max((last for last in pages if last is not None), default=None))


def _timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
