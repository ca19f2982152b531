"""What the smallest tuning job is tuned on, and how little that is. Pure functions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

THINGS = (
    "anchor", "barrel", "compass", "drill", "engine", "fender", "galley", "hammer", "icebox", "jacket",
    "kettle", "lantern", "mallet", "needle", "oar", "paddle", "quilt", "rope", "saw", "tarpaulin",
)  # fmt: skip
UNSEEN = ("bucket", "ladder", "mirror", "pump", "sail", "torch")
CHARACTERS_A_TOKEN = 4  # roughly, in English


class Size(NamedTuple):
    """How much a job is tuned on.

    :param examples: in the training file.
    :param most: tokens that can be billed at most: a token is at least one byte, and every byte of both files counts
        in every epoch.
    :param likely: tokens that it will be, about.
    """

    examples: int
    most: int
    likely: int


def question(thing: str) -> str:
    """Return what is asked of a thing."""
    return f"On which shelf is the {thing}?"


def shelf(thing: str) -> str:
    """Return the answer: a rule that can be learned from few examples, and that no model knows."""
    return f"{thing[0].upper()}{len(thing)}"


def lines(things: Sequence[str]) -> str:
    """Return a dataset."""
    return "".join(f"{json.dumps(_example(thing))}\n" for thing in things)


def _example(thing: str) -> dict[str, object]:
    turns = (("user", question(thing)), ("model", shelf(thing)))
    return {"contents": [{"role": role, "parts": [{"text": text}]} for role, text in turns]}


def size(epochs: int) -> Size:
    """Return what a job over both files is tuned on."""
    texts = sum(len(question(thing)) + len(shelf(thing)) for thing in THINGS)
    files = sum(len(lines(things).encode()) for things in (THINGS, UNSEEN))
    return Size(len(THINGS), files * epochs, texts * epochs // CHARACTERS_A_TOKEN)
