"""Some examples of a file, for the service to count: evenly spaced, and always the same ones. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

MOST = 50  # examples
MAX_LINE = 1 << 20  # bytes; a longer one, of which there is hardly any, is left out
_KINDS = (  # of a part, as JSON may spell it
    ("text", "text"),
    ("fileData", "file_data"),
    ("inlineData", "inline_data"),
    ("functionCall", "function_call"),
    ("functionResponse", "function_response"),
)


class Prompt(NamedTuple):
    """What the service is asked to count.

    :param contents: turns in the API's JSON.
    :param system_instruction: the same; ``None`` without one.
    """

    contents: list[dict[str, Any]]
    system_instruction: dict[str, Any] | None


class Count(NamedTuple):
    """What the service counted in a sample.

    :param model: that was asked.
    :param examples: in the sample.
    :param counted: their tokens as the service counts them.
    :param estimated: their tokens by our estimate.
    """

    model: str
    examples: int
    counted: int
    estimated: int

    @property
    def ratio(self) -> float | None:
        """By how much the estimate is too small, above 1, or too big; ``None`` for want of anything to compare."""
        return round(self.counted / self.estimated, 6) if self.counted and self.estimated else None

    def as_dict(self) -> dict[str, Any]:
        """Return the form that goes to XCom."""
        return {**self._asdict(), "ratio": self.ratio}


@dataclass
class Sample:
    """Keeps every n-th line of a file that is read once, however long it is: n doubles when there are too many.

    :param most: lines that are kept in the end; at least half as many of a file that has them.
    :param lines: by their numbers, the first is 1.
    """

    most: int = MOST
    lines: dict[int, bytes] = field(default_factory=dict)
    _every: int = 1
    _next: int = 1

    def look(self, lines: Sequence[bytes], first: int) -> None:
        """Take what is wanted of the next lines.

        :param first: number of the first of them.
        """
        while (at := self._next - first) < len(lines):
            line = lines[at]
            if not line or line.isspace() or len(line) > MAX_LINE:
                self._next += 1
                continue
            self.lines[self._next] = line
            if len(self.lines) > self.most:
                self.lines = dict(list(self.lines.items())[::2])
                self._every *= 2
            self._next += self._every


def prompt(line: bytes) -> Prompt:
    """Return an acceptable example as the service counts it, all turns of it, without fields that it does not know."""
    example = json.loads(line)
    instruction = example.get("systemInstruction") or example.get("system_instruction")
    return Prompt(
        [_content(content) for content in example["contents"]], _content(instruction) if instruction else None
    )


def prompt_of(turns: Iterable[Mapping[str, Any]], system_instruction: str | None = None) -> Prompt:
    """Return a prompt of a suite as the service counts it.

    :param turns: as :meth:`~gemini_tuning.smoke.cases.Turn.as_dict` gives them.
    """
    contents = [{"role": turn["role"], "parts": [_own_part(part) for part in turn["parts"]]} for turn in turns]
    return Prompt(contents, {"parts": [{"text": system_instruction}]} if system_instruction else None)


def _own_part(part: Mapping[str, Any]) -> dict[str, Any]:
    return _part({"text": part["text"]} if "text" in part else {"fileData": part})


def _content(raw: Mapping[str, Any]) -> dict[str, Any]:
    role = {"role": raw["role"]} if raw.get("role") else {}
    return {**role, "parts": [_part(part) for part in raw["parts"]]}


def _part(raw: Mapping[str, Any]) -> dict[str, Any]:
    for name, other in _KINDS:
        value = raw.get(name, raw.get(other))
        if value is not None:
            return {name: _file(value) if name == "fileData" else value}
    return {"text": ""}


def _file(raw: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "fileUri": raw.get("fileUri") or raw.get("file_uri"),
        "mimeType": raw.get("mimeType") or raw.get("mime_type"),
    }
