"""Training data for the tests."""

import json
from typing import Any


def line(question: str, answer: str, **more: Any) -> str:
    """One example."""
    contents = [{"role": "user", "parts": [{"text": question}]}, {"role": "model", "parts": [{"text": answer}]}]
    return json.dumps({"contents": contents, **more})


_COLOURS = ("amber", "black", "coral", "denim", "ebony", "fawn", "green", "hazel", "ivory", "jade", "khaki", "lilac")
_THINGS = ("kettle", "ladder", "mirror", "needle", "orange", "pencil", "quiver", "ribbon", "saddle", "teapot", "violin")


def pairs(count: int, start: int = 0) -> list[tuple[str, str]]:
    """Questions with answers, all different; ``start`` moves on to other ones."""
    found = []
    for number in range(start, start + count):
        colour, thing = _COLOURS[number % len(_COLOURS)], _THINGS[number % len(_THINGS)]
        question = f"Where does customer {number * 7919 % 100_003} keep the {colour} {thing}?"
        found.append((question, f"{thing.title()} {number} is kept in room {number * 31 % 997}."))
    return found


def jsonl(examples: list[tuple[str, str]]) -> str:
    """A file of them."""
    return "\n".join(line(*example) for example in examples) + "\n"


def preference_line(question: str, better: str, worse: str) -> str:
    """One example of preference tuning."""
    completions = [
        {"score": score, "completion": {"role": "model", "parts": [{"text": text}]}}
        for score, text in ((0.0, worse), (1.0, better))
    ]
    return json.dumps({"contents": [{"role": "user", "parts": [{"text": question}]}], "completions": completions})


def preferences(examples: list[tuple[str, str]]) -> str:
    """A file of them; the worse answer says nothing."""
    return "\n".join(preference_line(question, answer, "No idea.") for question, answer in examples) + "\n"


TRAINING = pairs(140)
VALIDATION = pairs(40, start=1000)
