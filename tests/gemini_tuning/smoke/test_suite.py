"""Suites that are read, and suites that are refused with the file, the line and what was expected."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from support import prompt_of

from gemini_tuning.core.exceptions import InvalidInputError
from gemini_tuning.core.model_response import ModelResponse
from gemini_tuning.smoke import suite as suite_module
from gemini_tuning.smoke.judge import Judge
from gemini_tuning.smoke.suite import load_suite, parse_suite
from gemini_tuning.smoke.suite_format import Prices, json_schema

REPOSITORY = Path(__file__).parents[3]
CASE = "cases:\n- id: a\n  prompt: Hi\n  assert: [{type: contains, value: x}]\n"
FLOW = "cases: [{id: a, prompt: Hi, %s}]"
IS_JSON = "assert: [{type: is-json}]"


def test_defaults_are_added_to_each_case():
    suite = parse_suite(
        """
        description: two
        defaults:
          system_instruction: Be kind.
          weight: 3
          vars: {town: Ostay, day: Monday}
          assert: [{type: is-json}]
        cases:
        - {id: a, prompt: "Hi, {{ town }} {{day}}", assert: [{type: contains, value: x}]}
        - {id: b, prompt: "{{ town }}", vars: {town: Fenna}, weight: 1, system_instruction: null}
        """,
        "some/folder/two.yaml",
    )
    a, b = suite.cases
    assert suite.name == "two"
    assert [assertion.type for assertion in a.assertions] == ["is-json", "contains"]
    assert (prompt_of(a), a.weight, a.system_instruction) == ("Hi, Ostay Monday", 3, "Be kind.")
    assert (prompt_of(b), b.weight, b.system_instruction) == ("Fenna", 1, None)
    assert (a.temperature, a.threshold, a.critical, a.repeat) == (0.0, None, False, 1)
    assert b.vars == {"town": "Fenna", "day": "Monday"}


def test_all_keys():
    suite = parse_suite(
        """
        judge: {model: gemini-2.5-flash, samples: 5, temperature: 0.4}
        prices: {input: 0.3, output: 2.5, currency: USD}
        cases:
        - id: a
          contents:
          - {role: user, parts: [{text: "What is {{ it }}?"}, {file_uri: "gs://b/{{ it }}.png", mime_type: image/png}]}
          - {role: model, parts: [{text: A cat.}]}
          - {role: user, parts: [{text: Sure}]}
          system_instruction: "{{ it }}!"
          vars: {it: cat}
          threshold: 0.5
          weight: 2
          critical: true
          repeat: 3
          temperature: 0.7
          max_output_tokens: 100
          assert:
          - {type: icontains-any, value: ["{{ it }}", dog], weight: 2}
          - {type: is-json, value: {properties: {"{{ it }}": {const: "{{ it }}"}}}}
          - {type: number-equals, value: 3, tolerance: {relative: 0.1}}
          - {type: llm-rubric, value: "knows a {{ it }}", threshold: 0.9}
          - {type: python, value: gemini_tuning.core.text.redact}
        """,
        "s.yaml",
    )
    (case,) = suite.cases
    assert suite.judge == Judge(model="gemini-2.5-flash", samples=5, temperature=0.4)
    assert suite.prices == Prices(input=0.3, output=2.5, currency="USD")
    file = {"file_uri": "gs://b/cat.png", "mime_type": "image/png"}
    assert case.contents == [
        {"role": "user", "parts": [{"text": "What is cat?"}, file]},
        {"role": "model", "parts": [{"text": "A cat."}]},
        {"role": "user", "parts": [{"text": "Sure"}]},
    ]
    assert (case.system_instruction, case.threshold, case.critical, case.repeat) == ("cat!", 0.5, True, 3)
    assert (case.temperature, case.max_output_tokens, case.weight) == (0.7, 100, 2)
    any_of, schema, number, rubric, function = case.assertions
    assert (any_of.value, any_of.weight) == (["cat", "dog"], 2)
    assert schema.value == {"properties": {"{{ it }}": {"const": "cat"}}}
    assert (number.value, number.tolerance) == (3, {"relative": 0.1})
    assert (rubric.value, rubric.threshold) == ("knows a cat", 0.9)
    assert function.function.__name__ == "redact"


def test_a_judge_has_its_own_defaults():
    assert parse_suite(CASE + "judge: {model: m}", "s").judge == Judge(model="m", samples=3, temperature=1.0)


@pytest.mark.parametrize("own", ["prompt: Ho", "contents: [{role: user, parts: [{text: Ho}]}]"])
@pytest.mark.parametrize("default", ["prompt: Hi", "contents: [{role: user, parts: [{text: Hi}]}]"])
def test_a_cases_own_question_takes_the_place_of_the_defaults(default, own):
    suite = parse_suite(f"defaults: {{{default}, {IS_JSON}}}\ncases: [{{id: a}}, {{id: b, {own}}}]", "s.yaml")
    assert [prompt_of(case) for case in suite.cases] == ["Hi", "Ho"]


def test_what_a_variable_brings_along_is_not_filled_again():
    text = (FLOW % IS_JSON).replace("prompt: Hi", "prompt: '{{ a }} {{2}} {{\"b\"}} }}', vars: {a: '{{ b }}', b: c}")
    assert prompt_of(parse_suite(text, "s").cases[0]) == '{{ b }} {{2}} {{"b"}} }}'


# --------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("text", "line", "field", "code"),
    [
        ("", None, "", "mapping_expected"),
        ("- a", 1, "", "mapping_expected"),
        ("\na: [", 2, "", "invalid_yaml"),
        ("description: x", 1, "", "no_cases"),
        ("cases: []", 1, "cases", "too_short"),
        ("cases: {}", 1, "cases", "list_type"),
        (CASE + "extra: 1", 5, "extra", "unknown_key"),
        (CASE + "defaults: 7", 5, "defaults", "mapping_expected"),
        (CASE + "defaults:\n  asserts: []", 6, "defaults.asserts", "unknown_key"),
        (CASE + "- id: a\n  prompt: Ho\n  assert: [{type: is-json}]", 5, "cases.1", "duplicate_id"),
        ("cases: [7]", 1, "cases.0", "mapping_expected"),
        (FLOW % "weight: 1", 1, "cases.0", "no_assertion"),
        (FLOW % "assert: []", 1, "cases.0", "no_assertion"),
        ("cases: [{prompt: Hi, assert: [{type: is-json}]}]", 1, "cases.0.id", "missing"),
        ("cases: [{id: a, assert: [{type: is-json}]}]", 1, "cases.0", "no_prompt"),
        ("cases: [{id: a, prompt: 7, assert: [{type: is-json}]}]", 1, "cases.0.prompt", "string_type"),
        ("cases: [{id: a, prompt: ' ', assert: [{type: is-json}]}]", 1, "cases.0.prompt", "pattern_mismatch"),
        (FLOW % "weight: 0, assert: [{type: is-json}]", 1, "cases.0.weight", "greater_than_equal"),
        (FLOW % "weight: .nan, assert: [{type: is-json}]", 1, "cases.0.weight", "finite_number"),
        (FLOW % "temperature: hot, assert: [{type: is-json}]", 1, "cases.0.temperature", "float_type"),
        (FLOW % "max_output_tokens: many, assert: [{type: is-json}]", 1, "cases.0.max_output_tokens", "int_type"),
        (FLOW % "system_instruction: 5, assert: [{type: is-json}]", 1, "cases.0.system_instruction", "string_type"),
        (FLOW % "repeat: 0, assert: [{type: is-json}]", 1, "cases.0.repeat", "greater_than_equal"),
        (FLOW % "repeat: true, assert: [{type: is-json}]", 1, "cases.0.repeat", "int_type"),
        (FLOW % "critical: 1, assert: [{type: is-json}]", 1, "cases.0.critical", "bool_type"),
        (FLOW % "critical: , assert: [{type: is-json}]", 1, "cases.0.critical", "bool_type"),
        (FLOW % "threshold: 2, assert: [{type: is-json}]", 1, "cases.0.threshold", "less_than_equal"),
        (FLOW % "assert: {type: is-json}", 1, "cases.0.assert", "list_type"),
        (FLOW % "assert: [is-json]", 1, "cases.0.assert.0", "type_required"),
        (FLOW % "assert: [{value: x}]", 1, "cases.0.assert.0", "type_required"),
        (FLOW % "assert: [{type: [1]}]", 1, "cases.0.assert.0.type", "unknown_type"),
        (FLOW % "assert: [{type: latency, value: 5}]", 1, "cases.0.assert.0.type", "unknown_type"),
        (FLOW % "assert: [{type: not-not-equals, value: x}]", 1, "cases.0.assert.0.type", "unknown_type"),
        (FLOW % "assert: [{type: contains}]", 1, "cases.0.assert.0.value", "missing"),
        (FLOW % "assert: [{type: equals, value: 7}]", 1, "cases.0.assert.0.value", "string_type"),
        (FLOW % "assert: [{type: contains, value: ''}]", 1, "cases.0.assert.0.value", "string_too_short"),
        (FLOW % "assert: [{type: contains-any, value: a}]", 1, "cases.0.assert.0.value", "list_type"),
        (FLOW % "assert: [{type: contains-all, value: [a, 5]}]", 1, "cases.0.assert.0.value.1", "string_type"),
        (FLOW % "assert: [{type: regex, value: '('}]", 1, "cases.0.assert.0.value", "invalid_value"),
        (FLOW % "assert: [{type: is-json, value: object}]", 1, "cases.0.assert.0.value", "dict_type"),
        (FLOW % "assert: [{type: is-json, value: {type: objekt}}]", 1, "cases.0.assert.0.value", "invalid_value"),
        (FLOW % "assert: [{type: number-equals, value: one}]", 1, "cases.0.assert.0.value", "invalid_value"),
        (FLOW % "assert: [{type: number-equals, value: 1, tolerance: -1}]", 1,
         "cases.0.assert.0.tolerance", "greater_than_equal"),
        (FLOW % "assert: [{type: number-equals, value: 1, tolerance: {}}]", 1,
         "cases.0.assert.0.tolerance", "float_type"),
        (FLOW % "assert: [{type: contains, value: x, tolerance: 1}]", 1, "cases.0.assert.0.tolerance", "unknown_key"),
        (FLOW % "assert: [{type: contains, value: x, threshold: 1}]", 1, "cases.0.assert.0.threshold", "unknown_key"),
        (FLOW % "assert: [{type: rouge-l, value: x, threshold: 5}]", 1, "cases.0.assert.0.threshold",
         "less_than_equal"),
        (FLOW % "assert: [{type: levenshtein, value: x, threshold: .5}]", 1, "cases.0.assert.0.threshold", "int_type"),
        (FLOW % "assert: [{type: max-latency, value: fast}]", 1, "cases.0.assert.0.value", "float_type"),
        (FLOW % "assert: [{type: max-latency, value: 0}]", 1, "cases.0.assert.0.value", "greater_than"),
        (FLOW % "assert: [{type: max-latency, value: true}]", 1, "cases.0.assert.0.value", "float_type"),
        (FLOW % "assert: [{type: max-output-tokens, value: .5}]", 1, "cases.0.assert.0.value", "int_type"),
        (FLOW % "assert: [{type: finish-reason, value: 5}]", 1, "cases.0.assert.0.value", "string_type"),
        (FLOW % "assert: [{type: safety-not-blocked, value: x}]", 1, "cases.0.assert.0.value", "unknown_key"),
        (FLOW % "assert: [{type: python, value: 'print(1)'}]", 1, "cases.0.assert.0.value", "pattern_mismatch"),
        (FLOW % "assert: [{type: python, value: '{{ x }}.y'}]", 1, "cases.0.assert.0.value", "pattern_mismatch"),
        (FLOW % "assert: [{type: llm-rubric, value: kind}]", 1, "", "no_judge"),
        (CASE + "judge: {samples: 3}", 5, "judge.model", "missing"),
        (CASE + "judge: {model: m, samples: 2}", 5, "judge.samples", "literal_error"),
        (CASE + "prices: {input: 1, output: 2}", 5, "prices.currency", "missing"),
        (CASE + "prices: {input: 1, output: 2, currency: euro}", 5, "prices.currency", "pattern_mismatch"),
        (FLOW % f"contents: [{{role: user, parts: [{{text: a}}]}}], {IS_JSON}", 1, "cases.0", "prompt_and_contents"),
        (FLOW % "contents: [], assert: []", 1, "cases.0.contents", "too_short"),
        ("cases: [{id: a, contents: [], assert: [{type: is-json}]}]", 1, "cases.0.contents", "too_short"),
        ("cases:\n- id: a\n  assert: [{type: is-json}]\n  contents:\n  - {role: user, parts: [{text: a}]}\n"
         "  - {role: model, parts: [{text: b}]}", 6, "cases.0.contents.1", "last_turn"),
        ("cases: [{id: a, contents: [{role: bot, parts: []}]}]", 1, "cases.0.contents.0.role", "literal_error"),
        ("cases: [{id: a, contents: [{role: user, parts: [{}]}]}]", 1, "cases.0.contents.0.parts.0",
         "text_or_file"),
        ("cases: [{id: a, contents: [{role: user, parts: [{file_uri: 'gs://b/x'}]}]}]", 1, "cases.0.contents.0.parts.0",
         "text_or_file"),
        ("cases: [{id: a, contents: [{role: user, parts: [{file_uri: /x, mime_type: image/png}]}]}]", 1,
         "cases.0.contents.0.parts.0.file_uri", "pattern_mismatch"),
        (FLOW % "vars: {n: 5}, assert: [{type: is-json}]", 1, "cases.0.vars.n", "string_type"),
        (FLOW % "vars: {a b: x}, assert: [{type: is-json}]", 1, "cases.0.vars.a b", "pattern_mismatch"),
        (FLOW % "assert: [{type: contains, value: '{{ y }}'}]", 1, "cases.0", "unknown_variable"),
        (FLOW % "assert: [{type: contains, value: '{{ y|upper }}'}]", 1, "cases.0.assert.0.value", "not_a_variable"),
        (FLOW % "vars: {y: ''}, assert: [{type: contains, value: '{{ y }}'}]", 1, "cases.0", "invalid_value"),
        (FLOW % "vars: {y: '('}, assert: [{type: regex, value: '{{ y }}'}]", 1, "cases.0", "invalid_value"),
        (FLOW % "description: x, assert: [{type: is-json}]", 1, "cases.0.description", "unknown_key"),
        (CASE + "description: 2026-01-01", 5, "description", "string_type"),
        (CASE + "1: x", 1, "", "unknown_key"),
    ],
)  # fmt: skip
def test_parse_suite_unacceptable_names_file_line_and_field(text, line, field, code, snapshot):
    with pytest.raises(InvalidInputError) as caught:
        parse_suite(text, "suites/bad.yaml")
    error = caught.value
    assert (error.resource, error.line, error.field, error.code) == ("suites/bad.yaml", line, field, code)
    assert str(error) == snapshot


def test_parse_suite_with_several_mistakes_reports_the_first():
    text = "cases:\n- id: a\n  weight: x\n  assert: [{type: is-json}]\n  prompt: 5\n- {id: b, prompt: 7}"
    with pytest.raises(InvalidInputError) as caught:
        parse_suite(text, "bad.yaml")
    assert (caught.value.line, caught.value.field) == (3, "cases.0.weight")


def test_parse_suite_mistake_behind_an_alias_has_the_line_of_the_anchor():
    text = "defaults:\n  vars: &v\n    n: 5\ncases:\n- {id: a, prompt: Hi, vars: *v, assert: [{type: is-json}]}"
    with pytest.raises(InvalidInputError) as caught:
        parse_suite(text, "bad.yaml")
    assert (caught.value.line, caught.value.field) == (3, "defaults.vars.n")


# -------------------------------------------------------------------------------------- case files

DEFAULTS = "defaults: {prompt: 'Q: {{ q }}', assert: [{type: number-equals, value: '{{ a }}'}]}\n"
ROWS = '{"question": "1+1", "answer": "#### 2", "n": 7}\n\n{"question": "2+2", "answer": "#### 4", "n": 8}\n'


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "secret.jsonl").write_text('{"q": "secret", "a": "1"}')
    suites = tmp_path / "suites"
    (suites / "data").mkdir(parents=True)
    (suites / "data" / "sums.jsonl").write_text(ROWS)
    (suites / "sums.csv").write_text("key,q,a\nfirst,1+1,2\nsecond,2+2,4\n")
    return suites


def written(folder: Path, text: str) -> str:
    (folder / "s.yaml").write_text(text)
    return str(folder)


def test_cases_from_a_jsonl_file(folder):
    text = DEFAULTS + "cases_from: {file: data/sums.jsonl, vars: {q: question, a: answer}}"
    suite = load_suite("s", written(folder, text))
    assert [(case.id, prompt_of(case)) for case in suite.cases] == [("sums-1", "Q: 1+1"), ("sums-3", "Q: 2+2")]
    assert suite.cases[1].vars == {"q": "2+2", "a": "#### 4"}
    assert suite.cases[1].assertions[0].check(ModelResponse("It is 4.", 0.1)).passed
    assert not suite.cases[1].assertions[0].check(ModelResponse("It is 2.", 0.1)).passed


def test_cases_from_several_files_after_the_suites_own(folder):
    text = (
        DEFAULTS + "cases: [{id: own, vars: {q: x, a: '1'}}]\ncases_from:\n"
        "- {file: sums.csv, id: key, weight: 2, critical: true, system_instruction: 'Row {{ key }}'}\n"
        "- file: data/sums.jsonl\n  limit: 1\n  prompt: 'Count: {{ question }}'\n"
        "  assert: [{type: contains, value: '{{ n }}'}]\n  vars: {question: question, n: n, a: answer}"
    )
    own, first, second, third = load_suite("s", written(folder, text)).cases
    assert [case.id for case in (own, first, second, third)] == ["own", "first", "second", "sums-1"]
    assert (prompt_of(first), first.weight, first.critical, first.system_instruction) == (
        "Q: 1+1",
        2,
        True,
        "Row first",
    )
    assert prompt_of(third) == "Count: 1+1"
    assert [assertion.value for assertion in third.assertions] == ["#### 2", "7"]


def test_cases_from_cloud_storage():
    opened = []

    def read_lines(uri):
        opened.append(uri)
        yield from (b'{"q": "1+1", "a": "2"}\r\n', b'{"q": "2+2", "a": "4"}')

    text = DEFAULTS + "cases_from: {file: gs://bucket/folder/sums.jsonl}"
    suite = parse_suite(text, "s.yaml", read_lines=read_lines)
    assert [case.id for case in suite.cases] == ["sums-1", "sums-2"]
    assert opened == ["gs://bucket/folder/sums.jsonl"]
    with pytest.raises(InvalidInputError) as caught:
        parse_suite(text, "s.yaml")
    error = caught.value
    assert (error.line, error.field, error.code) == (2, "cases_from.file", "connection_required")


@pytest.mark.parametrize(
    ("entry", "place", "field", "code"),
    [
        ("{file: none.csv}", "s.yaml:2", "cases_from.0.file", "cannot_be_read"),
        ("{file: ../secret.jsonl}", "s.yaml:2", "cases_from.0.file", "outside_folder"),
        ("{file: link.jsonl}", "s.yaml:2", "cases_from.0.file", "outside_folder"),
        ("{file: dir.csv}", "s.yaml:2", "cases_from.0.file", "not_a_file"),
        ("{file: empty.csv}", "empty.csv:1", "", "invalid_header"),
        ("{file: empty.jsonl}", "s.yaml:2", "cases_from.0.file", "no_rows"),
        ("{file: sums.txt}", "s.yaml:2", "cases_from.0.file", "pattern_mismatch"),
        ("{file: sums.csv, vars: {q: question, a: a}}", "sums.csv:2", "", "unknown_field"),
        ("{file: sums.csv, vars: {q: q}}", "sums.csv:2", "", "unknown_variable"),
        ("{file: sums.csv, id: n}", "sums.csv:2", "", "unknown_field"),
        ("{file: sums.csv, limit: 0}", "s.yaml:2", "cases_from.0.limit", "greater_than_equal"),
        ("{file: sums.csv, assert: [{type: regex, value: '('}]}", "s.yaml:2",
         "cases_from.0.assert.0.value", "invalid_value"),
        ("{file: data/sums.jsonl, vars: {q: question, a: question}, id: question, assert: [{type: regex, value: "
         "'({{ q }}'}]}", "data/sums.jsonl:1", "", "invalid_value"),
        ("{file: words.jsonl}", "words.jsonl:2", "", "invalid_value"),
        ("{file: twice.csv, id: key}", "twice.csv:4", "", "duplicate_id"),
        ("{file: twice.csv, id: a}", "twice.csv:2", "", "invalid_id"),
        ("{file: sums.csv}, {file: sums.csv}", "sums.csv:2", "", "duplicate_id"),
        ("{file: sums.csv, prompt: a, contents: [{role: user, parts: [{text: a}]}]}", "s.yaml:2", "cases_from.0",
         "prompt_and_contents"),
        ("{file: sums.csv, prompts: a}", "s.yaml:2", "cases_from.0.prompts", "unknown_key"),
        ("{limit: 5}", "s.yaml:2", "cases_from.0.file", "missing"),
    ],
)  # fmt: skip
def test_load_suite_unacceptable_case_file_names_its_line(folder, entry, place, field, code, snapshot):
    (folder / "link.jsonl").symlink_to(folder.parent / "secret.jsonl")
    (folder / "dir.csv").mkdir()
    (folder / "empty.csv").touch()
    (folder / "empty.jsonl").touch()
    (folder / "words.jsonl").write_text('{"q": "1+1", "a": "2"}\n{"q": "1+2", "a": "none"}')
    (folder / "twice.csv").write_text('key,q,a\nx,b,"\n1"\nx,c,2')
    with pytest.raises(InvalidInputError) as caught:
        load_suite("s", written(folder, f"{DEFAULTS}cases_from: [{entry}]"))
    error = caught.value
    assert (f"{error.resource}:{error.line}", error.field, error.code) == (f"{folder}/{place}", field, code)
    message = str(error).replace(f"{folder}/", "")
    assert message == snapshot
    assert "secret" not in message.replace("secret.jsonl", "")


def test_a_case_file_may_lie_anywhere_in_the_folder_of_suites(folder):
    (folder / "team").mkdir()
    (folder / "team" / "t.yaml").write_text(DEFAULTS + "cases_from: {file: ../sums.csv}")
    assert len(load_suite("team/t", str(folder)).cases) == 2
    with pytest.raises(InvalidInputError) as caught:
        load_suite(str(folder / "team" / "t.yaml"))
    assert (caught.value.field, caught.value.code) == ("cases_from.file", "outside_folder")


def test_there_is_a_limit_to_the_prompts(folder, monkeypatch):
    monkeypatch.setattr(suite_module, "MAX_PROMPTS", 3)
    with pytest.raises(InvalidInputError) as caught:
        load_suite("s", written(folder, DEFAULTS + "cases_from: {file: sums.csv, repeat: 2}"))
    error = caught.value
    assert (error.resource, error.line, error.code) == (str(folder / "sums.csv"), 3, "too_many_prompts")
    assert error.hint


def test_thousands_of_rows(folder):
    rows = "".join(json.dumps({"q": f"{n}+{n}?", "a": f"#### {2 * n:,}"}) + "\n" for n in range(10_000))
    (folder / "many.jsonl").write_text(rows)
    suite = load_suite("s", written(folder, DEFAULTS + "cases_from: {file: many.jsonl}"))
    assert len({case.fingerprint for case in suite.cases}) == 10_000
    assert suite.cases[-1].assertions[0].check(ModelResponse("That is 19,998.", 0.1)).passed


# ------------------------------------------------------------------------------------- fingerprint


def test_a_suites_fingerprint_sees_what_decides_and_nothing_else():
    def of(text: str) -> str:
        return parse_suite(text, "s.yaml").fingerprint

    same = of(CASE)
    assert len(same) == 64
    assert of("description: x\n" + CASE + "prices: {input: 1, output: 1, currency: EUR}") == same
    assert of(CASE.replace("Hi", "'{{ h }}'") + "  vars: {h: Hi}") == same
    for other in (
        CASE.replace("Hi", "Ho"),
        CASE.replace("id: a", "id: b"),
        CASE + "  weight: 2",
        CASE + "  critical: true",
        CASE + "  repeat: 2",
        CASE + "judge: {model: m}",
        CASE + "- {id: b, prompt: x, assert: [{type: is-json}]}",
    ):
        assert of(other) != same


def test_fingerprint_changes_with_a_case_file(folder):
    name = written(folder, DEFAULTS + "cases_from: {file: sums.csv}")
    before = load_suite("s", name).fingerprint
    (folder / "sums.csv").write_text("key,q,a\nfirst,1+1,2\nsecond,2+2,5\n")
    assert load_suite("s", name).fingerprint != before


# ------------------------------------------------------------------------------------------- names


def test_a_suite_is_found_by_its_name(tmp_path):
    (tmp_path / "mine.yaml").write_text(CASE)
    assert load_suite("mine", str(tmp_path)).name == "mine"
    assert load_suite(str(tmp_path / "mine.yaml")).cases[0].id == "a"


def test_a_missing_suite_names_those_that_are_there(tmp_path):
    (tmp_path / "mine.yaml").write_text(CASE)
    with pytest.raises(InvalidInputError) as caught:
        load_suite("yours", str(tmp_path))
    assert (caught.value.field, caught.value.code) == ("suite", "cannot_be_read")
    assert caught.value.resource == str(tmp_path / "yours.yaml")
    assert "mine" in caught.value.hint


def test_a_suite_outside_of_the_folder_is_refused(tmp_path):
    (tmp_path / "secret.yaml").write_text(CASE)
    (tmp_path / "suites").mkdir()
    with pytest.raises(InvalidInputError) as caught:
        load_suite("../secret", str(tmp_path / "suites"))
    assert (caught.value.field, caught.value.code) == ("suite", "not_a_suite")


@pytest.mark.parametrize("path", sorted((REPOSITORY / "dags/config/smoke").glob("*.yaml")), ids=lambda p: p.stem)
def test_the_suites_of_the_repository_are_acceptable(path):
    assert load_suite(str(path)).cases


@pytest.mark.parametrize("path", sorted((REPOSITORY / "dags/config/smoke").glob("*.yaml")), ids=lambda p: p.stem)
def test_editors_find_the_schema_of_the_suites_in_the_repository(path):
    first, _, _ = path.read_text().partition("\n")
    comment, _, relative = first.partition("$schema=")
    assert comment == "# yaml-language-server: "
    assert json.loads((path.parent / relative).read_text()) == json_schema()


def test_json_schema_accepts_the_suites_in_the_repository():
    validator = jsonschema.Draft202012Validator(json_schema())
    for path in (REPOSITORY / "dags/config/smoke").glob("*.yaml"):
        validator.validate(yaml.safe_load(path.read_text()))
