"""A sample of a dataset, for the service to count tokens: evenly spaced, the same lines each time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SAMPLE_SIZE = 50  # examples
MAX_SAMPLED_BYTES = 1 << 20  # longer lines are left out
_PART = {  # both spellings of JSON
    "text": "text",
    "fileData": "file_data",
    "inlineData": "inline_data",
    "functionCall": "function_call",
    "functionResponse": "function_response",
}
_FILE = {"fileUri": "file_uri", "mimeType": "mime_type"}


# Contents and system instruction of a countTokens request, in the API's JSON:
# https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/count-tokens
TokenPrompt = tuple[list[dict[str, Any]], dict[str, Any] | None]


@dataclass
class TokenSample:
    """Keeps every n-th line of a file of unknown length; n doubles whenever there are too many."""

    size: int = SAMPLE_SIZE  # most lines that are kept; at least half as many of a file that has them
    lines: dict[int, bytes] = field(default_factory=dict)  # by line number
    _step: int = 1
    _next: int = 1

    def add(self, lines: Sequence[bytes], first: int) -> None:
        """Keep some of the next lines, the first of which has the number ``first``."""
        while (index := self._next - first) < len(lines):
            line = lines[index]
            if not line or line.isspace() or len(line) > MAX_SAMPLED_BYTES:
                self._next += 1
                continue
            self.lines[self._next] = line
            if len(self.lines) > self.size:
                self.lines = dict(list(self.lines.items())[::2])
                self._step *= 2
            self._next += self._step


def example_prompt(line: bytes) -> TokenPrompt:
    """Return an acceptable example with all its turns, without the fields that the service does not know."""
    example = json.loads(line)
    instruction = example.get("systemInstruction") or example.get("system_instruction")
    contents = [_content(content) for content in example["contents"]]
    return contents, _content(instruction) if instruction else None


def case_prompt(turns: Iterable[Mapping[str, Any]], system_instruction: str | None = None) -> TokenPrompt:
    """Return the prompt of a suite's case."""
    contents = [
        _content({**turn, "parts": [part if "text" in part else {"fileData": part} for part in turn["parts"]]})
        for turn in turns
    ]
    return contents, {"parts": [{"text": system_instruction}]} if system_instruction else None


def _content(raw: Mapping[str, Any]) -> dict[str, Any]:
    role = {"role": raw["role"]} if raw.get("role") else {}
    return {**role, "parts": [_part(part) for part in raw["parts"]]}


def _part(raw: Mapping[str, Any]) -> dict[str, Any]:
    (kind, value), *_ = _known(raw, _PART).items()
    return {kind: _known(value, _FILE) if kind == "fileData" else value}


def _known(raw: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {name: value for name, other in names.items() if (value := raw.get(name, raw.get(other))) is not None}
