"""What a case of a suite is: what is asked, what the answer has to fulfil, and what that makes of it. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from gemini_tuning.smoke.assertions import Assertion, Verdict

USER, MODEL = "user", "model"
_SLACK = 1e-9  # of a sum of floats against the threshold that it should reach exactly


@dataclass(frozen=True)
class Part:
    """A piece of a turn: either a text, or a file in Cloud Storage.

    :param file_uri: ``gs://`` address, for example of an image.
    :param mime_type: of that file, for example ``image/png``.
    """

    text: str | None = None
    file_uri: str | None = None
    mime_type: str | None = None

    def as_dict(self) -> dict[str, str]:
        """Return ``{"text"}`` or ``{"file_uri", "mime_type"}``."""
        if self.file_uri is None:
            return {"text": self.text or ""}
        return {"file_uri": self.file_uri, "mime_type": self.mime_type or ""}


@dataclass(frozen=True)
class Turn:
    """One turn of a conversation.

    :param role: ``user`` or ``model``.
    """

    role: str
    parts: tuple[Part, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return ``{"role", "parts": [...]}``."""
        return {"role": self.role, "parts": [part.as_dict() for part in self.parts]}


def asked(prompt: str) -> tuple[Turn, ...]:
    """Return the conversation that is one question."""
    return (Turn(USER, (Part(text=prompt),)),)


@dataclass(frozen=True)
class Grade:
    """What a case's verdicts come to.

    :param score: 0 to 1.
    """

    passed: bool
    score: float


@dataclass(frozen=True)
class Case:
    """What is asked, and what the answer has to fulfil.

    :param contents: the conversation; its last turn is the user's.
    :param vars: what was put into the templates.
    :param weight: how much it counts in the suite's score; above 0.
    :param temperature: ``None`` for the model's own.
    :param threshold: the score from which the case passes; ``None``: every assertion has to hold.
    :param critical: a checkpoint that fails it cannot be chosen.
    :param repeat: how often it is asked.
    """

    id: str
    contents: tuple[Turn, ...]
    assertions: tuple[Assertion, ...]
    system_instruction: str | None = None
    vars: Mapping[str, str] = field(default_factory=dict)
    weight: float = 1.0
    temperature: float | None = 0.0
    max_output_tokens: int | None = None
    threshold: float | None = None
    critical: bool = False
    repeat: int = 1

    @property
    def prompt(self) -> str:
        """The text of the last turn."""
        return "\n".join(part.text for part in self.contents[-1].parts if part.text)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of what is asked and how the answer is judged: an answer under the same one need not be asked again.

        How much the case counts in the suite is not in it, and neither is the suite's judge.
        """
        return digest(
            {
                "contents": [turn.as_dict() for turn in self.contents],
                "system_instruction": self.system_instruction,
                "temperature": self.temperature,
                "max_output_tokens": self.max_output_tokens,
                "threshold": self.threshold,
                "assertions": [assertion.as_dict() for assertion in self.assertions],
                # Nothing but a function of the user's own sees more of the vars than what they were put into.
                "vars": dict(self.vars) if any(assertion.sees_vars for assertion in self.assertions) else None,
            }
        )[:16]

    def grade(self, verdicts: Sequence[Verdict]) -> Grade:
        """Return whether the case passes, and its score.

        With a threshold the score is the mean of the verdicts' scores, weighted with their assertions' weights, and
        the case passes when it reaches the threshold (promptfoo's rule). Without one the case is a plain question:
        it passes, and scores 1, when every assertion holds; else it scores 0, so that the score of a suite is its
        pass rate where nobody asked for part marks.

        :param verdicts: one for each assertion, in their order.
        :raises ValueError: when there are more or fewer.
        """
        pairs = list(zip(self.assertions, verdicts, strict=True))
        if self.threshold is None:
            passed = all(verdict.passed for verdict in verdicts)
            return Grade(passed, float(passed))
        total = sum(assertion.weight for assertion, _ in pairs)
        score = sum(assertion.weight * verdict.score for assertion, verdict in pairs) / total if total else 0.0
        return Grade(score >= self.threshold - _SLACK, score)


def digest(value: Any) -> str:
    """Return a hash of something JSON-like: 64 hex digits."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
