"""Prompts: generate content and count tokens."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import AliasPath

from gemini_tuning.core.names import ResourceName
from gemini_tuning.hooks import converters
from gemini_tuning.hooks.base import ClientOptions, GeminiBaseHook, renewing_token
from gemini_tuning.hooks.errors import service_errors

if TYPE_CHECKING:
    from gemini_tuning.core.model_response import ModelResponse

PROMPT_TIMEOUT = 120.0  # seconds


class PromptHookMixin(GeminiBaseHook):
    """Prompts of tuned endpoints and of Google's own models."""

    @renewing_token
    async def acount_tokens(
        self,
        model: str,
        contents: Sequence[Mapping[str, Any]],
        *,
        system_instruction: Mapping[str, Any] | None = None,
        project_id: str | None = None,
        location: str = "us-central1",
    ) -> int:
        """Return the service's token count of a conversation; free of charge.

        :param model: one of Google's, for example ``gemini-2.5-flash``.
        :param contents: the conversation's turns, including the model's, in the API's JSON, like the instruction.
        :raises InvalidInputError: when they are not the API's JSON.
        """
        from google.genai import types

        client = await self._aclient(ClientOptions(self.project(project_id), location))
        turns = [converters.content(turn) for turn in contents]
        instruction = None if system_instruction is None else converters.content(system_instruction)
        config = types.CountTokensConfig(system_instruction=instruction)
        with service_errors("count tokens with", model):
            response = await client.aio.models.count_tokens(model=model, contents=turns, config=config)
            return converters.token_count(response)

    @renewing_token
    async def agenerate(
        self,
        target: str,
        contents: str | Sequence[Mapping[str, Any]],
        *,
        system_instruction: str | None = None,
        temperature: float | None = 0.0,
        max_output_tokens: int | None = None,
        project_id: str | None = None,
        location: str = "us-central1",
    ) -> ModelResponse:
        """Send one prompt once and return the complete response with its latency.

        :param target: full name of an endpoint, or the id of one of Google's models such as ``gemini-2.5-flash``.
        :param contents: one text, or turns, see :data:`~gemini_tuning.smoke.cases.Turn`.
        :param temperature: 0 makes responses as reproducible as the service can.
        :param project_id: charged for a model of Google's; ``None`` for the connection's project. An endpoint's name
            contains project and location.
        :param location: of a model of Google's.
        """
        from google.genai import types

        if "/" in target:
            resource = ResourceName.parse(target, "endpoints")
            project, location = resource.project, resource.location
        else:
            project = self.project(project_id)
        client = await self._aclient(ClientOptions(project, location, attempts=1, timeout=PROMPT_TIMEOUT))
        config = types.GenerateContentConfig(
            system_instruction=system_instruction,
            temperature=temperature,
            max_output_tokens=max_output_tokens,
            automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),  # it logs a line a prompt
            should_return_http_response=True,  # validating google-genai's type takes longer than everything else
        )
        with service_errors("prompt", target):
            started = time.monotonic()
            prompt = converters.contents(contents)
            response = await client.aio.models.generate_content(model=target, contents=prompt, config=config)
            http = response.sdk_http_response
            raw = json.loads((http and http.body) or "{}")
            # Rare; the client requests the rest only if it reads the response.
            if isinstance(AliasPath("candidates", 0, "continuationToken").search_dict_for_path(raw), str):
                config.should_return_http_response = None
                response = await client.aio.models.generate_content(model=target, contents=prompt, config=config)
                raw = response.model_dump(mode="json", by_alias=True, exclude_none=True)
            return converters.model_response(raw, time.monotonic() - started)
