"""Templates: a case of a suite, or an entry of ``cases_from``, with its variables still open.

A template is checked once. For each case only what contains a variable is filled in and checked again, so that
thousands of rows are cheap. ``{{ name }}`` inserts the text of a variable; nothing is evaluated.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gemini_tuning.core.names import split_gcs_uri
from gemini_tuning.core.text import short_repr, shorten
from gemini_tuning.smoke.assertions import PYTHON, Assertion
from gemini_tuning.smoke.cases import MAX_ID, Case, Part, Turn, single_turn
from gemini_tuning.smoke.checks import python_functions
from gemini_tuning.smoke.fields import SuiteModel
from gemini_tuning.smoke.suite_format import Defaults

MAX_NAMES = 200  # characters of names in a message
# Braces around something that is not a word, such as {{2}}, are text.
_VARIABLE = re.compile(r"\{\{\s*([^\W\d][^{}]*?)\s*\}\}")
_NAME = re.compile(r"[^\W\d][\w-]*")
_FIXED = ("weight", "temperature", "max_output_tokens", "threshold", "critical", "repeat")  # keys without variables

YamlPath = tuple[str | int, ...]


class CaseError(Exception):
    """A case is not acceptable.

    :param what: the problem.
    :param path: keys and indexes in the suite's YAML; empty when the problem is in a row of a file.
    """

    def __init__(self, what: str, code: str, path: YamlPath = (), *, hint: str = "") -> None:
        super().__init__(what)
        self.what, self.code, self.path, self.hint = what, code, path, hint


def read_assertions(given: Sequence[SuiteModel], path: YamlPath, folders: Sequence[Path]) -> list[Assertion]:
    """Return the assertions of one list in a suite, with variables still open.

    :param path: of the list, for errors.
    :param folders: whose modules a ``python`` assertion may name.
    :raises CaseError: when one cannot be valid, whatever the variables are.
    """
    assertions = []
    for index, fields in enumerate(given):
        here = (*path, index, "value") if "value" in fields.model_fields_set else (*path, index)
        assertion = Assertion(**fields.model_dump(exclude_unset=True))
        if not _has_variables(assertion.value, here) and (problem := assertion.value_problem()):
            raise CaseError(problem, "invalid_value", here)
        if assertion.name == PYTHON:
            try:
                assertion = replace(assertion, function=python_functions.load(assertion.value, folders))
            except python_functions.FunctionUnusableError as error:
                raise CaseError(str(error), "function_unusable", here) from error
        assertions.append(assertion)
    return assertions


class CaseTemplate:
    """A request and its assertions, with variables still open.

    :param given: a case, or an entry of ``cases_from``.
    :param defaults: of the suite; the case's own keys override them.
    :param assertions: those of the suite, then the case's own.
    :param path: of ``given``, for errors.
    :raises CaseError: when it cannot be valid, whatever the variables are.
    """

    def __init__(self, given: Defaults, defaults: Defaults, assertions: Sequence[Assertion], path: YamlPath) -> None:
        if not assertions:
            raise CaseError("a case without an assertion cannot fail; expected the key assert", "no_assertion", path)
        self._assertions = assertions
        self._variables = defaults.vars
        keys = {name: getattr(fields, name) for fields in (defaults, given) for name in fields.model_fields_set}
        self._instruction: str | None = keys.get("system_instruction")
        _has_variables(self._instruction, (*path, "system_instruction"))
        self._fixed: dict[str, Any] = {name: keys[name] for name in _FIXED if name in keys}
        # A case's own prompt replaces the contents of the defaults, and the other way round.
        source = given if given.model_fields_set & {"prompt", "contents"} else defaults
        self._contents = single_turn(source.prompt) if source.prompt else tuple(source.contents)
        if not self._contents:
            raise CaseError("a case needs the key prompt or contents", "no_prompt", path)
        path = (*path, "prompt" if source.prompt else "contents")
        _has_variables([turn.as_dict() for turn in self._contents], path)
        if self._contents[-1].role != "user":
            what = "expected the last turn to be the user's"
            raise CaseError(what, "last_turn", (*path, len(self._contents) - 1))

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
            assertions=tuple(_filled_assertion(assertion, both) for assertion in self._assertions),
            system_instruction=_fill(self._instruction, both, "system_instruction"),
            vars=both,
            **self._fixed,
        )


def _filled_assertion(assertion: Assertion, variables: Mapping[str, str]) -> Assertion:
    filled = replace(assertion, value=_fill(assertion.value, variables, assertion.type))
    if filled == assertion:
        return assertion
    if problem := filled.value_problem():
        raise CaseError(f"{assertion.type}: {problem}", "invalid_value")
    return filled


def _filled_turn(turn: Turn, variables: Mapping[str, str]) -> Turn:
    parts = [_filled_part(part, variables) for part in turn.parts]
    return Turn.model_construct({"role", "parts"}, role=turn.role, parts=parts)


def _filled_part(part: Part, variables: Mapping[str, str]) -> Part:
    filled = {
        name: _fill(getattr(part, name), variables, "prompt" if name == "text" else name)
        for name in part.model_fields_set
    }
    if not part.file_uri and not filled["text"].strip():
        raise CaseError("the prompt is empty with these variables", "empty_prompt")
    if part.file_uri and not all(split_gcs_uri(filled["file_uri"]) or [""]):
        what = f"file_uri: expected gs://bucket/name, not {short_repr(filled['file_uri'])}"
        raise CaseError(what, "invalid_file_uri")
    return Part.model_construct(set(filled), **filled)  # without validation, for files with thousands of rows


def _has_variables(value: Any, path: YamlPath) -> bool:
    """Whether a text, or a text in a list or mapping, names a variable.

    :raises CaseError: when a template is more than a name.
    """
    try:
        return bool(_fill(value, defaultdict(str), "") != value)
    except CaseError as error:
        raise CaseError(error.what, error.code, path) from None


def _fill(value: Any, variables: Mapping[str, str], name: str) -> Any:
    """Return a value with the texts of variables inserted; braces in an inserted text stay as they are.

    :param value: a text, or a list or mapping with texts in it; keys are not changed.
    :param name: of the value, for the message.
    :raises CaseError: when a variable does not exist.
    """

    def text_of(match: re.Match[str]) -> str:
        if not _NAME.fullmatch(match[1]):
            what = f"{short_repr(match[0])} is not a variable; filters and expressions are not supported"
            raise CaseError(what, "not_a_variable")
        try:
            return variables[match[1]]
        except KeyError:
            known = shorten(", ".join(sorted(variables)), MAX_NAMES) or "none"
            what = f"{name}: the variable {shorten(match[1], MAX_NAMES)} does not exist; known: {known}"
            raise CaseError(what, "unknown_variable") from None

    if isinstance(value, str):
        return _VARIABLE.sub(text_of, value) if "{{" in value else value
    if isinstance(value, list):
        return [_fill(child, variables, name) for child in value]
    if isinstance(value, Mapping):
        return {key: _fill(child, variables, name) for key, child in value.items()}
    return value
