"""The smoke suite: prompts with assertions, read from YAML. The format is described in docs/smoke_suites.md."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path

from gemini_tuning.core import yaml_file
from gemini_tuning.core.exceptions import InvalidInputError
from gemini_tuning.core.files import GCS
from gemini_tuning.core.text import short_repr, shorten
from gemini_tuning.core.yaml_file import Document, YamlError
from gemini_tuning.smoke.assertions import RUBRIC
from gemini_tuning.smoke.case_files import MAX_ROW, CaseError, rows
from gemini_tuning.smoke.case_template import MAX_NAMES, CaseTemplate, YamlPath, read_assertions
from gemini_tuning.smoke.cases import Case, digest
from gemini_tuning.smoke.checks import python_functions
from gemini_tuning.smoke.judge import Judge
from gemini_tuning.smoke.suite_format import CaseFields, CaseFile, Defaults, Prices, SuiteFile

MAX_LISTED = 500  # characters of names of suites in an error
MAX_PROMPTS = 100_000  # of one suite, repeats included

ReadLines = Callable[[str], Iterable[bytes]]


@dataclass(frozen=True)
class Suite:
    """The cases of a suite."""

    name: str
    cases: tuple[Case, ...]
    judge: Judge | None = None  # decides llm-rubric; set when a case needs it
    prices: Prices | None = None

    @cached_property
    def fingerprint(self) -> str:
        """Hash of everything that decides the requests and their verdicts, case files included: 64 hex digits."""
        cases = [[c.id, c.fingerprint, c.weight, c.critical, c.repeat] for c in self.cases]
        return digest({"judge": self.judge and self.judge.model_dump(), "cases": cases})


def load_suite(name: str, folder: str | None = None, *, read_lines: ReadLines | None = None) -> Suite:
    """Read a suite file.

    :param name: path of the file, or its name in ``folder``; ``.yaml`` may be left out.
    :param folder: that the file and its case files must be in; without one, case files must be beside the suite.
    :param read_lines: opens the ``gs://`` addresses of ``cases_from``; its exceptions are passed on.
    :raises InvalidInputError: when the file does not exist or is not acceptable.
    """
    path = _path(name, folder)
    try:
        text = yaml_file.read_text(path)
    except YamlError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a NUL or a lone surrogate in the name
        missing = isinstance(error, FileNotFoundError)  # not a name that no file can have
        names = sorted(each.stem for each in path.parent.glob("*.yaml")) if missing else []
        raise InvalidInputError(
            f"{shorten(str(path), MAX_LISTED)}: cannot be read: {getattr(error, 'strerror', None) or error}.",
            field="suite",
            resource=str(path),
            code="cannot_be_read",
            hint=f"Suites in that folder: {shorten(', '.join(names), MAX_LISTED) or 'none'}",
        ) from error
    return parse_suite(text, str(path), root=Path(folder) if folder else None, read_lines=read_lines)


def _path(name: str, folder: str | None) -> Path:
    """Return the file's path; refuse a path outside of the folder, also through a symbolic link."""
    try:
        path = Path(folder or "", name)
        if path.suffix not in (".yaml", ".yml"):
            path = path.with_name(path.name + ".yaml")
        if not folder or path.resolve().is_relative_to(Path(folder).resolve()):
            return path
    except (TypeError, OSError, ValueError, RuntimeError):  # RuntimeError: a loop of links
        pass
    where = f"a suite in {folder}" if folder else "the path of a suite"
    raise InvalidInputError(f"suite: {short_repr(name)} is not {where}", field="suite", code="not_a_suite")


def parse_suite(text: str, source: str, *, root: Path | None = None, read_lines: ReadLines | None = None) -> Suite:
    """Read a suite from YAML.

    :param source: the file's path: case files are relative to it, and errors name it.
    :param root: folder that case files must be in; by default the suite's own.
    :raises InvalidInputError: when it is not acceptable; ``resource`` is the file, ``field`` the path in it.
    """
    document = yaml_file.load(text, source=source)
    try:
        suite = yaml_file.load_model(document, SuiteFile, source=source)
        cases = _CaseReader(suite, document, Path(source), root or Path(source).parent, read_lines).read()
        judged = next((case.id for case in cases if any(assertion.needs_judge for assertion in case.assertions)), None)
        if judged is not None and suite.judge is None:
            raise CaseError(f"the case {judged!r} has {RUBRIC}, which needs the key judge", "no_judge")
    except CaseError as error:
        raise YamlError(
            error.what,
            source=error.source or source,
            line=error.line or document.line(error.path),
            field=yaml_file.dotted(error.path),
            code=error.code,
            hint=error.hint,
        ) from error
    return Suite(Path(source).stem, cases, suite.judge, suite.prices)


@dataclass
class _CaseReader:
    suite: SuiteFile
    document: Document
    file: Path  # of the suite
    root: Path  # folder that case files must be in
    read_lines: ReadLines | None
    cases: list[Case] = field(default_factory=list)
    places: dict[str, str] = field(default_factory=dict)  # of the first case with an id
    prompts: int = 0

    def read(self) -> tuple[Case, ...]:
        self._folders = python_functions.roots(self.file)
        defaults = self.suite.defaults.assertions
        self._assertions = read_assertions(defaults, ("defaults", "assert"), self._folders)
        for index, fields in enumerate(self.suite.cases):
            self._add_case(fields, ("cases", index))
        if isinstance(files := self.suite.cases_from, list):
            for index, file in enumerate(files):
                self._add_rows(file, ("cases_from", index))
        else:
            self._add_rows(files, ("cases_from",))
        return tuple(self.cases)

    def _template(self, fields: Defaults, path: YamlPath) -> CaseTemplate:
        assertions = [*self._assertions, *read_assertions(fields.assertions, (*path, "assert"), self._folders)]
        return CaseTemplate(fields, self.suite.defaults, assertions, path)

    def _add_case(self, fields: CaseFields, path: YamlPath) -> None:
        template = self._template(fields, path)
        try:
            self._add(template.case(fields.id, fields.vars), f"line {self.document.line(path)}")
        except CaseError as error:
            error.path = path
            raise

    def _add(self, case: Case, place: str) -> None:
        if case.id in self.places:
            what = f"the id {case.id!r} is not unique; the first is at {self.places[case.id]}"
            raise CaseError(what, "duplicate_id")
        self.prompts += case.repeat
        if self.prompts > MAX_PROMPTS:
            what = f"more than {MAX_PROMPTS} prompts in the suite, repeats included."
            raise CaseError(what, "too_many_prompts", hint="Set a limit.")
        self.places[case.id] = place
        self.cases.append(case)

    def _add_rows(self, file: CaseFile, path: YamlPath) -> None:
        template = self._template(file, path)
        source = file.file if file.file.startswith(GCS) else str(self.file.parent / file.file)
        line, stem = 0, Path(file.file).stem
        try:
            for line, row in islice(rows(source, self._lines(file.file, (*path, "file"))), file.limit):
                case_id = _field(row, file.id) if file.id else f"{stem}-{line}"
                variables = {name: _field(row, field) for name, field in file.vars.items()} if file.vars else row
                self._add(template.case(case_id, variables), f"{file.file}:{line}")
        except CaseError as error:
            if not error.path:
                error.source, error.line = source, error.line or line
            raise
        if not line:
            raise CaseError(f"{short_repr(file.file)} has no rows", "no_rows", (*path, "file"))

    def _lines(self, name: str, path: YamlPath) -> Iterator[bytes]:
        if name.startswith(GCS):
            if self.read_lines is None:
                raise CaseError("a file in Cloud Storage needs a Google Cloud connection", "connection_required", path)
            yield from self.read_lines(name)
            return
        try:
            file = (self.file.parent / name).resolve()
            if not file.is_relative_to(self.root.resolve()):
                raise CaseError(f"{short_repr(name)} is not in the suite's folder", "outside_folder", path)
            if file.exists() and not file.is_file():  # opening a pipe would block
                raise CaseError(f"{short_repr(name)} is not a file", "not_a_file", path)
            with file.open("rb") as opened:
                yield from iter(lambda: opened.readline(MAX_ROW + 1), b"")
        except (OSError, ValueError, RuntimeError) as error:  # a NUL in the name, a loop of links
            raise CaseError(f"{short_repr(name)} cannot be read: {error}", "cannot_be_read", path) from error


def _field(row: Mapping[str, str], name: str) -> str:
    if name not in row:
        known = shorten(", ".join(row), MAX_NAMES) or "none"
        raise CaseError(f"the field {shorten(name, MAX_NAMES)} does not exist; known: {known}", "unknown_field")
    return row[name]
