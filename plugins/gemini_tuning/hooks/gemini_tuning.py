"""All Google API calls, sync and async."""

from __future__ import annotations

import re

from gemini_tuning.core.exceptions import PermanentServiceError
from gemini_tuning.core.resources import Endpoint, Model
from gemini_tuning.hooks.endpoints import EndpointHookMixin
from gemini_tuning.hooks.experiments import ExperimentHookMixin
from gemini_tuning.hooks.models import ModelHookMixin
from gemini_tuning.hooks.prompts import PromptHookMixin
from gemini_tuning.hooks.storage import StorageHookMixin
from gemini_tuning.hooks.tuning_job import TuningJobHookMixin

BASE_MODEL_LABEL = "google-vertex-llm-tuning-base-model-id"  # seen by users; not documented
_LABEL = re.compile(r"[a-z0-9_-]{1,63}")


class GeminiTuningHook(
    TuningJobHookMixin, ModelHookMixin, EndpointHookMixin, PromptHookMixin, ExperimentHookMixin, StorageHookMixin
):
    """Vertex AI tuning jobs, models, endpoints, prompts, metrics and copies, and objects of Cloud Storage.

    Every method raises :class:`~gemini_tuning.core.exceptions.TransientServiceError` or
    :class:`~gemini_tuning.core.exceptions.PermanentServiceError` when a request fails. A token that the service refuses
    is renewed once.
    """

    def get_serving_endpoint(self, name: str) -> str:
        """Return the full name of the endpoint that serves a model's default checkpoint, or of the given endpoint.

        :param name: full name of a model or an endpoint.
        :raises PermanentServiceError: when it does not exist, or the default checkpoint is not deployed.
        """
        if "/endpoints/" in name:
            self.get_endpoint(name)
            return name
        endpoint = self.get_model(name).default_endpoint
        if endpoint is None:
            message = f"The default checkpoint of {name} is not deployed to an endpoint."
            hint = "Deploy it, or name an endpoint."
            raise PermanentServiceError(message, resource=name, hint=hint)
        return endpoint

    def get_base_model(self, name: str) -> str | None:
        """Return what a tuned model, or the one that an endpoint serves, was tuned from; ``None`` if unknown.

        It is in a label, which cannot contain a dot: ``gemini-2-5-flash``.

        :param name: full name of a model or an endpoint.
        """
        found: Endpoint | Model = self.get_endpoint(name) if "/endpoints/" in name else self.get_model(name)
        label = found.labels.get(BASE_MODEL_LABEL, "")
        if _LABEL.fullmatch(label):
            return label
        served = found.deployed_models[0].model if isinstance(found, Endpoint) and found.deployed_models else None
        return self.get_base_model(str(served)) if served else None
