"""A whole dataset file: its problems by line, and its size in examples and tokens.

The file is streamed. Kept in memory are a block of it, eight bytes for each line to find duplicates (twelve while they
are searched), and the files that examples name, at most :data:`MAX_FILES`.
Limits: https://cloud.google.com/vertex-ai/generative-ai/docs/models/gemini-supervised-tuning
"""

from __future__ import annotations

import hashlib
import heapq
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gemini_tuning.datasets.examples import MAX_LINE_BYTES, ExampleError, read_example

if TYPE_CHECKING:
    from gemini_tuning.datasets.token_sample import TokenSample

MAX_TRAINING_BYTES = 1_000_000_000
MAX_EXAMPLES = 10_000_000
MAX_VALIDATION_EXAMPLES = 5_000
MAX_EXAMPLE_TOKENS = 131_072
RECOMMENDED_EXAMPLES = 100
MAX_PROBLEMS = 10  # in an error message
MAX_WARNINGS = 3  # lines in a warning
MAX_FILES = 10_000
NO_KEY = 0  # of a line without an acceptable example
_BUCKETS = 256
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass
class DatasetReport:
    """Content and problems of a dataset file."""

    examples: int = 0
    size_bytes: int = 0
    sha256: str = ""  # of the whole file, in hexadecimal
    input_tokens: int = 0  # estimate for all system instructions and user turns, without files
    output_tokens: int = 0  # estimate for all model turns
    lengths: Counter[int] = field(default_factory=Counter)  # number of examples by tokens
    counts: Counter[str] = field(default_factory=Counter)  # number of problems and warnings by kind
    problems: list[str] = field(default_factory=list)  # "line N: …" for the first MAX_PROBLEMS
    warnings: list[str] = field(default_factory=list)  # what is accepted but not recommended
    files: dict[str, int] = field(default_factory=dict)  # gs:// addresses in the examples with the first line of each
    keys: array[int] = field(default_factory=lambda: array("q"))  # of the example on each line, see Example
    problem_count: int = 0

    def add_problem(self, kind: str, text: str) -> None:
        """Count a problem, and keep its text if it is among the first."""
        self.counts[kind] += 1
        self.problem_count += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(text)

    def warn(self, kind: str, count: int, text: str) -> None:
        """Add a warning."""
        self.counts[kind] += count
        self.warnings.append(text)

    def as_dict(self) -> dict[str, Any]:
        """Return the form for XCom."""
        return {
            "examples": self.examples,
            "size_bytes": self.size_bytes,
            "sha256": self.sha256,
            "tokens": self.tokens(),
            "found": dict(sorted(self.counts.items())),
            "warnings": self.warnings,
        }

    def tokens(self) -> dict[str, int]:
        """Return estimates: sums, and the smallest, median, 95th percentile and largest example."""
        ranks = {"min": 0.0, "median": 0.5, "p95": 0.95, "max": 1.0}
        lengths = {name: self._length_at(rank) for name, rank in ranks.items()}
        return {"input": self.input_tokens, "output": self.output_tokens, **lengths}

    def _length_at(self, rank: float) -> int:
        """Return the length that the given share of the acceptable examples do not exceed."""
        left = max(rank * self.lengths.total(), 1)
        for length in sorted(self.lengths):
            left -= self.lengths[length]
            if left <= 0:
                return length
        return 0


def check_training_dataset(blocks: Iterable[bytes], sample: TokenSample | None = None) -> DatasetReport:
    """Check a training file, in pieces of any size; the sample collects some of the lines."""
    report = _check(blocks, sample)
    size, count = report.size_bytes, report.examples
    if size > MAX_TRAINING_BYTES:
        report.add_problem("too_large", f"{size} bytes; a training file may have at most {MAX_TRAINING_BYTES}")
    if count > MAX_EXAMPLES:
        report.add_problem("too_many", f"{count} training examples; at most {MAX_EXAMPLES}")
    if 0 < count < RECOMMENDED_EXAMPLES:
        report.warn("few", 1, f"{count} training examples; Google recommends {RECOMMENDED_EXAMPLES} or more")
    return report


def check_validation_dataset(blocks: Iterable[bytes], training: DatasetReport) -> DatasetReport:
    """Check a validation file. The training file's size decides on the limit; examples in both are reported."""
    report = _check(blocks)
    thirty_percent = training.examples * 3 // 10
    limit = min(MAX_VALIDATION_EXAMPLES, thirty_percent) if thirty_percent > 1000 else MAX_VALIDATION_EXAMPLES
    if report.examples > limit:
        most = f"{MAX_VALIDATION_EXAMPLES}, or 30% of the training examples where that is more than 1000: here {limit}"
        report.add_problem("too_many", f"{report.examples} validation examples; at most {most}")
    common = set(report.keys).intersection(training.keys) - {NO_KEY}
    if common:
        lines = [index for index, key in enumerate(report.keys) if key in common]
        pairs = ((line, training.keys.index(report.keys[line])) for line in lines[:MAX_WARNINGS])
        where = ", ".join(f"line {line + 1} is line {other + 1} of the training file" for line, other in pairs)
        problem = f"{len(lines)} validation examples are also training examples, so the eval loss is too low"
        report.warn("leaked", len(lines), f"{problem}: {where}")
    return report


def _check(blocks: Iterable[bytes], sample: TokenSample | None = None) -> DatasetReport:
    report, truncated = DatasetReport(), list[int]()
    for lines in _lines(blocks, report):
        if not report.keys and lines[0].startswith(_BYTE_ORDER_MARK):
            lines[0] = lines[0].removeprefix(_BYTE_ORDER_MARK)
            report.warn("byte_order_mark", 1, "line 1: the file starts with a byte order mark; save it without")
        if sample:
            sample.add(lines, len(report.keys) + 1)
        _check_lines(lines, report, truncated)
    if not report.examples:
        report.add_problem("no_examples", "the file has no examples")
    if truncated:
        where = ", ".join(f"line {number}" for number in truncated[:MAX_WARNINGS])
        over = f"{len(truncated)} examples have more than {MAX_EXAMPLE_TOKENS} tokens by estimate"
        report.warn("truncated", len(truncated), f"{over} and would be truncated: {where}")
    repeated = _repeated(report.keys)
    if repeated:
        pairs = ((line, report.keys.index(report.keys[line])) for line in heapq.nsmallest(MAX_WARNINGS, repeated))
        where = ", ".join(f"line {line + 1} repeats line {other + 1}" for line, other in pairs)
        report.warn("repeated", len(repeated), f"{len(repeated)} examples are repeated: {where}")
    return report


def _check_lines(lines: list[bytes], report: DatasetReport, truncated: list[int]) -> None:
    """Check some lines: the loop that takes the time."""
    keys, lengths = report.keys, report.lengths
    for line in lines:
        keys.append(NO_KEY)
        if not line or line.isspace():
            continue
        report.examples += 1
        try:
            example = read_example(line)
        except ExampleError as error:
            report.add_problem(str(error.code), f"line {len(keys)}: {error}")
            continue
        keys[-1] = example.key
        report.input_tokens += example.input_tokens
        report.output_tokens += example.output_tokens
        length = example.input_tokens + example.output_tokens
        lengths[length] += 1
        if length > MAX_EXAMPLE_TOKENS:
            truncated.append(len(keys))
        for file in example.files:
            if len(report.files) < MAX_FILES:
                report.files.setdefault(file, len(keys))


def _lines(blocks: Iterable[bytes], report: DatasetReport) -> Iterator[list[bytes]]:
    """Yield the lines of each block. A line that is too long is cut, and so rejected."""
    digest, rest = hashlib.sha256(), b""
    for block in blocks:
        digest.update(block)
        report.size_bytes += len(block)
        first, *lines = block.split(b"\n")
        rest = (rest + first)[: MAX_LINE_BYTES + 1]
        if lines:
            yield [rest, *lines[:-1]]
            rest = lines[-1]
    report.sha256 = digest.hexdigest()
    yield [rest]


def _repeated(keys: array[int]) -> array[int]:
    """Return the indexes of the keys that occur earlier, in any order.

    A set of ten million keys takes a gigabyte: they are divided by their last bits, and each part has its own set.
    """
    repeated, buckets = array("I"), [array("I") for _ in range(_BUCKETS)]
    for index, key in enumerate(keys):
        buckets[key % _BUCKETS].append(index)
    for bucket in buckets:
        seen = {NO_KEY}
        for index in bucket:
            key = keys[index]
            if key not in seen:
                seen.add(key)
            elif key != NO_KEY:
                repeated.append(index)
    return repeated
