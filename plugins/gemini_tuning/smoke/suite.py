"""The smoke suite: prompts with assertions, read from YAML and refused when something in it is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from gemini_tuning import yaml_file
from gemini_tuning.smoke.assertions import TYPES, Assertion
from gemini_tuning.smoke.cases import Case, Grade, Part, Turn, asked, digest
from gemini_tuning.smoke.judge import Judge
from gemini_tuning.wording import shortened, shown
from gemini_tuning.yaml_file import YamlError

__all__ = ["Case", "Grade", "Judge", "Part", "Prices", "Suite", "SuiteError", "Turn", "load_suite", "parse_suite"]

ReadLines = Callable[[str], Iterable[bytes]]
SUITE_KEYS = frozenset({"description", "defaults", "cases"})
DEFAULT_KEYS = frozenset({"system_instruction", "assert", "weight", "temperature", "max_output_tokens"})
CASE_KEYS = DEFAULT_KEYS | {"id", "prompt"}
MAX_ID = 200  # characters; ids go to logs, XComs and the report
LIGHTEST, HEAVIEST = 1e-6, 1e6  # weights: their sum and share stay exact enough
MAX_OUTPUT_TOKENS = 2**31 - 1  # the API's field is an int32
MAX_PATH = 1_000  # characters
MAX_LISTED = 20  # suites that an error names


def _number(value: Any, least: float, most: float) -> bool:
    # Compared first: an int may be too big for a float, and NaN is in no range.
    return isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most


# What a case may say besides its prompt and its assertions: what is expected, and the test of it.
VALUE_RULES: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "weight": ("a number above 0, at most 1000000", lambda value: _number(value, LIGHTEST, HEAVIEST)),
    "temperature": ("a number from 0 to 2", lambda value: _number(value, 0, 2)),
    "max_output_tokens": (
        "a whole number above 0, at most 2147483647",
        lambda value: type(value) is int and 0 < value <= MAX_OUTPUT_TOKENS,
    ),
    "system_instruction": ("a text", lambda value: isinstance(value, str)),
}


class SuiteError(ValueError):
    """A suite file is not acceptable; the message names the file, the place, and what was expected."""


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
    :param folder: when given, the file must lie in it.
    :param read_lines: opens the ``gs://`` addresses of ``cases_from``.
    :raises SuiteError: when the file is missing or not acceptable.
    """
    path = _path(name, folder)
    try:
        text = yaml_file.read_text(path)
    except YamlError as error:
        raise SuiteError(f"{path}: {error}") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL or half a character in the name
        raise SuiteError(f"{path}: cannot be read ({error}); suites in that folder: {_beside(path)}") from error
    return parse_suite(text, str(path))


def _path(name: str, folder: str | None) -> Path:
    """Return the file's path; refuse what is no name and what lies outside of the folder, also behind a link."""
    if folder is not None and (not isinstance(folder, str) or len(folder) > MAX_PATH):
        raise SuiteError(f"suite_folder: {shown(folder)} is not a folder")
    where = f"a suite in {folder}" if folder else "the path of a suite"
    if not isinstance(name, str) or not name.strip():
        raise SuiteError(f"suite: {shown(name)} is not {where}")
    try:
        path = Path(folder, name) if folder else Path(name)
        if path.suffix not in (".yaml", ".yml"):
            path = path.with_name(path.name + ".yaml")
        inside = not folder or path.resolve().is_relative_to(Path(folder).resolve())
    except (OSError, ValueError, RuntimeError, TypeError):  # RuntimeError: links in a circle
        inside = False
    if not inside or len(name) > MAX_PATH:
        raise SuiteError(f"suite: {shown(name)} is not {where}")
    return path


def _beside(path: Path) -> str:
    """Name the suites that are there."""
    try:
        names = sorted(p.stem for p in path.parent.glob("*.yaml"))
    except (OSError, ValueError):
        names = []
    more = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    return (", ".join(names[:MAX_LISTED]) or "none") + more


def parse_suite(text: str, source: str) -> Suite:
    """Read a suite from YAML.

    :param source: what to call it in errors, usually the file's path.
    :raises SuiteError: when it is not acceptable.
    """
    try:
        data = yaml_file.parse(text)
    except YamlError as error:
        raise SuiteError(f"{source}: {error}") from error
    if not isinstance(data, Mapping):
        raise SuiteError(f"{source}: expected a mapping with the key cases")
    _known_keys(data, SUITE_KEYS, source, "the suite")
    defaults = {} if data.get("defaults") is None else data["defaults"]
    _mapping(defaults, source, "defaults")
    _known_keys(defaults, DEFAULT_KEYS, source, "defaults")
    raw_cases = data.get("cases")
    if not isinstance(raw_cases, list) or not raw_cases:
        raise SuiteError(f"{source}: cases: expected a list with at least one case")
    cases = tuple(_case(raw, defaults, source, number) for number, raw in enumerate(raw_cases, 1))
    seen: set[str] = set()
    for case in cases:
        if case.id in seen:
            raise SuiteError(f"{source}: the id {case.id!r} is used twice")
        seen.add(case.id)
    description = data.get("description") or ""
    if not isinstance(description, str):
        raise SuiteError(f"{source}: description: expected a text, not {shown(description)}")
    return Suite(name=Path(source).stem, cases=cases, description=description)


def _case(raw: Any, defaults: Mapping[str, Any], source: str, number: int) -> Case:
    where = f"case {number}"
    _mapping(raw, source, where)
    if isinstance(raw.get("id"), str) and raw["id"]:
        where += f" ({shortened(raw['id'], MAX_ID)})"
    _known_keys(raw, CASE_KEYS, source, where)
    for key in ("id", "prompt"):
        if not isinstance(raw.get(key), str) or not raw[key].strip():
            raise SuiteError(f"{source}: {where}: {key}: expected a text, not {shown(raw.get(key))}")
    if len(raw["id"]) > MAX_ID or not raw["id"].isprintable():
        raise SuiteError(f"{source}: {where}: id: expected one line of at most {MAX_ID} characters")
    assertions = (*_assertions(defaults, source, "defaults"), *_assertions(raw, source, where))
    if not assertions:
        raise SuiteError(f"{source}: {where}: has no assertion, so it could not fail")
    merged = {"weight": 1, "temperature": 0.0, **defaults, **raw}
    for key, (expected, holds) in VALUE_RULES.items():
        if merged.get(key) is not None and not holds(merged[key]):
            raise SuiteError(f"{source}: {where}: {key}: expected {expected}, not {shown(merged[key])}")
    return Case(
        id=raw["id"],
        contents=asked(raw["prompt"]),
        assertions=assertions,
        system_instruction=merged.get("system_instruction"),
        weight=1.0 if merged["weight"] is None else float(merged["weight"]),
        temperature=merged["temperature"],
        max_output_tokens=merged.get("max_output_tokens"),
    )


def _assertions(raw: Mapping[str, Any], source: str, where: str) -> tuple[Assertion, ...]:
    found = [] if raw.get("assert") is None else raw["assert"]
    if not isinstance(found, list):
        raise SuiteError(f"{source}: {where}: assert: expected a list")
    assertions = []
    for item in found:
        _mapping(item, source, f"{where}: assert")
        _known_keys(item, frozenset({"type", "value"}), source, f"{where}: assert")
        if not isinstance(item.get("type"), str):
            raise SuiteError(f"{source}: {where}: assert: type: expected a text, not {shown(item.get('type'))}")
        assertion = Assertion(item["type"], item.get("value"))
        if assertion.kind not in TYPES:
            raise SuiteError(f"{source}: {where}: assert: unknown assertion type {shown(item['type'])}")
        if problem := assertion.value_problem():
            raise SuiteError(f"{source}: {where}: assert: {problem}")
        assertions.append(assertion)
    return tuple(assertions)


def _mapping(value: Any, source: str, where: str) -> None:
    if not isinstance(value, Mapping):
        raise SuiteError(f"{source}: {where}: expected a mapping, not {shown(value)}")


def _known_keys(data: Mapping[str, Any], known: frozenset[str], source: str, where: str) -> None:
    unknown = sorted(key if isinstance(key, str) else shown(key) for key in data if key not in known)
    if unknown:
        named = shortened(", ".join(unknown), MAX_ID)
        raise SuiteError(f"{source}: {where}: unknown key {named}; expected one of {', '.join(sorted(known))}")
