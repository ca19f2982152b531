"""A whole dataset file: what is wrong with it, line by line, and what it holds."""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from gemini_tuning.datasets.duplicates import leaked, repeated
from gemini_tuning.datasets.lines import (
    MAX_EXAMPLE_TOKENS,
    MAX_FILES,
    MAX_LINE_BYTES,
    PROBLEMS_SHOWN,
    CheckedLines,
    check_lines,
)
from gemini_tuning.datasets.parallel import check_on_all_cores, cores
from gemini_tuning.datasets.token_sample import Sample

MAX_TRAINING_BYTES = 1_000_000_000
MAX_EXAMPLES = 10_000_000
MAX_VALIDATION_EXAMPLES = 5_000
ADVISED_TRAINING_EXAMPLES = 100
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
WARNINGS_SHOWN = 3  # of each kind
ALL_CORES_FROM = 32 << 20  # bytes; a smaller file is done before the other processes have started


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
    :param on_all_cores: whether the keys come from :mod:`~gemini_tuning.datasets.parallel`; others cannot be compared.
    :param keys: of the example on each line, see :class:`~gemini_tuning.datasets.examples.Example`.
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
    on_all_cores: bool = False

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


def check_training_dataset(blocks: Iterable[bytes], sample: Sample | None = None, *, size: int = 0) -> DatasetReport:
    """Check a training file line by line; eight bytes of each line are kept, to find those that come twice.

    :param blocks: the file, in pieces of any size.
    :param sample: takes some of the lines, when it is given.
    :param size: bytes that will come, as far as known: a big file is checked on all cores.
    """
    report = _check(blocks, sample, on_all_cores=cores() > 1 and size >= ALL_CORES_FROM)
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
    report = _check(blocks, on_all_cores=training.on_all_cores)
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


def _check(blocks: Iterable[bytes], sample: Sample | None = None, *, on_all_cores: bool) -> DatasetReport:
    report, truncated = DatasetReport(on_all_cores=on_all_cores), list[int]()
    pieces = _looked_at(_pieces(_hashed(blocks, report)), report, sample)
    for checked in check_on_all_cores(pieces) if on_all_cores else map(check_lines, pieces):
        _add(checked, report, truncated)
    _judge(report, truncated)
    return report


def _looked_at(pieces: Iterable[bytes], report: DatasetReport, sample: Sample | None) -> Iterator[bytes]:
    """Pass the pieces on, the first without a byte order mark, and let the sample take its lines."""
    number = 1
    for piece in pieces:
        clean = _without_mark(piece, report) if number == 1 else piece
        if sample:
            lines = clean.split(b"\n")
            sample.look(lines, number)
            number += len(lines)
        else:
            number += 1  # all that counts then is which piece is the first
        yield clean


def _add(checked: CheckedLines, report: DatasetReport, truncated: list[int]) -> None:
    """Count some more lines."""
    first = len(report.keys) + 1
    report.keys.frombytes(checked.keys)
    report.examples += checked.examples
    report.input_tokens += checked.input_tokens
    report.output_tokens += checked.output_tokens
    report.lengths.update(checked.lengths)
    report.counts.update(checked.kinds)
    report.problem_count += sum(checked.kinds.values())
    room = max(PROBLEMS_SHOWN - len(report.problems), 0)
    report.problems += [f"line {first + place}: {text}" for place, text in checked.faults[:room]]
    truncated += [first + place for place in checked.too_long]
    for file, place in checked.files.items():
        if len(report.files) < MAX_FILES:
            report.files.setdefault(file, first + place)


def _judge(report: DatasetReport, truncated: list[int]) -> None:
    """Say what the whole shows."""
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


def _pieces(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Cut blocks where lines end. What is too long for one is not kept whole, and so refused."""
    rest = b""
    for block in blocks:
        cut = block.rfind(b"\n")
        if cut < 0:
            rest = (rest + block)[: MAX_LINE_BYTES + 1]
            continue
        head = block.find(b"\n") if len(rest) + len(block) > MAX_LINE_BYTES else 0
        yield (rest + block[:head])[: MAX_LINE_BYTES + 1] + block[head:cut]
        rest = block[cut + 1 :]
    if rest:
        yield rest


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
