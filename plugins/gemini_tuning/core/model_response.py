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
    """A model's response to one prompt; its text is empty when it was blocked and never contains thoughts.

    ``blocked`` is why the service blocked the prompt or the response, for example ``PROHIBITED_CONTENT``.
    """

    text: Annotated[str, at("candidates", 0, "content", "parts"), BeforeValidator(_joined_text)] = ""
    latency: float = 0.0  # seconds from sending the request to the complete response
    finish_reason: Annotated[Enum | None, at("candidates", 0, "finishReason")] = None  # for example STOP
    prompt_tokens: Annotated[Count | None, at("usageMetadata", "promptTokenCount")] = None
    output_tokens: Annotated[Count | None, at("usageMetadata", "candidatesTokenCount")] = None
    blocked: Annotated[Enum | None, at("promptFeedback", "blockReason")] = None
