"""A whole dataset file: what is wrong with it, line by line, and what it holds."""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from operator import add
from typing import Any

from gemini_tuning.preflight.duplicates import leaked, repeated
from gemini_tuning.preflight.examples import Example, Fault, read_example
from gemini_tuning.preflight.sample import Sample

MAX_LINE_BYTES = 16 << 20  # far above an example's 131,072 tokens; a longer one is refused unread
MAX_TRAINING_BYTES = 1_000_000_000
MAX_EXAMPLES = 10_000_000
MAX_VALIDATION_EXAMPLES = 5_000
MAX_EXAMPLE_TOKENS = 131_072
ADVISED_TRAINING_EXAMPLES = 100
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
PROBLEMS_SHOWN = 10
WARNINGS_SHOWN = 3  # of each kind
MAX_FILES = 10_000  # different ones that are remembered
NO_KEY = 0  # of a line that has no example


@dataclass
class DatasetReport:
    """What a dataset file holds and what is wrong with it.

    :param sha256: of the whole file, hexadecimal: what the model was tuned on.
    :param input_tokens: estimated, of all instructions and the users' turns, without files.
    :param output_tokens: estimated, of all the model's turns.
    :param lengths: how many examples have so many tokens.
    :param counts: all that was found, by kind.
    :param problems: ``line N: what`` for the first faults found, at most :data:`PROBLEMS_SHOWN`.
    :param warnings: what is allowed but not advised.
    :param files: addresses that the examples name and the line that does so first, at most :data:`MAX_FILES`.
    :param keys: of the example on each line, see :class:`~gemini_tuning.preflight.examples.Example`.
    """

    examples: int = 0
    size_bytes: int = 0
    sha256: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    lengths: Counter[int] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    files: dict[str, int] = field(default_factory=dict)
    keys: array[int] = field(default_factory=lambda: array("q"))
    problem_count: int = 0

    def add_problem(self, kind: str, text: str) -> None:
        """Count a fault and keep it if it is among the first."""
        self.counts[kind] += 1
        self.problem_count += 1
        if len(self.problems) < PROBLEMS_SHOWN:
            self.problems.append(text)

    def warn(self, kind: str, count: int, text: str) -> None:
        """Note what is not advised."""
        self.counts[kind] += count
        self.warnings.append(text)

    def as_dict(self) -> dict[str, Any]:
        """Return the form that goes to XCom."""
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
        share = {"min": 0.0, "median": 0.5, "p95": 0.95, "max": 1.0}
        return {
            "input": self.input_tokens,
            "output": self.output_tokens,
            **{name: self._length_at(rank) for name, rank in share.items()},
        }

    def _length_at(self, share: float) -> int:
        """Return the length that the given share of the acceptable examples do not exceed."""
        left = max(share * self.lengths.total(), 1)
        for length in sorted(self.lengths):
            left -= self.lengths[length]
            if left <= 0:
                return length
        return 0


def check_training_dataset(blocks: Iterable[bytes], sample: Sample | None = None) -> DatasetReport:
    """Check a training file line by line; eight bytes of each line are kept, to find those that come twice.

    :param blocks: the file, in pieces of any size.
    :param sample: takes some of the lines, when it is given.
    """
    report = _check(blocks, sample)
    if report.size_bytes > MAX_TRAINING_BYTES:
        fault = f"{report.size_bytes} bytes; a training file may have at most {MAX_TRAINING_BYTES}"
        report.add_problem("too_large", fault)
    if report.examples > MAX_EXAMPLES:
        report.add_problem("too_many", f"{report.examples} training examples; at most {MAX_EXAMPLES}")
    if 0 < report.examples < ADVISED_TRAINING_EXAMPLES:
        advice = f"{report.examples} training examples; Google advises {ADVISED_TRAINING_EXAMPLES} or more"
        report.warn("few", 1, advice)
    return report


def check_validation_dataset(blocks: Iterable[bytes], training: DatasetReport) -> DatasetReport:
    """Check a validation file line by line.

    :param blocks: the file, in pieces of any size.
    :param training: what was found in the training file: the limit depends on its size, and an example that is there
        too says nothing about what was learned.
    """
    report = _check(blocks)
    thirty_percent = training.examples * 3 // 10
    limit = min(MAX_VALIDATION_EXAMPLES, thirty_percent) if thirty_percent > 1000 else MAX_VALIDATION_EXAMPLES
    if report.examples > limit:
        report.add_problem(
            "too_many",
            f"{report.examples} validation examples; at most {MAX_VALIDATION_EXAMPLES}, or 30% of the training "
            f"examples where that is more than 1000: here {limit}",
        )
    count, first = leaked(report.keys, training.keys, WARNINGS_SHOWN)
    if count:
        where = ", ".join(f"line {here} is line {there} of the training file" for here, there in first)
        report.warn(
            "leaked",
            count,
            f"{count} validation examples are training examples too, so the eval loss flatters: {where}",
        )
    return report


def _check(blocks: Iterable[bytes], sample: Sample | None = None) -> DatasetReport:
    report, truncated = DatasetReport(), list[int]()
    for lines in _lines(_hashed(blocks, report)):
        first = len(report.keys) + 1
        if first == 1:
            lines[0] = _without_mark(lines[0], report)
        lengths = _check_lines(lines, first, report)
        report.lengths.update(lengths)
        if sample:
            sample.look(lines, first)
        if lengths and max(lengths) > MAX_EXAMPLE_TOKENS:
            truncated += _long_ones(lengths, first, report.keys)
    if not report.examples:
        report.add_problem("no_examples", "the file has no examples")
    if truncated:
        where = ", ".join(f"line {number}" for number in truncated[:WARNINGS_SHOWN])
        over = f"{len(truncated)} examples have more than {MAX_EXAMPLE_TOKENS} tokens by estimate"
        report.warn("truncated", len(truncated), f"{over} and would be truncated: {where}")
    count, again = repeated(report.keys, WARNINGS_SHOWN)
    if count:
        where = ", ".join(f"line {number} repeats line {before}" for number, before in again)
        report.warn("repeated", count, f"{count} examples are there more than once: {where}")
    return report


def _check_lines(lines: list[bytes], first: int, report: DatasetReport) -> list[int]:
    """Check some lines, and return the tokens of each example. The loop that all the time goes into."""
    keys, heard, spoken = report.keys, list[int](), list[int]()
    for number, line in enumerate(lines, first):
        found = read_example(line)
        if isinstance(found, Example):
            keys.append(found.key)
            heard.append(found.input_tokens)
            spoken.append(found.output_tokens)
            for file in found.files:
                if len(report.files) < MAX_FILES:
                    report.files.setdefault(file, number)
            continue
        keys.append(NO_KEY)
        if line and not line.isspace():
            _refuse(line, number, found, report)
    report.examples += len(heard)
    report.input_tokens += sum(heard)
    report.output_tokens += sum(spoken)
    return list(map(add, heard, spoken))


def _refuse(line: bytes, number: int, fault: Fault, report: DatasetReport) -> None:
    if len(line) > MAX_LINE_BYTES:
        fault = Fault("too_long", f"longer than {MAX_LINE_BYTES} bytes")
    report.examples += 1
    report.add_problem(fault.kind, f"line {number}: {fault.text}")


def _long_ones(lengths: list[int], first: int, keys: array[int]) -> list[int]:
    """Return the numbers of the lines that have more tokens than an example may have."""
    good = (number for number in range(first, len(keys) + 1) if keys[number - 1] != NO_KEY)
    return [number for number, length in zip(good, lengths, strict=True) if length > MAX_EXAMPLE_TOKENS]


def _lines(blocks: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Cut blocks into lines. What is too long for one is not kept whole, and so refused."""
    rest = b""
    for block in blocks:
        first, *others = block.split(b"\n")
        rest += first
        if others:
            yield [rest, *others[:-1]]
            rest = others[-1]
        rest = rest[: MAX_LINE_BYTES + 1]
    if rest:
        yield [rest]


def _hashed(blocks: Iterable[bytes], report: DatasetReport) -> Iterator[bytes]:
    """Pass the blocks on, and hash each in a thread beside, which takes no time of this one."""
    digest = hashlib.sha256()
    with ThreadPoolExecutor(1) as beside:
        for block in blocks:
            work = beside.submit(digest.update, block)
            report.size_bytes += len(block)
            yield block
            work.result()
    report.sha256 = digest.hexdigest()


def _without_mark(line: bytes, report: DatasetReport) -> bytes:
    if line.startswith(BYTE_ORDER_MARK):
        text = "line 1: the file begins with a byte order mark, which JSON has not; save it without"
        report.warn("byte_order_mark", 1, text)
    return line.removeprefix(BYTE_ORDER_MARK)
