"""What a run did, in words: a pure function from the steps' values to Markdown."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from gemini_tuning.wording import said, shown

MAX_CELL = 300  # characters
MAX_SENTENCE = 1_000  # characters
# What Markdown or HTML could take for more than text; "://" and "www." would become links in some renderers.
_ACTIVE = re.compile(r"[\\`|<>\[\]*~#!&]|(?<=[a-zA-Z]):(?=//)|(?<=\bwww)\.|@(?=\w[\w-]*\.)", re.IGNORECASE)
_BLANKS = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028-\u202f\u2066-\u2069]+")
HEADINGS = ("checkpoint", "epoch", "step", "passed", "score", "remarks")


def render(
    *,
    tuning_job: str,
    model: str | None,
    results: Sequence[Mapping[str, Any]],
    decision: Mapping[str, Any],
    promotion: Mapping[str, Any] | None,
    copy: Mapping[str, Any] | None,
) -> str:
    """Return the report of one run as Markdown.

    :param results: what the smoke tests pushed.
    :param decision: what the choice pushed.
    :param promotion: what setting the default pushed; ``None`` when it was skipped.
    :param copy: what the check of the copy pushed; ``None`` when there was no copy.
    :raises ValueError: naming what is not the mapping that a step pushes.
    """
    steps = {"decision": decision, "promotion": promotion or {}, "copy": copy or {}}
    steps |= {f"results, number {number}": result for number, result in enumerate(results, 1)}
    for name, value in steps.items():
        if not isinstance(value, Mapping):
            raise ValueError(f"{name}: expected what the step pushed, not {shown(value)}")
    return "\n".join(
        [
            f"Tuning job: {plain(tuning_job)}",
            f"Tuned model: {plain(model)}",
            "",
            *_table([HEADINGS, *(_cells(result, decision) for result in results)]),
            "",
            plain(decision.get("reason")),
            _promotion(decision, promotion),
            _copy(copy),
        ]
    )


def plain(value: object, limit: int = MAX_SENTENCE) -> str:
    """Return somebody else's text as one line of Markdown that shows it and does nothing else."""
    return _ACTIVE.sub(lambda match: "\\" + match[0], _BLANKS.sub(" ", said(value, limit)))


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a Markdown table that can also be read as plain text in a log: its columns are aligned."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]


def _cells(result: Mapping[str, Any], decision: Mapping[str, Any]) -> list[str]:
    notes = [
        word
        for word, key in (("winner", "winner"), ("default before", "default_checkpoint_id"))
        if result.get("checkpoint_id") is not None and result["checkpoint_id"] == decision.get(key)
    ]
    if result.get("error"):
        notes.append(said(result["error"], MAX_CELL))
    cells = [
        result.get("checkpoint_id"),
        result.get("epoch"),
        result.get("step"),
        f"{said(result.get('passed'), MAX_CELL)}/{said(result.get('total'), MAX_CELL)}",
        _score(result.get("score")),
        ", ".join(notes),
    ]
    return ["-" if cell is None else plain(cell, MAX_CELL) for cell in cells]


def _score(score: object) -> object:
    return f"{score:.1%}" if isinstance(score, float) else score


def _promotion(decision: Mapping[str, Any], promotion: Mapping[str, Any] | None) -> str:
    before, winner = plain(decision.get("default_checkpoint_id")), decision.get("winner")
    if promotion:
        return f"Default checkpoint: {before} before, {plain(promotion.get('default_after'))} after (read back)."
    if winner is None:
        return f"Nothing was changed; the default is still checkpoint {before}."
    return f"Checkpoint {plain(winner)} was the default already."


def _copy(copy: Mapping[str, Any] | None) -> str:
    if not copy:
        return "No copy was made."
    return (
        f"Copy: {plain(copy.get('model'))}, with the same {plain(copy.get('checkpoints'))} checkpoints; "
        f"its default is checkpoint {plain(copy.get('default_checkpoint_id'))}."
    )
