"""Assertions that look for texts in the answer. White space around an answer does not count. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from gemini_tuning.core.resources import ModelResponse
from gemini_tuning.smoke.checks import regex_timeout
from gemini_tuning.smoke.checks.findings import Finding, UndecidedError, short

if TYPE_CHECKING:
    from gemini_tuning.smoke.assertions import Assertion

Check = Callable[["Assertion", ModelResponse, Any], Finding]


def equals(assertion: Assertion, answer: ModelResponse, _: object) -> Finding:
    """Whether the answer is the value."""
    holds = answer.text.strip() == str(assertion.value).strip()
    return Finding(holds, f"{short(answer.text.strip())} is {'' if holds else 'not '}{short(assertion.value)}")


def starts_with(assertion: Assertion, answer: ModelResponse, _: object) -> Finding:
    """Whether the answer begins with the value."""
    holds = answer.text.strip().startswith(assertion.value)
    return Finding(
        holds, f"{short(answer.text.strip())} {'begins' if holds else 'does not begin'} with {short(assertion.value)}"
    )


def regex(assertion: Assertion, answer: ModelResponse, _: object) -> Finding:
    """Whether the pattern is found anywhere in the answer."""
    try:
        match = regex_timeout.found(assertion.value, answer.text)
    except regex_timeout.MatchTimeoutError as error:
        raise UndecidedError(str(error)) from error
    if match is None:
        return Finding(False, f"{short(assertion.value)} does not match")
    return Finding(True, f"{short(assertion.value)} matches {short(match[0])}")


def contains(*, ignore_case: bool, enough: Callable[[Sequence[bool]], bool]) -> Check:
    """Return a check for texts.

    :param enough: which of them must be there: ``all`` or ``any``. One text is a list of one.
    """

    def check(assertion: Assertion, answer: ModelResponse, _: object) -> Finding:
        texts = [assertion.value] if isinstance(assertion.value, str) else list(assertion.value)
        whole = answer.text.casefold() if ignore_case else answer.text
        there = [(text.casefold() if ignore_case else text) in whole for text in texts]
        return Finding(enough(there), _seen(texts, there))

    return check


def _seen(texts: Sequence[str], there: Sequence[bool]) -> str:
    if len(texts) == 1:
        return f"{short(texts[0])} is {'' if there[0] else 'not '}in the answer"
    found = [text for text, is_there in zip(texts, there, strict=True) if is_there]
    missing = [text for text, is_there in zip(texts, there, strict=True) if not is_there]
    parts = [f"{short(some)} {word}" for some, word in ((found, "found"), (missing, "not found")) if some]
    return ", ".join(parts)
