"""The smoke suite: prompts with assertions, read from YAML and refused when something in it is wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gemini_tuning.smoke.assertions import Assertion

SUITE_KEYS = frozenset({"description", "defaults", "cases"})
DEFAULT_KEYS = frozenset({"system_instruction", "assert", "weight", "temperature", "max_output_tokens"})
CASE_KEYS = DEFAULT_KEYS | {"id", "prompt"}


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


# What a case may say besides its prompt and its assertions: what is expected, and the test of it.
VALUE_RULES: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "weight": ("a number above 0", lambda value: _number(value) and value > 0),
    "temperature": ("a number from 0 to 2", lambda value: _number(value) and 0 <= value <= 2),
    "max_output_tokens": ("a whole number above 0", lambda value: type(value) is int and value > 0),
    "system_instruction": ("a text", lambda value: isinstance(value, str)),
}


class SuiteError(ValueError):
    """A suite file is not acceptable; the message names the file, the place, and what was expected."""


@dataclass(frozen=True)
class Case:
    """One prompt and what its answer has to fulfil.

    :param weight: how much it counts in the score; above 0.
    """

    id: str
    prompt: str
    assertions: tuple[Assertion, ...]
    system_instruction: str | None = None
    weight: float = 1.0
    temperature: float | None = 0.0
    max_output_tokens: int | None = None


@dataclass(frozen=True)
class Suite:
    """The cases that every checkpoint has to answer."""

    name: str
    cases: tuple[Case, ...]
    description: str = ""


def load_suite(name: str, folder: str | None = None) -> Suite:
    """Read a suite file.

    :param name: path of the file, or its name below ``folder``; ``.yaml`` may be left out.
    :param folder: when given, the file must lie in it.
    :raises SuiteError: when the file is missing or not acceptable.
    """
    path = Path(folder, name) if folder else Path(name)
    if path.suffix not in (".yaml", ".yml"):
        path = path.with_name(path.name + ".yaml")
    if folder and not path.resolve().is_relative_to(Path(folder).resolve()):
        raise SuiteError(f"{name!r} is not a suite in {folder}")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        there = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml"))) or "none"
        raise SuiteError(f"{path}: cannot be read ({error}); suites in that folder: {there}") from error
    return parse_suite(text, str(path))


def parse_suite(text: str, source: str) -> Suite:
    """Read a suite from YAML.

    :param source: what to call it in errors, usually the file's path.
    :raises SuiteError: when it is not acceptable.
    """
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SuiteError(f"{source}: not YAML: {error}") from error
    if not isinstance(data, Mapping):
        raise SuiteError(f"{source}: expected a mapping with the key cases")
    _known_keys(data, SUITE_KEYS, source, "the suite")
    defaults = data.get("defaults") or {}
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
    return Suite(name=Path(source).stem, cases=cases, description=str(data.get("description") or ""))


def _case(raw: Any, defaults: Mapping[str, Any], source: str, number: int) -> Case:
    where = f"case {number}"
    _mapping(raw, source, where)
    where += f" ({raw.get('id')})" if raw.get("id") else ""
    _known_keys(raw, CASE_KEYS, source, where)
    for key in ("id", "prompt"):
        if not isinstance(raw.get(key), str) or not raw[key].strip():
            raise SuiteError(f"{source}: {where}: {key}: expected a text")
    assertions = (*_assertions(defaults, source, "defaults"), *_assertions(raw, source, where))
    if not assertions:
        raise SuiteError(f"{source}: {where}: has no assertion, so it could not fail")
    merged = {"weight": 1, "temperature": 0.0, **defaults, **raw}
    for key, (expected, holds) in VALUE_RULES.items():
        if merged.get(key) is not None and not holds(merged[key]):
            raise SuiteError(f"{source}: {where}: {key}: expected {expected}, not {merged[key]!r}")
    return Case(
        id=raw["id"],
        prompt=raw["prompt"],
        assertions=assertions,
        system_instruction=merged.get("system_instruction"),
        weight=float(merged["weight"] or 1),
        temperature=merged["temperature"],
        max_output_tokens=merged.get("max_output_tokens"),
    )


def _assertions(raw: Mapping[str, Any], source: str, where: str) -> tuple[Assertion, ...]:
    found = raw.get("assert") or []
    if not isinstance(found, list):
        raise SuiteError(f"{source}: {where}: assert: expected a list")
    assertions = []
    for item in found:
        _mapping(item, source, f"{where}: assert")
        _known_keys(item, frozenset({"type", "value"}), source, f"{where}: assert")
        assertion = Assertion(str(item.get("type")), item.get("value"))
        if problem := assertion.problem():
            raise SuiteError(f"{source}: {where}: assert: {problem}")
        assertions.append(assertion)
    return tuple(assertions)


def _mapping(value: Any, source: str, where: str) -> None:
    if not isinstance(value, Mapping):
        raise SuiteError(f"{source}: {where}: expected a mapping, not {value!r}")


def _known_keys(data: Mapping[str, Any], known: frozenset[str], source: str, where: str) -> None:
    unknown = sorted(str(key) for key in data if key not in known)
    if unknown:
        raise SuiteError(
            f"{source}: {where}: unknown key {', '.join(unknown)}; expected one of {', '.join(sorted(known))}"
        )
