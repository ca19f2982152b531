"""What cases are made from: a case of a suite, or what a suite asks of each row of a file. Pure.

A template is looked at once. For each case only what names a variable is filled and looked at again, so that
thousands of rows cost little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gemini_tuning.core.text import short_repr
from gemini_tuning.smoke import templating
from gemini_tuning.smoke.assertions import PYTHON, Assertion
from gemini_tuning.smoke.cases import USER, Case, Part, Turn
from gemini_tuning.smoke.checks import python_functions
from gemini_tuning.smoke.schema_errors import UnacceptableError

MAX_ID = 200  # characters; ids go to logs, XComs and the report
GCS = "gs://"
_OWN = ("id", "file", "limit", "vars", "assert")  # what a case or a file does not share with the defaults


class AssertionTemplates:
    """The assertions of one list in a suite.

    :param found: the list, shaped as the schema says.
    :param path: of the list, for errors.
    :param folders: whose modules a ``python`` assertion may name.
    :raises UnacceptableError: when one makes no sense.
    """

    def __init__(self, found: Sequence[Mapping[str, Any]], path: Sequence[str | int], folders: Sequence[Path]) -> None:
        self._ready: list[tuple[Assertion, bool]] = []
        for index, raw in enumerate(found):
            here = (*path, index, "value") if "value" in raw else (*path, index)
            assertion = _assertion(raw, here, folders)
            if fault := templating.problem(assertion.value):
                raise UnacceptableError(fault, here)
            to_fill = templating.is_template(assertion.value)
            if not to_fill and (fault := assertion.value_problem()):
                raise UnacceptableError(fault, here)
            self._ready.append((assertion, to_fill))

    def filled(self, variables: Mapping[str, str]) -> list[Assertion]:
        """Return the assertions of one case.

        :raises UnacceptableError: when a value makes no sense with these variables.
        """
        return [_filled(assertion, variables) if to_fill else assertion for assertion, to_fill in self._ready]


def _assertion(raw: Mapping[str, Any], path: Sequence[str | int], folders: Sequence[Path]) -> Assertion:
    assertion = Assertion(
        type=raw["type"],
        value=raw.get("value"),
        threshold=raw.get("threshold"),
        weight=float(raw.get("weight", 1)),
        tolerance=raw.get("tolerance"),
    )
    if assertion.kind != PYTHON:
        return assertion
    try:
        return replace(assertion, function=python_functions.load(assertion.value, folders))
    except python_functions.FunctionUnusableError as error:
        raise UnacceptableError(str(error), path) from error


def _filled(assertion: Assertion, variables: Mapping[str, str]) -> Assertion:
    try:
        filled = replace(assertion, value=templating.fill(assertion.value, variables))
    except templating.TemplateError as error:
        raise UnacceptableError(f"{assertion.type}: {error}") from error
    if fault := filled.value_problem():
        raise UnacceptableError(f"{assertion.type}: {fault}")
    return filled


class CaseTemplate:
    """What is asked and how it is judged, with variables still open.

    :param raw: a case, or an entry of ``cases_from``, shaped as the schema says.
    :param defaults: of the suite; the raw's own keys win.
    :param default_assertions: of the suite; the raw's own come after them.
    :param path: of ``raw``, for errors.
    :param folders: whose modules a ``python`` assertion may name.
    :raises UnacceptableError: when something makes no sense whatever the variables.
    """

    def __init__(
        self,
        raw: Mapping[str, Any],
        defaults: Mapping[str, Any],
        default_assertions: AssertionTemplates,
        *,
        path: Sequence[str | int],
        folders: Sequence[Path],
    ) -> None:
        self._default_assertions = default_assertions
        self._assertions = AssertionTemplates(raw.get("assert", []), (*path, "assert"), folders)
        if not raw.get("assert") and not defaults.get("assert"):
            raise UnacceptableError("has no assertion, so it could not fail; expected the key assert", path)
        self._variables: Mapping[str, str] = defaults.get("vars", {})
        # A case's own prompt takes the place of the defaults' contents, and the other way round.
        asked = ("prompt", "contents") if {"prompt", "contents"} & raw.keys() else ()
        merged = {key: value for key, value in defaults.items() if key not in (*_OWN, *asked)}
        merged |= {key: value for key, value in raw.items() if key not in _OWN}
        self._contents = _contents(merged, path)
        self._instruction: str | None = merged.get("system_instruction")
        for key in ("prompt", "contents", "system_instruction"):
            if fault := templating.problem(merged.get(key)):
                raise UnacceptableError(fault, (*path, key))
        self._fixed = _fixed(merged)

    def case(self, case_id: str, variables: Mapping[str, str]) -> Case:
        """Return the case with these variables, and the defaults' where it has none of that name.

        :raises UnacceptableError: when they do not make one.
        """
        if not case_id.strip() or len(case_id) > MAX_ID or not case_id.isprintable():
            raise UnacceptableError(f"id: expected one line of at most {MAX_ID} characters, not {short_repr(case_id)}")
        both = {**self._variables, **variables}
        try:
            contents = tuple(_filled_turn(turn, both) for turn in self._contents)
            instruction = templating.fill(self._instruction, both)
        except templating.TemplateError as error:
            raise UnacceptableError(str(error)) from error
        return Case(
            id=case_id,
            contents=contents,
            assertions=(*self._default_assertions.filled(both), *self._assertions.filled(both)),
            system_instruction=instruction,
            vars=both,
            **self._fixed,
        )


def _fixed(merged: Mapping[str, Any]) -> dict[str, Any]:
    """Return what no variable changes; JSON Schema takes 2.0 for a whole number, Python's range does not."""
    limit = merged.get("max_output_tokens")
    return {
        "weight": float(merged.get("weight", 1)),
        "temperature": merged.get("temperature", 0.0),
        "max_output_tokens": None if limit is None else int(limit),
        "threshold": merged.get("threshold"),
        "critical": merged.get("critical", False),
        "repeat": int(merged.get("repeat", 1)),
    }


def _contents(merged: Mapping[str, Any], path: Sequence[str | int]) -> tuple[Turn, ...]:
    if "prompt" in merged:
        return (Turn(USER, (Part(text=merged["prompt"]),)),)
    if "contents" not in merged:
        raise UnacceptableError("has no question; expected the key prompt or contents", path)
    turns = tuple(Turn(turn["role"], tuple(Part(**part) for part in turn["parts"])) for turn in merged["contents"])
    if turns[-1].role != USER:
        raise UnacceptableError("expected the last turn to be the user's", (*path, "contents", len(turns) - 1))
    return turns


def _filled_turn(turn: Turn, variables: Mapping[str, str]) -> Turn:
    return Turn(turn.role, tuple(_filled_part(part, variables) for part in turn.parts))


def _filled_part(part: Part, variables: Mapping[str, str]) -> Part:
    if part.file_uri is None:
        text: str = templating.fill(part.text, variables)
        if not text.strip():
            raise UnacceptableError("a question is empty with these variables")
        return Part(text=text)
    uri: str = templating.fill(part.file_uri, variables)
    bucket, _, name = uri.removeprefix(GCS).partition("/")
    if not uri.startswith(GCS) or not bucket or not name:
        raise UnacceptableError(f"file_uri: expected gs://bucket/name, not {short_repr(uri)}")
    return Part(file_uri=uri, mime_type=templating.fill(part.mime_type, variables))
