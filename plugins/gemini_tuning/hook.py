"""The only door to Google: tuning jobs, models, prompts, copies and objects, sync and async.

Clients are imported inside functions: importing them takes seconds, and this file is imported by every task that
talks to Google. Wire facts that shape it: google-genai repeats requests on its own unless told otherwise, takes the
host from the client's location although the path follows the resource name, and knows neither models:copy nor its
operation.
"""

from __future__ import annotations

import asyncio
import io
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from airflow.providers.google.common.hooks.base_google import GoogleBaseHook  # noqa: TID253 - the base class
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from gemini_tuning import api_values
from gemini_tuning.api_errors import UnusableAnswerError, creating, service_errors
from gemini_tuning.copy_spec import ModelCopySpec
from gemini_tuning.exceptions import InvalidInputError, PermanentServiceError, TransientServiceError
from gemini_tuning.preflight import MAX_LINE_BYTES
from gemini_tuning.resources import (
    Answer,
    Model,
    Operation,
    ResourceName,
    TuningJob,
    location_problem,
    operation_location,
    project_problem,
)
from gemini_tuning.tuning_spec import TuningJobSpec

if TYPE_CHECKING:
    from airflow.sdk import Connection
    from google import genai
    from google.cloud.aiplatform_v1.services.model_service import ModelServiceClient

TUNING_API_VERSION = "v1beta1"  # v1 does not tell epochs and steps done
API_VERSION = "v1"
REQUEST_TIMEOUT = 60.0  # seconds
PROMPT_TIMEOUT = 120.0  # seconds
READ_PATIENCE = 60.0  # seconds that the read of an operation is repeated
PROMPT_ATTEMPTS = 5
PROMPT_BACKOFF = 30.0  # seconds at most between two attempts
READ_BUFFER = 1 << 20  # bytes
MAX_LINE = MAX_LINE_BYTES
READ_ATTEMPTS = 5  # google-genai repeats a read after 408, 429, 5xx and lost connections, with backoff
MULTI_REGIONS = frozenset({"us", "eu"})

# Keys of the connection's extra that name another address, as users behind Private Service Connect need.
VERTEX_ENDPOINT_EXTRA = "aiplatform.endpoint"
STORAGE_ENDPOINT_EXTRA = "gcs.endpoint"  # the same key that Airflow's ObjectStoragePath reads


@contextmanager
def _stable() -> Iterator[None]:
    """Keep google-genai from warning in every run's log that its tuning calls are experimental."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The SDK's tuning implementation is experimental")
        yield


class GeminiTuningHook(GoogleBaseHook):
    """Vertex AI tuning, models, prompts and copies over a Google Cloud connection.

    Every method raises :class:`~gemini_tuning.exceptions.TransientServiceError` or
    :class:`~gemini_tuning.exceptions.PermanentServiceError` when Google refuses or does not answer.

    :param gcp_conn_id: Airflow connection of type Google Cloud. Its extra may name other addresses:
        ``aiplatform.endpoint`` for Vertex AI and ``gcs.endpoint`` for Cloud Storage.
    :param impersonation_chain: service account, or chain of them, to act as.
    :param connection: the connection itself where it was fetched already; see :meth:`acreate`.
    """

    def __init__(
        self,
        gcp_conn_id: str = "google_cloud_default",
        impersonation_chain: str | Sequence[str] | None = None,
        *,
        connection: Connection | None = None,
    ) -> None:
        self._connection = connection
        self._clients_lock = threading.Lock()
        self._clients: dict[tuple[str, str, str, int, float], genai.Client] = {}
        super().__init__(gcp_conn_id=gcp_conn_id, impersonation_chain=impersonation_chain)

    @classmethod
    async def acreate(cls, gcp_conn_id: str, impersonation_chain: str | Sequence[str] | None = None) -> Self:
        """Make a hook inside an event loop, where fetching a connection synchronously may deadlock."""
        connection = await cls.aget_connection(gcp_conn_id)
        return cls(gcp_conn_id, impersonation_chain, connection=connection)

    def get_connection(self, conn_id: str) -> Connection:  # type: ignore[override]
        """Return the connection given at construction, else ask Airflow for it."""
        return self._connection or super().get_connection(conn_id)

    # ------------------------------------------------------------------------------------------ tuning jobs

    def create_tuning_job(self, spec: TuningJobSpec, *, project_id: str | None, location: str) -> TuningJob:
        """Create a tuning job. The request is sent once and never repeated: a second job is paid twice.

        :param project_id: where the job is made and paid; ``None`` takes the connection's project.
        :param location: a region, for example ``us-central1``.
        :raises CreateOutcomeUnknownError: when the request left and no answer came back.
        """
        from google.genai import types

        project = self.project(project_id)
        client = self._client(project, location, TUNING_API_VERSION, attempts=1)
        config = api_values.create_config(spec)
        label = f"tuning job {spec.tuned_model_display_name}" if spec.tuned_model_display_name else "tuning job"
        with creating(f"{label} in projects/{project}/locations/{location}"), _stable():
            return api_values.tuning_job(
                client.tunings.tune(
                    base_model=spec.pre_tuned_model or spec.base_model or "",
                    training_dataset=types.TuningDataset(gcs_uri=spec.training_dataset_uri),
                    config=config,
                ),
                project=project,
            )

    def get_tuning_job(self, name: str) -> TuningJob:
        """Return the job's present state.

        :param name: full name of the tuning job.
        """
        client = self._client_for(ResourceName.parse(name, "tuningJobs"), TUNING_API_VERSION)
        with service_errors("get", name):
            return api_values.tuning_job(client.tunings.get(name=name), asked=name)

    async def aget_tuning_job(self, name: str) -> TuningJob:
        """Return the job's present state without blocking the event loop."""
        resource = ResourceName.parse(name, "tuningJobs")
        client = await asyncio.to_thread(self._client_for, resource, TUNING_API_VERSION)
        with service_errors("get", name):
            return api_values.tuning_job(await client.aio.tunings.get(name=name), asked=name)

    def cancel_tuning_job(self, name: str) -> None:
        """Ask the service to stop the job. Best effort: the job may still succeed or fail."""
        client = self._client_for(ResourceName.parse(name, "tuningJobs"), TUNING_API_VERSION)
        with service_errors("cancel", name):
            client.tunings.cancel(name=name)

    # ---------------------------------------------------------------------------------------------- models

    def get_model(self, name: str) -> Model:
        """Return a model version of the registry.

        :param name: full name of the model; without ``@version`` the default version.
        """
        client = self._client_for(ResourceName.parse(name, "models"), API_VERSION)
        with service_errors("get", name):
            return api_values.model(client.models.get(model=name), asked=name)

    def set_default_checkpoint(self, name: str, checkpoint_id: str) -> None:
        """Make a checkpoint the default of a model version. Reading it back is the caller's business.

        :param name: full name of the model with its version.
        """
        from google.genai import types

        client = self._client_for(ResourceName.parse(name, "models"), API_VERSION)
        with service_errors(f"set default checkpoint {checkpoint_id} of", name):
            client.models.update(model=name, config=types.UpdateModelConfig(default_checkpoint_id=checkpoint_id))

    def copy_model(self, source_model: str, spec: ModelCopySpec, *, location: str) -> str:
        """Start copying a model with its checkpoints and its default; return the operation's name.

        :param source_model: full name of the model; without ``@version`` its default version is copied.
        :param spec: what the copy is called; its project, when ``None``, is the connection's.
        :param location: destination region.
        :raises CreateOutcomeUnknownError: when the request left and no answer came back.
        """
        from google.cloud.aiplatform_v1.types import CopyModelRequest

        parent = f"projects/{self.project(spec.project_id)}/locations/{location}"
        request = CopyModelRequest(parent=parent, source_model=source_model)
        if spec.model_id:
            request.model_id = spec.model_id
        if spec.parent_model:
            request.parent_model = spec.parent_model
        if spec.kms_key_name:
            request.encryption_spec.kms_key_name = spec.kms_key_name
        client = self._model_service(location)
        with creating(f"copy of {source_model} in {parent}"):
            operation = client.copy_model(request=request, timeout=REQUEST_TIMEOUT)
            return api_values.operation_name(operation.operation.name)

    def get_operation(self, name: str) -> Operation:
        """Return the state of a copy.

        :param name: full name of the operation, as :meth:`copy_model` returned it.
        """
        from google.api_core.exceptions import NotFound
        from google.api_core.retry import Retry, if_transient_error

        retry = Retry(predicate=if_transient_error, timeout=READ_PATIENCE)
        location = operation_location(name)
        client = self._model_service(location)
        with service_errors("get", name):
            try:
                raw = client.get_operation({"name": name}, timeout=REQUEST_TIMEOUT, retry=retry)
            except NotFound:
                # The client reads operations below /ui, which Google documents nowhere; /v1 is documented.
                raw = retry(self._get_operation_v1)(name, location)
            return api_values.operation(raw, asked=name)

    async def aget_operation(self, name: str) -> Operation:
        """Return the state of a copy without blocking the event loop."""
        return await asyncio.to_thread(self.get_operation, name)

    # --------------------------------------------------------------------------------------------- prompts

    async def agenerate(
        self,
        endpoint: str,
        prompt: str,
        *,
        system_instruction: str | None = None,
        temperature: float | None = 0.0,
        max_output_tokens: int | None = None,
    ) -> Answer:
        """Send one prompt to an endpoint and return the whole answer with its latency.

        :param endpoint: full name of a checkpoint's endpoint.
        :param temperature: 0 makes answers as repeatable as the service can.
        """
        from google.genai import types

        resource = ResourceName.parse(endpoint, "endpoints")
        client = await asyncio.to_thread(self._prompt_client, resource)
        config = types.GenerateContentConfig(
            system_instruction=system_instruction,
            temperature=temperature,
            max_output_tokens=max_output_tokens,
            automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),  # it logs a line a prompt
        )
        # Repeated here and not by the client, so that the latency is that of the attempt that was answered.
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(TransientServiceError),
            wait=wait_random_exponential(max=PROMPT_BACKOFF),
            stop=stop_after_attempt(PROMPT_ATTEMPTS),
            reraise=True,
        ):
            with attempt, service_errors("prompt", endpoint):
                started = time.monotonic()
                response = await client.aio.models.generate_content(model=endpoint, contents=prompt, config=config)
                return api_values.answer(response, time.monotonic() - started)
        raise AssertionError("unreachable: the last attempt raises")

    async def aclose(self) -> None:
        """Close the async clients; their sessions belong to the running event loop."""
        for client in self._clients.values():
            await client.aio.aclose()
        self._clients.clear()

    # --------------------------------------------------------------------------------------------- objects

    def read_lines(self, uri: str) -> Iterator[bytes]:
        """Stream the lines of a Cloud Storage object, in constant memory: a longer line comes in pieces.

        :param uri: ``gs://bucket/object``.
        """
        from google.cloud.storage import Blob, Client

        endpoint = self._endpoint(STORAGE_ENDPOINT_EXTRA)
        client = Client(
            project=self.project_id,  # reading needs none
            credentials=self.get_credentials(),
            client_options={"api_endpoint": endpoint} if endpoint else None,
        )
        with service_errors("read", uri):
            blob = Blob.from_uri(uri, client=client)
            blob.reload()  # a proxy that sends a page shows itself here; later the client would read it for ever
            left = int(blob.size or 0)
            with blob.open("rb") as stream:
                buffered = io.BufferedReader(stream, READ_BUFFER)  # the blob itself would be read byte by byte
                while line := buffered.readline(MAX_LINE):
                    left -= len(line)
                    if left < 0:
                        raise UnusableAnswerError(f"more came than the {blob.size} bytes that the object has")
                    yield line

    # --------------------------------------------------------------------------------------------- clients

    def project(self, project_id: str | None) -> str:
        """Return ``project_id``, or the connection's project.

        :raises PermanentServiceError: when neither is given.
        """
        project = project_id or self.project_id
        if not project:
            raise PermanentServiceError(
                f"No project: give project_id, or a project in the connection {self.gcp_conn_id!r}.",
                resource=self.gcp_conn_id,
            )
        if problem := project_problem("project_id", project):
            raise InvalidInputError(problem)
        return str(project)

    def _endpoint(self, extra: str) -> str | None:
        """Return an address that the connection names; https where it names no scheme."""
        value = str(self._get_field(extra) or "").strip().rstrip("/")
        if not value:
            return None
        address = value if "://" in value else f"https://{value}"
        if not address.startswith(("https://", "http://")):
            raise PermanentServiceError(
                f"The connection {self.gcp_conn_id!r} names {value!r} as {extra}; expected https://HOST.",
                resource=self.gcp_conn_id,
            )
        return address

    def _client_for(self, resource: ResourceName, api_version: str) -> genai.Client:
        return self._client(resource.project, resource.location, api_version, READ_ATTEMPTS)

    def _prompt_client(self, resource: ResourceName) -> genai.Client:
        return self._client(resource.project, resource.location, API_VERSION, 1, PROMPT_TIMEOUT)

    def _client(
        self, project: str, location: str, api_version: str, attempts: int, timeout: float = REQUEST_TIMEOUT
    ) -> genai.Client:
        from google import genai
        from google.genai import types

        if problem := location_problem("location", location):
            raise InvalidInputError(problem)
        key = (project, location, api_version, attempts, timeout)
        with self._clients_lock:
            if key not in self._clients:
                self._clients[key] = genai.Client(
                    vertexai=True,
                    project=project,
                    location=location,
                    credentials=self.get_credentials(),
                    http_options=types.HttpOptions(
                        base_url=self._endpoint(VERTEX_ENDPOINT_EXTRA),
                        api_version=api_version,
                        timeout=int(timeout * 1000),
                        retry_options=types.HttpRetryOptions(attempts=attempts),
                    ),
                )
            return self._clients[key]

    def _vertex_endpoint(self, location: str) -> str:
        if problem := location_problem("location", location):
            raise InvalidInputError(problem)
        if endpoint := self._endpoint(VERTEX_ENDPOINT_EXTRA):
            return endpoint
        if location in MULTI_REGIONS:
            return f"https://aiplatform.{location}.rep.googleapis.com"
        return f"https://{location}-aiplatform.googleapis.com"

    def _model_service(self, location: str) -> ModelServiceClient:
        from google.cloud.aiplatform_v1.services.model_service import ModelServiceClient

        return ModelServiceClient(
            credentials=self.get_credentials(),
            transport="rest",
            client_options={"api_endpoint": self._vertex_endpoint(location)},
        )

    def _get_operation_v1(self, name: str, location: str) -> Any:
        from google.api_core.exceptions import from_http_response
        from google.auth.transport.requests import AuthorizedSession
        from google.longrunning.operations_pb2 import Operation as LongRunningOperation
        from google.protobuf.json_format import ParseDict

        url = f"{self._vertex_endpoint(location)}/v1/{name}"
        response = AuthorizedSession(self.get_credentials()).get(url, timeout=REQUEST_TIMEOUT)
        if response.status_code != 200:
            raise from_http_response(response)
        return ParseDict(response.json(), LongRunningOperation(), ignore_unknown_fields=True)
