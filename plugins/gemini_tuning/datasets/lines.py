"""Some lines of a dataset: what counts of them, and what is wrong with the first. Pure.

A value that goes from one process to another, because a big file is checked on all cores.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence

import msgspec

from gemini_tuning.datasets.examples import (
    BYTES_PER_TOKEN,
    UNREADABLE,
    Example,
    Fault,
    decode,
    judged,
    question_and_answer,
    read_example,
    size,
)

MAX_LINE_BYTES = 16 << 20  # far above an example's 131,072 tokens; a longer one is refused unread
MAX_EXAMPLE_TOKENS = 131_072
PROBLEMS_SHOWN = 10
MAX_FILES = 10_000  # different ones that are remembered
NO_KEY = 0  # of a line that has no example


class CheckedLines(msgspec.Struct):
    """What is known of some lines. Places are counted from 0.

    :param keys: of the example on each line (:class:`~gemini_tuning.datasets.examples.Example`), eight bytes each.
    :param examples: good and bad; an empty line is none.
    :param input_tokens: estimated, of all instructions and the users' turns, without files.
    :param output_tokens: estimated, of all the model's turns.
    :param lengths: how many examples have so many tokens.
    :param too_long: places of the examples that would be truncated.
    :param kinds: how many faults of each kind.
    :param faults: place and text of the first.
    :param files: addresses that the examples name, and the place that does so first.
    """

    keys: bytes
    examples: int
    input_tokens: int
    output_tokens: int
    lengths: dict[int, int]
    too_long: list[int]
    kinds: dict[str, int]
    faults: list[tuple[int, str]]
    files: dict[str, int]


def check_lines(piece: bytes) -> CheckedLines:
    """Check lines. The loop that all the time goes into.

    :param piece: whole lines, without the last one's end.
    """
    keys, heard, spoken = array("q"), list[int](), list[int]()
    others: list[tuple[int, Example | Fault]] = []
    for place, line in enumerate(piece.split(b"\n")):
        try:
            example = decode(line)
        except UNREADABLE:
            keys.append(NO_KEY)
            if line and not line.isspace():
                others.append((place, _unreadable(line)))
            continue
        if texts := question_and_answer(example):
            keys.append(hash(texts))
            heard.append(-(-size(texts[0]) // BYTES_PER_TOKEN))
            spoken.append(-(-size(texts[1]) // BYTES_PER_TOKEN))
            continue
        found = judged(example)
        others.append((place, found))
        if isinstance(found, Example):
            keys.append(found.key)
            heard.append(found.input_tokens)
            spoken.append(found.output_tokens)
        else:
            keys.append(NO_KEY)
    return _summed(keys, heard, spoken, others)


def _unreadable(line: bytes) -> Fault:
    if len(line) > MAX_LINE_BYTES:
        return Fault("too_long", f"longer than {MAX_LINE_BYTES} bytes")
    found = read_example(line)
    return found if isinstance(found, Fault) else Fault("json", "not JSON")


def _summed(
    keys: array[int], heard: list[int], spoken: list[int], others: Sequence[tuple[int, Example | Fault]]
) -> CheckedLines:
    """Return what is known of some lines.

    :param others: faults, and examples that may name files.
    """
    faults = [(place, found) for place, found in others if isinstance(found, Fault)]
    files: dict[str, int] = {}
    for place, found in others:
        for file in found.files if isinstance(found, Example) else ():
            if len(files) < MAX_FILES:
                files.setdefault(file, place)
    lengths = list(map(int.__add__, heard, spoken))
    return CheckedLines(
        keys=keys.tobytes(),
        examples=len(heard) + len(faults),
        input_tokens=sum(heard),
        output_tokens=sum(spoken),
        lengths=Counter(lengths),
        too_long=_too_long(lengths, keys) if lengths and max(lengths) > MAX_EXAMPLE_TOKENS else [],
        kinds=Counter(fault.kind for _, fault in faults),
        faults=[(place, fault.text) for place, fault in faults[:PROBLEMS_SHOWN]],
        files=files,
    )


def _too_long(lengths: Sequence[int], keys: Sequence[int]) -> list[int]:
    """Return the places of the lines that have more tokens than an example may have."""
    good = (place for place, key in enumerate(keys) if key != NO_KEY)
    return [place for place, length in zip(good, lengths, strict=True) if length > MAX_EXAMPLE_TOKENS]
