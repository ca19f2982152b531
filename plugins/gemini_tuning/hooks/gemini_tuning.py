"""All Google API calls, sync and async."""

from __future__ import annotations

from gemini_tuning.hooks.experiments import ExperimentHookMixin
from gemini_tuning.hooks.models import ModelHookMixin
from gemini_tuning.hooks.prompts import PromptHookMixin
from gemini_tuning.hooks.storage import StorageHookMixin
from gemini_tuning.hooks.tuning_job import TuningJobHookMixin


class GeminiTuningHook(TuningJobHookMixin, ModelHookMixin, PromptHookMixin, ExperimentHookMixin, StorageHookMixin):
    """Vertex AI tuning jobs, models, endpoints, prompts, metrics and copies, and objects of Cloud Storage.

    Every method raises :class:`~gemini_tuning.core.exceptions.TransientServiceError` or
    :class:`~gemini_tuning.core.exceptions.PermanentServiceError` when a request fails. A token that the service refuses
    is renewed once.
    """
