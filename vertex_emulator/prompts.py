"""Requests and replies of generateContent and countTokens. Pure functions."""

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from .dataset import CHARACTERS_PER_TOKEN, tokens
from .errors import invalid_argument
from .protojson import Type, read_message
from .render import Json

CHUNK = 80
"""Characters of a part of a streamed answer."""

_GENERATE: Mapping[str, Type] = {
    "contents": "any",
    "systemInstruction": "any",
    "generationConfig": "any",
    "labels": "labels",
    **dict.fromkeys(
        (
            "cachedContent", "continuationToken", "modelArmorConfig", "outputConfig", "safetySettings", "toolConfig",
            "tools", "model", "instances",
        ),
        "any",
    ),
}  # fmt: skip
_ROLES = ("user", "model", "function", "")


class Prompt(NamedTuple):
    """A request, reduced to what matters here.

    :param user_texts: text of the user's turns.
    :param characters: of everything that was sent, for the token estimate.
    :param max_tokens: maxOutputTokens.
    """

    user_texts: tuple[str, ...]
    characters: int
    max_tokens: int | None


class Answer(NamedTuple):
    """An answer, cut at the token limit."""

    text: str
    finish_reason: str


def read_prompt(body: Any) -> Prompt:
    """Read a GenerateContentRequest or CountTokensRequest."""
    request = read_message(body, _GENERATE)
    contents = request.get("contents")
    turns = [contents] if isinstance(contents, dict) else contents
    if not isinstance(turns, list) or not turns:
        raise invalid_argument("Unable to submit request because it must have at least one contents field.")
    texts: list[str] = []
    characters = 0
    for turn in turns:
        role, text = _turn(turn)
        characters += len(text)
        if role in ("user", ""):
            texts.append(text)
    if not texts:
        raise invalid_argument("Please ensure that the request has at least one turn with the role user.")
    system = request.get("systemInstruction")
    characters += len(_turn(system)[1]) if system else 0
    limit = (request.get("generationConfig") or {}).get("maxOutputTokens")
    return Prompt(tuple(texts), characters, _limit(limit))


def cut(text: str, max_tokens: int | None) -> Answer:
    """Apply maxOutputTokens."""
    if max_tokens is None or tokens(len(text)) <= max_tokens:
        return Answer(text, "STOP")
    return Answer(text[: max_tokens * CHARACTERS_PER_TOKEN], "MAX_TOKENS")


def render_answer(prompt: Prompt, answer: Answer, model_version: str, created: str) -> Json:
    """GenerateContentResponse.

    :param created: time as the API writes it.
    """
    return _response(answer.text, answer.finish_reason, _usage(prompt, answer), model_version, created)


def render_chunks(prompt: Prompt, answer: Answer, model_version: str, created: str) -> list[Json]:
    """Return the same answer in parts; the last one has the finish reason and the usage."""
    parts = [answer.text[at : at + CHUNK] for at in range(0, len(answer.text), CHUNK)] or [""]
    chunks = [_response(part, None, None, model_version, created) for part in parts[:-1]]
    last = _response(parts[-1], answer.finish_reason, _usage(prompt, answer), model_version, created)
    return [*chunks, last]


def render_count(prompt: Prompt) -> Json:
    """CountTokensResponse."""
    count = tokens(prompt.characters)
    return {
        "totalTokens": count,
        "totalBillableCharacters": prompt.characters,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": count}],
    }


def _turn(turn: Any) -> tuple[str, str]:
    if not isinstance(turn, dict) or turn.get("role", "") not in (*_ROLES, "system"):
        raise invalid_argument("Please use a valid role: user, model.")
    parts = turn.get("parts", [])
    parts = [parts] if isinstance(parts, dict) else parts
    if not isinstance(parts, list) or not parts:
        raise invalid_argument("Unable to submit request because it must have at least one part in each content.")
    return turn.get("role", ""), "\n".join(_part(part) for part in parts)


def _part(part: Any) -> str:
    """Text of a part; a file counts as its address, like in the training data."""
    if not isinstance(part, dict):
        raise invalid_argument("Invalid value at 'contents.parts'.")
    file = part.get("fileData")
    return str(file.get("fileUri", "")) if isinstance(file, dict) else str(part.get("text", ""))


def _limit(value: Any) -> int | None:
    if value is None:
        return None
    if not str(value).isdigit() or int(value) < 1:
        raise invalid_argument(f"Unable to submit request because it has a maxOutputTokens value of {value}.")
    return int(value)


def _usage(prompt: Prompt, answer: Answer) -> Json:
    asked, answered = tokens(prompt.characters), tokens(len(answer.text))
    return {
        "promptTokenCount": asked,
        "candidatesTokenCount": answered,
        "totalTokenCount": asked + answered,
        "trafficType": "ON_DEMAND",
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": asked}],
        "candidatesTokensDetails": [{"modality": "TEXT", "tokenCount": answered}],
    }


def _response(text: str, finish_reason: str | None, usage: Json | None, model_version: str, created: str) -> Json:
    candidate: Json = {"content": {"role": "model", "parts": [{"text": text}]}}
    if finish_reason:
        candidate["finishReason"] = finish_reason
    response: Json = {
        "candidates": [candidate],
        "modelVersion": model_version,
        "createTime": created,
        "responseId": hashlib.sha256(f"{created}{text}".encode()).hexdigest()[:22],
    }
    if usage:
        response["usageMetadata"] = usage
    return response
