"""Mistaken and malicious suites: each is refused with the file and the line, or is a suite."""

import functools
import json
import os
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from gemini_tuning.core import yaml_file
from gemini_tuning.core.exceptions import InvalidInputError
from gemini_tuning.core.model_response import ModelResponse
from gemini_tuning.core.yaml_file import YamlError
from gemini_tuning.retraining.profiles import load_profile
from gemini_tuning.smoke.assertions import MAX_REASON, TYPES, Assertion
from gemini_tuning.smoke.suite import Suite, load_suite, parse_suite
from gemini_tuning.smoke.suite_format import json_schema
from tests.gemini_tuning.strategies import BAD_NAMES, DEEP, json_values, texts

MODELS = json_schema()["$defs"]
ASSERTION_TYPES = [*TYPES, *(f"not-{kind}" for kind in TYPES)]
KEYS = {
    "suite": sorted(json_schema()["properties"]),
    "case": sorted(MODELS["CaseFields"]["properties"]),
    "rows": sorted(MODELS["CaseFile"]["properties"]),
    "assertion": ["type", "value", "threshold", "weight", "tolerance"],
    "turn": ["role", "parts"],
    "part": ["text", "file_uri", "mime_type"],
}
CASE = {"id": "a", "prompt": "Hi", "assert": [{"type": "contains", "value": "x"}]}
FLOW = "cases: [{id: a, prompt: Hi, assert: [{type: is-json}]%s}]"
BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)
)
MESSAGE_LIMIT = 3_000  # characters


def read(text: str, source: str = "suites/bad.yaml") -> Suite | None:
    """Return the suite, or ``None`` when it was refused as it should be."""
    try:
        suite = parse_suite(text, source)
    except InvalidInputError as error:
        assert re.match(rf"{re.escape(source)}(:\d+)?: \S", str(error))
        assert len(str(error)) < MESSAGE_LIMIT
        return None
    assert all(case.assertions and case.contents[-1]["role"] == "user" and case.weight > 0 for case in suite.cases)
    assert re.fullmatch("[0-9a-f]{64}", suite.fingerprint)
    return suite


def refused(text: str) -> InvalidInputError:
    with pytest.raises(InvalidInputError) as caught:
        parse_suite(text, "suites/bad.yaml")
    assert len(str(caught.value)) < MESSAGE_LIMIT
    return caught.value


@given(st.text(alphabet=st.characters() | st.sampled_from("{}[]:,-&*!?|>'\"%@`#<~ \n\t"), max_size=60))
@example("\ufeffcases: []")
@example("a: !!timestamp x")
@example("a: 2001-99-99")
@example("a: !!bool x")
@example("a: !!int x")
@example("a: !!python/object/apply:os.system [ls]")
@example("a: 1:2:3:99999999999999999")
@example("cases: \x00")
@example("? [a]\n: b")
@example("a: &a [*a]")
@example("<<: [1]")
def test_any_text(text):
    read(text)


@given(json_values)
@example({"x" * 5_000: [float("nan")]})
@example({"\x85": None})
@example({" ": [10**30]})
@example({"cases": [{"id": "a\nb" * 2_000}]})
@example(functools.reduce(lambda inner, _: {"x" * 150: inner}, range(40), float("inf")))
def test_any_structure(value):
    read(_dumped(value))


def some(names: list[str], values=json_values, most: int = 3):
    return st.dictionaries(st.sampled_from(names), values, max_size=most)


# Templates and half-right structures come further than anything does.
near_misses = json_values | st.sampled_from(
    [
        "{{ a }}",
        "{{ b | x }}",
        "gs://b/x.jsonl",
        "none.csv",
        "data/../x.csv",
        {"a": "x"},
        [{"text": "{{ a }}"}],
        1,
        True,
    ]
)
assertions = some(KEYS["assertion"], near_misses | st.sampled_from(ASSERTION_TYPES))
turns = some(KEYS["turn"], near_misses | st.lists(some(KEYS["part"], near_misses), max_size=2))


@given(
    some(KEYS["suite"]) | st.dictionaries(texts, json_values, max_size=2),
    some(KEYS["case"], near_misses),
    some(KEYS["case"], near_misses),
    assertions,
    turns,
    some(KEYS["rows"], near_misses),
)
def test_any_value_in_any_place(suite, defaults, case, assertion, turn, rows):
    for more in (suite, {"defaults": defaults}, {"cases": [CASE, case]}, {"cases_from": rows}):
        read(_dumped({"cases": [CASE], **more}))
    read(_dumped({"cases": [{**CASE, **case}]}))
    read(_dumped({"cases": [{**CASE, "assert": [{"type": "regex", "value": "x"} | assertion]}]}))
    read(_dumped({"cases": [{"id": "a", "assert": CASE["assert"], "contents": [turn]}]}))


@pytest.mark.parametrize(
    ("text", "line", "field", "code"),
    [
        ("cases: " + "[" * 10_000, None, "", "too_deep"),
        ("cases: " + "[" * 60 + "]" * 60, 1, "", "too_deep"),
        ("x: &x [*x]", 1, "", "recursive_alias"),
        (BOMB, 6, "", "too_many_values"),
        (BOMB + "cases: [*a9]", 6, "", "too_many_values"),
        ("a: &a {b: 1}\n" + "".join(f"- {n}" for n in range(3)), 2, "", "invalid_yaml"),
        ("cases: []\ncases: []", 2, "", "duplicate_key"),
        (FLOW % ", id: b", 1, "", "duplicate_key"),
        ("a: 2001-99-99", None, "", "invalid_yaml"),
        (FLOW % ", weight: 0x" + "", 1, "cases.0.weight", "float_type"),
        (FLOW % (", weight: 0x" + "f" * 6_000), 1, "cases.0.weight", "float_type"),
        (FLOW % (", max_output_tokens: 0x" + "f" * 6_000), 1, "cases.0.max_output_tokens", "less_than_equal"),
        (FLOW % (", temperature: 0x" + "f" * 6_000), 1, "cases.0.temperature", "float_type"),
        (FLOW % ", weight: 1.0e+300", 1, "cases.0.weight", "less_than_equal"),
        (FLOW % ", max_output_tokens: 99999999999", 1, "cases.0.max_output_tokens", "less_than_equal"),
        ('cases: [{id: "a\\nb", prompt: Hi, assert: [{type: is-json}]}]', 1, "cases.0", "invalid_id"),
        ("description: [1]\n" + FLOW % "", 1, "description", "string_type"),
        ("defaults: []\n" + FLOW % "", 1, "defaults", "mapping_expected"),
        (FLOW % "" + "\n" + "# " + "x" * yaml_file.MAX_BYTES, None, "", "too_large"),
    ],
    ids=range(19),
)
def test_parse_suite_malicious_yaml_is_refused(text, line, field, code, snapshot):
    error = refused(text)
    assert (error.line, error.field, error.code) == (line, field, code)
    assert str(error) == snapshot


def test_aliases_may_be_used_for_what_they_are_for():
    suite = parse_suite("defaults: {assert: &json [{type: is-json}]}\ncases: [{id: a, prompt: Hi, assert: *json}]", "s")
    assert [assertion.type for assertion in suite.cases[0].assertions] == ["is-json", "is-json"]


# --------------------------------------------------------------------------------- names and files


@given(st.one_of(texts, json_values, st.binary(max_size=5)))
@example("../../etc/passwd")
@example("/etc/passwd")
@example(".")
@example("/")
@example("a/../../secret")
@example("a\x00b")
def test_any_name(name):
    folder = Path(__file__).parent
    with pytest.raises(InvalidInputError) as caught:
        load_suite(name, str(folder))
    assert len(str(caught.value)) < 2 * MESSAGE_LIMIT
    assert caught.value.field == "suite"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "secret.yaml").write_text("cases: [{id: secret-id, prompt: Hi, assert: [{type: is-json}]}]")
    suites = tmp_path / "suites"
    suites.mkdir()
    return suites


@pytest.mark.parametrize("name", [*BAD_NAMES, "../secret", "./../secret.yaml", "link", "around", "linked/secret"])
def test_a_name_cannot_leave_the_folder(folder, name):
    (folder / "link.yaml").symlink_to(folder.parent / "secret.yaml")
    (folder / "linked").symlink_to(folder.parent)
    (folder / "around.yaml").symlink_to(folder / "around.yaml")
    for given_name in (name, str(folder.parent / "secret.yaml")):
        with pytest.raises(InvalidInputError) as caught:
            load_suite(given_name, str(folder))
        assert "secret-id" not in str(caught.value)


def test_a_link_within_the_folder_is_a_suite(folder):
    (folder / "real.yaml").write_text(FLOW % "")
    (folder / "other.yaml").symlink_to(folder / "real.yaml")
    assert load_suite("other", str(folder)).name == "other"


@pytest.mark.parametrize(
    ("content", "line", "code"),
    [
        (b"description: ok\ncases: \xff\xfe", 2, "not_utf8"),
        ("cases: []".encode("utf-16"), 1, "not_utf8"),
        (b"#" * (yaml_file.MAX_BYTES + 1), None, "too_large"),
    ],
    ids=range(3),
)
def test_load_suite_file_that_is_not_text_is_refused(folder, content, line, code):
    (folder / "bad.yaml").write_bytes(content)
    with pytest.raises(InvalidInputError) as caught:
        load_suite("bad", str(folder))
    error = caught.value
    assert (error.resource, error.line, error.code) == (str(folder / "bad.yaml"), line, code)


def test_a_file_with_a_byte_order_mark_is_read(folder):
    (folder / "windows.yaml").write_bytes(b"\xef\xbb\xbf" + (FLOW % "").replace(" ", "  ").encode() + b"\r\n")
    assert load_suite("windows", str(folder)).cases[0].id == "a"


def test_folders_and_pipes_are_no_suites(folder):
    (folder / "dir.yaml").mkdir()
    os.mkfifo(folder / "pipe.yaml")
    for name in ("dir", "pipe"):
        with pytest.raises(InvalidInputError) as caught:
            load_suite(name, str(folder))
        assert caught.value.code == "not_a_file"


# ------------------------------------------------------------------------------------- assertions


def case_with(assertion: dict) -> dict:
    return {"cases": [{**CASE, "assert": [assertion]}], "judge": {"model": "m"}}


@given(assertions, st.sampled_from(ASSERTION_TYPES), texts)
def test_an_assertion_is_refused_or_can_be_checked(assertion, kind, answer):
    suite = read(_dumped(case_with({**assertion, "type": kind})))
    if suite is None:
        return
    case = suite.cases[0]
    verdicts = [each.check(ModelResponse(answer, 0.005, "STOP"), case.vars) for each in case.assertions]
    assert [verdict.type for verdict in verdicts] == [kind]
    assert all(0 <= verdict.score <= 1 and 0 < len(verdict.reason) < MAX_REASON + 100 for verdict in verdicts)
    grade = case.grade(verdicts)
    assert grade.passed == verdicts[0].passed
    assert grade.score == pytest.approx(verdicts[0].score)


SCHEMA_KEYWORDS = (
    "type", "pattern", "enum", "required", "properties", "items", "multipleOf", "$ref", "$id", "anyOf",
    "additionalProperties", "patternProperties", "minLength", "$defs", "$dynamicRef", "uniqueItems",
    "unevaluatedProperties",
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(SCHEMA_KEYWORDS), json_values, max_size=3), json_values)
def test_a_schema_is_refused_or_can_be_applied(schema, answer):
    for kind in ("is-json", "not-contains-json"):
        assertion = Assertion(kind, schema)
        if assertion.value_problem() is None:
            assertion.check(ModelResponse(json.dumps(answer), 0.005))


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"$ref": "http://127.0.0.1:9/schema.json"}, "is outside of the suite"),
        ({"properties": {"a": {"$ref": "file:///etc/passwd"}}}, "is outside of the suite"),
        ({"items": {"$ref": "#/$defs/none"}}, "does not exist"),
        ({"properties": {"a": {"pattern": "("}}}, "'('"),
        ({"patternProperties": {"(": {}}}, "'('"),
        ({"type": "objekt"}, "$.type"),
    ],
)
def test_a_schema_that_would_fail_after_the_tuning_was_paid(schema, said):
    assert said in Assertion("is-json", schema).value_problem()
    error = refused(_dumped(case_with({"type": "is-json", "value": schema})))
    assert (error.field, error.code) == ("cases.0.assert.0.value", "invalid_value")
    assert error.line > 1


@pytest.mark.parametrize("answer", [DEEP, "1" * 5_000, "NaN", "[Infinity]", "{}" * 3, "\ud800", "x" * 1_000_000])
def test_an_answer_that_is_no_json(answer):
    verdict = Assertion("is-json").check(ModelResponse(answer, 0))
    assert verdict.reason.startswith("not JSON: ")
    assert len(verdict.reason) < MAX_REASON + 100


def test_a_huge_answer_makes_no_huge_message():
    answer = ModelResponse(json.dumps({"team": "x" * 1_000_000}), 0, finish_reason="x" * 5_000, blocked="x" * 5_000)
    schema = {"properties": {"team": {"enum": ["a"]}}}
    for kind, value in (
        ("equals", "y"), ("contains", "y"), ("is-json", schema), ("contains-json", schema), ("not-regex", "x+"),
        ("starts-with", "y"), ("finish-reason", "STOP"), ("safety-not-blocked", None), ("levenshtein", "y"),
    ):  # fmt: skip
        verdict = Assertion(kind, value).check(answer)
        assert not verdict.passed
        assert len(verdict.reason) < MAX_REASON + 100


# --------------------------------------------------------------------------------------- profiles


@given(
    json_values | st.fixed_dictionaries({"schedule": json_values, "params": json_values, "description": json_values})
)
def test_any_profile(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "profile.yaml"
    path.write_text(_dumped(value), encoding="utf-8", errors="replace")
    try:
        load_profile(path)
    except YamlError as error:
        assert str(error).startswith(str(path))
        assert len(str(error)) < MESSAGE_LIMIT


def _dumped(value) -> str:
    return yaml.safe_dump(value, allow_unicode=True)
