"""From a suite's YAML to its cases, with an error that names the file and the line. Reads case files; else pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from gemini_tuning.core.text import short_repr
from gemini_tuning.core.yaml_file import Document
from gemini_tuning.smoke import case_files, schema_errors
from gemini_tuning.smoke.case_template import GCS, AssertionTemplates, CaseTemplate
from gemini_tuning.smoke.cases import Case
from gemini_tuning.smoke.checks import python_functions
from gemini_tuning.smoke.schema_errors import UnacceptableError

MAX_PROMPTS = 100_000  # cases, with their repeats

ReadLines = Callable[[str], Iterable[bytes]]


class SuiteError(ValueError):
    """A suite file is not acceptable; the message names the file, the line, the place, and what was expected."""


@dataclass(frozen=True)
class Source:
    """Where a suite comes from.

    :param name: what to call it in errors, usually the file's path.
    :param root: folder that its case files must lie in.
    :param read_lines: opens ``gs://`` addresses.
    """

    name: str
    document: Document
    root: Path
    read_lines: ReadLines | None = None

    def error(self, what: str, path: Sequence[str | int] = ()) -> SuiteError:
        """Return an error at a place in the YAML."""
        line = self.document.line(path)
        words = (schema_errors.place(path, self.document.value), what)
        return SuiteError(located(self.name, line, ": ".join(word for word in words if word)))


def located(name: str, line: int | None, what: str) -> str:
    """Return a message with the place before it, as compilers write it."""
    return f"{name}: {what}" if line is None else f"{name}:{line}: {what}"


@dataclass
class _Collected:
    """The cases so far, and where each id was first."""

    cases: list[Case] = field(default_factory=list)
    places: dict[str, str] = field(default_factory=dict)
    prompts: int = 0

    def add(self, case: Case, place: str) -> None:
        """Take a case.

        :raises UnacceptableError: when there is one of that id, or there are too many.
        """
        if case.id in self.places:
            raise UnacceptableError(f"the id {case.id!r} is used twice; the first is at {self.places[case.id]}")
        self.prompts += case.repeat
        if self.prompts > MAX_PROMPTS:
            raise UnacceptableError(f"more than {MAX_PROMPTS} prompts in the suite, repeats counted; set a limit")
        self.places[case.id] = place
        self.cases.append(case)


class CaseReader:
    """Makes the cases of a suite whose structure is sound.

    :param source: where it comes from.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._data: Mapping[str, Any] = source.document.value
        self._defaults: Mapping[str, Any] = self._data.get("defaults", {})
        self._folders = python_functions.roots(Path(source.name))
        self._collected = _Collected()

    def read(self) -> tuple[Case, ...]:
        """Return the suite's own cases, then those of its files.

        :raises SuiteError: for the first that is not acceptable.
        """
        try:
            self._default_assertions = AssertionTemplates(
                self._defaults.get("assert", []), ("defaults", "assert"), self._folders
            )
            for index, raw in enumerate(self._data.get("cases", [])):
                self._add_case(raw, ("cases", index))
            for raw, path in self._files():
                self._add_rows(raw, path)
        except UnacceptableError as error:
            raise self._source.error(error.what, error.path) from error
        return tuple(self._collected.cases)

    def _template(self, raw: Mapping[str, Any], path: Sequence[str | int]) -> CaseTemplate:
        return CaseTemplate(raw, self._defaults, self._default_assertions, path=path, folders=self._folders)

    def _add_case(self, raw: Mapping[str, Any], path: Sequence[str | int]) -> None:
        template = self._template(raw, path)
        try:
            case = template.case(raw["id"], raw.get("vars", {}))
            self._collected.add(case, f"line {self._source.document.line(path)}")
        except UnacceptableError as error:
            raise UnacceptableError(error.what, path) from error

    def _files(self) -> Iterator[tuple[Mapping[str, Any], tuple[str | int, ...]]]:
        found = self._data.get("cases_from", [])
        if isinstance(found, Mapping):
            yield found, ("cases_from",)
            return
        for index, raw in enumerate(found):
            yield raw, ("cases_from", index)

    def _add_rows(self, raw: Mapping[str, Any], path: tuple[str | int, ...]) -> None:
        template = self._template(raw, path)
        name, stem = raw["file"], Path(raw["file"]).stem
        line = None
        try:
            for row in islice(case_files.rows(name, self._lines(name, path)), raw.get("limit")):
                line = row.line
                case_id = row.field(raw["id"]) if "id" in raw else f"{stem}-{line}"
                self._collected.add(template.case(case_id, row.picked(raw.get("vars"))), f"{name}:{line}")
        except case_files.RowError as error:
            raise SuiteError(located(self._called(name), error.line, error.what)) from error
        except UnacceptableError as error:
            if error.path:  # in the YAML
                raise
            raise SuiteError(located(self._called(name), line, error.what)) from error
        if line is None:
            raise UnacceptableError(f"{short_repr(name)} has no rows", (*path, "file"))

    def _called(self, name: str) -> str:
        """Return what to call a case file in errors."""
        return name if name.startswith(GCS) else str(Path(self._source.name).parent / name)

    def _lines(self, name: str, path: tuple[str | int, ...]) -> Iterable[bytes]:
        """Open a case file.

        :raises UnacceptableError: when it cannot be opened, or lies outside of the folder.
        """
        if name.startswith(GCS):
            if self._source.read_lines is None:
                raise UnacceptableError("a file in Cloud Storage needs a Google Cloud connection", (*path, "file"))
            return self._source.read_lines(name)
        try:
            file = (Path(self._source.name).parent / name).resolve()
            if not file.is_relative_to(self._source.root.resolve()):
                raise UnacceptableError(f"{short_repr(name)} is not in the suite's folder", (*path, "file"))
            if file.exists() and not file.is_file():  # opening a pipe would wait for ever
                raise UnacceptableError(f"{short_repr(name)} is not a file", (*path, "file"))
            return _local_lines(file)
        except (OSError, ValueError, RuntimeError) as error:  # a NUL in the name, links in a circle
            if isinstance(error, UnacceptableError):
                raise
            raise UnacceptableError(f"{short_repr(name)} cannot be read: {error}", (*path, "file")) from error


def _local_lines(file: Path) -> Iterator[bytes]:
    opened = file.open("rb")  # here and not in the generator, so that an error is raised where it can be named

    def lines() -> Iterator[bytes]:
        with opened:
            while line := opened.readline(case_files.MAX_ROW + 1):
                yield line

    return lines()
