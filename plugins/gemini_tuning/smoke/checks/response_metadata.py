"""Assertions on what the service says of an answer: time, tokens, why it ended, whether it was held back. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gemini_tuning.core.resources import ModelResponse
from gemini_tuning.smoke.checks.findings import Finding, UndecidedError

if TYPE_CHECKING:
    from gemini_tuning.smoke.assertions import Assertion


def max_latency(assertion: Assertion, answer: ModelResponse, _: object) -> Finding:
    """Whether the answer took at most so many milliseconds."""
    took = answer.latency * 1000
    holds = took <= assertion.value
    return Finding(holds, f"{took:.0f} ms is {'at most' if holds else 'more than'} {assertion.value:g} ms")


def max_output_tokens(assertion: Assertion, answer: ModelResponse, _: object) -> Finding:
    """Whether the answer has at most so many tokens."""
    if answer.output_tokens is None:
        raise UndecidedError("the service did not say how many tokens the answer has")
    holds = answer.output_tokens <= assertion.value
    return Finding(holds, f"{answer.output_tokens} tokens are {'at most' if holds else 'more than'} {assertion.value}")


def finish_reason(assertion: Assertion, answer: ModelResponse, _: object) -> Finding:
    """Whether the model stopped for that reason, in the service's words, in any case."""
    if not answer.finish_reason:
        raise UndecidedError("the service did not say why the model stopped")
    holds = answer.finish_reason.casefold() == str(assertion.value).casefold()
    return Finding(holds, f"the finish reason is {answer.finish_reason[:100]}")


def safety_not_blocked(_: Assertion, answer: ModelResponse, __: object) -> Finding:
    """Whether the service held back neither the prompt nor the answer."""
    if answer.blocked:
        return Finding(False, f"the service blocked it: {answer.blocked[:100]}")
    return Finding(True, "the service did not block it")
