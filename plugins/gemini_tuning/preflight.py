"""Is this dataset acceptable? Pure functions over lines: no Airflow, no Google client, no network.

Rules: the dataset format and limits of
https://cloud.google.com/vertex-ai/generative-ai/docs/models/gemini-supervised-tuning-prepare.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from gemini_tuning.wording import shown

MAX_LINE_BYTES = 16 << 20  # far above an example's 131,072 tokens; a longer line comes in pieces of this length
MAX_TRAINING_BYTES = 1_000_000_000
MAX_VALIDATION_EXAMPLES = 5_000
ADVISED_TRAINING_EXAMPLES = 100
ROLES = ("user", "model")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
PROBLEMS_SHOWN = 10


@dataclass
class DatasetReport:
    """What a dataset file holds and what is wrong with it.

    :param sha256: of the whole file, hexadecimal: what the model was tuned on.
    :param problems: ``line N: what`` for the first faults found, at most :data:`PROBLEMS_SHOWN`.
    :param problem_count: all faults.
    :param warnings: what is allowed but not advised.
    """

    examples: int = 0
    size_bytes: int = 0
    sha256: str = ""
    problem_count: int = 0
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def add_problem(self, text: str) -> None:
        """Count a fault and keep it if it is among the first."""
        self.problem_count += 1
        if len(self.problems) < PROBLEMS_SHOWN:
            self.problems.append(text)

    def as_dict(self) -> dict[str, Any]:
        """Return the form that goes to XCom."""
        return {
            "examples": self.examples,
            "size_bytes": self.size_bytes,
            "sha256": self.sha256,
            "warnings": self.warnings,
        }


def check_training_dataset(lines: Iterable[bytes]) -> DatasetReport:
    """Check a training file line by line, in constant memory.

    :param lines: the file's lines, with or without line ends.
    """
    report = _check_lines(lines)
    if report.size_bytes > MAX_TRAINING_BYTES:
        report.add_problem(f"{report.size_bytes} bytes; a training file may have at most {MAX_TRAINING_BYTES}")
    if 0 < report.examples < ADVISED_TRAINING_EXAMPLES:
        report.warnings.append(
            f"{report.examples} training examples; Google advises {ADVISED_TRAINING_EXAMPLES} or more"
        )
    return report


def check_validation_dataset(lines: Iterable[bytes], training_examples: int) -> DatasetReport:
    """Check a validation file line by line, in constant memory.

    :param training_examples: how many examples the training file has; the limit depends on it.
    """
    report = _check_lines(lines)
    thirty_percent = training_examples * 3 // 10
    limit = min(MAX_VALIDATION_EXAMPLES, thirty_percent) if thirty_percent > 1000 else MAX_VALIDATION_EXAMPLES
    if report.examples > limit:
        report.add_problem(
            f"{report.examples} validation examples; at most {MAX_VALIDATION_EXAMPLES}, or 30% of the training "
            f"examples where that is more than 1000: here {limit}"
        )
    return report


def _check_lines(lines: Iterable[bytes]) -> DatasetReport:
    report, digest = DatasetReport(), hashlib.sha256()
    number, cut = 0, False
    for piece in lines:
        report.size_bytes += len(piece)
        digest.update(piece)
        continued, cut = cut, len(piece) >= MAX_LINE_BYTES and not piece.endswith(b"\n")
        if continued:
            continue  # the rest of a line that was refused already
        number += 1
        line = _without_mark(piece, report) if number == 1 else piece
        if not line.strip():
            continue
        report.examples += 1
        fault = f"longer than {MAX_LINE_BYTES} bytes" if cut else check_example(line)
        if fault:
            report.add_problem(f"line {number}: {fault}")
    report.sha256 = digest.hexdigest()
    if not report.examples:
        report.add_problem("the file has no examples")
    return report


def _without_mark(line: bytes, report: DatasetReport) -> bytes:
    if line.startswith(BYTE_ORDER_MARK):
        report.warnings.append("line 1: the file begins with a byte order mark, which JSON has not; save it without")
    return line.removeprefix(BYTE_ORDER_MARK)


def check_example(line: bytes) -> str | None:
    """Return what is wrong with one JSONL line, or ``None``."""
    try:
        example = json.loads(line.decode("utf-8"), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        return f"not JSON: not UTF-8: {error.reason} at byte {error.start + 1}"
    except RecursionError:
        return "not JSON: nested too deeply"
    except ValueError as error:
        return f"not JSON: {error}"
    if not isinstance(example, Mapping):
        return "not a JSON object"
    instruction = example.get("systemInstruction", example.get("system_instruction"))
    if instruction is not None and (fault := _parts_fault(instruction)):
        return f"systemInstruction: {fault}"
    return _contents_fault(example.get("contents"))


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is a word of Python's, not of JSON")


def _contents_fault(contents: object) -> str | None:
    if not isinstance(contents, list) or not contents:
        return "no contents"
    for turn, content in enumerate(contents, 1):
        fault = _content_fault(content, ROLES[(turn - 1) % 2])
        if fault:
            return f"contents, turn {turn}: {fault}"
    return "the last turn is not the model's" if len(contents) % 2 else None


def _content_fault(content: object, role: str) -> str | None:
    if not isinstance(content, Mapping):
        return "not a JSON object"
    if content.get("role") != role:
        return f"role is {shown(content.get('role'))}, expected {role!r} (user and model take turns, the user begins)"
    return _parts_fault(content)


def _parts_fault(content: object) -> str | None:
    parts = content.get("parts") if isinstance(content, Mapping) else None
    if not isinstance(parts, list) or not parts:
        return "no parts"
    for part in parts:
        if not isinstance(part, Mapping) or not part:
            return "an empty part"
        if "text" in part and not (isinstance(part["text"], str) and part["text"].strip()):
            return "an empty text"
    return None
