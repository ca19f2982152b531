"""Templates: a case of a suite, or an entry of ``cases_from``, with its variables still open.

A template is checked once. For each case only what contains a variable is filled in and checked again, so that
thousands of rows are cheap. ``{{ name }}`` inserts the text of a variable; nothing is evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gemini_tuning.core.text import short_repr, shorten
from gemini_tuning.smoke.assertions import PYTHON, Assertion
from gemini_tuning.smoke.cases import MAX_ID, Case, Part, Turn, single_turn
from gemini_tuning.smoke.checks import python_functions

if TYPE_CHECKING:
    from gemini_tuning.smoke.fields import SuiteModel
    from gemini_tuning.smoke.suite_format import Defaults

MAX_NAMES = 200  # characters of names in a message
GCS = "gs://"
# Braces around something that is not a word, such as {{2}}, are text.
_VARIABLE = re.compile(r"\{\{\s*([^\W\d][^{}]*?)\s*\}\}")
_NAME = re.compile(r"[^\W\d][\w-]*")
_OWN = ("id", "file", "limit", "vars", "assertions")  # not shared with the defaults


class CaseError(Exception):
    """A case is not acceptable.

    :param what: the problem.
    :param path: keys and indexes in the suite's YAML; empty when the problem is in a row of a file.
    """

    def __init__(self, what: str, code: str, path: Sequence[str | int] = (), *, hint: str = "") -> None:
        super().__init__(what)
        self.what, self.code, self.path, self.hint = what, code, tuple(path), hint


class AssertionTemplates:
    """The assertions of one list in a suite.

    :param path: of the list, for errors.
    :param folders: whose modules a ``python`` assertion may name.
    :raises CaseError: when one cannot be valid, whatever the variables are.
    """

    def __init__(self, given: Sequence[SuiteModel], path: Sequence[str | int], folders: Sequence[Path]) -> None:
        self._assertions: list[tuple[Assertion, bool]] = []
        for index, fields in enumerate(given):
            here = (*path, index, "value") if "value" in fields.model_fields_set else (*path, index)
            assertion = _assertion(fields, here, folders)
            _check_template(assertion.value, here)
            has_variables = _has_variables(assertion.value)
            if not has_variables and (problem := assertion.value_problem()):
                raise CaseError(problem, "invalid_value", here)
            self._assertions.append((assertion, has_variables))

    def __bool__(self) -> bool:
        return bool(self._assertions)

    def filled(self, variables: Mapping[str, str]) -> list[Assertion]:
        """Return the assertions of one case.

        :raises CaseError: when a value is not valid with these variables.
        """
        return [_filled(assertion, variables) if to_fill else assertion for assertion, to_fill in self._assertions]


def _assertion(fields: SuiteModel, path: Sequence[str | int], folders: Sequence[Path]) -> Assertion:
    assertion = Assertion(**fields.model_dump(exclude_unset=True))
    if assertion.kind != PYTHON:
        return assertion
    try:
        return replace(assertion, function=python_functions.load(assertion.value, folders))
    except python_functions.FunctionUnusableError as error:
        raise CaseError(str(error), "function_unusable", path) from error


def _filled(assertion: Assertion, variables: Mapping[str, str]) -> Assertion:
    filled = replace(assertion, value=_fill(assertion.value, variables, assertion.type))
    if problem := filled.value_problem():
        raise CaseError(f"{assertion.type}: {problem}", "invalid_value")
    return filled


class CaseTemplate:
    """A request and its assertions, with variables still open.

    :param given: a case, or an entry of ``cases_from``.
    :param defaults: of the suite; the case's own keys override them.
    :param default_assertions: of the suite; the case's own come after them.
    :param path: of ``given``, for errors.
    :param folders: whose modules a ``python`` assertion may name.
    :raises CaseError: when it cannot be valid, whatever the variables are.
    """

    def __init__(
        self,
        given: Defaults,
        defaults: Defaults,
        default_assertions: AssertionTemplates,
        *,
        path: Sequence[str | int],
        folders: Sequence[Path],
    ) -> None:
        self._default_assertions = default_assertions
        self._assertions = AssertionTemplates(given.assertions, (*path, "assert"), folders)
        if not self._assertions and not default_assertions:
            raise CaseError("a case without an assertion cannot fail; expected the key assert", "no_assertion", path)
        self._variables = defaults.vars
        merged = {**defaults.given(), **given.given()}
        # A case's own prompt replaces the contents of the defaults, and the other way round.
        for own, other in (("prompt", "contents"), ("contents", "prompt")):
            if own in given.model_fields_set:
                merged.pop(other, None)
        for name in _OWN:
            merged.pop(name, None)
        self._contents = _contents(merged, path)
        self._instruction: str | None = merged.pop("system_instruction", None)
        _check_template(self._instruction, (*path, "system_instruction"))
        self._fixed: dict[str, Any] = merged

    def case(self, case_id: str, variables: Mapping[str, str]) -> Case:
        """Return the case with these variables, and with those of the defaults.

        :raises CaseError: when it is not valid with them.
        """
        if not case_id.strip() or len(case_id) > MAX_ID or not case_id.isprintable():
            what = f"id: expected one line of at most {MAX_ID} characters, not {short_repr(case_id)}"
            raise CaseError(what, "invalid_id")
        both = {**self._variables, **variables}
        return Case(
            id=case_id,
            contents=tuple(_filled_turn(turn, both) for turn in self._contents),
            assertions=(*self._default_assertions.filled(both), *self._assertions.filled(both)),
            system_instruction=_fill(self._instruction, both, "system_instruction"),
            vars=both,
            **self._fixed,
        )


def _contents(merged: dict[str, Any], path: Sequence[str | int]) -> tuple[Turn, ...]:
    prompt, turns = merged.pop("prompt", None), merged.pop("contents", [])
    if prompt is not None:
        _check_template(prompt, (*path, "prompt"))
        return single_turn(prompt)
    if not turns:
        raise CaseError("a case needs the key prompt or contents", "no_prompt", path)
    _check_template([turn.as_dict() for turn in turns], (*path, "contents"))
    if turns[-1].role != "user":
        raise CaseError("expected the last turn to be the user's", "last_turn", (*path, "contents", len(turns) - 1))
    return tuple(turns)


def _filled_turn(turn: Turn, variables: Mapping[str, str]) -> Turn:
    parts = [_filled_part(part, variables) for part in turn.parts]
    return Turn.model_construct({"role", "parts"}, role=turn.role, parts=parts)


def _filled_part(part: Part, variables: Mapping[str, str]) -> Part:
    if not part.file_uri:
        text: str = _fill(part.text, variables, "prompt")
        if not text.strip():
            raise CaseError("the prompt is empty with these variables", "empty_prompt")
        return Part.model_construct({"text"}, text=text)  # without validation, for files with thousands of rows
    uri: str = _fill(part.file_uri, variables, "file_uri")
    bucket, _, name = uri.removeprefix(GCS).partition("/")
    if not uri.startswith(GCS) or not bucket or not name:
        raise CaseError(f"file_uri: expected gs://bucket/name, not {short_repr(uri)}", "invalid_file_uri")
    mime_type = _fill(part.mime_type, variables, "mime_type")
    return Part.model_construct({"file_uri", "mime_type"}, file_uri=uri, mime_type=mime_type)


def _has_variables(value: Any) -> bool:
    """Whether a text, or a text in a list or mapping, names a variable."""
    return any(_VARIABLE.search(text) for text in _texts(value))


def _check_template(value: Any, path: Sequence[str | int]) -> None:
    """Refuse a template that is more than a name."""
    for text in _texts(value):
        for match in _VARIABLE.finditer(text):
            if not _NAME.fullmatch(match[1]):
                what = f"{short_repr(match[0])} is not a variable; filters and expressions are not supported"
                raise CaseError(what, "not_a_variable", path)


def _fill(value: Any, variables: Mapping[str, str], name: str) -> Any:
    """Return a value with the texts of variables inserted; braces in an inserted text stay as they are.

    :param value: a text, or a list or mapping with texts in it; keys are not changed.
    :param name: of the value, for the message.
    :raises CaseError: when a variable does not exist.
    """

    def text_of(match: re.Match[str]) -> str:
        if match[1] not in variables:
            known = shorten(", ".join(sorted(variables)), MAX_NAMES) or "none"
            what = f"{name}: the variable {shorten(match[1], MAX_NAMES)} does not exist; known: {known}"
            raise CaseError(what, "unknown_variable")
        return variables[match[1]]

    if isinstance(value, str):
        return _VARIABLE.sub(text_of, value) if "{{" in value else value
    if isinstance(value, list):
        return [_fill(child, variables, name) for child in value]
    if isinstance(value, Mapping):
        return {key: _fill(child, variables, name) for key, child in value.items()}
    return value


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | Mapping):
        for child in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(child)
