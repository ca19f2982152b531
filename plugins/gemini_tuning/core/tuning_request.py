"""The tuning request: everything that is sent to the service to create a supervised tuning job, checked once.

Rules: https://cloud.google.com/vertex-ai/docs/reference/rest/v1beta1/projects.locations.tuningJobs and
https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/tuning.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from gemini_tuning.core.api_types import not_bool
from gemini_tuning.core.exceptions import InvalidInputError
from gemini_tuning.core.labels import RESERVED
from gemini_tuning.core.names import KMS_KEY, KMS_KEY_FORM, ResourceName, gcs_problem
from gemini_tuning.core.text import is_unicode, short_repr
from gemini_tuning.core.yaml_file import error_message

# AdapterSize of the API by the number that users know it by.
_SIZES = {1: "ONE", 2: "TWO", 4: "FOUR", 8: "EIGHT", 16: "SIXTEEN", 32: "THIRTY_TWO"}
ADAPTER_SIZES: Mapping[int, str] = {number: f"ADAPTER_SIZE_{name}" for number, name in _SIZES.items()}
MAX_EPOCHS = 100  # against typing errors; the service documents no limit
MAX_DISPLAY_NAME = 128
MAX_LABELS = 64 - 5  # five are set by create_tuning_job
MAX_TEXT = 10_000  # characters; against a file pasted into a field
_LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")


def _check(is_valid: Callable[[Any], object], expected: str) -> AfterValidator:
    def check(value: Any) -> Any:
        if not is_valid(value):
            raise ValueError(f"must be {expected}, not {short_repr(value)}")
        return value

    return AfterValidator(check)


def _id_to_text(value: Any) -> Any:
    """Return a number as text: a native template renders ids that look like numbers to an int."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    try:
        return str(value) if is_number else value
    except ValueError:  # more digits than Python converts
        raise ValueError(f"must be a valid string, not {short_repr(value)}") from None


def _from_json(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise ValueError(f"not JSON: {short_repr(value)}") from None


def _text(value: str) -> str:
    if len(value) > MAX_TEXT or not is_unicode(value):
        raise ValueError(f"longer than {MAX_TEXT} characters, or not Unicode")
    return value


def _gcs_object(value: str) -> str:
    if problem := gcs_problem("", value):
        raise ValueError(problem.removeprefix(": "))
    return value


def _labels(value: Any) -> Any:
    value = _from_json(value)
    if not isinstance(value, Mapping):
        raise ValueError(f"must be a mapping, not {short_repr(value)}")
    if len(value) > MAX_LABELS:
        raise ValueError(f"at most {MAX_LABELS} labels, not {len(value)}")
    for key, text in value.items():
        if not (_LABEL_KEY.fullmatch(str(key)) and isinstance(text, str) and _LABEL_VALUE.fullmatch(text)):
            raise ValueError(
                f"{short_repr(key)}={short_repr(text)}: keys and values have at most 63 characters of a-z, 0-9, _ and "
                "-; keys begin with a letter"
            )
        if key in RESERVED:
            raise ValueError(f"{key} is set by create_tuning_job")
    return value


def _metrics(value: Any) -> Any:
    value = _from_json(value)
    if not isinstance(value, list | tuple) or not all(isinstance(metric, Mapping) for metric in value):
        raise ValueError(f"must be a list of mappings with the fields of a metric, not {short_repr(value)}")
    return list(value)


Text = Annotated[str, BeforeValidator(_id_to_text), AfterValidator(_text)]
GcsObject = Annotated[Text, AfterValidator(_gcs_object)]
GcsPrefix = Annotated[Text, _check(lambda value: value.startswith("gs://"), "a gs:// prefix")]
ModelId = Annotated[Text, _check(lambda value: "/" not in value, "a model id such as gemini-2.5-flash")]
ModelName = Annotated[Text, AfterValidator(lambda value: ResourceName.parse(value, "models") and value)]
KmsKey = Annotated[Text, _check(KMS_KEY.fullmatch, KMS_KEY_FORM)]
Number = BeforeValidator(not_bool)
AdapterSize = Annotated[int, Number, _check(ADAPTER_SIZES.get, f"one of {', '.join(map(str, ADAPTER_SIZES))}")]


class TuningRequest(BaseModel):
    """Everything that a supervised tuning job is created from. Immutable; every instance is valid.

    Datasets are JSONL files. Where a number is ``None``, the service's default applies. ``evaluation_metrics`` are
    mappings with the fields of google-genai's ``Metric``, by which the service evaluates each checkpoint, for example
    ``{"name": "FLUENCY", "prompt_template": "Evaluate this {response}"}``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    training_dataset_uri: GcsObject
    base_model: ModelId | None = None  # for example gemini-2.5-flash; or, for continuous tuning,
    pre_tuned_model: ModelName | None = None  # full name of a tuned model, with or without version
    pre_tuned_model_checkpoint_id: Text | None = None  # None: its default checkpoint
    validation_dataset_uri: GcsObject | None = None
    epoch_count: Annotated[int, Number, Field(ge=1, le=MAX_EPOCHS)] | None = None  # passes over the training file
    adapter_size: AdapterSize | None = None
    learning_rate_multiplier: Annotated[float, Number, Field(gt=0)] | None = None  # of the default learning rate
    tuned_model_display_name: Annotated[Text, Field(max_length=MAX_DISPLAY_NAME)] | None = None
    description: Text | None = None
    labels: Annotated[dict[str, str], BeforeValidator(_labels)] = {}  # the service copies them to model and endpoints
    export_last_checkpoint_only: bool = False  # keep no intermediate checkpoints
    evaluation_metrics: Annotated[list[dict[str, Any]], BeforeValidator(_metrics)] = []
    evaluation_output_uri: GcsPrefix | None = None
    kms_key_name: KmsKey | None = None  # customer-managed key (CMEK) for the job and the model
    service_account: Text | None = None  # as which the job runs

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if bool(self.base_model) == bool(self.pre_tuned_model):
            raise ValueError("base_model: give exactly one of base_model and pre_tuned_model")
        if self.pre_tuned_model_checkpoint_id and not self.pre_tuned_model:
            raise ValueError("pre_tuned_model_checkpoint_id: needs pre_tuned_model")
        if bool(self.evaluation_metrics) != bool(self.evaluation_output_uri):
            raise ValueError("evaluation_metrics: give both evaluation_metrics and evaluation_output_uri, or neither")
        return self

    @classmethod
    def parse(cls, values: object) -> Self:
        """Return the request from a mapping, for example the Params of a run or an XCom of ``validate``.

        ``None``, an empty text and a rendered ``"None"`` count as not given. ``base_model``, which has a default in the
        form, is ignored if ``pre_tuned_model`` is given.

        :raises InvalidInputError: with one message for all fields; ``field`` is the first of them.
        """
        if not isinstance(values, Mapping):
            problem = f"tuning_request: must be a mapping, not {short_repr(values)}"
            raise InvalidInputError(problem, field="tuning_request", code="mapping_expected")
        texts = {key: value.strip() if isinstance(value, str) else value for key, value in values.items()}
        given = {key: value for key, value in values.items() if texts[key] not in (None, "", "None")}
        if "pre_tuned_model" in given:
            given.pop("base_model", None)
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            problems = [_problem(details) for details in error.errors(include_url=False)]
            (first, _, code), text = problems[0], "; ".join(f"{field}: {message}" for field, message, _ in problems)
            raise InvalidInputError(f"{text}. No tuning job was created.", field=first, code=code) from None

    def as_dict(self) -> dict[str, Any]:
        """Return the request for an XCom; :meth:`parse` reads it."""
        return self.model_dump(exclude_defaults=True)


def _problem(details: Any) -> tuple[str, str, str]:
    """Return field, message and code; a check of several fields names the first one in its message."""
    message = error_message(details)
    if not details["loc"]:
        field, _, message = message.partition(": ")
        return field, message, details["type"]
    return str(details["loc"][0])[:MAX_DISPLAY_NAME], message, details["type"]
