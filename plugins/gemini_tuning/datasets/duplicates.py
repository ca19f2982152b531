"""Which examples come again: among a million numbers, one for each line."""

from __future__ import annotations

from array import array

NONE = 0  # stands for a line without an example


def repeated(keys: array[int], most: int) -> tuple[int, list[tuple[int, int]]]:
    """Return how many lines have the key of an earlier one, and the first of them with the line that they repeat.

    :param keys: of the lines, in their order.
    :param most: how many to name.
    """
    import numpy as np  # 0.1 s, which reading the DAG file shall not take

    values = np.frombuffer(keys, dtype=np.int64)
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    again = np.zeros(len(values), dtype=bool)
    again[order[1:]] = (ordered[1:] == ordered[:-1]) & (ordered[1:] != NONE)
    lines = np.flatnonzero(again)
    before = order[np.searchsorted(ordered, values[lines[:most]])]
    return len(lines), [(int(line) + 1, int(first) + 1) for line, first in zip(lines[:most], before, strict=True)]


def leaked(keys: array[int], others: array[int], most: int) -> tuple[int, list[tuple[int, int]]]:
    """Return how many lines have the key of a line of another file, and the first of them with that line's number.

    :param keys: of the lines, in their order.
    :param others: of the other file.
    :param most: how many to name.
    """
    import numpy as np

    if not keys or not others:
        return 0, []
    here, there = np.frombuffer(keys, dtype=np.int64), np.frombuffer(others, dtype=np.int64)
    order = np.argsort(there, kind="stable")
    places = np.minimum(np.searchsorted(there[order], here), len(there) - 1)
    lines = np.flatnonzero((there[order][places] == here) & (here != NONE))
    first = order[places[lines[:most]]]
    return len(lines), [(int(line) + 1, int(other) + 1) for line, other in zip(lines[:most], first, strict=True)]
