"""Preference tuning data (JSONL): a prompt with a better and a worse completion. Pure functions.

Format: GeminiPreferenceExample of the discovery documents. The learner takes the better completion as the answer.
"""

import statistics as numbers
from typing import Any

from .dataset import Dataset, DatasetError, Example, Exchange, distribution, parse_turn, text_of, tokens

_SAMPLES = 10
_COMPLETIONS = 2


def parse_example(value: Any) -> Example:
    """Read one line; :class:`DatasetError` says what is wrong with it."""
    if not isinstance(value, dict):
        raise DatasetError("an example must be a JSON object.")
    contents, completions = value.get("contents"), value.get("completions")
    if not isinstance(contents, list) or not contents:
        raise DatasetError('"contents" must be a list with at least one turn.')
    if not isinstance(completions, list) or len(completions) != _COMPLETIONS:
        raise DatasetError(f'"completions" must be a list of {_COMPLETIONS}.')
    turns = [parse_turn(turn, index) for index, turn in enumerate(contents)]
    asked = tuple(text for role, text in turns if role == "user")
    if turns[-1][0] != "user":
        raise DatasetError("the last turn must be the user's.")
    scored = sorted((_completion(item, index) for index, item in enumerate(completions)), reverse=True)
    if scored[0][0] == scored[1][0]:
        raise DatasetError("the two completions must have different scores.")
    return Example(
        (Exchange(asked, scored[0][1]),),
        len(contents) + 1,
        sum(len(text) for _, text in turns),
        sum(len(text) for _, text in scored),
        {"contents": contents, "completions": completions},
        tuple(score for score, _ in scored),
    )


def statistics(dataset: Dataset) -> dict[str, Any]:
    """Return the part of preferenceOptimizationDataStats that belongs to a file."""
    examples = dataset.examples
    stats = {
        "tuningDatasetExampleCount": str(len(examples)),
        "userInputTokenDistribution": _plain([tokens(example.input_characters) for example in examples]),
        "userOutputTokenDistribution": _plain([tokens(example.output_characters) for example in examples]),
        "scoresDistribution": _plain([score for example in examples for score in example.scores]),
        "scoreVariancePerExampleDistribution": _plain([numbers.pvariance(example.scores) for example in examples]),
        "userDatasetExamples": [example.sample for example in examples[:_SAMPLES]],
    }
    if dataset.dropped:
        stats["droppedExampleIndices"] = [str(number) for number in dataset.dropped[:_SAMPLES]]
        stats["droppedExampleReasons"] = ["The example has too many tokens." for _ in dataset.dropped[:_SAMPLES]]
    return stats


def _plain(values: list[int] | list[float]) -> dict[str, Any]:
    """DatasetDistribution: like that of supervised tuning, but sum and count have each other's JSON types."""
    found = distribution(values)
    del found["billableSum"]
    buckets = [{**bucket, "count": str(bucket["count"])} for bucket in found["buckets"]]
    return {**found, "sum": sum(values), "buckets": buckets}


def _completion(value: Any, index: int) -> tuple[float, str]:
    where = f"completions[{index}]"
    if not isinstance(value, dict) or not isinstance(value.get("completion"), dict):
        raise DatasetError(f'{where} must be an object with "completion" and "score".')
    score = value.get("score", 0.0)
    if isinstance(score, bool) or not isinstance(score, int | float):
        raise DatasetError(f'{where} has a "score" that is not a number.')
    return float(score), text_of(value["completion"], f"{where}.completion")
