"""Each type of assertion with examples whose verdicts were worked out by hand."""

import json
import threading
import time
from fractions import Fraction

import pytest

from gemini_tuning.core.model_response import ModelResponse
from gemini_tuning.smoke.assertions import MAX_REASON, TYPES, Assertion
from gemini_tuning.smoke.checks import json_values, regex_timeout
from gemini_tuning.smoke.suite_format import json_schema as json_schema_of_suites

SCHEMA = {"type": "object", "required": ["team"], "properties": {"team": {"enum": ["sales", "crew"]}}}
ANSWER = ModelResponse("Yes.", latency=0.1, finish_reason="STOP", prompt_tokens=4, output_tokens=20)


def said(text: str, **fields) -> ModelResponse:
    return ModelResponse(**{"text": text, "latency": 0.1, "finish_reason": "STOP", "output_tokens": 20, **fields})


def verdict(kind: str, value: object, text: str, **fields):
    return Assertion(kind, value, **fields).check(said(text))


# type, further fields, value, an answer that passes, one that does not
EXAMPLES = [
    ("equals", {}, "Yes.", " Yes.\n", "Yes"),
    ("contains", {}, "blue", "the sky is blue today", "Blue"),
    ("contains-any", {}, ["red", "blue"], "a blue sky", "a Red sky"),
    ("contains-all", {}, ["red", "blue"], "red and blue", "only blue"),
    ("icontains", {}, "BLUE", "the sky is Blue", "the sky is grey"),
    ("icontains", {}, "STRASSE", "in der Straße", "in der Gasse"),
    ("icontains-any", {}, ["RED", "blue"], "a Red sky", "grey"),
    ("icontains-all", {}, ["Red", "blue"], "BLUE, RED", "red"),
    ("starts-with", {}, "Dear", "\n Dear Ann,", "dear Ann,"),
    ("regex", {}, r"^\d{4}-\d\d$", "2026-11", "on 2026-11"),
    ("is-json", {}, None, "[1]", "[1"),
    ("is-json", {}, SCHEMA, '{"team": "crew"}', '{"team": "band"}'),
    ("contains-json", {}, None, 'Sure: {"a": 1} there', "Sure [1] there"),
    ("contains-json", {}, SCHEMA, '{1} and {"team": "band"}, no: {"team": "crew"}', '{"a": {"team": "crew"}}'),
    ("contains-json", {}, {"type": "array"}, "```json\n[1, 2]\n```", '{"a": [1]}'),
    ("number-equals", {}, 18, "16 - 3 = 13, so $18.", "18 of 20"),
    ("number-equals", {}, "9 eggs * 2 = #### 1,080", "that makes 1080", "1,081"),
    ("number-equals", {"tolerance": 0.5}, 3, "3.5", "3.51"),
    ("number-equals", {"tolerance": {"relative": 0.01}}, 200, "about 202", "about 202.1"),
    ("number-equals", {"tolerance": {"absolute": 3, "relative": 0.01}}, 200, "203", "203.1"),
    ("number-equals", {"tolerance": {"relative": 0.5}}, -4, "-6", "-1.9"),
    ("levenshtein", {}, "kitten", " sitting ", "kit kat cats"),  # 3 edits; 7 edits
    ("levenshtein", {"threshold": 2}, "kitten", "mitten", "sitting"),
    ("levenshtein", {"threshold": 0}, "kitten", "kitten", "kittens"),
    # LCS 3 of 4 and 4 words: 2*3/8 = 0.75. LCS 2 of 4 and 4: 0.5.
    ("rouge-l", {}, "police killed the gunman", "Police kill the gunman!", "the gunman kill police"),
    ("rouge-l", {"threshold": 0.5}, "police killed the gunman", "the gunman kill police", "gunman killed it there"),
    # 3 of 3 and 4 tokens in common, articles and punctuation gone: 6/7. Two: 4/7.
    ("f-score", {}, "the gunman, police killed", "Police killed a gunman there", "Police shot a gunman there"),
    ("f-score", {"threshold": 0.57}, "gunman police killed", "police saw gunman there", "police saw it there"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "fields", "value", "passing", "failing"), EXAMPLES)
def test_types_and_their_negation(kind, fields, value, passing, failing):
    for text, holds in ((passing, True), (failing, False)):
        plain, turned = verdict(kind, value, text, **fields), verdict(f"not-{kind}", value, text, **fields)
        assert (plain.passed, turned.passed) == (holds, not holds), plain
        assert (plain.type, turned.type) == (kind, f"not-{kind}")
        assert plain.score == pytest.approx(1 - turned.score)
        assert plain.reason == turned.reason != ""


def test_every_type_that_reads_text_has_an_example():
    assert {kind for kind, *_ in EXAMPLES} == {name for name, kind in TYPES.items() if kind.reads_text} - {"llm-rubric"}


@pytest.mark.parametrize(
    ("kind", "value", "passing", "failing"),
    [
        ("max-latency", 100, said("", latency=0.1), said("x", latency=0.1001)),
        ("max-output-tokens", 20, said("", output_tokens=20), said("x", output_tokens=21)),
        ("finish-reason", "max_tokens", said("", finish_reason="MAX_TOKENS"), said("x")),
        ("safety-not-blocked", None, said(""), said("", blocked="PROHIBITED_CONTENT")),
    ],
)
def test_what_the_service_says_needs_no_text(kind, value, passing, failing):
    assert Assertion(kind, value).check(passing).passed
    assert not Assertion(kind, value).check(failing).passed
    assert not Assertion(f"not-{kind}", value).check(passing).passed
    assert Assertion(f"not-{kind}", value).check(failing).passed


def test_every_type_is_in_the_schema_in_both_forms_and_none_else():
    models = [model for model in json_schema_of_suites()["$defs"].values() if "type" in model["properties"]]
    types = [name for model in models for name in model["properties"]["type"]["enum"]]
    assert sorted(types) == sorted([*TYPES, *(f"not-{kind}" for kind in TYPES)])


@pytest.mark.parametrize(
    ("kind", "value", "text", "score"),
    [
        ("rouge-l", "police killed the gunman", "police kill the gunman", 0.75),
        ("rouge-l", "police killed the gunman", "the gunman kill police", 0.5),
        ("f-score", "police killed gunman", "police saw the gunman there", 4 / 7),
        ("not-f-score", "police killed gunman", "police saw the gunman there", 3 / 7),
        ("levenshtein", "kitten", "sitting", 1.0),  # promptfoo: near enough or not
        ("contains-any", ["a", "b", "c"], "a", 1.0),
    ],
)
def test_scores(kind, value, text, score):
    assert verdict(kind, value, text).score == pytest.approx(score)


@pytest.mark.parametrize(
    ("kind", "value", "text", "reason"),
    [
        ("contains", "x", "y", '"x" is not in the answer'),
        ("not-contains", "y", "y", '"y" is in the answer'),
        ("contains-all", ["a", "b", "c"], "b", '["b"] found, ["a", "c"] not found'),
        ("equals", "y", "x", '"x" is not "y"'),
        ("regex", "b+", "abbb", '"b+" matches "bbb"'),
        ("is-json", SCHEMA, '{"team": "band"}', "$.team: 'band' is not one of ['sales', 'crew']"),
        ("number-equals", 18, "it is 20", "the final number 20 is not 18"),
        ("number-equals", 18, "none", "there is no number in the answer"),
        ("levenshtein", "kitten", "sitting", '3 edits away from "kitten", at most 5'),
        ("rouge-l", "police killed the gunman", "the gunman kill police", "0.500, less than 0.75"),
    ],
)
def test_reasons_say_what_was_seen(kind, value, text, reason):
    assert verdict(kind, value, text).reason == reason


def test_the_reasons_of_what_the_service_says():
    assert Assertion("max-latency", 50).check(ANSWER).reason == "100 ms is more than 50 ms"
    assert Assertion("max-output-tokens", 5).check(ANSWER).reason == "20 tokens are more than 5"
    assert Assertion("finish-reason", "SAFETY").check(ANSWER).reason == "the finish reason is STOP"


@pytest.mark.parametrize("form", ["", "not-"])
@pytest.mark.parametrize("kind", [name for name, kind in TYPES.items() if kind.reads_text])
@pytest.mark.parametrize("text", ["", " \n"])
def test_an_answer_without_text_fulfils_nothing_that_is_about_text(form, kind, text):
    found = Assertion(form + kind, "x").check(said(text, finish_reason="SAFETY"))
    assert (found.passed, found.score) == (False, 0.0)
    assert found.reason == "the answer has no text (finish reason SAFETY)"


@pytest.mark.parametrize("form", ["", "not-"])
@pytest.mark.parametrize(
    ("kind", "value", "answer", "why"),
    [
        ("max-output-tokens", 5, ModelResponse("x", 0.1), "no token count"),
        ("finish-reason", "STOP", ModelResponse("x", 0.1), "no finish reason"),
        ("number-equals", "none", ANSWER, "there is no number in"),
        ("llm-rubric", "kind", ANSWER, "a judge is required"),
        ("python", "a.b", ANSWER, "was not loaded"),
        ("contains-json", None, said("[" * 100_000), "too many brackets"),
        ("is-json", {"$ref": "#"}, said("{}"), "RecursionError"),
    ],
)
def test_what_cannot_be_decided_is_a_failure_in_both_forms(form, kind, value, answer, why):
    found = Assertion(form + kind, value).check(answer)
    assert (found.passed, found.score) == (False, 0.0)
    assert found.reason.startswith("cannot be decided: ")
    assert why in found.reason


def test_only_a_rubric_needs_a_judge():
    assert [kind for kind in TYPES if Assertion(kind).needs_judge] == ["llm-rubric"]
    assert Assertion("not-llm-rubric").needs_judge


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        ("equals", "", "must have at least 1 character"),
        ("contains-any", [], "must have at least 1 item"),
        ("contains-all", ["a", ""], "must have at least 1 character"),
        ("regex", "(", "not a regular expression"),
        ("regex", ["x"], "must be a valid string"),
        ("is-json", "object", "must be a valid mapping"),
        ("is-json", {"type": "objekt"}, "$.type: 'objekt' is not one of ['array'"),
        ("number-equals", "twelve", "expected a number"),
        ("number-equals", True, "must be a valid integer"),
        ("rouge-l", "!!!", "expected a text with words"),
        ("f-score", "the", "expected a text with words"),
    ],
)
def test_values_that_make_no_sense(kind, value, said):
    assert said in Assertion(kind, value).value_problem()
    assert said in Assertion(f"not-{kind}", value).value_problem()


# --------------------------------------------------------------------------------- hostile answers


@pytest.mark.parametrize("kind", ["regex", "not-regex"])
def test_a_regular_expression_that_would_not_end_decides_nothing(monkeypatch, kind):
    monkeypatch.setattr(regex_timeout, "MATCH_SECONDS", 0.05)
    assertion = Assertion(kind, ENDLESS)
    assert assertion.value_problem() is None
    assert assertion.check(said("a" * 60 + "!")).reason.startswith("cannot be decided: the pattern took more")


ENDLESS = r"^(a|aa|aaa)+(a|aa)+$"
TEXT = "a" * 60 + "!"


@pytest.mark.parametrize(
    ("schema", "answer"),
    [
        ({"pattern": ENDLESS}, TEXT),
        ({"patternProperties": {ENDLESS: {}}}, {TEXT: 1}),
        ({"patternProperties": {ENDLESS: {}}, "additionalProperties": False}, {TEXT: 1}),
        ({"propertyNames": {"pattern": ENDLESS}}, {TEXT: 1}),
        ({"items": {"additionalProperties": {"patternProperties": {ENDLESS: True}}}}, [{"x": {TEXT: 1}}]),
    ],
)
def test_a_pattern_in_a_schema_ends_as_well(monkeypatch, schema, answer):
    monkeypatch.setattr(regex_timeout, "MATCH_SECONDS", 0.05)
    assertion = Assertion("is-json", schema)
    assert assertion.value_problem() is None
    assert "cannot be decided: the pattern" in assertion.check(said(json.dumps(answer))).reason


def test_unevaluated_properties_would_use_patterns_without_an_end():
    schema = {"unevaluatedProperties": False, "allOf": [{"patternProperties": {"^x": {}}}]}
    assert "cannot be combined" in Assertion("is-json", schema).value_problem()


def test_work_that_doubles_at_every_level_ends(monkeypatch):
    monkeypatch.setattr(json_values, "MAX_SECONDS", 0.2)
    schema = {"$defs": {"a": {"items": {"anyOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}], "type": "array"}}},
              "$ref": "#/$defs/a"}  # fmt: skip
    assertion = Assertion("is-json", schema)
    assert assertion.value_problem() is None
    assert "the schema took more than 0.2 s" in assertion.check(said("[" * 40 + "1" + "]" * 40)).reason
    assert assertion.check(said("[[], []]")).passed


def test_many_slow_patterns_get_the_time_of_one_check(monkeypatch):
    monkeypatch.setattr(json_values, "MAX_SECONDS", 0.2)
    monkeypatch.setattr(regex_timeout, "search", lambda *_: time.sleep(0.01))
    answer = json.dumps({f"key {number}": 1 for number in range(1_000)})
    assert "the schema took more" in verdict("is-json", {"patternProperties": {"^a": {}}}, answer).reason


@pytest.mark.parametrize(
    ("answer", "unique"),
    [
        ([1, 1.0], False),
        ([1, True], True),
        ([{"a": 1, "b": [2.0]}, {"b": [2], "a": 1}], False),
        ([[1], 1, "1", None], True),
        ([list(range(1000)), *([n] for n in range(50_000))], True),  # each with each would take hours
    ],
)
def test_unique_items(answer, unique):
    assert verdict("is-json", {"uniqueItems": True}, json.dumps(answer)).passed is unique


def test_additional_properties_that_have_a_schema():
    schema = {"properties": {"a": {}}, "patternProperties": {"^x": {}}, "additionalProperties": {"type": "string"}}
    assert verdict("is-json", schema, '{"a": 1, "x1": 1, "b": "s"}').passed
    assert "$.b: 2 is not of type 'string'" in verdict("is-json", schema, '{"a": 1, "b": 2}').reason


@pytest.mark.parametrize("opening", ["[", "{", '{"a":', "[1,[", "[NaN,", '{"a": [', "{}[" * 3 + "[1,1,"])
def test_a_search_for_json_ends(monkeypatch, opening):
    monkeypatch.setattr(json_values, "MAX_WORK", 100_000)
    assert not verdict("contains-json", SCHEMA, opening * 50_000).passed


@pytest.mark.parametrize("kind", ["rouge-l", "f-score", "levenshtein", "equals", "contains", "number-equals", "regex"])
def test_huge_answers(kind):
    for text in ("a b " * 500_000, "1" * 2_000_000, "1,234 " * 300_000, "- 1/" * 500_000, "\ud800" * 100_000):
        found = verdict(kind, "1 to 20", text)
        assert len(found.reason) < MAX_REASON + 100


def test_two_texts_that_are_both_too_long_to_compare():
    long = "word " * 110_000
    assert "too many to compare" in verdict("rouge-l", long, long).reason


def test_a_check_may_run_in_a_thread():
    results = []
    schema = {"$defs": {"a": {"type": "array", "items": {"$ref": "#/$defs/a"}}}, "$ref": "#/$defs/a"}
    work = threading.Thread(target=lambda: results.append(verdict("is-json", schema, "[[[[]]]]").passed))
    work.start()
    work.join()
    assert results == [True]


def test_a_secret_in_an_answer_is_not_repeated():
    assert "SECRET" not in verdict("equals", "x", "Bearer SECRET").reason


def test_the_tolerance_is_exact():
    assert verdict("number-equals", 0.3, "0.2", tolerance=0.1).passed  # in floats 0.3 - 0.2 is less than 0.1, 0.3 + …
    assert verdict("number-equals", 0.3, "0.4", tolerance=0.1).passed
    assert not verdict("number-equals", 1, "0.9999999999999999999999").passed
    assert Fraction("0.1") != Fraction(0.1)
