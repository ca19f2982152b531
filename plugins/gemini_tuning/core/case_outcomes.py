"""Outcomes of the cases of a smoke test: read from its results file, with the rates over all cases."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any

from gemini_tuning.core.exceptions import InvalidInputError
from gemini_tuning.core.stats import score_interval, weighted_mean
from gemini_tuning.core.text import short_repr

MAX_WEIGHT = 1e9  # and its reciprocal, so that sums of weights stay exact enough
MAX_CASE_ID = 1_000  # characters
_DIGITS = 9  # of a share: 0.1 + 0.2 must equal 0.3


class ResultError(InvalidInputError):
    """The results of the smoke tests cannot be compared; the message names the file and line, or the field."""


@dataclass(frozen=True)
class CaseOutcome:
    """Outcome of one case of the suite for one checkpoint, over all repeats.

    :param score: 0 to 1; it is 1 or 0 where no assertion gives partial credit.
    :param weight: 1e-9 to 1e9, the same for every checkpoint.
    :param critical: a checkpoint that fails this case is rejected.
    :param blocked: the service blocked the prompt or a response.
    :raises ResultError: when a number is out of range.
    """

    passed: bool
    score: float
    weight: float = 1.0
    critical: bool = False
    blocked: bool = False

    def __post_init__(self) -> None:
        for name, low, high in (("score", 0, 1), ("weight", 1 / MAX_WEIGHT, MAX_WEIGHT)):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ResultError(
                    f"{name} must be between {low:g} and {high:g}, not {short_repr(value)}.",
                    field=name,
                    code="out_of_range",
                )


@dataclass(frozen=True, kw_only=True)
class CaseOutcomes:
    """Outcomes of all cases by case id, with the rates over them."""

    outcomes: Mapping[str, CaseOutcome] = field(default_factory=lambda: MappingProxyType({}))

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
        """95 % interval of the pass rate, see :func:`gemini_tuning.core.stats.score_interval`."""
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


def outcomes_from_lines(lines: Iterable[bytes], source: str) -> dict[str, CaseOutcome]:
    """Read a results file: JSONL with one object per case and repeat.

    Of each object these count: ``case_id``, ``repeat``, ``passed``, ``score``, ``weight``, ``critical``, ``blocked``
    (whether, or the reason) and ``error``. Without a response a case has failed and scores 0. A case with repeats
    passes when more than half of them pass, a critical one only when all do; its score is their mean, and it is blocked
    when one of them is.

    :param source: address of the file, for messages.
    :raises ResultError: naming file and line.
    """
    repeats: dict[str, dict[int, _Line]] = {}
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        try:
            line = _Line.read(text, number)
            _add(repeats.setdefault(line.case_id, {}), line)
        except ResultError as error:
            raise ResultError(
                f"{source}, line {number}: {error}", field=error.field, code=error.code, resource=source
            ) from None
    return {case_id: _combined([line.outcome for line in found.values()]) for case_id, found in repeats.items()}


@dataclass(frozen=True)
class _Line:
    """What counts of a line of a results file."""

    number: int
    case_id: str
    repeat: int
    outcome: CaseOutcome

    @classmethod
    def read(cls, text: bytes, number: int) -> _Line:
        try:
            data = json.loads(text)
        except (ValueError, RecursionError):
            data = text
        if not isinstance(data, dict):
            raise ResultError(f"expected a JSON object, not {short_repr(data)}", code="invalid_json")
        case_id, repeat, blocked = data.get("case_id"), read_int(data, "repeat"), data.get("blocked")
        if not isinstance(case_id, str) or not case_id.strip() or len(case_id) > MAX_CASE_ID:
            raise wrong_type("case_id", case_id, "a case id")
        if repeat is None:
            raise wrong_type("repeat", repeat, "the number of the repeat")
        if not isinstance(blocked, str | bool | None):
            raise wrong_type("blocked", blocked, "a reason, true, false or null")
        passed, critical, answered = _bool(data, "passed"), _bool(data, "critical"), data.get("error") is None
        outcome = CaseOutcome(
            passed=passed and answered,
            score=read_float(data, "score") if answered else 0.0,
            weight=read_float(data, "weight"),
            critical=critical,
            blocked=bool(blocked),
        )
        return cls(number, case_id, repeat, outcome)


def _add(repeats: dict[int, _Line], line: _Line) -> None:
    """Add a line to the repeats of its case.

    :raises ResultError: when the repeat exists already, or the case had another weight before.
    """
    case = f"case {short_repr(line.case_id)}"
    if (twin := repeats.get(line.repeat)) is not None:
        raise ResultError(
            f"{case}, repeat {line.repeat}: already in line {twin.number}", field="repeat", code="duplicate_result"
        )
    for first in list(repeats.values())[:1]:
        if (first.outcome.weight, first.outcome.critical) != (line.outcome.weight, line.outcome.critical):
            raise ResultError(
                f"{case}: weight or critical not as in line {first.number}",
                field="case_id",
                code="inconsistent_case",
            )
    repeats[line.repeat] = line


def _combined(outcomes: list[CaseOutcome]) -> CaseOutcome:
    passes, critical = sum(o.passed for o in outcomes), outcomes[0].critical
    return CaseOutcome(
        passed=passes == len(outcomes) if critical else 2 * passes > len(outcomes),
        score=min(1.0, math.fsum(o.score for o in outcomes) / len(outcomes)),
        weight=outcomes[0].weight,
        critical=critical,
        blocked=any(o.blocked for o in outcomes),
    )


def wrong_type(field: str, value: object, expected: str) -> ResultError:
    """Return the error of a field that is not what it should be."""
    return ResultError(f"{field}: expected {expected}, not {short_repr(value)}", field=field, code="wrong_type")


def read_int(data: Mapping[str, Any], name: str) -> int | None:
    """Return a whole number of a results file or summary; ``None`` where it is missing or null."""
    value = data.get(name)
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63):
        return value
    raise wrong_type(name, value, "a whole number")


def read_float(data: Mapping[str, Any], name: str, field: str = "") -> float:
    """Return a number; one that is too large for a float becomes infinite.

    :param field: dotted path of the field, for the message; by default its name.
    """
    value = data.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise wrong_type(field or name, value, "a number")
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _bool(data: Mapping[str, Any], name: str) -> bool:
    value = data.get(name)
    if isinstance(value, bool):
        return value
    raise wrong_type(name, value, "true or false")
