"""The smoke suite: prompts with assertions, read from YAML and refused when something in it is wrong.

The format is docs/smoke_suites.md for people, and ``suite.schema.json`` for editors and for this module.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from gemini_tuning.core import yaml_file
from gemini_tuning.core.text import short_repr
from gemini_tuning.core.yaml_file import YamlError
from gemini_tuning.smoke import schema_errors
from gemini_tuning.smoke.assertions import RUBRIC
from gemini_tuning.smoke.cases import Case, Grade, Part, Turn, digest
from gemini_tuning.smoke.judge import Judge
from gemini_tuning.smoke.suite_reader import CaseReader, ReadLines, Source, SuiteError, located

__all__ = ["Case", "Grade", "Judge", "Part", "Prices", "Suite", "SuiteError", "Turn", "load_suite", "parse_suite"]

MAX_PATH = 1_000  # characters
MAX_LISTED = 20  # suites that an error names


@dataclass(frozen=True)
class Prices:
    """What a million tokens cost.

    :param currency: three letters, for example ``USD``.
    """

    input: float
    output: float
    currency: str


@dataclass(frozen=True)
class Suite:
    """The cases that every checkpoint has to answer.

    :param judge: who answers ``llm-rubric``; there is one when a case needs it.
    """

    name: str
    cases: tuple[Case, ...]
    description: str = ""
    judge: Judge | None = None
    prices: Prices | None = None

    @cached_property
    def fingerprint(self) -> str:
        """Hash of everything that decides what is asked and how it is judged: 64 hex digits."""
        return digest(
            {
                "judge": self.judge and asdict(self.judge),
                "cases": [[c.id, c.fingerprint, c.weight, c.critical, c.repeat] for c in self.cases],
            }
        )


def load_suite(name: str, folder: str | None = None, *, read_lines: ReadLines | None = None) -> Suite:
    """Read a suite file.

    :param name: path of the file, or its name below ``folder``; ``.yaml`` may be left out.
    :param folder: when given, the file must lie in it, and its case files too; else those lie in the suite's own.
    :param read_lines: opens the ``gs://`` addresses of ``cases_from``; what it raises is raised on.
    :raises SuiteError: when the file is missing or not acceptable.
    """
    path = _path(name, folder)
    try:
        text = yaml_file.read_text(path)
    except YamlError as error:
        raise SuiteError(located(str(path), error.line, error.what)) from error
    except (OSError, ValueError) as error:  # ValueError: a NUL or half a character in the name
        raise SuiteError(f"{path}: cannot be read ({error}); suites in that folder: {_beside(path)}") from error
    return parse_suite(text, str(path), root=Path(folder) if folder else None, read_lines=read_lines)


def _path(name: str, folder: str | None) -> Path:
    """Return the file's path; refuse what is no name and what lies outside of the folder, also behind a link."""
    if folder is not None and (not isinstance(folder, str) or len(folder) > MAX_PATH):
        raise SuiteError(f"suite_folder: {short_repr(folder)} is not a folder")
    where = f"a suite in {folder}" if folder else "the path of a suite"
    if not isinstance(name, str) or not name.strip():
        raise SuiteError(f"suite: {short_repr(name)} is not {where}")
    try:
        path = Path(folder, name) if folder else Path(name)
        if path.suffix not in (".yaml", ".yml"):
            path = path.with_name(path.name + ".yaml")
        inside = not folder or path.resolve().is_relative_to(Path(folder).resolve())
    except (OSError, ValueError, RuntimeError, TypeError):  # RuntimeError: links in a circle
        inside = False
    if not inside or len(name) > MAX_PATH:
        raise SuiteError(f"suite: {short_repr(name)} is not {where}")
    return path


def _beside(path: Path) -> str:
    """Name the suites that are there."""
    try:
        names = sorted(p.stem for p in path.parent.glob("*.yaml"))
    except (OSError, ValueError):
        names = []
    more = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    return (", ".join(names[:MAX_LISTED]) or "none") + more


def parse_suite(text: str, source: str, *, root: Path | None = None, read_lines: ReadLines | None = None) -> Suite:
    """Read a suite from YAML.

    :param source: the file's path: its case files are relative to it, and errors name it.
    :param root: folder that its case files must lie in; by default the suite's own.
    :param read_lines: opens the ``gs://`` addresses of ``cases_from``; what it raises is raised on.
    :raises SuiteError: when it is not acceptable.
    """
    try:
        document = yaml_file.load(text)
    except YamlError as error:
        raise SuiteError(located(source, error.line, error.what)) from error
    place = Source(source, document, root or Path(source).parent, read_lines)
    try:
        schema_errors.check(document.value)
    except schema_errors.UnacceptableError as error:
        raise place.error(error.what, error.path) from error
    data = document.value
    cases = CaseReader(place).read()
    judge = _judge(data.get("judge"))
    judged = next((case.id for case in cases if any(assertion.needs_judge for assertion in case.assertions)), None)
    if judged is not None and judge is None:
        raise place.error(f"the case {judged!r} has {RUBRIC}; expected the key judge with the model to ask")
    return Suite(
        name=Path(source).stem,
        cases=cases,
        description=data.get("description", ""),
        judge=judge,
        prices=Prices(**data["prices"]) if "prices" in data else None,
    )


def _judge(raw: Mapping[str, Any] | None) -> Judge | None:
    if raw is None:
        return None
    return Judge(
        raw["model"],
        samples=int(raw.get("samples", Judge.samples)),
        temperature=float(raw.get("temperature", Judge.temperature)),
    )
