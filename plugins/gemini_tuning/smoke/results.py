"""The results file of one checkpoint: JSONL, a line for each case and repeat, from which a retry resumes.

Objects in Cloud Storage cannot be appended to, so the whole file is written every few seconds. A retry of a killed task
sends only the prompts that were answered after the last write, and those without an answer.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from gemini_tuning.core.exceptions import PermanentServiceError, ServiceError
from gemini_tuning.core.files import JSONL, Files
from gemini_tuning.core.text import redact, shorten

if TYPE_CHECKING:
    from gemini_tuning.smoke.assertions import Assertion
    from gemini_tuning.smoke.cases import Case
    from gemini_tuning.smoke.runner import CaseResult
    from gemini_tuning.smoke.suite import Suite

SAVE_INTERVAL = 10.0  # seconds between two writes, or ten times the duration of the last one
MAX_EXPECTED = 2_000  # characters of what an assertion expects
MAX_ANSWER = 100_000  # characters of an answer in a line; the assertions see all of it

METADATA = ("finish_reason", "blocked", "prompt_tokens", "output_tokens")  # of a response

Key = tuple[str, int]

log = logging.getLogger(__name__)


def result_key(suite: Suite, case: Case, endpoint: str) -> str:
    """Return the key of a result: it changes with the prompt, the assertions, the judge and the endpoint."""
    judge = suite.judge if any(assertion.needs_judge for assertion in case.assertions) else None
    return hashlib.sha256(f"{case.fingerprint}\0{endpoint}\0{judge}".encode()).hexdigest()[:16]


def result_line(result: CaseResult, key: str) -> dict[str, Any]:
    """Return a result as a line of the file; latency in milliseconds."""
    case, answer, grade = result.case, result.answer, result.grade
    return {
        "case_id": case.id,
        "repeat": result.repeat,
        "key": key,
        "passed": grade.passed,
        "score": round(grade.score, 6),
        "weight": case.weight,
        "critical": case.critical,
        "system_instruction": case.system_instruction,
        "contents": case.contents,
        "answer": shorten(answer.text, MAX_ANSWER) if answer else None,
        **{name: getattr(answer, name, None) for name in METADATA},
        "verdicts": [
            {**asdict(verdict), "score": round(verdict.score, 6), "expected": _expected(assertion)}
            for assertion, verdict in zip(case.assertions, result.verdicts, strict=False)  # none without an answer
        ],
        "error": redact(result.error) if result.error else None,
        "latency_ms": round(answer.latency * 1000, 1) if answer else None,
    }


def _expected(assertion: Assertion) -> str | None:
    value = assertion.value
    text = value if isinstance(value, str | None) else json.dumps(value, ensure_ascii=False, default=str)
    return text and shorten(text, MAX_EXPECTED)


class ResultsFile:
    """Collects one checkpoint's results and writes them to a file."""

    def __init__(self, files: Files, uri: str) -> None:
        self._files = files
        self.uri = uri
        self.lines: list[bytes] = []
        self._saved = 0

    def reuse(self, keys: Mapping[Key, str], cases: Mapping[str, Case]) -> set[Key]:
        """Keep the answers of an earlier try, with the weights of these cases; return the keys that have one.

        Lines without an answer, of other cases and of cases that have changed are dropped.
        """
        kept: set[Key] = set()
        try:
            for line in self._files.read_lines(self.uri):
                if (result := _reusable(line, keys)) and (name := _name(result)) not in kept:
                    kept.add(name)
                    case = cases[name[0]]
                    self.add({**result, "weight": case.weight, "critical": case.critical})
        except FileNotFoundError:
            pass
        except PermanentServiceError as error:
            if error.code != 404:
                raise
        self._saved = len(self.lines)
        return kept

    def add(self, line: Mapping[str, Any]) -> None:
        """Append a line."""
        self.lines.append(json.dumps(line, ensure_ascii=False).encode("utf-8", "replace") + b"\n")

    def save(self) -> None:
        """Write all lines so far to the file's address."""
        lines = list(self.lines)
        self._files.write(self.uri, b"".join(lines), JSONL)
        self._saved = len(lines)

    @asynccontextmanager
    async def saving(self, *, order: Sequence[Key]) -> AsyncIterator[None]:
        """Save regularly while the block runs, and at its end, also when it raises; only then in this order."""
        finished = asyncio.Event()
        task = asyncio.create_task(self._save_regularly(finished))
        try:
            yield
        finally:
            finished.set()
            await task  # of two concurrent writes the shorter one could win
            places = {name: place for place, name in enumerate(order)}
            self.lines = sorted(self.lines, key=lambda line: places[_name(json.loads(line))])
            await asyncio.to_thread(self.save)

    async def _save_regularly(self, finished: asyncio.Event) -> None:
        pause = SAVE_INTERVAL
        while not finished.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(finished.wait(), pause)
            if len(self.lines) == self._saved or finished.is_set():
                continue
            started = time.monotonic()
            try:
                await asyncio.to_thread(self.save)
            except (ServiceError, OSError) as error:  # the next write includes them; the last one raises
                log.warning("The results so far could not be saved: %s", error)
            pause = max(SAVE_INTERVAL, 10 * (time.monotonic() - started))


def _reusable(line: bytes, keys: Mapping[Key, str]) -> dict[str, Any] | None:
    try:
        result: dict[str, Any] = json.loads(line)
        return result if result["answer"] is not None and result["key"] == keys.get(_name(result)) else None
    except (ValueError, TypeError, LookupError):  # a truncated line, or another format
        return None


def _name(result: Mapping[str, Any]) -> Key:
    return str(result["case_id"]), int(result["repeat"])
