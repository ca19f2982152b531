"""Endpoints, deployments and time series of the API's JSON into our values: the translating half of the hook.

What can't be read raises; nothing is guessed, because what is read here decides what is deleted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from gemini_tuning.core.names import ResourceName
from gemini_tuning.core.resources import DeployedModel, Endpoint, JobError, checkpoint_id
from gemini_tuning.core.text import redact, short_repr
from gemini_tuning.hooks import converters
from gemini_tuning.hooks.errors import UnusableAnswerError

MAX_TEXT = 200  # characters of a display name, an alias or an id


def endpoint(raw: Any, *, asked: str) -> Endpoint:
    """Return the JSON of an ``Endpoint`` as our plain value.

    :param asked: full name of the endpoint that was asked for.
    :raises UnusableAnswerError: when it is another one.
    """
    raw = _mapping(raw, "the endpoint")
    name = _name(raw.get("name"), "endpoints", "the endpoint")
    if not name.is_same_resource(ResourceName.parse(asked, "endpoints")):
        raise UnusableAnswerError(f"the answer is about {name}")
    return Endpoint(
        str(name),
        _text(raw.get("displayName"), "display name"),
        tuple(_deployed(entry) for entry in _mappings(raw.get("deployedModels"), "deployedModels")),
        converters.labels(raw.get("labels")),
    )


def _deployed(raw: Mapping[str, Any]) -> DeployedModel:
    model = _name(raw["model"], "models", "a deployed model") if raw.get("model") else None
    version = _text(raw.get("modelVersionId"), "version")
    if model and version and not model.version:
        model = _name(f"{model}@{version}", "models", "a deployed model")
    identifier = _text(raw.get("id"), "id of a deployed model")
    if not identifier.isascii() or not identifier.isalnum():
        raise UnusableAnswerError(f"the answer gives {short_repr(raw.get('id'))} as the id of a deployed model")
    return DeployedModel(identifier, model, _checkpoint(raw.get("checkpointId")))


def finished(raw: Any) -> tuple[str, bool, JobError | None]:
    """Return name, whether it is done, and the error of an operation that makes nothing."""
    raw = _mapping(raw, "the operation")
    name, error = converters.operation_name(raw.get("name")), _mapping(raw.get("error"), "error")
    code = error.get("code")
    failure = JobError(code if isinstance(code, int) else 0, redact(error.get("message") or "")) if error else None
    return name, raw.get("done") is True, failure


def last_prompt(answer: Any) -> tuple[float | None, str | None]:
    """Return when the latest period with prompts ended in one page of time series, and the token of the next page.

    :returns: seconds since 1970 (UTC); ``None`` without a prompt.
    :raises UnusableAnswerError: also when the service says that the answer may be incomplete.
    """
    series, token = _page(answer, "timeSeries")
    if answer.get("executionErrors") or answer.get("unreachable"):
        raise UnusableAnswerError("the service says that the time series are incomplete")
    points = [point for each in series for point in _mappings(each.get("points"), "points")]
    return max((end for point in points if (end := _prompted(point)) is not None), default=None), token


def _prompted(point: Mapping[str, Any]) -> float | None:
    """Return the end of a point's period, when there was a prompt in it."""
    value = _mapping(point.get("value"), "value")
    try:
        count = float(value.get("int64Value", value.get("doubleValue", 0)))
    except (TypeError, ValueError, OverflowError):
        raise UnusableAnswerError(f"the answer gives {short_repr(dict(value))} as a number of prompts") from None
    if count == 0:
        return None
    end = _seconds(_mapping(point.get("interval"), "interval").get("endTime"))
    if end is None:
        raise UnusableAnswerError("the answer does not tell the time of a point")
    return end


def _page(answer: Any, field: str) -> tuple[list[Mapping[str, Any]], str | None]:
    """Return what one page of a list has, and the token of the next page; a token that is none does not end it."""
    if not isinstance(answer, Mapping):
        raise UnusableAnswerError(f"the answer gives {short_repr(answer)} as a list")
    token = answer.get("nextPageToken") or None
    if not isinstance(token, str | None):
        raise UnusableAnswerError(f"the answer gives {short_repr(token)} as nextPageToken")
    return _mappings(answer.get(field), field), token


def _seconds(value: Any) -> float | None:
    try:
        moment = datetime.fromisoformat(value)
        return moment.timestamp() if moment.tzinfo else None
    except (TypeError, ValueError, OverflowError):
        return None


def _checkpoint(value: Any) -> str | None:
    try:
        return checkpoint_id(value, "the answer") if value else None
    except ValueError as error:
        raise UnusableAnswerError(str(error)) from None


def _name(value: Any, collection: str, what: str) -> ResourceName:
    try:
        return ResourceName.parse(value, collection)
    except ValueError as error:
        raise UnusableAnswerError(f"the answer names {what} wrongly: {error}") from None


def _text(value: Any, what: str) -> str:
    if not isinstance(value or "", str):
        raise UnusableAnswerError(f"the answer gives {short_repr(value)} as {what}")
    return redact(value or "", MAX_TEXT)


def _mapping(value: Any, what: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise UnusableAnswerError(f"the answer gives {short_repr(value)} as {what}")
    return value


def _list(value: Any, what: str) -> Iterable[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise UnusableAnswerError(f"the answer gives {short_repr(value)} as {what}")
    return value


def _mappings(value: Any, what: str) -> list[Mapping[str, Any]]:
    return [_mapping(item, f"one of {what}") for item in _list(value, what)]
