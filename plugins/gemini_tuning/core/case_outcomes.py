"""Outcomes of the cases of a smoke test: read from its results file, with the rates over all cases."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gemini_tuning.core.exceptions import InvalidInputError
from gemini_tuning.core.stats import score_interval, weighted_mean
from gemini_tuning.core.text import short_repr
from gemini_tuning.core.yaml_file import error_message

MAX_WEIGHT = 1e9  # and its reciprocal, so that sums of weights stay exact enough
MAX_CASE_ID = 1_000  # characters
_DIGITS = 9  # of a share: 0.1 + 0.2 must equal 0.3


class ResultError(InvalidInputError):
    """The results of the smoke tests cannot be compared; the message names the file and line, or the field."""


@dataclass(frozen=True)
class CaseOutcome:
    """Outcome of one case of the suite for one checkpoint, over all repeats."""

    passed: bool
    score: float  # 0 to 1; it is 1 or 0 where no assertion gives partial credit
    weight: float = 1.0  # 1e-9 to 1e9, the same for every checkpoint
    critical: bool = False  # a checkpoint that fails this case is rejected
    blocked: bool = False  # the service blocked the prompt or a response

    def __post_init__(self) -> None:
        for name, low, high in (("score", 0, 1), ("weight", 1 / MAX_WEIGHT, MAX_WEIGHT)):
            value = getattr(self, name)
            if not low <= value <= high:
                problem = f"{name} must be between {low:g} and {high:g}, not {short_repr(value)}."
                raise ResultError(problem, field=name, code="out_of_range")


@dataclass(frozen=True, kw_only=True)
class CaseOutcomes:
    """Outcomes of all cases by case id, with the rates over them."""

    outcomes: Mapping[str, CaseOutcome] = field(default_factory=dict)

    @cached_property
    def cases(self) -> tuple[str, ...]:
        """Case ids, sorted, so that nothing depends on the order in which they were run."""
        return tuple(sorted(self.outcomes))

    @cached_property
    def pass_rate(self) -> float:
        """Weighted share of the cases that passed, 0 to 1; 0 without cases."""
        return self._mean([float(outcome.passed) for outcome in self._sorted])

    @cached_property
    def score(self) -> float:
        """Weighted mean of the scores, 0 to 1; the pass rate where no case gives partial credit."""
        return self._mean([outcome.score for outcome in self._sorted])

    @cached_property
    def pass_rate_interval(self) -> tuple[float, float]:
        """95 % interval of the pass rate."""
        return score_interval([float(outcome.passed) for outcome in self._sorted], self._weights)

    @cached_property
    def score_interval(self) -> tuple[float, float]:
        """95 % interval of the score."""
        return score_interval([outcome.score for outcome in self._sorted], self._weights)

    @cached_property
    def failed_critical(self) -> tuple[str, ...]:
        """Ids of the critical cases that failed."""
        return tuple(i for i in self.cases if self.outcomes[i].critical and not self.outcomes[i].passed)

    @cached_property
    def blocked(self) -> tuple[str, ...]:
        """Ids of the cases whose prompt or response was blocked."""
        return tuple(i for i in self.cases if self.outcomes[i].blocked)

    @cached_property
    def _sorted(self) -> tuple[CaseOutcome, ...]:
        return tuple(self.outcomes[i] for i in self.cases)

    @cached_property
    def _weights(self) -> list[float]:
        return [outcome.weight for outcome in self._sorted]

    def _mean(self, values: list[float]) -> float:
        return round(weighted_mean(values, self._weights), _DIGITS) if values else 0.0


class _Line(BaseModel):
    """What counts of a line of a results file."""

    model_config = ConfigDict(strict=True)

    case_id: Annotated[str, Field(max_length=MAX_CASE_ID, pattern=r"\S")]
    repeat: int
    passed: bool
    score: float | None
    weight: float
    critical: bool
    blocked: str | bool | None = None
    error: Any = None

    def outcome(self) -> CaseOutcome:
        answered = self.error is None
        if answered and self.score is None:
            raise ResultError("score: must be a valid number, not None", field="score", code="wrong_type")
        return CaseOutcome(
            passed=self.passed and answered,
            score=(self.score or 0.0) if answered else 0.0,
            weight=self.weight,
            critical=self.critical,
            blocked=bool(self.blocked),
        )


def outcomes_from_lines(lines: Iterable[bytes], source: str) -> dict[str, CaseOutcome]:
    """Read a results file: JSONL with one object per case and repeat.

    Of each object these count: ``case_id``, ``repeat``, ``passed``, ``score``, ``weight``, ``critical``, ``blocked``
    (whether, or the reason) and ``error``. Without a response a case has failed and scores 0. A case with repeats
    passes when more than half of them pass, a critical one only when all do; its score is their mean, and it is blocked
    when one of them is. Messages of a ResultError name the source, which is the file's address, and the line.
    """
    repeats: dict[str, dict[int, tuple[int, CaseOutcome]]] = {}
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        try:
            line = _Line.model_validate_json(text)
            _add(repeats.setdefault(line.case_id, {}), line, number)
        except (ValidationError, ResultError) as error:
            fault = _fault(error) if isinstance(error, ValidationError) else error
            problem = f"{source}, line {number}: {fault}"
            raise ResultError(problem, field=fault.field, code=fault.code, resource=source) from None
    return {case_id: _combined([outcome for _, outcome in found.values()]) for case_id, found in repeats.items()}


def _fault(error: ValidationError) -> ResultError:
    details = error.errors(include_url=False)[0]
    if not details["loc"]:
        return ResultError(f"expected a JSON object, not {short_repr(details['input'])}", code="invalid_json")
    field = str(details["loc"][0])
    return ResultError(f"{field}: {error_message(details)}", field=field, code="wrong_type")


def _add(repeats: dict[int, tuple[int, CaseOutcome]], line: _Line, number: int) -> None:
    case, outcome = f"case {short_repr(line.case_id)}", line.outcome()
    if line.repeat in repeats:
        message = f"{case}, repeat {line.repeat}: already in line {repeats[line.repeat][0]}"
        raise ResultError(message, field="repeat", code="duplicate_result")
    for first, other in list(repeats.values())[:1]:
        if (other.weight, other.critical) != (outcome.weight, outcome.critical):
            message = f"{case}: weight or critical not as in line {first}"
            raise ResultError(message, field="case_id", code="inconsistent_case")
    repeats[line.repeat] = number, outcome


def _combined(outcomes: list[CaseOutcome]) -> CaseOutcome:
    passes, critical = sum(o.passed for o in outcomes), outcomes[0].critical
    return CaseOutcome(
        passed=passes == len(outcomes) if critical else 2 * passes > len(outcomes),
        score=min(1.0, math.fsum(o.score for o in outcomes) / len(outcomes)),
        weight=outcomes[0].weight,
        critical=critical,
        blocked=any(o.blocked for o in outcomes),
    )
