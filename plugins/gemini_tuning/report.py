"""What a run did, in words: a pure function from the steps' values to Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

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
    """
    return "\n".join(
        [
            f"Tuning job: {tuning_job}",
            f"Tuned model: {model}",
            "",
            *_table([HEADINGS, *(_cells(result, decision) for result in results)]),
            "",
            str(decision["reason"]),
            _promotion(decision, promotion),
            _copy(copy),
        ]
    )


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
        if result["checkpoint_id"] == decision[key]
    ]
    if result["error"]:
        notes.append(str(result["error"]))
    score = "-" if result["score"] is None else f"{result['score']:.1%}"
    cells = [result["checkpoint_id"], result["epoch"], result["step"], f"{result['passed']}/{result['total']}", score]
    return ["-" if cell is None else _cell(cell) for cell in (*cells, ", ".join(notes))]


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def _promotion(decision: Mapping[str, Any], promotion: Mapping[str, Any] | None) -> str:
    if promotion:
        return (
            f"Default checkpoint: {decision['default_checkpoint_id']} before, {promotion['default_after']} after "
            "(read back)."
        )
    if decision["winner"] is None:
        return f"Nothing was changed; the default is still checkpoint {decision['default_checkpoint_id']}."
    return f"Checkpoint {decision['winner']} was the default already."


def _copy(copy: Mapping[str, Any] | None) -> str:
    if not copy:
        return "No copy was made."
    return (
        f"Copy: {copy['model']}, with the same {copy['checkpoints']} checkpoints; "
        f"its default is checkpoint {copy['default_checkpoint_id']}."
    )
