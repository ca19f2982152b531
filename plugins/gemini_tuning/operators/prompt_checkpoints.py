"""Send one prompt to several checkpoints."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from airflow.sdk import Context

from gemini_tuning.core.exceptions import InvalidInputError, ServiceError
from gemini_tuning.core.model_response import ModelResponse
from gemini_tuning.core.names import ResourceName
from gemini_tuning.core.resources import Checkpoint
from gemini_tuning.core.text import MAX_SAID, redact, replace_surrogates, short_repr, shorten
from gemini_tuning.links import gemini_tuning as links
from gemini_tuning.operators.cloud_base import GCP_FIELDS, GeminiBaseOperator, as_list, optional_text

MAX_PROMPT = 20_000  # characters
MAX_CHECKPOINTS = 50
MAX_ANSWERS = 40_000  # characters of all answers in the XCom
CONCURRENCY = 8


class GeminiPromptCheckpointsOperator(GeminiBaseOperator):
    """Send the same prompt to several checkpoints concurrently and return the answers side by side.

    XCom: a list of ``{"checkpoint_id", "endpoint", "answer", "finish_reason", "blocked", "latency_ms", "error"}``;
    either ``answer`` or ``error`` is ``None``. Long answers are cut, so that the list is about 40 KB at most.

    :param checkpoints: ``{"checkpoint_id", "endpoint"}`` of each, at most 50. (templated)
    :param prompt: the text, at most 20,000 characters. (templated)
    :param system_instruction: system instruction of the request. (templated)
    :raises InvalidInputError: there is no prompt, or no checkpoint with an endpoint; no request was sent.
    :raises ServiceError: no checkpoint answered; the error of the first one.
    """

    template_fields: Sequence[str] = (*GCP_FIELDS, "checkpoints", "prompt", "system_instruction")
    template_fields_renderers: ClassVar = {"checkpoints": "json", "prompt": "md", "system_instruction": "md"}
    operator_extra_links = (links.RUN_PAGE,)

    def __init__(
        self,
        *,
        checkpoints: Iterable[Mapping[str, Any]],
        prompt: str,
        system_instruction: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.checkpoints = checkpoints
        self.prompt = prompt
        self.system_instruction = system_instruction

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Send the prompts, wait for all responses and return them."""
        prompt, system_instruction = _text(self.prompt, "prompt"), _text(self.system_instruction, "system_instruction")
        if prompt is None:
            raise InvalidInputError("prompt: required", field="prompt", code="required")
        checkpoints = _deployed(self.checkpoints)
        outcomes = asyncio.run(self._prompt_all(checkpoints, prompt, system_instruction))
        errors = [outcome for outcome in outcomes if isinstance(outcome, ServiceError)]
        if len(errors) == len(outcomes):
            raise errors[0]
        limit = MAX_ANSWERS // len(checkpoints)
        return [_as_xcom(*pair, limit) for pair in zip(checkpoints, outcomes, strict=True)]

    async def _prompt_all(
        self, checkpoints: Sequence[Checkpoint], prompt: str, system_instruction: str | None
    ) -> list[ModelResponse | ServiceError]:
        from gemini_tuning.smoke.adaptive_limit import AdaptiveLimit, request_with_retries

        limit = AdaptiveLimit(CONCURRENCY)

        async def send(checkpoint: Checkpoint) -> ModelResponse | ServiceError:
            async def request() -> ModelResponse:
                endpoint = checkpoint.endpoint or ""
                return await self.hook.agenerate(endpoint, prompt, system_instruction=system_instruction)

            try:
                answer = await request_with_retries(request, limit)
            except ServiceError as error:
                self.log.warning("Checkpoint %s: %s", checkpoint.checkpoint_id, error)
                return error
            self.log.info("Checkpoint %s answered in %.0f ms", checkpoint.checkpoint_id, answer.latency * 1000)
            return answer

        try:
            return await asyncio.gather(*map(send, checkpoints))
        finally:
            await self.hook.aclose()


def _text(value: object, name: str) -> str | None:
    text = optional_text(value)
    if text is not None and (not isinstance(text, str) or len(text) > MAX_PROMPT):
        what = f"{name}: expected a text of 1 to {MAX_PROMPT:,} characters, not {short_repr(value)}"
        raise InvalidInputError(what, field=name, code="invalid_text")
    return text


def _deployed(given: object) -> list[Checkpoint]:
    """Return the checkpoints that have an endpoint; a publisher model such as gemini-2.5-pro is not one."""
    try:
        checkpoints = [Checkpoint.from_mapping(item) for item in as_list(given, "checkpoints")]
        deployed = [checkpoint for checkpoint in checkpoints if checkpoint.endpoint]
        for checkpoint in deployed:
            ResourceName.parse(checkpoint.endpoint, "endpoints")
    except ValueError as error:
        raise InvalidInputError(f"checkpoints: {error}", field="checkpoints", code="invalid_checkpoint") from error
    if not deployed or len(deployed) > MAX_CHECKPOINTS:
        what = f"checkpoints: expected 1 to {MAX_CHECKPOINTS} with an endpoint, not {len(deployed)}"
        raise InvalidInputError(what, field="checkpoints", code="out_of_range")
    return deployed


def _as_xcom(checkpoint: Checkpoint, outcome: ModelResponse | ServiceError, limit: int) -> dict[str, Any]:
    found = {"checkpoint_id": checkpoint.checkpoint_id, "endpoint": checkpoint.endpoint}
    found |= dict.fromkeys(("answer", "finish_reason", "blocked", "latency_ms", "error"))
    if isinstance(outcome, ServiceError):
        return {**found, "error": replace_surrogates(redact(outcome, min(limit, MAX_SAID)))}
    return {
        **found,
        "answer": replace_surrogates(shorten(outcome.text, limit)),
        "finish_reason": outcome.finish_reason,
        "blocked": outcome.blocked,
        "latency_ms": round(outcome.latency * 1000, 1),
    }
