"""Assertions that search the answer for texts. White space around an answer does not count."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import compress
from operator import not_
from typing import TYPE_CHECKING

from gemini_tuning.smoke.checks import regex_timeout
from gemini_tuning.smoke.checks.result import CheckResult, Condition, short

if TYPE_CHECKING:
    from gemini_tuning.core.model_response import ModelResponse
    from gemini_tuning.smoke.checks.result import Check


def equals(assertion: Condition, answer: ModelResponse, _: object) -> CheckResult:
    """Whether the answer is the value."""
    holds = answer.text.strip() == str(assertion.value).strip()
    return CheckResult(holds, f"{short(answer.text.strip())} is {'' if holds else 'not '}{short(assertion.value)}")


def starts_with(assertion: Condition, answer: ModelResponse, _: object) -> CheckResult:
    """Whether the answer begins with the value."""
    holds = answer.text.strip().startswith(assertion.value)
    verb = "begins" if holds else "does not begin"
    return CheckResult(holds, f"{short(answer.text.strip())} {verb} with {short(assertion.value)}")


def regex(assertion: Condition, answer: ModelResponse, _: object) -> CheckResult:
    """Whether the pattern matches anywhere in the answer."""
    match = regex_timeout.search(assertion.value, answer.text)
    if match is None:
        return CheckResult(False, f"{short(assertion.value)} does not match")
    return CheckResult(True, f"{short(assertion.value)} matches {short(match[0])}")


def contains(*, ignore_case: bool, enough: Callable[[Sequence[bool]], bool]) -> Check:
    """Return a check that ``all`` or ``any`` of some texts are in the answer. One text is a list of one."""

    def check(assertion: Condition, answer: ModelResponse, _: object) -> CheckResult:
        texts = [assertion.value] if isinstance(assertion.value, str) else list(assertion.value)
        whole = answer.text.casefold() if ignore_case else answer.text
        found = [(text.casefold() if ignore_case else text) in whole for text in texts]
        if len(texts) == 1:
            return CheckResult(enough(found), f"{short(texts[0])} is {'' if found[0] else 'not '}in the answer")
        sides = ((list(compress(texts, found)), "found"), (list(compress(texts, map(not_, found))), "not found"))
        return CheckResult(enough(found), ", ".join(f"{short(some)} {verb}" for some, verb in sides if some))

    return check
