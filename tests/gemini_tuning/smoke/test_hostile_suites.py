"""Suites that somebody got wrong, or wrote to do harm: each is refused with the file and the place, or is a suite."""

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
from gemini_tuning.core.resources import ModelResponse
from gemini_tuning.core.yaml_file import YamlError
from gemini_tuning.retraining.profiles import load_profile
from gemini_tuning.smoke import schema_errors
from gemini_tuning.smoke.assertions import MAX_FAULT, Assertion
from gemini_tuning.smoke.suite import Suite, SuiteError, load_suite, parse_suite
from tests.gemini_tuning.strategies import BAD_NAMES, DEEP, json_values, texts

ASSERTION = schema_errors.schema()["definitions"]["assertion"]
KEYS = {
    "suite": sorted(schema_errors.schema()["properties"]),
    "case": sorted(schema_errors.schema()["definitions"]["case"]["properties"]),
    "rows": sorted(schema_errors.schema()["definitions"]["rows"]["properties"]),
    "assertion": sorted(ASSERTION["properties"]),
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
    except SuiteError as error:
        assert re.match(rf"{re.escape(source)}(:\d+)?: \S", str(error))
        assert len(str(error)) < MESSAGE_LIMIT
        return None
    assert all(case.assertions and case.contents[-1].role == "user" and case.weight > 0 for case in suite.cases)
    assert re.fullmatch("[0-9a-f]{64}", suite.fingerprint)
    return suite


def refusal(text: str) -> str:
    with pytest.raises(SuiteError) as caught:
        parse_suite(text, "suites/bad.yaml")
    assert len(str(caught.value)) < MESSAGE_LIMIT
    return str(caught.value)


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
assertions = some(KEYS["assertion"], near_misses | st.sampled_from(schema_errors.types()))
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
    ("text", "said"),
    [
        ("cases: " + "[" * 10_000, "nested deeper"),
        ("cases: " + "[" * 60 + "]" * 60, "bad.yaml:1: nested deeper than 50 levels"),
        ("x: &x [*x]", "bad.yaml:1: recursive alias"),
        (BOMB, "more than 100000 values, with aliases expanded"),
        (BOMB + "cases: [*a9]", "with aliases expanded"),
        ("a: &a {b: 1}\n" + "".join(f"- {n}" for n in range(3)), "invalid YAML"),
        ("cases: []\ncases: []", "bad.yaml:2: duplicate key 'cases'"),
        (FLOW % ", id: b", "bad.yaml:1: duplicate key 'id'"),
        ("a: 2001-99-99", "bad.yaml: invalid YAML: malformed value: month must be in 1..12"),
        (FLOW % ", weight: 0x" + "", "weight"),
        (FLOW % (", weight: 0x" + "f" * 6_000), "case 1 (a): weight: expected a number of at most 64 bits"),
        (FLOW % (", max_output_tokens: 0x" + "f" * 6_000), "case 1 (a): max_output_tokens: expected a number of at"),
        (FLOW % (", temperature: 0x" + "f" * 6_000), "case 1 (a): temperature"),
        (FLOW % ", weight: 1.0e+300", "weight: expected a number above 0, at most"),
        (FLOW % ", max_output_tokens: 99999999999", "max_output_tokens: expected a whole number"),
        ('cases: [{id: "a\\nb", prompt: Hi, assert: [{type: is-json}]}]', "id: expected one line"),
        ("description: [1]\n" + FLOW % "", "description: expected a text"),
        ("defaults: []\n" + FLOW % "", "defaults: expected a mapping"),
        (FLOW % "" + "\n" + "# " + "x" * yaml_file.MAX_BYTES, "more than 1000000 characters"),
    ],
)
def test_what_is_refused(text, said):
    assert said in refusal(text)


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
    with pytest.raises(SuiteError) as caught:
        load_suite(name, str(folder))
    assert len(str(caught.value)) < 2 * MESSAGE_LIMIT
    assert "suite" in str(caught.value)


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
        with pytest.raises(SuiteError) as caught:
            load_suite(given_name, str(folder))
        assert "secret-id" not in str(caught.value)


def test_a_link_within_the_folder_is_a_suite(folder):
    (folder / "real.yaml").write_text(FLOW % "")
    (folder / "other.yaml").symlink_to(folder / "real.yaml")
    assert load_suite("other", str(folder)).name == "other"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"description: ok\ncases: \xff\xfe", "bad.yaml:2: not UTF-8"),
        ("cases: []".encode("utf-16"), "bad.yaml:1: not UTF-8"),
        (b"#" * (yaml_file.MAX_BYTES + 1), "more than 1000000 bytes"),
    ],
)
def test_files_that_are_no_text(folder, content, said):
    (folder / "bad.yaml").write_bytes(content)
    with pytest.raises(SuiteError) as caught:
        load_suite("bad", str(folder))
    assert str(caught.value).startswith(str(folder / "bad.yaml"))
    assert said in str(caught.value)


def test_a_file_with_a_byte_order_mark_is_read(folder):
    (folder / "windows.yaml").write_bytes(b"\xef\xbb\xbf" + (FLOW % "").replace(" ", "  ").encode() + b"\r\n")
    assert load_suite("windows", str(folder)).cases[0].id == "a"


def test_folders_and_pipes_are_no_suites(folder):
    (folder / "dir.yaml").mkdir()
    os.mkfifo(folder / "pipe.yaml")
    for name in ("dir", "pipe"):
        with pytest.raises(SuiteError, match="not a file"):
            load_suite(name, str(folder))


# ------------------------------------------------------------------------------------- assertions


def case_with(assertion: dict) -> dict:
    return {"cases": [{**CASE, "assert": [assertion]}], "judge": {"model": "m"}}


@given(assertions, st.sampled_from(schema_errors.types()), texts)
def test_an_assertion_is_refused_or_can_be_checked(assertion, kind, answer):
    suite = read(_dumped(case_with({**assertion, "type": kind})))
    if suite is None:
        return
    case = suite.cases[0]
    verdicts = [each.check(ModelResponse(answer, 0.005, "STOP"), case.vars) for each in case.assertions]
    assert [verdict.type for verdict in verdicts] == [kind]
    assert all(0 <= verdict.score <= 1 and 0 < len(verdict.reason) < MAX_FAULT + 100 for verdict in verdicts)
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
        ({"$ref": "http://127.0.0.1:9/schema.json"}, "leads out of the suite"),
        ({"properties": {"a": {"$ref": "file:///etc/passwd"}}}, "leads out of the suite"),
        ({"items": {"$ref": "#/$defs/none"}}, "leads nowhere"),
        ({"properties": {"a": {"pattern": "("}}}, "'('"),
        ({"patternProperties": {"(": {}}}, "'('"),
        ({"properties": {5: {}}}, "a key is not a text"),
        ({"type": "objekt"}, "$.type"),
    ],
)
def test_a_schema_that_would_fail_after_the_tuning_was_paid(schema, said):
    assert said in Assertion("is-json", schema).value_problem()
    if 5 not in schema.get("properties", {}):
        refused = refusal(_dumped(case_with({"type": "is-json", "value": schema})))
        assert re.match(r"suites/bad\.yaml:\d+: case 1 \(a\): assert 1: value: not a JSON Schema: ", refused)


@pytest.mark.parametrize("answer", [DEEP, "1" * 5_000, "NaN", "[Infinity]", "{}" * 3, "\ud800", "x" * 1_000_000])
def test_an_answer_that_is_no_json(answer):
    verdict = Assertion("is-json").check(ModelResponse(answer, 0))
    assert verdict.reason.startswith("not JSON: ")
    assert len(verdict.reason) < MAX_FAULT + 100


def test_a_huge_answer_makes_no_huge_message():
    answer = ModelResponse(json.dumps({"team": "x" * 1_000_000}), 0, finish_reason="x" * 5_000, blocked="x" * 5_000)
    schema = {"properties": {"team": {"enum": ["a"]}}}
    for kind, value in (
        ("equals", "y"), ("contains", "y"), ("is-json", schema), ("contains-json", schema), ("not-regex", "x+"),
        ("starts-with", "y"), ("finish-reason", "STOP"), ("safety-not-blocked", None), ("levenshtein", "y"),
    ):  # fmt: skip
        verdict = Assertion(kind, value).check(answer)
        assert not verdict.passed
        assert len(verdict.reason) < MAX_FAULT + 100


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
