"""Assertions on the metadata of a response: latency, tokens, finish reason, safety."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gemini_tuning.smoke.checks.result import CheckResult, Condition, UndecidedError

if TYPE_CHECKING:
    from gemini_tuning.core.model_response import ModelResponse


def max_latency(assertion: Condition, answer: ModelResponse, _: object) -> CheckResult:
    """Whether the answer took at most ``value`` milliseconds."""
    took = answer.latency * 1000
    holds = took <= assertion.value
    return CheckResult(holds, f"{took:.0f} ms is {'at most' if holds else 'more than'} {assertion.value:g} ms")


def max_output_tokens(assertion: Condition, answer: ModelResponse, _: object) -> CheckResult:
    """Whether the answer has at most ``value`` tokens."""
    count = answer.output_tokens
    if count is None:
        raise UndecidedError("the response has no token count")
    holds = count <= assertion.value
    return CheckResult(holds, f"{count} tokens are {'at most' if holds else 'more than'} {assertion.value}")


def finish_reason(assertion: Condition, answer: ModelResponse, _: object) -> CheckResult:
    """Whether the response has this finish reason, in any case."""
    if not answer.finish_reason:
        raise UndecidedError("the response has no finish reason")
    holds = answer.finish_reason.casefold() == str(assertion.value).casefold()
    return CheckResult(holds, f"the finish reason is {answer.finish_reason[:100]}")


def safety_not_blocked(_: Condition, answer: ModelResponse, __: object) -> CheckResult:
    """Whether the service blocked neither the prompt nor the answer."""
    if answer.blocked:
        return CheckResult(False, f"the service blocked it: {answer.blocked[:100]}")
    return CheckResult(True, "the service did not block it")
