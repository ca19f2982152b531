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
from typing import TYPE_CHECKING, Any

from gemini_tuning.core.names import split_gcs_uri
from gemini_tuning.core.text import short_repr, shorten
from gemini_tuning.smoke.assertions import PYTHON, Assertion
from gemini_tuning.smoke.case_files import CaseError
from gemini_tuning.smoke.cases import MAX_ID, Case, Turn, single_turn
from gemini_tuning.smoke.checks import python_functions

if TYPE_CHECKING:
    from gemini_tuning.smoke.fields import SuiteModel
    from gemini_tuning.smoke.suite_format import Defaults

MAX_NAMES = 200  # characters of names in a message
# Braces around something that is not a word, such as {{2}}, are text.
_VARIABLE = re.compile(r"\{\{\s*([^\W\d][^{}]*?)\s*\}\}")
_NAME = re.compile(r"[^\W\d][\w-]*")
_FIXED = ("weight", "temperature", "max_output_tokens", "threshold", "critical", "repeat")  # keys without variables

YamlPath = tuple[str | int, ...]


def read_assertions(given: Sequence[SuiteModel], path: YamlPath, folders: Sequence[Path]) -> list[Assertion]:
    """Return the assertions of one list in a suite, with variables still open; refuse what cannot become valid.

    :param folders: whose modules a ``python`` assertion may name.
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

    :param given: a case, or an entry of ``cases_from``; its keys override those of ``defaults``.
    :param assertions: those of the suite, then the case's own.
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
        turns = [turn.model_dump(exclude_unset=True) for turn in source.contents]
        self._contents = turns or single_turn(source.prompt)
        if not source.model_fields_set & {"prompt", "contents"}:
            raise CaseError("a case needs the key prompt or contents", "no_prompt", path)
        path = (*path, "prompt" if source.prompt else "contents")
        _has_variables(self._contents, path)
        if self._contents[-1]["role"] != "user":
            what = "expected the last turn to be the user's"
            raise CaseError(what, "last_turn", (*path, len(self._contents) - 1))

    def case(self, case_id: str, variables: Mapping[str, str]) -> Case:
        """Return the case with these variables, and with those of the defaults; refuse it when it is not valid."""
        if not case_id.strip() or len(case_id) > MAX_ID or not case_id.isprintable():
            what = f"id: expected one line of at most {MAX_ID} characters, not {short_repr(case_id)}"
            raise CaseError(what, "invalid_id")
        both = {**self._variables, **variables}
        contents = _fill(self._contents, both, "prompt")
        _check_contents(contents)
        return Case(
            id=case_id,
            contents=contents,
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


def _check_contents(contents: Sequence[Turn]) -> None:
    for part in (part for turn in contents for part in turn["parts"]):
        if "text" in part and not part["text"].strip():
            raise CaseError("the prompt is empty with these variables", "empty_prompt")
        if "file_uri" in part and not all(split_gcs_uri(part["file_uri"]) or [""]):
            what = f"file_uri: expected gs://bucket/name, not {short_repr(part['file_uri'])}"
            raise CaseError(what, "invalid_file_uri")


def _has_variables(value: Any, path: YamlPath) -> bool:
    """Whether a text, or a text in a list or mapping, names a variable; refuse a template that is more than a name."""
    try:
        return bool(_fill(value, defaultdict(str), "") != value)
    except CaseError as error:
        raise CaseError(error.what, error.code, path) from None


def _fill(value: Any, variables: Mapping[str, str], name: str) -> Any:
    """Return a text, or the texts in a list or mapping, with variables inserted; braces in an inserted text stay."""

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
