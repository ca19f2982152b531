"""Assertions on an answer: the types, their values and their verdicts.

The types are promptfoo's (https://www.promptfoo.dev/docs/configuration/expected-outputs/), so that its users can read a
suite. Each type has a form with the prefix ``not-``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property, partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from gemini_tuning.core.text import redact
from gemini_tuning.core.yaml_file import error_message
from gemini_tuning.smoke.checks import (
    json_values,
    numbers,
    python_functions,
    regex_timeout,
    response_metadata,
    similarity,
    texts,
)
from gemini_tuning.smoke.checks.result import CheckResult, Condition, UndecidedError
from gemini_tuning.smoke.fields import Integral, Matching, NotNegative, Positive, Prompt, Score, Text

if TYPE_CHECKING:
    from gemini_tuning.core.model_response import ModelResponse
    from gemini_tuning.smoke.checks.result import Check

NOT = "not-"
MAX_REASON = 500  # characters
RUBRIC = "llm-rubric"
PYTHON = "python"


@dataclass(frozen=True)
class Verdict:
    """The result of one assertion."""

    type: str  # the assertion's
    passed: bool
    score: float  # 0 to 1
    reason: str  # what was found, about MAX_REASON characters at most


@dataclass(frozen=True)
class Assertion(Condition):
    """A condition on an answer, with its check."""

    @property
    def name(self) -> str:
        """The type without its ``not-``."""
        return self.type.removeprefix(NOT)

    @property
    def needs_judge(self) -> bool:
        """Whether a model decides, see :meth:`~gemini_tuning.smoke.judge.Judge.judge`."""
        return self.name == RUBRIC

    def check(self, answer: ModelResponse, variables: Mapping[str, str] = MappingProxyType({})) -> Verdict:
        """Return the verdict on an answer. Thread-safe; takes a few seconds at most for an answer of any size."""
        kind = TYPES[self.name]
        if kind.reads_text and not answer.text.strip():
            # Neither form passes: an empty answer is not evidence that the model avoids a text.
            return self._verdict(False, 0.0, f"the answer has no text (finish reason {answer.finish_reason or 'none'})")
        try:
            return self.decided(kind.check(self, answer, variables))
        except UndecidedError as error:
            return self.undecided(str(error))

    def decided(self, result: CheckResult) -> Verdict:
        """Return the verdict for a check's result, inverted for a ``not-`` form."""
        score = float(result.holds) if result.score is None else result.score
        if self.type.startswith(NOT):
            return self._verdict(not result.holds, 1 - score, result.reason)
        return self._verdict(result.holds, score, result.reason)

    def undecided(self, why: str) -> Verdict:
        """Return the verdict when the check cannot be decided: neither the assertion nor its ``not-`` form passes."""
        return self._verdict(False, 0.0, f"cannot be decided: {why}")

    def _verdict(self, passed: bool, score: float, reason: str) -> Verdict:
        return Verdict(self.type, passed, score, redact(reason, MAX_REASON))

    def value_problem(self) -> str | None:
        """Return what is wrong with the value once its variables are filled in, or ``None``."""
        kind = TYPES[self.name]
        try:
            kind.adapter.validate_python(self.value)
        except ValidationError as error:
            return error_message(error.errors()[0])
        return kind.problem(self.value)

    def as_dict(self) -> dict[str, Any]:
        """Return everything that decides the verdict."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.compare}


@dataclass(frozen=True)
class Kind:
    """A type of assertion: its check, and the types of its fields in a suite, for pydantic."""

    check: Check
    value: Any = Text  # None: it has no value
    optional: bool = False  # whether the value may be left out
    threshold: Any = None
    tolerance: Any = None
    problem: Callable[[Any], str | None] = lambda _: None  # returns what is wrong with a value of the right type
    reads_text: bool = True  # whether an answer without text fails

    @cached_property
    def adapter(self) -> TypeAdapter[Any]:
        """Validates a value once its variables are filled in."""
        value: Any = self.value | None if self.optional else self.value
        return TypeAdapter(value, config=ConfigDict(strict=True, allow_inf_nan=False))


def _schema_problem(value: Mapping[str, Any] | None) -> str | None:
    fault = json_values.problem(value) if value else None
    return f"not a JSON Schema: {fault}" if fault else None


def _requires_judge(_: Condition, __: ModelResponse, ___: object) -> CheckResult:
    raise UndecidedError("a judge is required")


_Texts = Annotated[list[Text], Field(min_length=1)]
_FINISH_REASON = Matching(r"^([A-Za-z_]+$|.*\{\{)", "a finish reason such as STOP or MAX_TOKENS")
_FUNCTION = Matching(r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$", "module.function")
# Kinds that differ in their check alone.
_texts = partial(Kind, value=_Texts)
_json = partial(Kind, value=dict[str, Any], optional=True, problem=_schema_problem)
_similar = partial(Kind, threshold=Score, problem=similarity.words_problem)
_metadata = partial(Kind, reads_text=False)

TYPES: Mapping[str, Kind] = {
    "equals": Kind(texts.equals),
    "contains": Kind(texts.contains(ignore_case=False, enough=all)),
    "contains-any": _texts(texts.contains(ignore_case=False, enough=any)),
    "contains-all": _texts(texts.contains(ignore_case=False, enough=all)),
    "icontains": Kind(texts.contains(ignore_case=True, enough=all)),
    "icontains-any": _texts(texts.contains(ignore_case=True, enough=any)),
    "icontains-all": _texts(texts.contains(ignore_case=True, enough=all)),
    "starts-with": Kind(texts.starts_with),
    "regex": Kind(texts.regex, problem=regex_timeout.problem),
    "is-json": _json(json_values.is_json),
    "contains-json": _json(json_values.contains_json),
    "number-equals": Kind(
        numbers.number_equals,
        value=int | float | Text,
        tolerance=NotNegative | Annotated[dict[Literal["absolute", "relative"], NotNegative], Field(min_length=1)],
        problem=numbers.number_problem,
    ),
    "levenshtein": Kind(similarity.levenshtein, threshold=Annotated[int, Field(ge=0, le=10_000), Integral]),
    "rouge-l": _similar(similarity.at_least(similarity.rouge_l)),
    "f-score": _similar(similarity.at_least(similarity.token_f1)),
    "max-latency": _metadata(response_metadata.max_latency, value=Annotated[float, Field(gt=0)]),
    "max-output-tokens": _metadata(response_metadata.max_output_tokens, value=Positive),
    "finish-reason": _metadata(response_metadata.finish_reason, value=Annotated[str, _FINISH_REASON]),
    "safety-not-blocked": _metadata(response_metadata.safety_not_blocked, value=None),
    RUBRIC: Kind(_requires_judge, value=Prompt, threshold=Score),
    PYTHON: _metadata(python_functions.check, value=Annotated[str, _FUNCTION], threshold=Score),
}
