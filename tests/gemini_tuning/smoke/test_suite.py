"""Suites that are read, and suites that are refused with the file, the line and what was expected."""

import json
from pathlib import Path

import pytest

from gemini_tuning.core.resources import ModelResponse
from gemini_tuning.smoke import suite_reader
from gemini_tuning.smoke.suite import Judge, Part, Prices, SuiteError, Turn, load_suite, parse_suite

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
    assert (suite.name, suite.description) == ("two", "two")
    assert [assertion.type for assertion in a.assertions] == ["is-json", "contains"]
    assert (a.prompt, a.weight, a.system_instruction) == ("Hi, Ostay Monday", 3, "Be kind.")
    assert (b.prompt, b.weight, b.system_instruction) == ("Fenna", 1, None)
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
    assert suite.judge == Judge("gemini-2.5-flash", samples=5, temperature=0.4)
    assert suite.prices == Prices(0.3, 2.5, "USD")
    assert case.contents == (
        Turn("user", (Part("What is cat?"), Part(file_uri="gs://b/cat.png", mime_type="image/png"))),
        Turn("model", (Part("A cat."),)),
        Turn("user", (Part("Sure"),)),
    )
    assert (case.system_instruction, case.threshold, case.critical, case.repeat) == ("cat!", 0.5, True, 3)
    assert (case.temperature, case.max_output_tokens, case.weight) == (0.7, 100, 2)
    any_of, schema, number, rubric, function = case.assertions
    assert (any_of.value, any_of.weight) == (["cat", "dog"], 2)
    assert schema.value == {"properties": {"{{ it }}": {"const": "cat"}}}
    assert (number.value, number.tolerance) == (3, {"relative": 0.1})
    assert (rubric.value, rubric.threshold) == ("knows a cat", 0.9)
    assert function.function.__name__ == "redact"


def test_a_judge_has_its_own_defaults():
    assert parse_suite(CASE + "judge: {model: m}", "s").judge == Judge("m", samples=3, temperature=1.0)


@pytest.mark.parametrize("own", ["prompt: Ho", "contents: [{role: user, parts: [{text: Ho}]}]"])
@pytest.mark.parametrize("default", ["prompt: Hi", "contents: [{role: user, parts: [{text: Hi}]}]"])
def test_a_cases_own_question_takes_the_place_of_the_defaults(default, own):
    suite = parse_suite(f"defaults: {{{default}, {IS_JSON}}}\ncases: [{{id: a}}, {{id: b, {own}}}]", "s.yaml")
    assert [case.prompt for case in suite.cases] == ["Hi", "Ho"]


def test_what_a_variable_brings_along_is_not_filled_again():
    text = (FLOW % IS_JSON).replace("prompt: Hi", "prompt: '{{ a }} {{2}} {{\"b\"}} }}', vars: {a: '{{ b }}', b: c}")
    assert parse_suite(text, "s").cases[0].prompt == '{{ b }} {{2}} {{"b"}} }}'


# --------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ": expected a mapping with the key cases or cases_from, not nothing"),
        ("- a", ":1: expected a mapping"),
        ("\na: [", ":2: invalid YAML"),
        ("description: x", ":1: expected the key cases or cases_from"),
        ("cases: []", ":1: cases: expected a list with at least one case, not []"),
        ("cases: {}", ":1: cases: expected a list with at least one case"),
        (CASE + "extra: 1", ":5: extra: unknown key; expected one of cases, cases_from, defaults, description"),
        (CASE + "defaults: 7", ":5: defaults: expected a mapping, not 7"),
        (CASE + "defaults:\n  asserts: []", ":6: defaults: asserts: unknown key (did you mean assert?); expected one"),
        (CASE + "- id: a\n  prompt: Ho\n  assert: [{type: is-json}]", ":5: case 2 (a): the id 'a' is used twice; the "
         "first is at line 2"),
        ("cases: [7]", ":1: case 1: expected a mapping with id, prompt and assert, not 7"),
        (FLOW % "weight: 1", ":1: case 1 (a): has no assertion, so it could not fail"),
        (FLOW % "assert: []", "case 1 (a): has no assertion"),
        ("cases: [{prompt: Hi, assert: [{type: is-json}]}]", "case 1: the key id is missing"),
        ("cases: [{id: a, assert: [{type: is-json}]}]", "case 1 (a): has no question; expected the key prompt or con"),
        ("cases: [{id: a, prompt: 7, assert: [{type: is-json}]}]", "case 1 (a): prompt: expected a text, not 7"),
        ("cases: [{id: a, prompt: ' ', assert: [{type: is-json}]}]", "case 1 (a): prompt: expected a text, not ' '"),
        (FLOW % "weight: 0, assert: [{type: is-json}]", "weight: expected a number above 0, at most 1000000, not 0"),
        (FLOW % "weight: .nan, assert: [{type: is-json}]", "weight: expected a finite number, not nan"),
        (FLOW % "temperature: hot, assert: [{type: is-json}]", "temperature: expected a number from 0 to 2, not 'hot'"),
        (FLOW % "max_output_tokens: many, assert: [{type: is-json}]", "max_output_tokens: expected a whole number"),
        (FLOW % "system_instruction: 5, assert: [{type: is-json}]", "system_instruction: expected a text"),
        (FLOW % "repeat: 0, assert: [{type: is-json}]", "repeat: expected a whole number from 1 to 100, not 0"),
        (FLOW % "repeat: true, assert: [{type: is-json}]", "repeat: expected a whole number"),
        (FLOW % "critical: 1, assert: [{type: is-json}]", "critical: expected true or false, not 1"),
        (FLOW % "critical: , assert: [{type: is-json}]", "critical: expected true or false, not nothing"),
        (FLOW % "threshold: 2, assert: [{type: is-json}]", "threshold: expected a number from 0 to 1, not 2"),
        (FLOW % "assert: {type: is-json}", "assert: expected a list of assertions, not {'type': 'is-json'}"),
        (FLOW % "assert: [is-json]", "assert 1: expected a mapping with the key type, not 'is-json'"),
        (FLOW % "assert: [{value: x}]", "assert 1: the key type is missing"),
        (FLOW % "assert: [{type: [1]}]", "assert 1: type: expected a type of assertion, not [1]"),
        (FLOW % "assert: [{type: latency, value: 5}]", "type: unknown type 'latency' (did you mean max-latency?)"),
        (FLOW % "assert: [{type: not-not-equals, value: x}]", "unknown type 'not-not-equals'"),
        (FLOW % "assert: [{type: contains}]", "assert 1: the key value is missing; expected a text"),
        (FLOW % "assert: [{type: equals, value: 7}]", "assert 1: value: expected a text, not 7"),
        (FLOW % "assert: [{type: contains, value: ''}]", "assert 1: value: expected a text, not ''"),
        (FLOW % "assert: [{type: contains-any, value: a}]", "value: expected a list of texts, not 'a'"),
        (FLOW % "assert: [{type: contains-all, value: [a, 5]}]", "value 2: expected a text, not 5"),
        (FLOW % "assert: [{type: regex, value: '('}]", 'assert 1: value: "(" is not a regular expression: missing )'),
        (FLOW % "assert: [{type: is-json, value: object}]", "value: expected a JSON Schema, not 'object'"),
        (FLOW % "assert: [{type: is-json, value: {type: objekt}}]", "not a JSON Schema: $.type: 'objekt' is not one"),
        (FLOW % "assert: [{type: number-equals, value: one}]", 'value: expected a number, not "one"'),
        (FLOW % "assert: [{type: number-equals, value: 1, tolerance: -1}]", "tolerance: expected a number from 0, or"),
        (FLOW % "assert: [{type: number-equals, value: 1, tolerance: {}}]", "tolerance: expected a number from 0, or"),
        (FLOW % "assert: [{type: contains, value: x, tolerance: 1}]", "tolerance: expected no such key with this type"),
        (FLOW % "assert: [{type: contains, value: x, threshold: 1}]", "threshold: expected no such key with this type"),
        (FLOW % "assert: [{type: rouge-l, value: x, threshold: 5}]", "threshold: expected a score from 0 to 1, not 5"),
        (FLOW % "assert: [{type: levenshtein, value: x, threshold: .5}]", "threshold: expected a whole number"),
        (FLOW % "assert: [{type: max-latency, value: fast}]", "value: expected milliseconds above 0, not 'fast'"),
        (FLOW % "assert: [{type: max-latency, value: 0}]", "value: expected milliseconds above 0, not 0"),
        (FLOW % "assert: [{type: max-latency, value: true}]", "value: expected milliseconds above 0, not True"),
        (FLOW % "assert: [{type: max-output-tokens, value: .5}]", "value: expected a whole number of tokens above 0"),
        (FLOW % "assert: [{type: finish-reason, value: 5}]", "value: expected a finish reason such as STOP"),
        (FLOW % "assert: [{type: safety-not-blocked, value: x}]", "value: expected no such key with this type"),
        (FLOW % "assert: [{type: python, value: 'print(1)'}]", "value: expected module.function, not 'print(1)'"),
        (FLOW % "assert: [{type: python, value: '{{ x }}.y'}]", "value: expected module.function"),
        (FLOW % "assert: [{type: llm-rubric, value: kind}]", ":1: the case 'a' has llm-rubric; expected the key judge"),
        (CASE + "judge: {samples: 3}", ":5: judge: the key model is missing"),
        (CASE + "judge: {model: m, samples: 2}", ":5: judge: samples: expected 1, 3, 5, 7 or 9, not 2"),
        (CASE + "prices: {input: 1, output: 2}", ":5: prices: the key currency is missing"),
        (CASE + "prices: {input: 1, output: 2, currency: euro}", "currency: expected three letters such as USD"),
        (FLOW % "contents: [], assert: []", "case 1 (a): expected either prompt or contents, not both"),
        ("cases: [{id: a, contents: [], assert: [{type: is-json}]}]", "contents: expected a list of turns, not []"),
        ("cases:\n- id: a\n  assert: [{type: is-json}]\n  contents:\n  - {role: user, parts: [{text: a}]}\n"
         "  - {role: model, parts: [{text: b}]}", ":6: case 1 (a): contents 2: expected the last turn to be"),
        ("cases: [{id: a, contents: [{role: bot, parts: []}]}]", "contents 1: role: expected user or model, not 'bot'"),
        ("cases: [{id: a, contents: [{role: user, parts: [{}]}]}]", "parts 1: expected either text, or file_uri"),
        ("cases: [{id: a, contents: [{role: user, parts: [{file_uri: 'gs://b/x'}]}]}]", "the key mime_type is missing"),
        ("cases: [{id: a, contents: [{role: user, parts: [{file_uri: /x, mime_type: image/png}]}]}]",
         "file_uri: expected gs://bucket/name, not '/x'"),
        (FLOW % "vars: {n: 5}, assert: [{type: is-json}]", "vars: n: expected a text (a number or a"),
        (FLOW % "vars: {a b: x}, assert: [{type: is-json}]", "vars: expected a name of letters, digits, _ and -"),
        (FLOW % "assert: [{type: contains, value: '{{ y }}'}]", "case 1 (a): contains: there is no variable y; there "
         "are: none"),
        (FLOW % "assert: [{type: contains, value: '{{ y|upper }}'}]", "'{{ y|upper }}' is more than a name; filters"),
        (FLOW % "vars: {y: ''}, assert: [{type: contains, value: '{{ y }}'}]", 'contains: expected a text, not ""'),
        (FLOW % "vars: {y: '('}, assert: [{type: regex, value: '{{ y }}'}]", "regex: \"(\" is not a regular"),
        (FLOW % "description: x, assert: [{type: is-json}]", "description: unknown key; expected one of assert, cont"),
        (CASE + "description: 2026-01-01", ":5: description: expected a text, a number, a list or a mapping, not a d"),
        (CASE + "1: x", "the key 1 is not a text"),
    ],
)  # fmt: skip
def test_a_bad_suite_is_refused_with_the_file_and_the_place(text, said):
    with pytest.raises(SuiteError) as caught:
        parse_suite(text, "suites/bad.yaml")
    assert str(caught.value).startswith("suites/bad.yaml:")
    assert said in str(caught.value)


def test_the_first_of_several_mistakes_is_named_first():
    text = "cases:\n- id: a\n  prompt: 5\n  assert: [{type: is-json}]\n  weight: x\nextra: 1"
    with pytest.raises(SuiteError, match=r"bad\.yaml:3: case 1 \(a\): prompt: "):
        parse_suite(text, "bad.yaml")


def test_a_mistake_in_what_an_alias_means_is_named_where_it_stands():
    text = "defaults:\n  vars: &v\n    n: 5\ncases:\n- {id: a, prompt: Hi, vars: *v, assert: [{type: is-json}]}"
    with pytest.raises(SuiteError, match=r"bad\.yaml:3: defaults: vars: n: "):
        parse_suite(text, "bad.yaml")


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
    assert [(case.id, case.prompt) for case in suite.cases] == [("sums-1", "Q: 1+1"), ("sums-3", "Q: 2+2")]
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
    assert (first.prompt, first.weight, first.critical, first.system_instruction) == ("Q: 1+1", 2, True, "Row first")
    assert third.prompt == "Count: 1+1"
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
    with pytest.raises(SuiteError, match=r"s\.yaml:2: cases_from: file: a file in Cloud Storage needs a Google"):
        parse_suite(text, "s.yaml")


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("{file: none.csv}", "s.yaml:2: cases_from 1: file: 'none.csv' cannot be read: [Errno 2]"),
        ("{file: ../secret.jsonl}", "s.yaml:2: cases_from 1: file: '../secret.jsonl' is not in the suite's folder"),
        ("{file: link.jsonl}", "is not in the suite's folder"),
        ("{file: dir.csv}", "'dir.csv' is not a file"),
        ("{file: empty.csv}", "empty.csv:1: expected a first row with a name for each column"),
        ("{file: empty.jsonl}", "s.yaml:2: cases_from 1: file: 'empty.jsonl' has no rows"),
        ("{file: sums.txt}", "file: expected a path or gs:// address that ends with .jsonl or .csv, not 'sums.txt'"),
        ("{file: sums.csv, vars: {q: question, a: a}}", "sums.csv:2: there is no field question; there are: key, q, a"),
        ("{file: sums.csv, vars: {q: q}}", "sums.csv:2: number-equals: there is no variable a; there are: q"),
        ("{file: sums.csv, id: n}", "sums.csv:2: there is no field n"),
        ("{file: sums.csv, limit: 0}", "s.yaml:2: cases_from 1: limit: expected a whole number above 0, not 0"),
        ("{file: sums.csv, assert: [{type: regex, value: '('}]}", "s.yaml:2: cases_from 1: assert 1: value: "),
        ("{file: data/sums.jsonl, vars: {q: question, a: question}, id: question, assert: [{type: regex, value: "
         "'({{ q }}'}]}", 'data/sums.jsonl:1: regex: "(1+1" is not a regular expression'),
        ("{file: words.jsonl}", "words.jsonl:2: number-equals: expected a number, not \"none\""),
        ("{file: twice.csv, id: key}", "twice.csv:4: the id 'x' is used twice; the first is at twice.csv:2"),
        ("{file: twice.csv, id: a}", "twice.csv:2: id: expected one line of at most 200 characters, not '\\n1'"),
        ("{file: sums.csv}, {file: sums.csv}", "sums.csv:2: the id 'sums-2' is used twice; the first is at sums.csv:2"),
        ("{file: sums.csv, prompt: a, contents: []}", "expected either prompt or contents, not both"),
        ("{file: sums.csv, prompts: a}", "prompts: unknown key (did you mean prompt?)"),
        ("{limit: 5}", "the key file is missing"),
    ],
)  # fmt: skip
def test_a_bad_case_file_is_refused_with_its_line(folder, entry, said):
    (folder / "link.jsonl").symlink_to(folder.parent / "secret.jsonl")
    (folder / "dir.csv").mkdir()
    (folder / "empty.csv").touch()
    (folder / "empty.jsonl").touch()
    (folder / "words.jsonl").write_text('{"q": "1+1", "a": "2"}\n{"q": "1+2", "a": "none"}')
    (folder / "twice.csv").write_text('key,q,a\nx,b,"\n1"\nx,c,2')
    with pytest.raises(SuiteError) as caught:
        load_suite("s", written(folder, f"{DEFAULTS}cases_from: [{entry}]"))
    assert str(caught.value).startswith(str(folder))
    assert said in str(caught.value)
    assert "secret" not in str(caught.value).replace("secret.jsonl", "")


def test_a_case_file_may_lie_anywhere_in_the_folder_of_suites(folder):
    (folder / "team").mkdir()
    (folder / "team" / "t.yaml").write_text(DEFAULTS + "cases_from: {file: ../sums.csv}")
    assert len(load_suite("team/t", str(folder)).cases) == 2
    with pytest.raises(SuiteError, match="is not in the suite's folder"):
        load_suite(str(folder / "team" / "t.yaml"))


def test_there_is_a_limit_to_the_prompts(folder, monkeypatch):
    monkeypatch.setattr(suite_reader, "MAX_PROMPTS", 3)
    with pytest.raises(
        SuiteError, match=r"sums\.csv:3: more than 3 prompts in the suite, repeats counted; set a limit"
    ):
        load_suite("s", written(folder, DEFAULTS + "cases_from: {file: sums.csv, repeat: 2}"))


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


# ------------------------------------------------------------------------------------------- names


def test_a_suite_is_found_by_its_name(tmp_path):
    (tmp_path / "mine.yaml").write_text(CASE)
    assert load_suite("mine", str(tmp_path)).name == "mine"
    assert load_suite(str(tmp_path / "mine.yaml")).cases[0].id == "a"


def test_a_missing_suite_names_those_that_are_there(tmp_path):
    (tmp_path / "mine.yaml").write_text(CASE)
    with pytest.raises(SuiteError, match="suites in that folder: mine"):
        load_suite("yours", str(tmp_path))


def test_a_suite_outside_of_the_folder_is_refused(tmp_path):
    (tmp_path / "secret.yaml").write_text(CASE)
    (tmp_path / "suites").mkdir()
    with pytest.raises(SuiteError, match="not a suite in"):
        load_suite("../secret", str(tmp_path / "suites"))


@pytest.mark.parametrize("path", sorted((REPOSITORY / "dags/config/smoke").glob("*.yaml")), ids=lambda p: p.stem)
def test_the_suites_of_the_repository_are_acceptable(path):
    assert load_suite(str(path)).cases


@pytest.mark.parametrize("path", sorted((REPOSITORY / "dags/config/smoke").glob("*.yaml")), ids=lambda p: p.stem)
def test_editors_find_the_schema_of_the_suites_in_the_repository(path):
    first, _, _ = path.read_text().partition("\n")
    comment, _, relative = first.partition("$schema=")
    assert comment == "# yaml-language-server: "
    assert json.loads((path.parent / relative).read_text())["title"] == "Smoke suite"
