"""XComs of a run as typed values: one class per XCom, read in one place.

Other tasks pushed them, possibly with another version of this package, so nothing in them is trusted: a field that is
not of its type is ``None`` or empty, and a field that is not listed here is ignored. Texts are cut and secrets removed
from them; a number is one that JSON can carry.

:meth:`XCom.from_xcom` never raises; :meth:`XCom.from_input` is for a templated parameter of an operator, where a value
that is not a mapping is a mistake in the DAG.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Annotated, Any, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    StrictBool,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    field_validator,
)

from gemini_tuning.core.api_types import number
from gemini_tuning.core.exceptions import InvalidInputError
from gemini_tuning.core.text import MAX_SAID, redact, short_repr

ERROR_XCOM = "error"  # of a failed task: its message
SUMMARY_XCOM = "summary"  # of the task that writes the report: its first lines, with the comparison

MAX_ITEMS = 200  # of a list or a mapping
MAX_DEPTH = 6
MAX_SHORT_TEXT = 300  # characters of an id or a reason
_SECRET = re.compile(
    r"(?i)passw|passphrase|secret|credential|authorization|bearer|api_?key|access_?key|private_?key|keyfile"
    r"|webhook_url|connection_string|token$"
)
REMOVED, TOO_DEEP = "[removed]", "[nested too deeply]"


def text(value: object, limit: int = MAX_SAID) -> str | None:
    """Return a text without secrets, cut to ``limit`` characters; ``None`` for ``None``."""
    if value is None:
        return None
    return redact(value if isinstance(value, str) else short_repr(value), limit)


def texts(value: object, limit: int = MAX_SAID) -> list[str]:
    """Return a list of texts; empty for anything but a list."""
    if not isinstance(value, list | tuple):
        return []
    return [redact(item if isinstance(item, str) else short_repr(item), limit) for item in value[:MAX_ITEMS]]


def whole(value: object) -> int | None:
    """Return a whole number; ``None`` for anything else."""
    found = number(value)
    return found if isinstance(found, int) else None


def interval(value: object) -> list[float | int] | None:
    """Return ``[low, high]``; ``None`` for anything else."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        return None
    bounds = [bound for bound in map(number, value) if bound is not None]
    return bounds if len(bounds) == 2 else None


def curve(value: object) -> list[list[float | int]]:
    """Return ``[[step, value], …]`` without the points that are not two numbers."""
    pairs = map(interval, value[:MAX_ITEMS]) if isinstance(value, list | tuple) else ()
    return [pair for pair in pairs if pair is not None]


def anything(value: object, mask: Callable[[str], str] = redact, depth: int = MAX_DEPTH) -> Any:
    """Return any value as bounded JSON without secrets, which are known by the field's name or by their form."""
    if value is None or isinstance(value, bool) or number(value) is not None:
        return value
    if isinstance(value, Mapping | list | tuple | set) and not depth:
        return TOO_DEEP
    if isinstance(value, Mapping):
        items = [(mask(str(key)), item) for key, item in list(value.items())[:MAX_ITEMS]]
        return {k: REMOVED if v and _SECRET.search(k) else anything(v, mask, depth - 1) for k, v in items}
    if isinstance(value, list | tuple | set):
        return [anything(item, mask, depth - 1) for item in list(value)[:MAX_ITEMS]]
    return mask(value if isinstance(value, str) else short_repr(value))


def joined(parts: Iterable[Iterable[str]]) -> list[str]:
    """Return all texts of several lists, each once."""
    return list(dict.fromkeys(item for items in parts for item in items))


def _id(value: object) -> str:
    return text(value, MAX_SHORT_TEXT) or "unknown"


def _counts(value: object) -> dict[str, int]:
    return {name: found for name, item in _items(value) if (found := whole(item)) is not None}


def _numbers(value: object) -> dict[str, float | int]:
    return {name: found for name, item in _items(value) if (found := number(item)) is not None}


def _items(value: object) -> list[tuple[str, object]]:
    items = list(value.items())[:MAX_ITEMS] if isinstance(value, Mapping) else []
    return [(redact(str(name), MAX_SHORT_TEXT), item) for name, item in items]


def _amount(value: object) -> Mapping[str, Any] | None:
    return value if isinstance(value, Mapping) and number(value.get("amount")) is not None else None


_PAIR = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}

Text = Annotated[str | None, PlainValidator(text)]
Id = Annotated[str, PlainValidator(_id)]
ShortText = Annotated[str | None, PlainValidator(partial(text, limit=MAX_SHORT_TEXT))]
Texts = Annotated[list[str], PlainValidator(texts)]
ShortTexts = Annotated[list[str], PlainValidator(partial(texts, limit=MAX_SHORT_TEXT))]
Number = Annotated[float | int | None, PlainValidator(number)]
Whole = Annotated[int | None, PlainValidator(whole)]
Counts = Annotated[dict[str, int], PlainValidator(_counts)]
Numbers = Annotated[dict[str, float | int], PlainValidator(_numbers)]
Interval = Annotated[
    list[float | int] | None, PlainValidator(interval), WithJsonSchema({"anyOf": [_PAIR, {"type": "null"}]})
]
Curve = Annotated[list[list[float | int]], PlainValidator(curve), WithJsonSchema({"type": "array", "items": _PAIR})]
Json = Annotated[Any, PlainValidator(anything)]


class JsonModel(BaseModel):
    """A value whose fields are read as above, and whose JSON Schema allows no others."""

    model_config = ConfigDict(
        frozen=True,
        defer_build=True,
        json_schema_serialization_defaults_required=True,
        json_schema_extra={"additionalProperties": False},
    )


class XCom(JsonModel):
    """The value of an XCom, or a part of it."""

    @field_validator("*", mode="wrap")
    @classmethod
    def _read_leniently(cls, value: Any, read: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        """Return the field's default where the value is not of its type."""
        try:
            return read(value)
        except ValidationError:
            return cls.model_fields[info.field_name or ""].get_default(call_default_factory=True)

    @classmethod
    def from_xcom(cls, value: object) -> Self | None:
        """Return the value that a task pushed; ``None`` where it pushed nothing, or anything but a mapping."""
        return cls.model_validate(dict(value)) if isinstance(value, Mapping) and value else None

    @classmethod
    def from_input(cls, value: object, field: str) -> Self | None:
        """Return the value of a templated parameter; ``None`` for ``None``, as of a task that was skipped."""
        if value is not None and not isinstance(value, Mapping):
            problem = f"{field}: expected the XCom of a task, a mapping, not {short_repr(value)}"
            raise InvalidInputError(problem, field=field, code="not_a_mapping")
        return cls.from_xcom(value)


class TokensXCom(XCom):
    """Estimated tokens of a dataset: sums of input and output, and figures of single examples."""

    input: Whole = None
    output: Whole = None
    min: Whole = None
    median: Whole = None
    p95: Whole = None
    max: Whole = None


class DatasetXCom(XCom):
    """A dataset as ``validate`` found it."""

    uri: Text = None
    sha256: Text = Field(default=None, description="of the whole file, hexadecimal")
    generation: Text = None
    examples: Whole = None
    size_bytes: Whole = None
    tokens: TokensXCom = TokensXCom()
    found: Counts = Field(default={}, description="number of problems of each kind")
    warnings: Texts = []


class CountedTokensXCom(XCom):
    """What the service counted in a sample of the training dataset."""

    model: Text = None
    examples: Whole = None
    counted: Whole = Field(default=None, description="tokens")
    estimated: Whole = Field(default=None, description="tokens")
    ratio: Number = Field(default=None, description="factor by which the estimate was multiplied")


class CostItemXCom(XCom):
    """One part of an estimate."""

    what: Text = Field(default=None, description="tuning, smoke_test, champion, judge or evaluation")
    model: Text = None
    prompts: Whole = None
    tokens: Counts = {}
    prices: Numbers = Field(default={}, description="per million tokens")
    amount: Number = None
    at_least: Number = None
    unknown: Texts = []


class CostXCom(XCom):
    """The cost of a run as it was estimated before the job."""

    currency: Text = None
    price_date: Text = Field(default=None, description="date of the price list")
    total: Number = Field(default=None, description="null where a part is unknown")
    at_least: Number = Field(default=None, description="sum of the known parts")
    budget: Number = None
    epochs: Whole = Field(default=None, description="null when the service chose")
    unknown: Texts = []
    counted: CountedTokensXCom | None = Field(default=None, description="null when the service did not count")
    items: list[CostItemXCom] = []


class ValidationXCom(XCom):
    """``return_value`` of ``validate``."""

    training: DatasetXCom | None = None
    validation: DatasetXCom | None = None
    cost: CostXCom | None = None


class CheckpointXCom(XCom):
    """A checkpoint as ``list_checkpoints`` and the tuning job's progress have it."""

    checkpoint_id: Id = "unknown"
    epoch: Whole = None
    step: Whole = None
    endpoint: Text = None


class ProgressXCom(XCom):
    """XCom ``progress`` of the wait for a tuning job."""

    name: Text = None
    display_name: Text = None
    base_model: Text = None
    state: Text = None
    phase: Text = None
    completed_epochs: Whole = None
    epoch_count: Whole = None
    completed_steps: Whole = None
    error: Text = None
    model: Text = None
    experiment: Text = None
    checkpoints: list[CheckpointXCom] = []
    train_loss: Curve = []
    eval_loss: Curve = []
    at: AwareDatetime | None = None


class BilledTokensXCom(XCom):
    """XCom ``billed`` of ``list_checkpoints``."""

    billable_tokens: Whole = None
    dataset_tokens: Whole = None
    epoch_count: Whole = None


class LossesXCom(XCom):
    """Losses of a checkpoint."""

    train_loss: Number = None
    eval_loss: Number = None
    eval_accuracy: Number = None
    from_step: Counts = Field(
        default={}, description="by metric: an earlier step, where the checkpoint's own has no point"
    )
    evaluation: Json = Field(default=None, description="metrics of the service's own evaluation", exclude=True)


class MetricsXCom(XCom):
    """``return_value`` of ``read_tuning_metrics``."""

    checkpoints: dict[str, LossesXCom] = {}
    train_loss: Curve = []
    eval_loss: Curve = []
    missing: Texts = []


class LatencyXCom(XCom):
    """Milliseconds."""

    p50: Number = None
    p95: Number = None


class SmokeTokensXCom(XCom):
    """Tokens of all cases of a smoke test."""

    prompt: Whole = None
    output: Whole = None


class AmountXCom(XCom):
    """An amount of money."""

    amount: Number
    currency: ShortText = None


class FailureXCom(XCom):
    """A failed case."""

    id: ShortText = None
    reason: ShortText = None


class SmokeTestXCom(XCom):
    """``return_value`` of a smoke test."""

    checkpoint_id: Id = Field(default="unknown", exclude=True)
    epoch: Whole = Field(default=None, exclude=True)
    step: Whole = Field(default=None, exclude=True)
    endpoint: Text = Field(default=None, exclude=True)
    suite: Text = None
    suite_fingerprint: Text = None
    results_uri: Text = Field(default=None, description="JSONL with prompt, response and verdicts of each case")
    cases: Whole = None
    answered: Whole = None
    passed: Whole = None
    critical_failures: Whole = None
    blocked: Whole = None
    pass_rate: Number = Field(default=None, description="0 to 1")
    score: Number = Field(default=None, description="0 to 1")
    pass_rate_interval: Interval = Field(default=None, description="[low, high], 95 %")
    score_interval: Interval = Field(default=None, description="[low, high], 95 %")
    critical_failed: ShortTexts = Field(default=[], description="ids of the first few")
    latency_ms: LatencyXCom = LatencyXCom()
    tokens: SmokeTokensXCom = SmokeTokensXCom()
    cost: Annotated[AmountXCom | None, BeforeValidator(_amount)] = None
    failures: list[FailureXCom] = Field(default=[], description="the first few")
    error: Text = Field(default=None, description="why the checkpoint could not be tested")


class AssessmentXCom(XCom):
    """A checkpoint, or the champion, in the decision."""

    checkpoint_id: Id = Field(default="unknown", exclude=True)
    epoch: Whole = Field(default=None, exclude=True)
    step: Whole = Field(default=None, exclude=True)
    passed_gates: StrictBool = Field(default=False, description="whether it is eligible")
    pass_rate: Number = Field(default=None, description="0 to 1")
    score: Number = Field(default=None, description="0 to 1")
    pass_rate_interval: Interval = Field(default=None, description="[low, high], 95 %")
    latency_p95_ms: Number = None
    train_loss: Number = None
    eval_loss: Number = None
    speaks_for: ShortTexts = []
    speaks_against: ShortTexts = []


class DecisionXCom(XCom):
    """XCom ``decision`` of ``choose``."""

    winner: Text = Field(default=None, description="checkpoint id; null when nothing is to be promoted")
    outcome: Text = None
    reason: Text = None
    overfitting: Text = Field(default=None, description="where it began; null when the losses show none")
    policy: Json = Field(default=None, description="the rules that were applied")
    missing: Texts = Field(default=[], exclude=True)
    champion: AssessmentXCom | None = Field(default=None, exclude=True)
    checkpoints: list[AssessmentXCom] = Field(default=[], exclude=True)
    default_checkpoint_id: Text = Field(default=None, exclude=True)


class ApproverXCom(XCom):
    """A user of Airflow."""

    id: Text = None
    name: Text = None


class ApprovalXCom(XCom):
    """``return_value`` of ``approve``."""

    required: StrictBool = False
    outcome: Text = Field(
        default=None,
        description="approved, another checkpoint, rejected, timed out, not required or nothing to approve",
    )
    checkpoint_id: Text = Field(default=None, description="the approver's choice")
    proposed: Text = Field(default=None, description="the choice by the rules")
    at: Text = None
    by: ApproverXCom | None = Field(default=None, description="null without a response")
    timeout: Number = Field(default=None, description="seconds to respond")
    offered: Texts = Field(default=[], description="the options to choose from")


class PromotionXCom(XCom):
    """``return_value`` of ``set_default``, as it was read back."""

    model: Text = None
    default_before: Text = None
    default_after: Text = None
    endpoint_before: Text = None
    endpoint_after: Text = None


class PublicationXCom(XCom):
    """``return_value`` of ``publish``."""

    model: Text = None
    version: Text = None
    checkpoint_id: Text = None
    asset: Text = None


class CopyXCom(XCom):
    """``return_value`` of ``copy_model``, and of ``verify_copy``, which alone has the last three."""

    source_model: Text = None
    model: Text = None
    default_checkpoint_id: Text = None
    default_of_source: Text = None
    checkpoints: Whole = Field(default=None, description="number of checkpoints")


class ReportXCom(XCom):
    """``return_value`` of ``report``."""

    winner: Text = None
    outcome: Text = None
    reason: Text = None
    tuned_model: Text = None
    default_before: Text = None
    default_after: Text = None
    copied_model: Text = Field(default=None, validation_alias="copy")
    report_json: Text = None
    report_markdown: Text = None
