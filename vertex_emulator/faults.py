"""Faults on demand: requests that are answered badly, and jobs and operations that end otherwise than well.

Which requests a rule takes is decided here, how a bad answer is given in :mod:`vertex_emulator.misbehaviour`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random
from typing import Any, NamedTuple

from .errors import GoogleError, unauthenticated
from .lifecycle import Fate, Outcome
from .protojson import Enum, Type, read_message


def _enum(names: type[StrEnum]) -> Enum:
    return Enum({item.value: number for number, item in enumerate(names)})


class Drop(StrEnum):
    """When a connection is closed without an answer."""

    BEFORE = "before"
    """The request had no effect."""
    AFTER = "after"
    """The request took effect, and the caller does not know."""


class Body(StrEnum):
    """What is wrong with the body of an answer."""

    HTML = "html"
    """A page, as a proxy on the way gives one."""
    TRUNCATED = "truncated"
    """Half of it, then the connection is closed."""
    MALFORMED = "malformed"
    """Half of it, as if that were all."""


class Token(StrEnum):
    """What is wrong with the caller's token."""

    EXPIRED = "expired"


_ERROR: Mapping[str, Type] = {"code": "int", "message": "string"}
_JOB: Mapping[str, Type] = {"displayName": "string", "labels": "labels"}
_RULE: Mapping[str, Type] = {
    "method": "string",
    "path": "string",
    "checkpoint": "string",
    "model": "string",
    "skip": "int",
    "times": "int",
    "probability": "double",
    "seed": "any",
    "status": "int",
    "grpcStatus": "string",
    "message": "string",
    "retryAfter": "double",
    "applied": "bool",
    "delay": "double",
    "drop": _enum(Drop),
    "body": _enum(Body),
    "token": _enum(Token),
    "job": _JOB,
    "operation": "string",
    "outcome": _enum(Outcome),
    "error": _ERROR,
}
_LIMITS = {
    "skip": (0, 10**9),
    "times": (0, 10**9),
    "probability": (0, 1),
    "status": (200, 599),
    "retryAfter": (0, 10**6),
    "delay": (0, 3600),
}
_OPERATION_OUTCOMES = (Outcome.FAILED, Outcome.STALLED)
_OPERATION_ERROR = {"code": 13, "message": "Internal error encountered."}


@dataclass(slots=True)
class Turn:
    """Says which of the requests (jobs, operations) that fit a rule it takes.

    :param skip: how many it lets pass first.
    :param times: how many it takes at most; none means all, until the rules are cleared.
    :param probability: of taking one; whether the n-th is taken depends on ``seed`` and n alone.
    """

    skip: int
    times: int | None
    probability: float
    seed: str
    seen: int = 0
    taken: int = 0

    def take(self) -> bool:
        """Count one that fits."""
        if self.times is not None and self.taken >= self.times:
            return False
        self.seen += 1
        chance = Random(f"{self.seed}/{self.seen}").random()  # noqa: S311  (no secret)
        if self.seen <= self.skip or chance >= self.probability:
            return False
        self.taken += 1
        return True


class BadReply(NamedTuple):
    """How a request is answered. With none of error, drop and body it is answered well, after the delay.

    :param error: for an answer that is an error, and the status of a page.
    :param applied: whether the request takes effect all the same.
    :param delay: real seconds before the request is looked at.
    """

    error: GoogleError | None
    applied: bool
    delay: float
    drop: Drop | None
    body: Body | None

    @property
    def name(self) -> str:
        """What it is, for the journal."""
        return f"drop {self.drop}" if self.drop else self.body or ("error" if self.error else "delay")


class Prompted(NamedTuple):
    """What a prompt goes to: name of the model version, its display name, id of the checkpoint."""

    model: str
    display_name: str
    checkpoint: str


@dataclass(slots=True)
class ReplyRule:
    """Answers requests badly.

    :param method: HTTP method; none means any.
    :param path: regular expression, searched in the path (percent signs decoded).
    :param checkpoint: takes only prompts that this checkpoint answers.
    :param model: regular expression; takes only prompts to a model with this name or display name.
    """

    method: str | None
    path: re.Pattern[str]
    checkpoint: str | None
    model: re.Pattern[str] | None
    turn: Turn
    reply: BadReply

    def fits(self, method: str, path: str, prompted: Callable[[], Prompted | None]) -> bool:
        """Whether it is about such requests."""
        if self.method not in (None, method) or not self.path.search(path):
            return False
        if self.checkpoint is None and self.model is None:
            return True
        target = prompted()
        return (
            target is not None
            and self.checkpoint in (None, target.checkpoint)
            and (self.model is None or any(map(self.model.search, (target.model, target.display_name))))
        )


@dataclass(slots=True)
class JobRule:
    """Decides the fate of jobs at their creation.

    :param display_name: regular expression, searched in tunedModelDisplayName.
    :param labels: labels that the job must have.
    """

    display_name: re.Pattern[str]
    labels: dict[str, str]
    turn: Turn
    fate: Fate


@dataclass(slots=True)
class OperationRule:
    """Decides the fate of long-running operations at their start.

    :param work: what they do, such as ``copy``.
    :param error: google.rpc.Status they end with; none means that they never end.
    """

    work: str
    turn: Turn
    error: dict[str, Any] | None


@dataclass(slots=True)
class Faults:
    """The rules in force. The first that takes a request decides.

    :param seed: for rules with a probability and without a seed of their own.
    """

    seed: str
    replies: list[ReplyRule] = field(default_factory=list)
    jobs: list[JobRule] = field(default_factory=list)
    operations: list[OperationRule] = field(default_factory=list)

    def add(self, rules: list[dict[str, Any]]) -> None:
        """Append rules, as :func:`read_rules` returns them."""
        for rule in rules:
            number = len(self.replies) + len(self.jobs) + len(self.operations)
            turn = Turn(
                rule.get("skip", 0),
                rule.get("times"),
                rule.get("probability", 1.0),
                str(rule.get("seed", f"{self.seed}/{number}")),
            )
            if "operation" in rule:
                self.operations.append(_operation_rule(rule, turn))
            elif "outcome" in rule:
                self.jobs.append(_job_rule(rule, turn))
            else:
                self.replies.append(_reply_rule(rule, turn))

    def clear(self) -> None:
        """Forget all rules."""
        self.replies.clear()
        self.jobs.clear()
        self.operations.clear()

    def describe(self) -> dict[str, list[dict[str, int]]]:
        """Return how many requests, jobs and operations each rule has seen and taken, in the rules' order."""
        turns = {
            "replies": [rule.turn for rule in self.replies],
            "jobs": [rule.turn for rule in self.jobs],
            "operations": [rule.turn for rule in self.operations],
        }
        return {kind: [{"seen": turn.seen, "taken": turn.taken} for turn in found] for kind, found in turns.items()}

    def counts(self) -> list[list[int]]:
        """How many requests each reply rule has seen and taken."""
        return [[rule.turn.seen, rule.turn.taken] for rule in self.replies]

    def restore(self, counts: list[list[int]]) -> None:
        """Set what :meth:`counts` said."""
        for rule, (seen, taken) in zip(self.replies, counts, strict=True):
            rule.turn.seen, rule.turn.taken = seen, taken

    def reply(self, method: str, path: str, prompted: Callable[[], Prompted | None]) -> BadReply | None:
        """Decide how to answer a request; none means well.

        :param prompted: finds what the request prompts, if it is a prompt.
        """
        for rule in self.replies:
            if rule.fits(method, path, prompted) and rule.turn.take():
                return rule.reply
        return None

    def fate(self, display_name: str, labels: Mapping[str, str]) -> Fate:
        """Decide the fate of a new job."""
        for rule in self.jobs:
            fits = rule.labels.items() <= labels.items() and rule.display_name.search(display_name)
            if fits and rule.turn.take():
                return rule.fate
        return Fate()

    def operation(self, work: str) -> OperationRule | None:
        """Decide the fate of a new operation; none means that it does its work."""
        return next((rule for rule in self.operations if rule.work == work and rule.turn.take()), None)


def read_rules(value: Any) -> list[dict[str, Any]]:
    """Read what was posted: one rule or a list of them; 400 when one makes no sense."""
    rules = value if isinstance(value, list) else [value]
    found = [read_message(rule, _RULE, f"faults[{index}]") for index, rule in enumerate(rules)]
    for rule in found:
        _check(rule)
    return found


def _check(rule: dict[str, Any]) -> None:
    for name, (least, most) in _LIMITS.items():
        if not least <= rule.get(name, least) <= most:
            raise GoogleError(400, f"{name} must be between {least} and {most}, got: {rule[name]}")
    ways = [name for name in ("drop", "body", "token") if name in rule]
    if len(ways) > 1 or (("drop" in rule or "token" in rule) and "status" in rule):
        raise GoogleError(400, f"A rule can do one of status, drop, body and token: {', '.join(sorted(rule))}")
    if "operation" in rule and rule.get("outcome") not in _OPERATION_OUTCOMES:
        known = " or ".join(_OPERATION_OUTCOMES)
        raise GoogleError(400, f"The outcome of an operation can be {known}, not {rule.get('outcome')}.")
    for name in ("path", "model"):
        _pattern(rule.get(name, ""))
    _pattern(rule.get("job", {}).get("displayName", ""))


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise GoogleError(400, f'"{text}" is not a regular expression: {error}') from error


def _reply_rule(rule: dict[str, Any], turn: Turn) -> ReplyRule:
    drop = Drop(rule["drop"]) if "drop" in rule else None
    body = Body(rule["body"]) if "body" in rule else None
    reply = BadReply(
        error=_reply_error(rule, body),
        applied=rule.get("applied", drop is Drop.AFTER or body in (Body.TRUNCATED, Body.MALFORMED)),
        delay=rule.get("delay", 0.0),
        drop=drop,
        body=body,
    )
    model = _pattern(rule["model"]) if "model" in rule else None
    return ReplyRule(rule.get("method"), _pattern(rule.get("path", "")), rule.get("checkpoint"), model, turn, reply)


def _reply_error(rule: dict[str, Any], body: Body | None) -> GoogleError | None:
    """Error of a rule: 503 unless it says something else, or nothing but a delay or a drop."""
    if "token" in rule:
        return unauthenticated()
    if "status" not in rule and ({"drop", "delay"} & rule.keys() or body in (Body.TRUNCATED, Body.MALFORMED)):
        return None
    return GoogleError(
        rule.get("status", 502 if body else 503),
        rule.get("message", "Injected by a fault rule of the emulator."),
        rule.get("grpcStatus"),
        retry_after=rule.get("retryAfter"),
    )


def _job_rule(rule: dict[str, Any], turn: Turn) -> JobRule:
    job = rule.get("job", {})
    fate = Fate(Outcome(rule["outcome"]), rule.get("error"), rule.get("checkpoint", "1"))
    return JobRule(_pattern(job.get("displayName", "")), job.get("labels", {}), turn, fate)


def _operation_rule(rule: dict[str, Any], turn: Turn) -> OperationRule:
    failed = rule["outcome"] == Outcome.FAILED
    return OperationRule(rule["operation"], turn, {**_OPERATION_ERROR, **rule.get("error", {})} if failed else None)
