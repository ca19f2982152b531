"""A smoke test case with the responses of all checkpoints side by side, their differences marked."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any

from pydantic import Field, PlainValidator, StrictBool

from gemini_tuning.core.xcom import Id, Number, Text, Whole, XCom, text

MAX_COMPARED = 10_000  # words and gaps of a response; comparing as many takes 12 MB
MAX_TEXT = 100_000  # characters
LongText = Annotated[str | None, PlainValidator(partial(text, limit=MAX_TEXT))]
_WORDS = re.compile(r"\s+|\w+|[^\w\s]")


@dataclass(frozen=True)
class Segment:
    """A part of a response."""

    text: str
    differs: bool = False  # whether the reference has another text here


class _Part(XCom):
    text: LongText = None
    file_uri: LongText = None


class _Turn(XCom):
    role: Text = None
    parts: list[_Part] = Field(default=[])


class _Verdict(XCom):
    type: Text = None
    passed: StrictBool = False
    reason: Text = None
    expected: Text = None


class ResultLine(XCom):
    """A line of a results file, or a response to a prompt of the user."""

    critical: StrictBool = False
    system_instruction: LongText = None
    contents: list[_Turn] = Field(default=[])
    checkpoint_id: Id = "unknown"
    repeat: Whole = None
    passed: StrictBool | None = None  # None: it has no assertions
    answer: LongText = None
    verdicts: list[_Verdict] = Field(default=[])
    error: Text = None  # why there is no response
    finish_reason: Text = None
    latency_ms: Number = None


@dataclass(frozen=True)
class CaseView:
    """A case."""

    case_id: str
    first: ResultLine  # with the prompt
    responses: Sequence[tuple[str, ResultLine, list[Segment]]]  # checkpoint (id, or champion), line and its text
    reference: str | None  # the checkpoint with whose response the others are compared

    @property
    def expected(self) -> list[_Verdict]:
        """The assertions; a line without a response has no verdicts."""
        return next((line.verdicts for _, line, _ in self.responses if line.verdicts), [])


def case_view(case_id: str, lines: Mapping[str, Sequence[Mapping[str, Any]]], winner: str | None) -> CaseView:
    """Return a case with all responses, by checkpoint; without results of the winner the first is the reference."""
    results = {name: [ResultLine.model_validate(line) for line in group] for name, group in lines.items()}
    reference = winner if winner in results else next(iter(results), None)
    first = next(iter(results.get(reference or "", [])), ResultLine())
    responses = [
        (name, line, _segments(line.answer, None if name == reference else first.answer))
        for name, group in results.items()
        for line in group
    ]
    return CaseView(case_id, first, responses, reference)


def prompt_view(conf: Mapping[str, Any], responses: Sequence[object]) -> CaseView:
    """Return a user's prompt, from the ``conf`` of the run that sent it, with the responses that it returned."""
    found = [response for response in responses if isinstance(response, Mapping)]
    lines = {ResultLine.model_validate(response).checkpoint_id: [response] for response in found}
    contents = [{"parts": [{"text": conf.get("prompt")}]}]
    prompt = {"contents": contents, "system_instruction": conf.get("system_instruction")}
    return replace(case_view("", lines, None), first=ResultLine.model_validate(prompt))


def compare(reference: str, response: str) -> list[Segment]:
    """Return a response in segments that the reference has too, or that differ from it."""
    from rapidfuzz.distance import Indel

    before, after = (_WORDS.findall(value) for value in (reference, response))
    if max(len(before), len(after)) > MAX_COMPARED:
        return [Segment(response, differs=True)]
    pieces = (("".join(after[code.dest_start : code.dest_end]), code.tag) for code in Indel.opcodes(before, after))
    return [Segment(text, tag != "equal") for text, tag in pieces if text]


def _segments(response: str | None, reference: str | None) -> list[Segment]:
    if not response:
        return []
    return compare(reference, response) if reference else [Segment(response)]
