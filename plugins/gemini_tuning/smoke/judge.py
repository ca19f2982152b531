"""A model that judges answers against a rubric (``llm-rubric``). Pure: who asks the model is handed in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from gemini_tuning.resources import Answer
from gemini_tuning.smoke.assertions import Assertion, Verdict
from gemini_tuning.smoke.cases import Case

Ask = Callable[[str], Awaitable[Answer]]


@dataclass(frozen=True)
class Judge:
    """Who judges, and how often it is asked.

    :param model: publisher model id such as ``gemini-2.5-flash``, or an endpoint's full name.
    :param samples: at most so many votes an answer; odd. More than half of them must agree.
    :param temperature: above 0, or all votes would be one.
    """

    model: str
    samples: int = 3
    temperature: float = 1.0

    async def judge(self, assertion: Assertion, case: Case, answer: Answer, ask: Ask) -> Verdict:
        """Return what the majority says.

        :param assertion: an ``llm-rubric`` or ``not-llm-rubric`` of the case.
        :param ask: sends one prompt to the judge's model; what it raises is raised on.
        """
        raise NotImplementedError
