"""Gemini's tuning data (JSONL): parsing, checks, statistics. Pure functions.

Format and limits: the page "Prepare supervised fine-tuning data for Gemini models". Tokens are estimated at four
characters each, since the tokenizer is not public. The wording of the errors is the emulator's own: what the real
service says is not documented.
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

MAX_TOKENS = 131_072
"""Longest example; longer ones are dropped and counted."""
MAX_BYTES = 1 << 30
MAX_EXAMPLES = 10_000_000
MAX_VALIDATION_EXAMPLES = 5_000
FREE_VALIDATION_EXAMPLES, MAX_VALIDATION_SHARE = 1_000, 0.3
"""Above this many validation examples, they may be at most this share of the training examples."""
CHARACTERS_PER_TOKEN = 4
_BUCKETS = 10
_SAMPLES = 10
_ROLES = ("user", "model")


class DatasetError(ValueError):
    """The service would refuse this file."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One thing to learn: what the user said, turn by turn, and the answer the model should give."""

    user_texts: tuple[str, ...]
    answer: str


@dataclass(frozen=True, slots=True)
class Example:
    """One line of the file.

    ``exchanges`` has one entry for each model turn; ``sample`` is the first user turn as it stands in the file;
    ``scores`` are those of the completions of a preference example.
    """

    exchanges: tuple[Exchange, ...]
    messages: int
    input_characters: int
    output_characters: int
    sample: dict[str, Any]
    scores: tuple[float, ...] = ()


ReadExample = Callable[[Any], Example]


@dataclass(frozen=True, slots=True)
class Dataset:
    """A file that the service would accept. ``dropped`` are the 1-based line numbers of examples too long."""

    examples: tuple[Example, ...]
    dropped: tuple[int, ...]

    @property
    def exchanges(self) -> Iterator[Exchange]:
        """All there is to learn."""
        return (exchange for example in self.examples for exchange in example.exchanges)


def tokens(characters: int) -> int:
    """Estimated number of tokens of a text of this many characters."""
    return math.ceil(characters / CHARACTERS_PER_TOKEN)


def parse(content: bytes, read: ReadExample | None = None) -> Dataset:
    """Read a JSONL file.

    :param read: reads a line's JSON; by default as supervised tuning does.
    :raises DatasetError: it is empty, too big, not UTF-8, or a line is not an example; says which line.
    """
    if len(content) > MAX_BYTES:
        raise DatasetError(f"The dataset file has {len(content)} bytes; at most {MAX_BYTES} are allowed.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"The dataset file is not valid UTF-8 at byte {error.start}.") from error
    examples, dropped = [], []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        example = _parse_line(line, number, read or parse_example)
        if tokens(example.input_characters + example.output_characters) > MAX_TOKENS:
            dropped.append(number)
        else:
            examples.append(example)
    if not examples:
        raise DatasetError("The dataset file contains no examples.")
    if len(examples) > MAX_EXAMPLES:
        raise DatasetError(f"The dataset has {len(examples)} examples; at most {MAX_EXAMPLES} are allowed.")
    return Dataset(tuple(examples), tuple(dropped))


def check_validation(training: int, validation: int) -> None:
    """Refuse a validation set that is too big.

    :param training: number of training examples.
    :param validation: number of validation examples.
    """
    if validation > MAX_VALIDATION_EXAMPLES:
        raise DatasetError(
            f"The validation dataset has {validation} examples; at most {MAX_VALIDATION_EXAMPLES} are allowed."
        )
    if validation > FREE_VALIDATION_EXAMPLES and validation > training * MAX_VALIDATION_SHARE:
        raise DatasetError(
            f"The validation dataset has {validation} examples; with more than {FREE_VALIDATION_EXAMPLES} it may "
            f"have at most {MAX_VALIDATION_SHARE:.0%} of the {training} training examples."
        )


def statistics(dataset: Dataset) -> dict[str, Any]:
    """Return the part of supervisedTuningDataStats that belongs to a file (field names: discovery document).

    Jobs share it; :func:`job_statistics` adds what depends on the job.
    """
    examples = dataset.examples
    inputs = [tokens(example.input_characters) for example in examples]
    outputs = [tokens(example.output_characters) for example in examples]
    characters = sum(example.input_characters + example.output_characters for example in examples)
    stats = {
        "tuningDatasetExampleCount": str(len(examples)),
        "totalTuningCharacterCount": str(characters),
        "userInputTokenDistribution": distribution(inputs),
        "userOutputTokenDistribution": distribution(outputs),
        "userMessagePerExampleDistribution": distribution([example.messages for example in examples]),
        "userDatasetExamples": [example.sample for example in examples[:_SAMPLES]],
    }
    if dataset.dropped:
        reason = f"The example has more than {MAX_TOKENS} tokens."
        stats["totalTruncatedExampleCount"] = str(len(dataset.dropped))
        stats["truncatedExampleIndices"] = [str(number) for number in dataset.dropped[:_SAMPLES]]
        stats["droppedExampleReasons"] = [reason for _ in dataset.dropped[:_SAMPLES]]
    return stats


def job_statistics(file_statistics: dict[str, Any], steps: int, epochs: int) -> dict[str, Any]:
    """SupervisedTuningDataStats of a job.

    :param file_statistics: from :func:`statistics`.
    :param steps: steps of the whole job.
    :param epochs: passes over the data; every one of them is billed.
    """
    a_pass = sum(
        int(file_statistics[key]["sum"]) for key in ("userInputTokenDistribution", "userOutputTokenDistribution")
    )
    return {
        **file_statistics,
        "totalBillableTokenCount": str(a_pass * epochs),
        "tuningStepCount": str(steps),
    }


def distribution(values: Sequence[float]) -> dict[str, Any]:
    """SupervisedTuningDatasetDistribution of some counts (at least one): sums, percentiles, ten buckets."""
    ordered = sorted(values)
    total = sum(ordered)
    low, high = ordered[0], ordered[-1]
    width = (high - low) / _BUCKETS or 1.0
    counts = [0] * _BUCKETS
    for value in ordered:
        counts[min(int((value - low) / width), _BUCKETS - 1)] += 1
    return {
        "sum": str(total),
        "billableSum": str(total),
        "min": low,
        "max": high,
        "mean": total / len(ordered),
        "median": _percentile(ordered, 0.5),
        "p5": _percentile(ordered, 0.05),
        "p95": _percentile(ordered, 0.95),
        "buckets": [
            {"count": count, "left": low + width * index, "right": low + width * (index + 1)}
            for index, count in enumerate(counts)
        ],
    }


def _percentile(ordered: Sequence[float], share: float) -> float:
    position = share * (len(ordered) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def _parse_line(line: str, number: int, read: ReadExample) -> Example:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise DatasetError(f"Line {number} is not valid JSON: {error.msg} (column {error.colno}).") from error
    try:
        return read(value)
    except DatasetError as error:
        raise DatasetError(f"Line {number}: {error}") from error


def parse_example(value: Any) -> Example:
    """Read one line of a supervised tuning file; :class:`DatasetError` says what is wrong with it."""
    if not isinstance(value, dict):
        raise DatasetError("an example must be a JSON object.")
    contents = value.get("contents")
    if not isinstance(contents, list) or not contents:
        raise DatasetError('"contents" must be a list with at least one user and one model turn.')
    system = _system_text(value)
    asked: list[str] = []
    exchanges = []
    outputs = 0
    for index, turn in enumerate(contents):
        role, text = parse_turn(turn, index)
        if role == "user":
            asked.append(text)
        elif not asked:
            raise DatasetError("the first turn must be the user's.")
        else:
            exchanges.append(Exchange(tuple(asked), text))
            outputs += len(text)
    if contents[-1].get("role") != "model":
        raise DatasetError("the last turn must be the model's.")
    inputs = len(system) + sum(map(len, asked))
    return Example(tuple(exchanges), len(contents), inputs, outputs, contents[0])


def _system_text(value: dict[str, Any]) -> str:
    system = value.get("systemInstruction", value.get("system_instruction"))
    if system is None:
        return ""
    if not isinstance(system, dict):
        raise DatasetError('"systemInstruction" must be an object with "parts".')
    return text_of(system, "systemInstruction")


def parse_turn(turn: Any, index: int) -> tuple[str, str]:
    """Role and text of a Content of an example."""
    where = f"contents[{index}]"
    if not isinstance(turn, dict):
        raise DatasetError(f"{where} must be an object.")
    role = turn.get("role")
    if role not in _ROLES:
        raise DatasetError(f'{where} has the role "{role}"; it must be "user" or "model".')
    return role, text_of(turn, where)


def text_of(content: dict[str, Any], where: str) -> str:
    """Text of a Content; a part that is a file counts as its address."""
    parts = content.get("parts")
    if not isinstance(parts, list) or not parts:
        raise DatasetError(f'{where} must have at least one part in "parts".')
    texts = []
    for part in parts:
        if not isinstance(part, dict) or not part:
            raise DatasetError(f'{where} has a part that is neither text nor "fileData".')
        text = part.get("text", "")
        if not isinstance(text, str):
            raise DatasetError(f'{where} has a part whose "text" is not a string.')
        file = part.get("fileData", part.get("file_data"))
        texts.append(str(file.get("fileUri", file.get("file_uri", ""))) if isinstance(file, dict) else text)
    return "\n".join(texts)
