"""A case of a suite: the request, the assertions on the answer, and the grade."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from gemini_tuning.smoke.assertions import PYTHON, Assertion, Verdict

MAX_ID = 200  # characters of a case id; ids appear in logs, XComs and the report
_SLACK = 1e-9  # a sum of floats may fall this much short of a threshold that it reaches exactly

Turn = dict[str, Any]  # {"role", "parts": [{"text"} or {"file_uri", "mime_type"}, …]}


def single_turn(prompt: str) -> list[Turn]:
    """Return a conversation of one prompt."""
    return [{"role": "user", "parts": [{"text": prompt}]}]


class Grade(NamedTuple):
    """The result of a case; its score is 0 to 1."""

    passed: bool
    score: float


@dataclass(frozen=True)
class Case:
    """A request and the assertions on its answer, with all variables filled in."""

    id: str
    contents: list[Turn]  # the conversation; its last turn is the user's
    assertions: tuple[Assertion, ...]
    system_instruction: str | None = None
    vars: Mapping[str, str] = field(default_factory=dict)
    weight: float = 1.0  # of this case in the suite's score
    temperature: float | None = 0.0  # None: the model's default
    max_output_tokens: int | None = None
    threshold: float | None = None  # the score from which the case passes; None: every assertion must pass
    critical: bool = False  # a checkpoint that fails the case cannot be chosen
    repeat: int = 1  # how often the prompt is sent

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the request and the assertions: an answer with the same fingerprint is used again by a retry.

        It covers neither the weight of the case in the suite nor the suite's judge.
        """
        return digest(
            {
                "contents": self.contents,
                "system_instruction": self.system_instruction,
                "temperature": self.temperature,
                "max_output_tokens": self.max_output_tokens,
                "threshold": self.threshold,
                "assertions": [assertion.as_dict() for assertion in self.assertions],
                # Only a function of the user's own sees the vars apart from the templates they were filled into.
                "vars": dict(self.vars) if any(each.name == PYTHON for each in self.assertions) else None,
            }
        )[:16]

    def grade(self, verdicts: Sequence[Verdict]) -> Grade:
        """Return whether the case passes, and its score.

        With a threshold the score is the weighted mean of the verdicts' scores, and the case passes when it reaches
        the threshold (promptfoo's rule). Without one the case passes with score 1 when every assertion passes and
        fails with score 0 otherwise, so the score of a suite without thresholds is its pass rate.
        """
        pairs = list(zip(self.assertions, verdicts, strict=True))
        if self.threshold is None:
            passed = all(verdict.passed for verdict in verdicts)
            return Grade(passed, float(passed))
        total = sum(assertion.weight for assertion, _ in pairs)
        score = sum(assertion.weight * verdict.score for assertion, verdict in pairs) / total if total else 0.0
        return Grade(score >= self.threshold - _SLACK, score)


def digest(value: Any) -> str:
    """Return a hash of a JSON-like value: 64 hex digits."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
