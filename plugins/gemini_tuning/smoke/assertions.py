"""Assertions on one answer. Pure: no Airflow, no Google client, no clock, no network.

The words are promptfoo's (https://www.promptfoo.dev/docs/configuration/expected-outputs/), so that people who know
it can read a suite. Each type has a form with the prefix ``not-``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from gemini_tuning.core.resources import ModelResponse
from gemini_tuning.core.text import redact
from gemini_tuning.smoke.checks import (
    json_values,
    measured,
    python_functions,
    regex_timeout,
    response_metadata,
    similarity,
)
from gemini_tuning.smoke.checks import text_match as texts
from gemini_tuning.smoke.checks.findings import Finding, UndecidedError, short

NOT = "not-"
MAX_FAULT = 500  # characters of a reason
RUBRIC = "llm-rubric"
PYTHON = "python"


@dataclass(frozen=True)
class Verdict:
    """What came of one assertion.

    :param type: the assertion's.
    :param score: 0 to 1.
    :param reason: what was seen, in words; at most :data:`MAX_FAULT` characters and a few.
    """

    type: str
    passed: bool
    score: float
    reason: str

    def as_dict(self) -> dict[str, Any]:
        """Return ``{"type", "passed", "score", "reason"}``."""
        return {"type": self.type, "passed": self.passed, "score": round(self.score, 6), "reason": self.reason}

    def __str__(self) -> str:
        return f"{self.type}: {self.reason}"


@dataclass(frozen=True)
class Assertion:
    """What an answer has to fulfil.

    :param type: one of :data:`TYPES`, or ``not-`` and one of them.
    :param value: what to compare with; its kind depends on the type.
    :param threshold: edits for ``levenshtein``, else a score from 0 to 1.
    :param weight: how much it counts in the case's score; above 0.
    :param tolerance: of ``number-equals``, see :func:`~gemini_tuning.smoke.checks.numbers.allowed`.
    :param function: of ``python``: what ``value`` names.
    """

    type: str
    value: Any = None
    threshold: float | None = None
    weight: float = 1.0
    tolerance: float | Mapping[str, float] | None = None
    function: python_functions.Function | None = field(default=None, compare=False, repr=False)

    @property
    def kind(self) -> str:
        """The type without its ``not-``."""
        return self.type.removeprefix(NOT)

    @property
    def negated(self) -> bool:
        """Whether it is a ``not-`` form."""
        return self.type.startswith(NOT)

    @property
    def needs_judge(self) -> bool:
        """Whether a model has to be asked, see :meth:`~gemini_tuning.smoke.judge.Judge.judge`."""
        return self.kind == RUBRIC

    @property
    def sees_vars(self) -> bool:
        """Whether the case's vars reach it by themselves."""
        return self.kind == PYTHON

    def check(self, answer: ModelResponse, variables: Mapping[str, str] = MappingProxyType({})) -> Verdict:
        """Return whether an answer fulfils it. Safe in a thread, and over within seconds for an answer of any size.

        :param variables: the case's vars.
        """
        kind = TYPES[self.kind]
        if kind.reads_text and not answer.text.strip():
            # Not even its not- form holds: what is not there says nothing about the model's words.
            return self.verdict(False, 0.0, f"the answer has no text (finish reason {answer.finish_reason or 'none'})")
        try:
            return self.judged(kind.check(self, answer, variables))
        except UndecidedError as error:
            return self.undecided(str(error))

    def judged(self, finding: Finding) -> Verdict:
        """Return the verdict on what was found, turned round for a ``not-`` form."""
        score = float(finding.holds) if finding.score is None else finding.score
        return self.verdict(finding.holds != self.negated, 1 - score if self.negated else score, finding.saw)

    def undecided(self, why: str) -> Verdict:
        """Return the verdict when nobody knows: neither the assertion nor its ``not-`` form holds."""
        return self.verdict(False, 0.0, f"cannot be decided: {why}")

    def verdict(self, passed: bool, score: float, reason: str) -> Verdict:
        """Return a verdict of this assertion, its reason cut."""
        return Verdict(self.type, passed, score, redact(reason, MAX_FAULT))

    def value_problem(self) -> str | None:
        """Return what is wrong with the value that the schema of suites cannot say, or ``None``."""
        return TYPES[self.kind].problem(self.value)

    def as_dict(self) -> dict[str, Any]:
        """Return what decides the verdict."""
        return {
            "type": self.type,
            "value": self.value,
            "threshold": self.threshold,
            "weight": self.weight,
            "tolerance": self.tolerance,
        }


@dataclass(frozen=True)
class Kind:
    """How a type is checked.

    :param check: looks at an answer.
    :param problem: says what is wrong with a value beyond its structure, which ``suite.schema.json`` has.
    :param reads_text: whether it says something about the answer's text, so that there has to be one.
    """

    check: Callable[[Assertion, ModelResponse, Mapping[str, str]], Finding]
    problem: Callable[[Any], str | None] = lambda _: None
    reads_text: bool = True


def _text_problem(value: object) -> str | None:
    return None if isinstance(value, str) and value else f"expected a text, not {short(value)}"


def _texts_problem(value: object) -> str | None:
    if not isinstance(value, list) or not value:
        return f"expected a list of texts, not {short(value)}"
    return next((problem for text in value if (problem := _text_problem(text))), None)


def _regex_problem(value: object) -> str | None:
    if not isinstance(value, str) or not value:
        return _text_problem(value)
    fault = regex_timeout.problem(value)
    return f"{short(value)} is not a regular expression: {fault}" if fault else None


def _ask_a_judge(_: Assertion, __: ModelResponse, ___: object) -> Finding:
    raise UndecidedError("a judge has to be asked")


TYPES: Mapping[str, Kind] = {
    "equals": Kind(texts.equals, _text_problem),
    "contains": Kind(texts.contains(ignore_case=False, enough=all), _text_problem),
    "contains-any": Kind(texts.contains(ignore_case=False, enough=any), _texts_problem),
    "contains-all": Kind(texts.contains(ignore_case=False, enough=all), _texts_problem),
    "icontains": Kind(texts.contains(ignore_case=True, enough=all), _text_problem),
    "icontains-any": Kind(texts.contains(ignore_case=True, enough=any), _texts_problem),
    "icontains-all": Kind(texts.contains(ignore_case=True, enough=all), _texts_problem),
    "starts-with": Kind(texts.starts_with, _text_problem),
    "regex": Kind(texts.regex, _regex_problem),
    "is-json": Kind(json_values.is_json, json_values.schema_problem),
    "contains-json": Kind(json_values.contains_json, json_values.schema_problem),
    "number-equals": Kind(measured.number_equals, measured.number_problem),
    "levenshtein": Kind(measured.levenshtein, _text_problem),
    "rouge-l": Kind(measured.measured(similarity.rouge_l), measured.words_problem),
    "f-score": Kind(measured.measured(similarity.token_f1), measured.words_problem),
    "max-latency": Kind(response_metadata.max_latency, reads_text=False),
    "max-output-tokens": Kind(response_metadata.max_output_tokens, reads_text=False),
    "finish-reason": Kind(response_metadata.finish_reason, _text_problem, reads_text=False),
    "safety-not-blocked": Kind(response_metadata.safety_not_blocked, reads_text=False),
    RUBRIC: Kind(_ask_a_judge, _text_problem),
    PYTHON: Kind(python_functions.check, _text_problem, reads_text=False),
}
