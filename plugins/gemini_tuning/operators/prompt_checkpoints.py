"""The step that asks every checkpoint a prompt of one's own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gemini_tuning.core.exceptions import InvalidInputError, ServiceError
from gemini_tuning.core.names import ResourceName
from gemini_tuning.core.resources import Checkpoint, ModelResponse
from gemini_tuning.core.text import MAX_SAID, redact, replace_surrogates, short_repr, shorten
from gemini_tuning.links import gemini_tuning as links
from gemini_tuning.operators.base import GCP_FIELDS, GeminiBaseOperator, as_list, optional_text
from gemini_tuning.smoke.adaptive_limit import AdaptiveLimit, patiently

if TYPE_CHECKING:
    from airflow.sdk import Context

MAX_PROMPT = 20_000  # characters
MAX_CHECKPOINTS = 50
MAX_ANSWERS = 40_000  # characters of all answers together: they go to XCom
AT_ONCE = 8


class GeminiPromptCheckpointsOperator(GeminiBaseOperator):
    """Ask each checkpoint the same prompt, concurrently, and push the answers side by side.

    XCom: a list of ``{"checkpoint_id", "endpoint", "answer", "finish_reason", "blocked", "latency_ms", "error"}``;
    ``answer`` or ``error`` is ``None``; long answers are cut, all together have some 40 KB.

    :param checkpoints: ``{"checkpoint_id", "endpoint"}`` of each, at most 50. (templated)
    :param prompt: the text, at most 20,000 characters. (templated)
    :param system_instruction: put before it. (templated)
    :raises InvalidInputError: when there is no prompt, or no checkpoint with an endpoint; nothing was asked.
    :raises ServiceError: when no checkpoint answered, the error of the first one.
    """

    template_fields: Sequence[str] = (*GCP_FIELDS, "checkpoints", "prompt", "system_instruction")
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
        """Ask, wait for all, push."""
        prompt, system_instruction = _text(self.prompt, "prompt"), _text(self.system_instruction, "system_instruction")
        if prompt is None:
            raise InvalidInputError("prompt: there is none; nothing was asked")
        asked = _to_ask(self.checkpoints)
        found = asyncio.run(self._ask_all(asked, prompt, system_instruction))
        errors = [outcome for outcome in found if isinstance(outcome, ServiceError)]
        if len(errors) == len(found):
            raise errors[0]
        room = MAX_ANSWERS // len(asked)
        return [_pushed(checkpoint, outcome, room) for checkpoint, outcome in zip(asked, found, strict=True)]

    async def _ask_all(
        self, checkpoints: Sequence[Checkpoint], prompt: str, system_instruction: str | None
    ) -> list[ModelResponse | ServiceError]:
        limit = AdaptiveLimit(AT_ONCE)
        try:
            return await asyncio.gather(*(self._ask(each, prompt, system_instruction, limit) for each in checkpoints))
        finally:
            await self.hook.aclose()

    async def _ask(
        self, checkpoint: Checkpoint, prompt: str, system_instruction: str | None, limit: AdaptiveLimit
    ) -> ModelResponse | ServiceError:
        async def once() -> ModelResponse:
            return await self.hook.agenerate(checkpoint.endpoint or "", prompt, system_instruction=system_instruction)

        try:
            answer = await patiently(once, limit)
        except ServiceError as error:
            self.log.warning("Checkpoint %s: %s", checkpoint.checkpoint_id, error)
            return error
        self.log.info("Checkpoint %s answered in %.0f ms", checkpoint.checkpoint_id, answer.latency * 1000)
        return answer


def _text(value: object, name: str) -> str | None:
    """Read a templated text of a person's own."""
    text = optional_text(value)
    if text is not None and (not isinstance(text, str) or len(text) > MAX_PROMPT):
        raise InvalidInputError(
            f"{name}: expected 1 to {MAX_PROMPT:,} characters, not {short_repr(value)}; nothing was asked"
        )
    return text


def _to_ask(given: object) -> list[Checkpoint]:
    """Return the checkpoints that have an endpoint; the name of one of Google's own models is none."""
    try:
        found = [Checkpoint.from_mapping(item) for item in as_list(given, "checkpoints")]
        asked = [checkpoint for checkpoint in found if checkpoint.endpoint]
        for checkpoint in asked:
            ResourceName.parse(checkpoint.endpoint, "endpoints")
    except ValueError as error:
        raise InvalidInputError(f"{error}; nothing was asked") from error
    if not asked or len(asked) > MAX_CHECKPOINTS:
        raise InvalidInputError(
            f"checkpoints: expected 1 to {MAX_CHECKPOINTS} with an endpoint, not {len(asked)}; nothing was asked"
        )
    return asked


def _pushed(checkpoint: Checkpoint, outcome: ModelResponse | ServiceError, room: int) -> dict[str, Any]:
    name = {"checkpoint_id": checkpoint.checkpoint_id, "endpoint": checkpoint.endpoint}
    if isinstance(outcome, ServiceError):
        nothing = dict.fromkeys(("answer", "finish_reason", "blocked", "latency_ms"))
        return {**name, **nothing, "error": replace_surrogates(redact(outcome, min(room, MAX_SAID)))}
    return {
        **name,
        "answer": replace_surrogates(shorten(outcome.text, room)),
        "finish_reason": outcome.finish_reason,
        "blocked": outcome.blocked,
        "latency_ms": round(outcome.latency * 1000, 1),
        "error": None,
    }
