"""What a tuning job is asked to do, and whether that is acceptable. Pure: no Airflow, no Google client, no I/O.

Rules: https://cloud.google.com/vertex-ai/docs/reference/rest/v1beta1/projects.locations.tuningJobs and
https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/tuning.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from gemini_tuning.core.names import ResourceName, ResourceNameError
from gemini_tuning.core.text import short_repr

# AdapterSize of the API by the number people know it by.
ADAPTER_SIZES: Mapping[int, str] = {
    1: "ADAPTER_SIZE_ONE",
    2: "ADAPTER_SIZE_TWO",
    4: "ADAPTER_SIZE_FOUR",
    8: "ADAPTER_SIZE_EIGHT",
    16: "ADAPTER_SIZE_SIXTEEN",
    32: "ADAPTER_SIZE_THIRTY_TWO",
}
MAX_EPOCHS = 100  # a guard against a typo, not a limit of the service
MAX_DISPLAY_NAME = 128
MAX_LABELS = 64
MAX_TEXT = 10_000  # characters; a guard against a file pasted into a field
MAX_URI = 2_000  # characters
_LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")
_GCS_OBJECT = re.compile(r"gs://[a-z0-9][a-z0-9._-]{1,220}/[^\s]+")
KMS_KEY = re.compile(r"projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+")


def gcs_problem(name: str, uri: object, *, required: bool = False) -> str | None:
    """Return why this is not the address of an object, beginning with the field's name, or ``None``."""
    if uri is None or uri == "":
        return f"{name}: is required" if required else None
    if isinstance(uri, str) and len(uri) <= MAX_URI and _GCS_OBJECT.fullmatch(uri):
        return None
    return f"{name}: {short_repr(uri)} is not a gs://bucket/object address"


def text_problems(spec: Any, prefix: str = "") -> list[str]:
    """Return which of the fields that are texts hold something else: a template can put anything into them."""
    values = {f.name: getattr(spec, f.name) for f in fields(spec) if f.type in ("str", "str | None")}
    return [
        f"{prefix}{name}: expected a text, not {short_repr(value)}"
        for name, value in values.items()
        if not isinstance(value, str | None)
    ] + [
        f"{prefix}{name}: longer than {MAX_TEXT} characters, or not Unicode"
        for name, value in values.items()
        if isinstance(value, str) and not _is_sendable(value)
    ]


def _is_sendable(text: str) -> bool:
    return len(text) <= MAX_TEXT and not any("\ud800" <= character <= "\udfff" for character in text)


@dataclass(frozen=True)
class TuningJobSpec:
    """Everything that a supervised tuning job can be asked for.

    :param training_dataset_uri: ``gs://`` address of the JSONL training file.
    :param base_model: the model to tune, for example ``gemini-2.5-flash``; or
    :param pre_tuned_model: full name of a tuned model to go on from (continuous tuning), with or without version.
    :param pre_tuned_model_checkpoint_id: which of its checkpoints; ``None`` is its default checkpoint.
    :param validation_dataset_uri: ``gs://`` address of the JSONL validation file.
    :param epoch_count: passes over the training file; ``None`` lets the service decide.
    :param adapter_size: one of :data:`ADAPTER_SIZES`; ``None`` lets the service decide.
    :param learning_rate_multiplier: factor on the service's own learning rate; ``None`` lets it decide.
    :param tuned_model_display_name: at most 128 characters.
    :param labels: carried over to the model and its endpoints.
    :param export_last_checkpoint_only: keep no intermediate checkpoints.
    :param evaluation_metrics: what the service is to evaluate each checkpoint by: mappings with the fields of
        google-genai's ``Metric``, for example ``{"name": "FLUENCY", "prompt_template": "Evaluate this {response}"}``.
    :param evaluation_output_uri: ``gs://`` prefix for the evaluation results.
    :param kms_key_name: customer-managed key (CMEK) for the job and the model.
    :param service_account: the account the job runs as.
    """

    training_dataset_uri: str
    base_model: str | None = None
    pre_tuned_model: str | None = None
    pre_tuned_model_checkpoint_id: str | None = None
    validation_dataset_uri: str | None = None
    epoch_count: int | None = None
    adapter_size: int | None = None
    learning_rate_multiplier: float | None = None
    tuned_model_display_name: str | None = None
    description: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    export_last_checkpoint_only: bool = False
    evaluation_metrics: Sequence[Mapping[str, Any]] = ()
    evaluation_output_uri: str | None = None
    kms_key_name: str | None = None
    service_account: str | None = None

    def problems(self) -> list[str]:
        """Return what the service would refuse, one sentence each, beginning with the field's name."""
        if found := [*text_problems(self), *self._kind_problems()]:
            return found  # the rules below are about texts
        return [
            *self._source_problems(),
            *self._dataset_problems(),
            *self._hyperparameter_problems(),
            *self._naming_problems(),
            *self._evaluation_problems(),
        ]

    def _source_problems(self) -> list[str]:
        found = []
        if bool(self.base_model) == bool(self.pre_tuned_model):
            found.append("base_model: give either base_model or pre_tuned_model, not both and not neither")
        if self.base_model and "/" in self.base_model:
            found.append(f"base_model: {short_repr(self.base_model)} must be a model id such as gemini-2.5-flash")
        if self.pre_tuned_model:
            try:
                ResourceName.parse(self.pre_tuned_model, "models")
            except ResourceNameError as error:
                found.append(f"pre_tuned_model: {error}")
        if self.pre_tuned_model_checkpoint_id and not self.pre_tuned_model:
            found.append("pre_tuned_model_checkpoint_id: needs pre_tuned_model")
        if self.kms_key_name and not KMS_KEY.fullmatch(self.kms_key_name):
            found.append("kms_key_name: expected projects/P/locations/L/keyRings/R/cryptoKeys/K")
        return found

    def _dataset_problems(self) -> list[str]:
        found = (
            gcs_problem("training_dataset_uri", self.training_dataset_uri, required=True),
            gcs_problem("validation_dataset_uri", self.validation_dataset_uri),
        )
        return [problem for problem in found if problem]

    def _kind_problems(self) -> list[str]:
        labels: object = self.labels  # whatever the annotation promises
        metrics: object = self.evaluation_metrics
        found = [] if isinstance(labels, Mapping) else [f"labels: expected a mapping, not {short_repr(labels)}"]
        if not isinstance(metrics, list | tuple):
            return [*found, f"evaluation_metrics: expected a list, not {short_repr(metrics)}"]
        return found + [
            f"evaluation_metrics[{number}]: expected a mapping with the fields of a metric, not {short_repr(metric)}"
            for number, metric in enumerate(metrics)
            if not isinstance(metric, Mapping)
        ]

    def _hyperparameter_problems(self) -> list[str]:
        found = []
        if self.epoch_count is not None and not 1 <= self.epoch_count <= MAX_EPOCHS:
            found.append(f"epoch_count: {short_repr(self.epoch_count)} is not between 1 and {MAX_EPOCHS}")
        if self.adapter_size is not None and self.adapter_size not in ADAPTER_SIZES:
            found.append(
                f"adapter_size: {short_repr(self.adapter_size)} is not one of {', '.join(map(str, ADAPTER_SIZES))}"
            )
        if self.learning_rate_multiplier is not None and not self.learning_rate_multiplier > 0:
            found.append(f"learning_rate_multiplier: {self.learning_rate_multiplier} is not above 0")
        return found

    def _naming_problems(self) -> list[str]:
        found = []
        if self.tuned_model_display_name and len(self.tuned_model_display_name) > MAX_DISPLAY_NAME:
            found.append(f"tuned_model_display_name: longer than {MAX_DISPLAY_NAME} characters")
        if len(self.labels) > MAX_LABELS:
            found.append(f"labels: {len(self.labels)} labels; at most {MAX_LABELS}")
        for key, value in self.labels.items():
            texts = isinstance(key, str) and isinstance(value, str)
            if not texts or not _LABEL_KEY.fullmatch(key) or not _LABEL_VALUE.fullmatch(value):
                label = f"{short_repr(key)}={short_repr(value)}"
                found.append(
                    f"labels: {label}: lowercase letters, digits, _ and -, at most 63, key starting with a letter"
                )
        return found

    def _evaluation_problems(self) -> list[str]:
        found = []
        if bool(self.evaluation_metrics) != bool(self.evaluation_output_uri):
            found.append("evaluation_metrics: needs evaluation_output_uri, and the other way round")
        if self.evaluation_output_uri and not self.evaluation_output_uri.startswith("gs://"):
            found.append(f"evaluation_output_uri: {short_repr(self.evaluation_output_uri)} is not a gs:// address")
        return found
