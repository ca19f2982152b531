"""A smoke test case with the responses of all checkpoints side by side, their differences marked."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gemini_tuning.core.xcom import number, text, whole

MAX_COMPARED = 2_000  # words and gaps in which two responses may differ; comparing more can take over a second
MAX_TEXT = 100_000  # characters
_WORDS = re.compile(r"\s+|\w+|[^\w\s]")


@dataclass(frozen=True)
class Segment:
    """A part of a response.

    :param differs: whether the reference has another text here.
    """

    text: str
    differs: bool = False


@dataclass(frozen=True)
class ResponseView:
    """One response of one checkpoint.

    :param checkpoint: id, or ``champion``.
    :param passed: ``None`` without assertions.
    :param segments: the text; empty without a response.
    :param verdicts: ``{"type", "passed", "reason", "expected"}`` of each assertion.
    :param error: why there is no response.
    """

    checkpoint: str
    repeat: int
    passed: bool | None
    segments: Sequence[Segment]
    verdicts: Sequence[Mapping[str, Any]]
    error: str | None
    finish_reason: str | None
    latency_ms: float | None
    is_reference: bool


@dataclass(frozen=True)
class CaseView:
    """A case.

    :param turns: ``(role, text)`` of the prompt.
    :param expected: ``(type, value)`` of each assertion.
    :param reference: the checkpoint with whose response the others are compared.
    """

    case_id: str
    critical: bool
    system_instruction: str | None
    turns: Sequence[tuple[str, str]]
    expected: Sequence[tuple[str, str]]
    responses: Sequence[ResponseView]
    reference: str | None


def case_view(case_id: str, lines: Mapping[str, Sequence[Mapping[str, Any]]], winner: str | None) -> CaseView:
    """Return a case with all responses.

    :param lines: of the results files, by checkpoint.
    :param winner: the reference; when it has no results, the first checkpoint is.
    """
    reference = winner if winner in lines else next(iter(lines), None)
    first = lines[reference][0] if reference is not None and lines[reference] else {}
    expected = text(first.get("answer"), MAX_TEXT)
    return CaseView(
        case_id=case_id,
        critical=first.get("critical") is True,
        system_instruction=text(first.get("system_instruction"), MAX_TEXT),
        turns=[(text(turn.get("role")) or "user", _turn_text(turn)) for turn in _mappings(first.get("contents"))],
        expected=_expected(lines),
        responses=[
            _response(name, line, expected, name == reference) for name, group in lines.items() for line in group
        ],
        reference=reference,
    )


def prompt_view(conf: Mapping[str, Any], responses: Sequence[object]) -> CaseView:
    """Return a user's prompt with its responses.

    :param conf: of the run that sent it.
    :param responses: return value of :class:`GeminiPromptCheckpointsOperator`.
    """
    lines = {text(response.get("checkpoint_id")) or "unknown": [response] for response in _mappings(responses)}
    prompt, system = (text(conf.get(key), MAX_TEXT) for key in ("prompt", "system_instruction"))
    return replace(case_view("", lines, None), turns=[("user", prompt or "")], system_instruction=system)


def compare(reference: str, response: str) -> list[Segment]:
    """Return a response in segments that the reference has too, or that differ from it."""
    before, after = (_WORDS.findall(value) for value in (reference, response))
    begin = _common_prefix(before, after)
    end = _common_prefix(before[begin:][::-1], after[begin:][::-1])
    middle = _middle(before[begin : len(before) - end], after[begin : len(after) - end])
    found = [Segment("".join(after[:begin])), *middle, Segment("".join(after[len(after) - end :]))]
    return [segment for segment in found if segment.text]


def _common_prefix(before: Sequence[str], after: Sequence[str]) -> int:
    pairs = enumerate(zip(before, after, strict=False))
    return next((place for place, (one, other) in pairs if one != other), min(len(before), len(after)))


def _middle(before: Sequence[str], after: Sequence[str]) -> list[Segment]:
    if len(before) > MAX_COMPARED or len(after) > MAX_COMPARED:
        return [Segment("".join(after), differs=True)]
    # autojunk: no match begins at a word that is everywhere, such as a space. Without it two long responses that have
    # nothing else in common take minutes.
    opcodes = difflib.SequenceMatcher(None, before, after, autojunk=True).get_opcodes()
    return [Segment("".join(after[start:end]), tag != "equal") for tag, _, _, start, end in opcodes]


def _response(name: str, line: Mapping[str, Any], reference: str | None, is_reference: bool) -> ResponseView:
    response = text(line.get("answer"), MAX_TEXT)
    segments = [Segment(response)] if response else []
    return ResponseView(
        checkpoint=name,
        repeat=whole(line.get("repeat")) or 1,
        passed=line.get("passed") is True if "passed" in line else None,
        segments=compare(reference, response) if response and reference and not is_reference else segments,
        verdicts=_verdicts(line),
        error=text(line.get("error")),
        finish_reason=text(line.get("finish_reason")),
        latency_ms=number(line.get("latency_ms")),
        is_reference=is_reference,
    )


def _verdicts(line: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            **{key: text(verdict.get(key)) for key in ("type", "reason", "expected")},
            "passed": verdict.get("passed") is True,
        }
        for verdict in _mappings(line.get("verdicts"))
    ]


def _expected(lines: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[tuple[str, str]]:
    """Return what the assertions expect; a line without a response has no verdicts."""
    found = (verdicts for group in lines.values() for line in group if (verdicts := _verdicts(line)))
    return [(verdict["type"] or "", verdict["expected"] or "") for verdict in next(found, [])]


def _turn_text(turn: Mapping[str, Any]) -> str:
    """Return the text of a turn; for a file its URI."""
    parts = _mappings(turn.get("parts"))
    return "\n".join(text(part.get("text") or part.get("file_uri"), MAX_TEXT) or "" for part in parts)


def _mappings(value: object) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list | tuple) else []
