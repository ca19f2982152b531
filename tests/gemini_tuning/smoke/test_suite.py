from pathlib import Path

import pytest

from gemini_tuning.smoke.suite import SuiteError, load_suite, parse_suite

REPOSITORY = Path(__file__).parents[3]
CASE = "cases:\n- id: a\n  prompt: Hi\n  assert: [{type: contains, value: x}]\n"


def test_defaults_are_added_to_each_case():
    suite = parse_suite(
        """
        description: two
        defaults: {system_instruction: Be kind., weight: 3, assert: [{type: is-json}]}
        cases:
        - {id: a, prompt: Hi, assert: [{type: contains, value: x}]}
        - {id: b, prompt: Ho, weight: 1, system_instruction: Be brief.}
        """,
        "some/folder/two.yaml",
    )
    a, b = suite.cases
    assert (suite.name, suite.description) == ("two", "two")
    assert [assertion.type for assertion in a.assertions] == ["is-json", "contains"]
    assert (a.weight, a.system_instruction) == (3, "Be kind.")
    assert (b.weight, b.system_instruction) == (1, "Be brief.")
    assert a.temperature == 0.0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected a mapping"),
        ("- a", "expected a mapping"),
        ("a: [", "not YAML"),
        ("cases: []", "at least one case"),
        ("cases: {}", "at least one case"),
        (CASE + "extra: 1", "unknown key extra"),
        (CASE + "defaults: 7", "defaults: expected a mapping"),
        (CASE + "defaults: {asserts: []}", "defaults: unknown key asserts"),
        (CASE + "- id: a\n  prompt: Ho\n  assert: [{type: is-json}]", "'a' is used twice"),
        ("cases: [7]", "case 1: expected a mapping"),
        ("cases: [{id: a, prompt: Hi}]", "case 1 (a): has no assertion"),
        ("cases: [{prompt: Hi, assert: [{type: is-json}]}]", "case 1: id"),
        ("cases: [{id: a, prompt: 7, assert: [{type: is-json}]}]", "case 1 (a): prompt"),
        ("cases: [{id: a, prompt: Hi, weight: 0, assert: [{type: is-json}]}]", "weight"),
        ("cases: [{id: a, prompt: Hi, weight: .nan, assert: [{type: is-json}]}]", "weight"),
        ("cases: [{id: a, prompt: Hi, weight: .inf, assert: [{type: is-json}]}]", "weight"),
        ("cases: [{id: a, prompt: Hi, temperature: hot, assert: [{type: is-json}]}]", "temperature: expected a number"),
        ("cases: [{id: a, prompt: Hi, max_output_tokens: many, assert: [{type: is-json}]}]", "max_output_tokens"),
        ("cases: [{id: a, prompt: Hi, system_instruction: 5, assert: [{type: is-json}]}]", "system_instruction"),
        ("cases: [{id: a, prompt: Hi, assert: {type: is-json}}]", "assert: expected a list"),
        ("cases: [{id: a, prompt: Hi, assert: [is-json]}]", "assert: expected a mapping"),
        ("cases: [{id: a, prompt: Hi, assert: [{type: regex, value: '('}]}]", "not a regular expression"),
        ("cases: [{id: a, prompt: Hi, assert: [{type: contains, value: x, threshold: 1}]}]", "unknown key threshold"),
    ],
)
def test_a_bad_suite_is_refused_with_the_file_and_the_place(text, said):
    with pytest.raises(SuiteError) as caught:
        parse_suite(text, "suites/bad.yaml")
    assert str(caught.value).startswith("suites/bad.yaml: ")
    assert said in str(caught.value)


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
