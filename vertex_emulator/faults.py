"""Faults on demand: replies that fail, and jobs that end otherwise than well."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import GoogleError
from .lifecycle import Fate, Outcome
from .protojson import Enum, Type, read_message

_OUTCOMES = Enum({outcome.value: number for number, outcome in enumerate(Outcome)})
_ERROR: Mapping[str, Type] = {"code": "int", "message": "string"}
_JOB: Mapping[str, Type] = {"displayName": "string", "labels": "labels"}
_RULE: Mapping[str, Type] = {
    "method": "string",
    "path": "string",
    "status": "int",
    "grpcStatus": "string",
    "message": "string",
    "times": "int",
    "retryAfter": "double",
    "job": _JOB,
    "outcome": _OUTCOMES,
    "checkpoint": "string",
    "error": _ERROR,
}


@dataclass(slots=True)
class ReplyRule:
    """Answers requests with an error instead of serving them.

    :param method: HTTP method; none means any.
    :param path: regular expression, searched in the path (percent signs decoded).
    :param times: how many requests are left; none means all, until the rules are cleared.
    """

    method: str | None
    path: re.Pattern[str]
    error: GoogleError
    times: int | None


@dataclass(slots=True)
class JobRule:
    """Decides the fate of jobs at their creation.

    :param display_name: regular expression, searched in tunedModelDisplayName.
    :param labels: labels that the job must have.
    :param times: how many jobs are left; none means all.
    """

    display_name: re.Pattern[str]
    labels: dict[str, str]
    fate: Fate
    times: int | None


@dataclass(slots=True)
class Faults:
    """The rules in force. The first that fits decides."""

    replies: list[ReplyRule] = field(default_factory=list)
    jobs: list[JobRule] = field(default_factory=list)

    def add(self, rules: list[dict[str, Any]]) -> None:
        """Append rules, as :func:`read_rules` returns them."""
        for rule in rules:
            if "outcome" in rule:
                self.jobs.append(_job_rule(rule))
            else:
                self.replies.append(_reply_rule(rule))

    def clear(self) -> None:
        """Forget all rules."""
        self.replies.clear()
        self.jobs.clear()

    def reply(self, method: str, path: str) -> GoogleError | None:
        """Error for a request, if a rule fits; counts it."""
        for rule in self.replies:
            if rule.times != 0 and rule.method in (None, method) and rule.path.search(path):
                _count(rule)
                return rule.error
        return None

    def fate(self, display_name: str, labels: Mapping[str, str]) -> Fate:
        """Fate of a new job; counts the rule."""
        for rule in self.jobs:
            fits = rule.labels.items() <= labels.items() and rule.display_name.search(display_name)
            if rule.times != 0 and fits:
                _count(rule)
                return rule.fate
        return Fate()


def read_rules(value: Any) -> list[dict[str, Any]]:
    """Read what was posted: one rule or a list of them."""
    rules = value if isinstance(value, list) else [value]
    return [read_message(rule, _RULE, f"faults[{index}]") for index, rule in enumerate(rules)]


def _count(rule: ReplyRule | JobRule) -> None:
    if rule.times is not None:
        rule.times -= 1


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise GoogleError(400, f'"{text}" is not a regular expression: {error}') from error


def _reply_rule(rule: dict[str, Any]) -> ReplyRule:
    error = GoogleError(
        rule.get("status", 503),
        rule.get("message", "Injected by a fault rule of the emulator."),
        rule.get("grpcStatus"),
        retry_after=rule.get("retryAfter"),
    )
    return ReplyRule(rule.get("method"), _pattern(rule.get("path", "")), error, rule.get("times"))


def _job_rule(rule: dict[str, Any]) -> JobRule:
    job = rule.get("job", {})
    fate = Fate(Outcome(rule["outcome"]), rule.get("error"), rule.get("checkpoint", "1"))
    return JobRule(_pattern(job.get("displayName", "")), job.get("labels", {}), fate, rule.get("times"))
