"""A model's response to a prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator

from gemini_tuning.core.api_types import ApiValue, Count, Enum, at


def _joined_text(parts: Any) -> str:
    return "".join(part.get("text") or "" for part in parts or () if part.get("thought") is not True)


@dataclass(frozen=True)
class ModelResponse(ApiValue):
    """A model's response to one prompt.

    :param text: empty when it was blocked; thoughts are not part of it.
    :param latency: seconds from sending the request to the complete response.
    :param finish_reason: for example ``STOP``, ``MAX_TOKENS``, ``SAFETY``.
    :param blocked: why the service blocked the prompt or the response, for example ``SAFETY``, ``PROHIBITED_CONTENT``;
        ``None`` when it did not.
    """

    text: Annotated[str, at("candidates", 0, "content", "parts"), BeforeValidator(_joined_text)] = ""
    latency: float = 0.0
    finish_reason: Annotated[Enum | None, at("candidates", 0, "finishReason")] = None
    prompt_tokens: Annotated[Count | None, at("usageMetadata", "promptTokenCount")] = None
    output_tokens: Annotated[Count | None, at("usageMetadata", "candidatesTokenCount")] = None
    blocked: Annotated[Enum | None, at("promptFeedback", "blockReason")] = None
