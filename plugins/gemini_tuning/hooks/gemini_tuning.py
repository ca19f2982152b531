"""The only door to Google: tuning jobs, models, prompts, copies and objects, sync and async.

How the clients are made is in :mod:`gemini_tuning.hooks.clients`, what a job's experiment tells in
:mod:`gemini_tuning.hooks.experiments`, what is deployed where in :mod:`gemini_tuning.hooks.endpoints`. Google's
clients are
imported inside functions: importing them takes seconds.
"""

from __future__ import annotations

import asyncio
import io
import json
import re
import time
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gemini_tuning.core.copy_spec import ModelCopySpec
from gemini_tuning.core.exceptions import NotSentError, PermanentServiceError
from gemini_tuning.core.files import MAX_LINE
from gemini_tuning.core.names import ResourceName, operation_location
from gemini_tuning.core.resources import Endpoint, ListedJob, Model, ModelResponse, ObjectVersion, Operation, TuningJob
from gemini_tuning.core.tuning_spec import TuningJobSpec
from gemini_tuning.hooks import converters
from gemini_tuning.hooks.clients import (
    API_VERSION,
    PROMPT_TIMEOUT,
    READ_ATTEMPTS,
    REQUEST_TIMEOUT,
    TUNING_API_VERSION,
    patiently,
    renewing_token,
)
from gemini_tuning.hooks.endpoints import EndpointHookMixin, found
from gemini_tuning.hooks.errors import UnusableAnswerError, creating, service_errors
from gemini_tuning.hooks.experiments import ExperimentReader

if TYPE_CHECKING:
    from google import genai
    from google.cloud.storage import Client

BASE_MODEL_LABEL = "google-vertex-llm-tuning-base-model-id"  # seen by users; not documented
_LABEL = re.compile(r"[a-z0-9_-]{1,63}")
LIST_PAGE_SIZE = 100
MAX_PAGES = 100  # of a model's versions
READ_BUFFER = 1 << 20  # bytes
MAX_OBJECTS = 10_000  # in a folder that is looked at as a whole
LOOK_PATIENCE = 20.0  # seconds that a look for an object may take, repeats and all
LOOKS_AT_ONCE = 10  # for objects: as many connections as a session keeps


@contextmanager
def _stable() -> Iterator[None]:
    """Keep google-genai from warning in every run's log that its tuning calls are experimental."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The SDK's tuning implementation is experimental")
        yield


def _no_more_than(size: int, pieces: Iterator[bytes]) -> Iterator[bytes]:
    left = size
    for piece in pieces:
        left -= len(piece)
        if left < 0:
            raise UnusableAnswerError(f"more came than the {size} bytes that the object has")
        yield piece


class GeminiTuningHook(ExperimentReader, EndpointHookMixin):
    """Vertex AI tuning, models, prompts, metrics and copies over a Google Cloud connection.

    Every method raises :class:`~gemini_tuning.core.exceptions.TransientServiceError` or
    :class:`~gemini_tuning.core.exceptions.PermanentServiceError` when Google refuses or does not answer. A token that
    the
    service refuses is renewed once.
    """

    # ------------------------------------------------------------------------------------------ tuning jobs

    @renewing_token
    def create_tuning_job(
        self, spec: TuningJobSpec, *, project_id: str | None, location: str, not_after: float | None = None
    ) -> TuningJob:
        """Create a tuning job. The request is sent once and never repeated: a second job is paid twice.

        :param project_id: where the job is made and paid; ``None`` takes the connection's project.
        :param location: a region, for example ``us-central1``.
        :param not_after: seconds since 1970 (UTC) after which the request must not leave any more.
        :raises CreateOutcomeUnknownError: when the request left and no answer came back.
        :raises NotSentError: when it would have left after ``not_after``.
        """
        from google.genai import types

        project = self.project(project_id)
        config = converters.create_config(spec)
        label = f"tuning job {spec.tuned_model_display_name}" if spec.tuned_model_display_name else "tuning job"
        with creating(f"{label} in projects/{project}/locations/{location}"), _stable():
            client = self._creating_client(project, location, not_after)
            return converters.tuning_job(
                client.tunings.tune(
                    base_model=spec.pre_tuned_model or spec.base_model or "",
                    training_dataset=types.TuningDataset(gcs_uri=spec.training_dataset_uri),
                    config=config,
                ),
                project=project,
            )

    @renewing_token
    def get_tuning_job(self, name: str) -> TuningJob:
        """Return the job's present state.

        :param name: full name of the tuning job.
        """
        resource = ResourceName.parse(name, "tuningJobs")
        with service_errors("get", name):
            client = self._client_for(resource, TUNING_API_VERSION)
            return converters.tuning_job(client.tunings.get(name=name), asked=name)

    @renewing_token
    async def aget_tuning_job(self, name: str) -> TuningJob:
        """Return the job's present state without blocking the event loop; asks once: triggers have patience."""
        resource = ResourceName.parse(name, "tuningJobs")
        with service_errors("get", name):
            client = await self._async_client(
                (resource.project, resource.location, TUNING_API_VERSION, 1, REQUEST_TIMEOUT)
            )
            return converters.tuning_job(await client.aio.tunings.get(name=name), asked=name)

    def tuning_job_pages(
        self, project: str, location: str, *, size: int = LIST_PAGE_SIZE, timeout: float = REQUEST_TIMEOUT
    ) -> Generator[list[ListedJob]]:
        """Yield all tuning jobs, page by page, each page asked for once and read lazily.

        google-genai reads every field of every job, which takes fifteen times as long as the list itself.

        :param size: jobs on a page, at most 100.
        :param timeout: seconds for each page.
        """
        parent = f"projects/{project}/locations/{location}"
        page: dict[str, Any] = {"pageSize": size}
        with service_errors("list", f"{parent}/tuningJobs"), self._session() as session:
            while True:
                answer = self._get_json(
                    f"{parent}/tuningJobs", location, page, version=TUNING_API_VERSION, session=session, timeout=timeout
                )
                jobs, token = converters.listed_jobs(answer)
                yield jobs
                if token is None or token == page.get("pageToken"):
                    return
                page["pageToken"] = token

    def find_tuning_jobs(
        self, labels: Mapping[str, str], *, project_id: str | None, location: str, thorough: bool = False
    ) -> list[TuningJob]:
        """Return the jobs that carry all these labels, the oldest first.

        The grammar of the list's filter is documented nowhere, so the filter names one label only, what comes back is
        matched again here, and where the service refuses the filter all jobs are looked through.

        :param labels: at least one; the last one is the filter.
        :param thorough: look through all jobs also when the filter finds none.
        """
        key, value = list(labels.items())[-1]
        try:
            jobs = self._list_tuning_jobs(f'labels.{key}="{value}"', project_id, location)
        except PermanentServiceError as error:
            if error.code != 400:
                raise
            jobs = self._list_tuning_jobs(None, project_id, location)
        if thorough and not jobs:
            jobs = self._list_tuning_jobs(None, project_id, location)
        found = [job for job in jobs if all(job.labels.get(k) == v for k, v in labels.items())]
        return sorted(found, key=lambda job: job.create_time or "")

    @renewing_token
    def _list_tuning_jobs(self, filter_: str | None, project_id: str | None, location: str) -> list[TuningJob]:
        from google.genai import types

        project = self.project(project_id)
        parent = f"projects/{project}/locations/{location}"
        config = types.ListTuningJobsConfig(page_size=LIST_PAGE_SIZE, filter=filter_)
        with service_errors("list", f"{parent}/tuningJobs"):
            client = self._reading_client(project, location, TUNING_API_VERSION)
            return [converters.tuning_job(job, project=project) for job in client.tunings.list(config=config)]

    @renewing_token
    def cancel_tuning_job(self, name: str) -> None:
        """Ask the service to stop the job. Best effort: the job may still succeed or fail.

        Cancelling a job that is being cancelled already has no effect, so this is repeated like a read.
        """
        resource = ResourceName.parse(name, "tuningJobs")
        try:
            with service_errors("cancel", name):
                self._client_for(resource, TUNING_API_VERSION).tunings.cancel(name=name)
        except PermanentServiceError as error:
            # It may have ended since we looked, or somebody else may have cancelled it.
            if error.code not in (400, 409) or not self.get_tuning_job(name).is_stopping:
                raise

    async def acancel_tuning_job(self, name: str) -> None:
        """Ask the service to stop the job, without blocking the event loop."""
        await asyncio.to_thread(self.cancel_tuning_job, name)

    # ---------------------------------------------------------------------------------------------- models

    @renewing_token
    def get_model(self, name: str) -> Model:
        """Return a model version of the Model Registry.

        https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.models/get; google-genai drops
        etag, aliases and deployments.

        :param name: full name of the model; without ``@version`` the default version.
        """
        location = ResourceName.parse(name, "models").location
        with service_errors("get", name):
            return converters.model(self._read_patiently(name, location), asked=name)

    def find_model(self, name: str) -> Model | None:
        """Return a model version, or ``None`` when it does not exist.

        :param name: full name; without ``@version`` the default version.
        """
        return found(lambda: self.get_model(name))

    @renewing_token
    def set_default_checkpoint(
        self, model: Model, checkpoint_id: str, labels: Mapping[str, str] | None = None
    ) -> Model:
        """Set the default checkpoint of a model version and return the model as the service returns it.

        The caller reads the change back.

        :param labels: replace the model's labels in the same request, which then carries the model's etag: the service
            refuses it if the model has changed since it was read.
        """
        location = ResourceName.parse(model.name, "models").location
        body: dict[str, Any] = {"defaultCheckpointId": checkpoint_id}
        if labels is not None:
            body |= {"labels": dict(labels)} | ({"etag": model.etag} if model.etag else {})
        mask = {"updateMask": ",".join(field for field in ("labels", "defaultCheckpointId") if field in body)}
        with service_errors(f"set default checkpoint {checkpoint_id} of", model.name):
            answer = patiently(self._send_json)("PATCH", model.name, location, body, mask)
            return converters.model(answer, asked=model.name)

    @renewing_token
    def merge_version_aliases(self, name: str, aliases: Sequence[str]) -> None:
        """Give a model version aliases, or take some away. Reading them back is the caller's business.

        :param name: full name of the model with its version.
        :param aliases: to give; with ``-`` before it, to take away.
        """
        location = ResourceName.parse(name, "models").location
        with service_errors(f"set the aliases {', '.join(aliases)} of", name):
            self._send_json("POST", f"{name}:mergeVersionAliases", location, {"versionAliases": list(aliases)})

    @renewing_token
    def copy_model(
        self, source_model: str, spec: ModelCopySpec, *, location: str, not_after: float | None = None
    ) -> str:
        """Start copying a model with its checkpoints and its default; return the operation's name.

        :param source_model: full name of the model; without ``@version`` its default version is copied.
        :param spec: what the copy is called; its project, when ``None``, is the connection's.
        :param location: destination region.
        :param not_after: seconds since 1970 (UTC) after which the request must not leave any more.
        :raises CreateOutcomeUnknownError: when the request left and no answer came back.
        :raises NotSentError: when it would have left after ``not_after``.
        """
        parent = f"projects/{self.project(spec.project_id)}/locations/{location}"
        body: dict[str, Any] = {"sourceModel": source_model}
        if spec.model_id:
            body["modelId"] = spec.model_id
        if spec.parent_model:
            body["parentModel"] = spec.parent_model
        if spec.kms_key_name:
            body["encryptionSpec"] = {"kmsKeyName": spec.kms_key_name}
        self._vertex_endpoint(location)  # refuses a bad location before anything is taken for sent
        if not_after is not None and time.time() > not_after:
            raise NotSentError(f"The copy of {source_model} was not asked for: too much time had passed.")
        with creating(f"copy of {source_model} in {parent}"):
            return converters.started_operation(self._send_json("POST", f"{parent}/models:copy", location, body))

    @renewing_token
    def get_operation(self, name: str, *, patient: bool = True) -> Operation:
        """Return the state of a copy.

        :param name: full name of the operation, as :meth:`copy_model` returned it.
        :param patient: whether to ask again for a while when the service does not answer.
        """
        location = operation_location(name)
        read = self._read_patiently if patient else self._get_json
        with service_errors("get", name):
            return converters.operation(read(name, location), asked=name)

    @renewing_token
    def list_operations(self, model: str) -> list[Operation]:
        """Return the copies into a model that were asked for, also of one that is not there yet.

        :param model: full name of the model.
        """
        resource = ResourceName.parse(model, "models")
        listed: list[Operation] = []
        page: dict[str, Any] = {"pageSize": LIST_PAGE_SIZE}
        with service_errors("list the operations of", model):
            while True:
                answer = self._read_patiently(f"{resource.unversioned}/operations", resource.location, page)
                operations, token = converters.operations(answer)
                listed += operations
                if token is None or token == page.get("pageToken"):
                    return listed
                page["pageToken"] = token

    def get_serving_endpoint(self, name: str) -> str:
        """Return the full name of the endpoint that serves a model's default checkpoint, or of the given endpoint.

        :param name: full name of a model or an endpoint.
        :raises PermanentServiceError: when it does not exist, or the default checkpoint is not deployed.
        """
        if "/endpoints/" in name:
            return self.get_endpoint(name).name
        endpoint = self.get_model(name).default_endpoint
        if endpoint is None:
            raise PermanentServiceError(
                f"The default checkpoint of {name} is not deployed to an endpoint.",
                resource=name,
                hint="Deploy it, or name an endpoint.",
            )
        return endpoint

    def get_base_model(self, name: str) -> str | None:
        """Return what a tuned model, or the one that an endpoint serves, was tuned from; ``None`` if unknown.

        It is in a label, which cannot contain a dot: ``gemini-2-5-flash``.

        :param name: full name of a model or an endpoint.
        """
        found = self.get_endpoint(name) if "/endpoints/" in name else self.get_model(name)
        label = found.labels.get(BASE_MODEL_LABEL, "")
        if _LABEL.fullmatch(label):
            return label
        served = next((each.model for each in found.deployed_models), None) if isinstance(found, Endpoint) else None
        return self.get_base_model(str(served)) if served else None

    # --------------------------------------------------------------------------------------------- prompts

    @renewing_token
    async def acount_tokens(
        self,
        model: str,
        contents: Sequence[Mapping[str, Any]],
        *,
        system_instruction: Mapping[str, Any] | None = None,
        project_id: str | None = None,
        location: str = "us-central1",
    ) -> int:
        """Return how many tokens the service counts in a conversation; costs nothing.

        :param model: one of Google's, for example ``gemini-2.5-flash``.
        :param contents: its turns, the model's too, in the API's JSON; so is the instruction.
        :raises InvalidInputError: when it is not the API's JSON.
        """
        from google.genai import types

        client = await self._async_client(
            (self.project(project_id), location, API_VERSION, READ_ATTEMPTS, REQUEST_TIMEOUT)
        )
        turns = [converters.content(turn) for turn in contents]
        instruction = None if system_instruction is None else converters.content(system_instruction)
        config = types.CountTokensConfig(system_instruction=instruction)
        with service_errors("count tokens with", model):
            answer = await client.aio.models.count_tokens(model=model, contents=turns, config=config)
            return converters.token_count(answer)

    @renewing_token
    async def agenerate(
        self,
        target: str,
        contents: str | Sequence[Mapping[str, Any]],
        *,
        system_instruction: str | None = None,
        temperature: float | None = 0.0,
        max_output_tokens: int | None = None,
        project_id: str | None = None,
        location: str = "us-central1",
    ) -> ModelResponse:
        """Send one prompt once and return the whole answer with its latency.

        :param target: full name of an endpoint, or the id of one of Google's models such as ``gemini-2.5-flash``.
        :param contents: one text, or turns as :meth:`~gemini_tuning.smoke.suite.Turn.as_dict` gives them.
        :param temperature: 0 makes answers as repeatable as the service can.
        :param project_id: who pays for a model of Google's; ``None`` takes the connection's project.
        :param location: where a model of Google's is asked. An endpoint's name says both.
        """
        from google.genai import types

        if "/" in target:
            resource = ResourceName.parse(target, "endpoints")
            project, location = resource.project, resource.location
        else:
            project = self.project(project_id)
        client = await self._async_client((project, location, API_VERSION, 1, PROMPT_TIMEOUT))
        config = types.GenerateContentConfig(
            system_instruction=system_instruction,
            temperature=temperature,
            max_output_tokens=max_output_tokens,
            automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),  # it logs a line a prompt
            should_return_http_response=True,  # reading it into google-genai's types takes longer than all the rest
        )
        with service_errors("prompt", target):
            started = time.monotonic()
            prompt = converters.contents(contents)
            response = await client.aio.models.generate_content(model=target, contents=prompt, config=config)
            http = response.sdk_http_response
            raw = json.loads((http and http.body) or "{}")
            if converters.to_be_continued(raw):  # rare; the client goes on by itself, but only where it may read
                config.should_return_http_response = None
                response = await client.aio.models.generate_content(model=target, contents=prompt, config=config)
                raw = response.model_dump(mode="json", by_alias=True, exclude_none=True)
            return converters.answer(raw, time.monotonic() - started)

    async def _async_client(self, key: tuple[str, str, str, int, float]) -> genai.Client:
        """Return a client for the event loop; making it reads a connection and a key, so that is done elsewhere.

        :param key: project, location, version of the API, attempts, seconds that an answer may take.
        """
        if (client := self._clients.get(key)) is None:
            client = await asyncio.to_thread(self._client, *key)
        return client

    # --------------------------------------------------------------------------------------------- objects

    def read_lines(self, uri: str) -> Iterator[bytes]:
        """Stream the lines of a Cloud Storage object, in constant memory: a longer line comes in pieces.

        :param uri: ``gs://bucket/object``.
        """
        with self._object(uri) as (stream, size):
            yield from _no_more_than(size, iter(lambda: stream.readline(MAX_LINE), b""))

    def read_blocks(self, uri: str) -> Iterator[bytes]:
        """Stream a Cloud Storage object in pieces of a megabyte.

        :param uri: ``gs://bucket/object``.
        """
        with self._object(uri) as (stream, size):
            yield from _no_more_than(size, iter(lambda: stream.read(READ_BUFFER), b""))

    def missing_objects(self, uris: Sequence[str], *, patience: float) -> tuple[dict[str, str], int]:
        """Look which objects of Cloud Storage are there, several at a time.

        :param uris: ``gs://bucket/object``.
        :param patience: seconds; what was not looked for by then is given up.
        :return: why an object can't be used, by its address: it is not there, or the service's words; and how many
            were not looked for.
        :raises TransientServiceError: when the service does not answer.
        """
        from concurrent.futures import ThreadPoolExecutor, wait

        client = self._storage_client()
        with ThreadPoolExecutor(LOOKS_AT_ONCE) as pool:
            looks = {uri: pool.submit(self._why_unusable, client, uri) for uri in uris}
            done, late = wait(looks.values(), timeout=patience, return_when="FIRST_EXCEPTION")
            pool.shutdown(wait=False, cancel_futures=True)
            found = {uri: look.result() for uri, look in looks.items() if look in done and not look.cancelled()}
        return {uri: why for uri, why in found.items() if why}, len(late)

    @staticmethod
    def _why_unusable(client: Client, uri: str) -> str | None:
        from google.cloud.storage import Blob
        from google.cloud.storage.retry import DEFAULT_RETRY

        retry = DEFAULT_RETRY.with_timeout(LOOK_PATIENCE)
        try:
            blob = Blob.from_uri(uri, client=client)
        except ValueError:
            return "is not the address of an object"
        try:
            with service_errors("look for", uri):
                return None if blob.exists(timeout=LOOK_PATIENCE, retry=retry) else "is not there (404)"
        except PermanentServiceError as error:
            return f"can't be looked at: {error.code} {error.service_message}"

    @contextmanager
    def _object(self, uri: str) -> Iterator[tuple[io.BufferedReader, int]]:
        """Open an object; yields it with its size in bytes."""
        from google.cloud.storage import Blob

        with service_errors("read", uri):
            blob = Blob.from_uri(uri, client=self._storage_client())
            blob.reload()  # a proxy that sends a page shows itself here; later the client would read it for ever
            with blob.open("rb") as stream:
                # The blob itself would be read byte by byte.
                yield io.BufferedReader(stream, READ_BUFFER), int(blob.size or 0)

    @renewing_token
    def object_versions(self, uri: str) -> dict[str, ObjectVersion]:
        """Return what an object is now, or each object in a folder, by address.

        :param uri: ``gs://bucket/object``, or ``gs://bucket/folder/``.
        :raises PermanentServiceError: with the code 404 when there is no such object; an empty folder is none.
        """
        from google.cloud.storage import Blob

        with service_errors("read", uri):
            client = self._storage_client()
            if not uri.endswith("/"):
                blob = Blob.from_uri(uri, client=client)
                blob.reload(timeout=REQUEST_TIMEOUT)
                return {uri: converters.object_version(blob)}
            bucket, _, prefix = uri.removeprefix("gs://").partition("/")
            found = client.list_blobs(bucket, prefix=prefix, max_results=MAX_OBJECTS + 1, timeout=REQUEST_TIMEOUT)
            versions = {f"gs://{bucket}/{blob.name}": converters.object_version(blob) for blob in found}
        if len(versions) > MAX_OBJECTS:
            raise PermanentServiceError(
                f"{uri} holds more than {MAX_OBJECTS} objects. Watch a smaller folder, or one object that names the "
                "others.",
                resource=uri,
            )
        return versions

    @renewing_token
    def write_object(self, uri: str, content: bytes, content_type: str) -> None:
        """Write a Cloud Storage object whole; one that is there is replaced.

        :param uri: ``gs://bucket/object``.
        """
        from google.cloud.storage import Blob

        with service_errors("write", uri):
            blob = Blob.from_uri(uri, client=self._storage_client())
            blob.upload_from_string(content, content_type=content_type, timeout=REQUEST_TIMEOUT)
