"""A case of the suite, and what each checkpoint answered, side by side with the differences marked. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gemini_tuning.core import xcom

MAX_COMPARED = 2_000  # words and gaps in which two answers may differ; at worst comparing them takes about a second
MAX_TEXT = 100_000  # characters
_WORDS = re.compile(r"\s+|\w+|[^\w\s]")


@dataclass(frozen=True)
class Segment:
    """A piece of an answer.

    :param kind: ``same``, or ``other`` where the reference says something else.
    """

    kind: str
    text: str


@dataclass(frozen=True)
class Answer:
    """One answer of one checkpoint.

    :param passed: ``None`` where nothing was asserted.

    :param segments: the answer's text; empty without an answer.
    :param verdicts: ``{"type", "passed", "reason", "expected"}``.
    :param error: why there is none.
    """

    contender: str
    repeat: int
    passed: bool | None
    segments: Sequence[Segment]
    verdicts: Sequence[Mapping[str, Any]]
    error: str | None
    finish_reason: str | None
    latency_ms: float | None
    is_reference: bool


@dataclass(frozen=True)
class Case:
    """A case.

    :param turns: ``(role, text)`` of the prompt.
    :param expected: what each assertion asks for: ``(type, value)``.
    :param reference: whose answer the others are compared with.
    """

    case_id: str
    critical: bool
    system_instruction: str | None
    turns: Sequence[tuple[str, str]]
    expected: Sequence[tuple[str, str]]
    answers: Sequence[Answer]
    reference: str | None


def case(case_id: str, lines: Mapping[str, Sequence[Mapping[str, Any]]], winner: str | None) -> Case:
    """Return a case with all answers.

    :param lines: of the results files, by who answered.
    :param winner: whose answer the others are compared with; without one, the first.
    """
    reference = winner if winner in lines else next(iter(lines), None)
    first = lines[reference][0] if reference is not None and lines[reference] else {}
    text = xcom.text(first.get("answer"), MAX_TEXT)
    return Case(
        case_id=case_id,
        critical=first.get("critical") is True,
        system_instruction=xcom.text(first.get("system_instruction"), MAX_TEXT),
        turns=_turns(first.get("contents")),
        expected=_expected(lines),
        answers=[_answer(name, line, text, name == reference) for name, group in lines.items() for line in group],
        reference=reference,
    )


def prompted(conf: Mapping[str, Any], replies: Sequence[object]) -> Case:
    """Return a prompt of one's own with its answers, as :class:`GeminiPromptCheckpointsOperator` pushed them.

    :param conf: of the run that asked.
    """
    lines = {
        xcom.text(reply.get("checkpoint_id")) or "unknown": [reply] for reply in replies if isinstance(reply, Mapping)
    }
    found = case("", lines, None)
    prompt, system = (xcom.text(conf.get(key), MAX_TEXT) for key in ("prompt", "system_instruction"))
    return replace(found, turns=[("user", prompt or "")], system_instruction=system)


def compare(reference: str, text: str) -> list[Segment]:
    """Return a text in pieces: what the reference says too, and what it does not."""
    before, after = (_WORDS.findall(value) for value in (reference, text))
    begin = _common(before, after)
    end = _common(before[begin:][::-1], after[begin:][::-1])
    middle = _middle(before[begin : len(before) - end], after[begin : len(after) - end])
    pieces = [Segment("same", "".join(after[:begin])), *middle, Segment("same", "".join(after[len(after) - end :]))]
    return [piece for piece in pieces if piece.text]


def _common(before: Sequence[str], after: Sequence[str]) -> int:
    """Return how many words are the same at the beginning."""
    pairs = enumerate(zip(before, after, strict=False))
    return next((place for place, (one, other) in pairs if one != other), min(len(before), len(after)))


def _middle(before: Sequence[str], after: Sequence[str]) -> list[Segment]:
    if len(before) > MAX_COMPARED or len(after) > MAX_COMPARED:
        return [Segment("other", "".join(after))]
    # With autojunk a match does not begin at a word that is everywhere, such as a space: else two long answers that
    # have nothing else in common would take minutes.
    opcodes = difflib.SequenceMatcher(None, before, after, autojunk=True).get_opcodes()
    return [
        Segment("same" if tag == "equal" else "other", "".join(after[start:end])) for tag, _, _, start, end in opcodes
    ]


def _answer(name: str, line: Mapping[str, Any], reference: str | None, is_reference: bool) -> Answer:
    text = xcom.text(line.get("answer"), MAX_TEXT)
    same = [Segment("same", text)] if text else []
    return Answer(
        contender=name,
        repeat=xcom.whole(line.get("repeat")) or 1,
        passed=line.get("passed") is True if "passed" in line else None,
        segments=compare(reference, text) if text and reference and not is_reference else same,
        verdicts=_verdicts(line),
        error=xcom.text(line.get("error")),
        finish_reason=xcom.text(line.get("finish_reason")),
        latency_ms=xcom.number(line.get("latency_ms")),
        is_reference=is_reference,
    )


def _verdicts(line: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = line.get("verdicts")
    return [
        {
            "type": xcom.text(verdict.get("type")),
            "passed": verdict.get("passed") is True,
            "reason": xcom.text(verdict.get("reason")),
            "expected": xcom.text(verdict.get("expected")),
        }
        for verdict in (found if isinstance(found, list) else [])
        if isinstance(verdict, Mapping)
    ]


def _expected(lines: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[tuple[str, str]]:
    """Return what the assertions ask for; a line without an answer has no verdicts."""
    for group in lines.values():
        for line in group:
            if verdicts := _verdicts(line):
                return [(verdict["type"] or "", verdict["expected"] or "") for verdict in verdicts]
    return []


def _turns(contents: object) -> list[tuple[str, str]]:
    turns = contents if isinstance(contents, list) else []
    return [
        (xcom.text(turn.get("role")) or "user", _text(turn.get("parts"))) for turn in turns if isinstance(turn, Mapping)
    ]


def _text(parts: object) -> str:
    """Return the text of a turn; of a file its address."""
    found = []
    for part in parts if isinstance(parts, list) else []:
        if isinstance(part, Mapping):
            found.append(xcom.text(part.get("text") or part.get("file_uri"), MAX_TEXT) or "")
    return "\n".join(found)
