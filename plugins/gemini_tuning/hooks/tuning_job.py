"""Tuning jobs: create, get, list, cancel."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Any

from gemini_tuning.core.exceptions import PermanentServiceError
from gemini_tuning.core.names import ResourceName
from gemini_tuning.hooks import base, converters
from gemini_tuning.hooks.base import REQUEST_TIMEOUT, TUNING_API_VERSION, ClientOptions, GeminiBaseHook, renewing_token
from gemini_tuning.hooks.errors import creating, service_errors

if TYPE_CHECKING:
    from gemini_tuning.core.resources import ListedJob, TuningJob
    from gemini_tuning.core.tuning_request import TuningRequest


def _client_options(name: str) -> ClientOptions:
    resource = ResourceName.parse(name, "tuningJobs")
    return ClientOptions(resource.project, resource.location, TUNING_API_VERSION)


class TuningJobHookMixin(GeminiBaseHook):
    """Tuning jobs (https://cloud.google.com/vertex-ai/docs/reference/rest/v1beta1/projects.locations.tuningJobs)."""

    @renewing_token
    def create_tuning_job(
        self, request: TuningRequest, *, project_id: str | None, location: str, not_after: float | None = None
    ) -> TuningJob:
        """Create a tuning job. The request is sent once and never repeated: a second job is charged as well.

        :param project_id: where the job is created and charged; ``None`` for the connection's project.
        :param location: a region, for example ``us-central1``.
        :param not_after: seconds since 1970 (UTC) after which the request is not sent any more.
        :raises CreateOutcomeUnknownError: when the request was sent and its response was lost.
        :raises NotSentError: when it would have been sent after ``not_after``.
        """
        from google.genai import types

        # google-genai would warn in the log of every run that its tuning calls are experimental.
        warnings.filterwarnings("ignore", message="The SDK's tuning implementation is experimental")
        project = self.project(project_id)
        config = converters.create_config(request)
        label = f"tuning job {request.tuned_model_display_name}" if request.tuned_model_display_name else "tuning job"
        with creating(f"{label} in projects/{project}/locations/{location}"):
            client = self._creating_client(project, location, not_after)
            job = client.tunings.tune(
                base_model=request.pre_tuned_model or request.base_model or "",
                training_dataset=types.TuningDataset(gcs_uri=request.training_dataset_uri),
                config=config,
            )
            return converters.tuning_job(job, project=project)

    @renewing_token
    def get_tuning_job(self, name: str) -> TuningJob:
        """Get a tuning job, given by its full name."""
        options = _client_options(name)
        with service_errors("get", name):
            return converters.tuning_job(self._client(options).tunings.get(name=name), requested=name)

    @renewing_token
    async def aget_tuning_job(self, name: str) -> TuningJob:
        """Get a tuning job without blocking the event loop; not retried, because triggers retry."""
        options = _client_options(name)._replace(attempts=1)
        with service_errors("get", name):
            client = await self._aclient(options)
            return converters.tuning_job(await client.aio.tunings.get(name=name), requested=name)

    def tuning_job_pages(
        self, project: str, location: str, *, size: int | None = None, timeout: float = REQUEST_TIMEOUT
    ) -> Generator[list[ListedJob]]:
        """Yield all tuning jobs page by page; pages are requested once and read lazily.

        google-genai reads every field of every job, which takes fifteen times as long as the list itself. ``size`` is
        jobs on a page, at most 100; ``timeout`` is seconds for each.
        """
        parent = f"projects/{project}/locations/{location}"
        query: dict[str, Any] = {"pageSize": size or base.PAGE_SIZE}
        with service_errors("list", f"{parent}/tuningJobs"), self._session() as session:
            while True:
                options = {"version": TUNING_API_VERSION, "session": session, "timeout": timeout}
                jobs, token = converters.listed_jobs(self._get_json(f"{parent}/tuningJobs", location, query, **options))
                yield jobs
                if token is None or token == query.get("pageToken"):
                    return
                query["pageToken"] = token

    def find_tuning_jobs(
        self, labels: Mapping[str, str], *, project_id: str | None, location: str, thorough: bool = False
    ) -> list[TuningJob]:
        """Return the jobs with all these labels, the oldest first.

        The grammar of the list's filter is not documented, so the filter contains one label only, the labels of the
        response are compared again, and all jobs are listed where the service refuses the filter.

        :param labels: at least one; the last one is the filter.
        :param thorough: list all jobs also when the filter finds none.
        """
        key, value = list(labels.items())[-1]
        try:
            jobs = self._list_tuning_jobs(f'labels.{key}="{value}"', project_id, location)
        except PermanentServiceError as error:
            if error.code != 400:
                raise
            jobs, thorough = [], True
        if thorough and not jobs:
            jobs = self._list_tuning_jobs(None, project_id, location)
        found = [job for job in jobs if all(job.labels.get(k) == v for k, v in labels.items())]
        return sorted(found, key=lambda job: job.create_time or "")

    @renewing_token
    def _list_tuning_jobs(self, filter_: str | None, project_id: str | None, location: str) -> list[TuningJob]:
        from google.genai import types

        project = self.project(project_id)
        config = types.ListTuningJobsConfig(page_size=base.PAGE_SIZE, filter=filter_)
        with service_errors("list", f"projects/{project}/locations/{location}/tuningJobs"):
            client = self._client(ClientOptions(project, location, TUNING_API_VERSION))
            return [converters.tuning_job(job, project=project) for job in client.tunings.list(config=config)]

    @renewing_token
    def cancel_tuning_job(self, name: str) -> None:
        """Request cancellation, which is best effort: the job may still succeed or fail.

        Cancelling a job again has no effect, so the request is retried like a read.
        """
        options = _client_options(name)
        try:
            with service_errors("cancel", name):
                self._client(options).tunings.cancel(name=name)
        except PermanentServiceError as error:
            # The job may have finished or have been cancelled by someone else since it was read.
            if error.code not in (400, 409) or not self.get_tuning_job(name).is_stopping:
                raise

    async def acancel_tuning_job(self, name: str) -> None:
        """Request cancellation without blocking the event loop."""
        await asyncio.to_thread(self.cancel_tuning_job, name)
