"""Some lines of a dataset: what counts of them, and what is wrong with the first. Pure.

A value that goes from one process to another, because a big file is checked on all cores.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence

import msgspec

from gemini_tuning.preflight.examples import Example, Fault, read_example

MAX_LINE_BYTES = 16 << 20  # far above an example's 131,072 tokens; a longer one is refused unread
MAX_EXAMPLE_TOKENS = 131_072
PROBLEMS_SHOWN = 10
MAX_FILES = 10_000  # different ones that are remembered
NO_KEY = 0  # of a line that has no example


class CheckedLines(msgspec.Struct):
    """What is known of some lines. Places are counted from 0.

    :param keys: of the example on each line (:class:`~gemini_tuning.preflight.examples.Example`), eight bytes each.
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


def check_lines(lines: Sequence[bytes]) -> CheckedLines:
    """Check lines. The loop that all the time goes into."""
    keys, heard, spoken = array("q"), list[int](), list[int]()
    faults, files, kinds = list[tuple[int, str]](), dict[str, int](), Counter[str]()
    for place, line in enumerate(lines):
        found = read_example(line)
        if isinstance(found, Example):
            keys.append(found.key)
            heard.append(found.input_tokens)
            spoken.append(found.output_tokens)
            for file in found.files:
                if len(files) < MAX_FILES:
                    files.setdefault(file, place)
            continue
        keys.append(NO_KEY)
        if line and not line.isspace():
            fault = Fault("too_long", f"longer than {MAX_LINE_BYTES} bytes") if len(line) > MAX_LINE_BYTES else found
            kinds[fault.kind] += 1
            if len(faults) < PROBLEMS_SHOWN:
                faults.append((place, fault.text))
    lengths = list(map(int.__add__, heard, spoken))
    return CheckedLines(
        keys=keys.tobytes(),
        examples=len(heard) + kinds.total(),
        input_tokens=sum(heard),
        output_tokens=sum(spoken),
        lengths=Counter(lengths),
        too_long=_too_long(lengths, keys) if lengths and max(lengths) > MAX_EXAMPLE_TOKENS else [],
        kinds=kinds,
        faults=faults,
        files=files,
    )


def _too_long(lengths: Sequence[int], keys: Sequence[int]) -> list[int]:
    """Return the places of the lines that have more tokens than an example may have."""
    good = (place for place, key in enumerate(keys) if key != NO_KEY)
    return [place for place, length in zip(good, lengths, strict=True) if length > MAX_EXAMPLE_TOKENS]
