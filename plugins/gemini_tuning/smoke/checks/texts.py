"""Assertions that search the answer for texts. White space around an answer does not count."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from gemini_tuning.core.resources import ModelResponse
from gemini_tuning.smoke.checks import regex_timeout
from gemini_tuning.smoke.checks.result import CheckResult, UndecidedError, short

if TYPE_CHECKING:
    from gemini_tuning.smoke.assertions import Assertion

Check = Callable[["Assertion", ModelResponse, Any], CheckResult]


def equals(assertion: Assertion, answer: ModelResponse, _: object) -> CheckResult:
    """Whether the answer is the value."""
    holds = answer.text.strip() == str(assertion.value).strip()
    return CheckResult(holds, f"{short(answer.text.strip())} is {'' if holds else 'not '}{short(assertion.value)}")


def starts_with(assertion: Assertion, answer: ModelResponse, _: object) -> CheckResult:
    """Whether the answer begins with the value."""
    holds = answer.text.strip().startswith(assertion.value)
    verb = "begins" if holds else "does not begin"
    return CheckResult(holds, f"{short(answer.text.strip())} {verb} with {short(assertion.value)}")


def regex(assertion: Assertion, answer: ModelResponse, _: object) -> CheckResult:
    """Whether the pattern matches anywhere in the answer."""
    try:
        match = regex_timeout.search(assertion.value, answer.text)
    except regex_timeout.MatchTimeoutError as error:
        raise UndecidedError(str(error)) from error
    if match is None:
        return CheckResult(False, f"{short(assertion.value)} does not match")
    return CheckResult(True, f"{short(assertion.value)} matches {short(match[0])}")


def contains(*, ignore_case: bool, enough: Callable[[Sequence[bool]], bool]) -> Check:
    """Return a check for texts.

    :param enough: how many of them must be in the answer: ``all`` or ``any``. One text is a list of one.
    """

    def check(assertion: Assertion, answer: ModelResponse, _: object) -> CheckResult:
        texts = [assertion.value] if isinstance(assertion.value, str) else list(assertion.value)
        whole = answer.text.casefold() if ignore_case else answer.text
        found = [(text.casefold() if ignore_case else text) in whole for text in texts]
        return CheckResult(enough(found), _reason(texts, found))

    return check


def _reason(texts: Sequence[str], found: Sequence[bool]) -> str:
    if len(texts) == 1:
        return f"{short(texts[0])} is {'' if found[0] else 'not '}in the answer"
    present = [text for text, is_found in zip(texts, found, strict=True) if is_found]
    missing = [text for text, is_found in zip(texts, found, strict=True) if not is_found]
    parts = [f"{short(some)} {word}" for some, word in ((present, "found"), (missing, "not found")) if some]
    return ", ".join(parts)
