"""docs/smoke_suites.md: its tables and its examples, held against the code."""

import re
from pathlib import Path

import pytest
from support import prompt_of

from gemini_tuning.core.model_response import ModelResponse
from gemini_tuning.smoke import case_files, suite
from gemini_tuning.smoke.assertions import TYPES
from gemini_tuning.smoke.suite import parse_suite
from gemini_tuning.smoke.suite_format import json_schema

PAGE = (Path(__file__).parents[3] / "docs" / "smoke_suites.md").read_text()
SCHEMA = json_schema()


def rows(heading: str) -> list[list[str]]:
    """Cells of the table below a heading, without the code marks."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def code(cell: str) -> str:
    return cell.strip("`")


def blocks() -> list[str]:
    return re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_keys_are_those_of_the_schema_each_in_its_places():
    places = {
        "suite": SCHEMA["properties"],
        "defaults": SCHEMA["$defs"]["Defaults"]["properties"],
        "case": SCHEMA["$defs"]["CaseFields"]["properties"],
        "cases_from": SCHEMA["$defs"]["CaseFile"]["properties"],
    }
    told = {code(row[0]): set(row[1].split(", ")) for row in rows("Keys")}
    taken = {key: {place for place, keys in places.items() if key in keys} for keys in places.values() for key in keys}
    assert told == taken


def test_the_assertions_are_those_of_the_code_in_its_order():
    assert [code(row[0]) for row in rows("Assertions")] == list(TYPES)


@pytest.mark.parametrize("row", rows("Assertions"), ids=lambda row: code(row[0]))
def test_the_examples_of_assertions_are_taken_and_their_answers_pass(row):
    kind, _, example, answer = (code(cell) for cell in row)
    if kind == "python":  # there is no such module
        return
    fields = f", {example}" if example else ""
    text = f"judge: {{model: m}}\ncases: [{{id: a, prompt: Hi, assert: [{{type: {kind}{fields}}}]}}]"
    (assertion,) = parse_suite(text, "s.yaml").cases[0].assertions
    assert bool(answer) is (TYPES[kind].reads_text and kind != "llm-rubric")
    if answer:
        assert assertion.check(ModelResponse(answer, 0.1)).passed


def test_the_defaults_are_told():
    for kind, words in (
        ("levenshtein", "by default 5"),
        ("rouge-l", "by default 0.75"),
        ("f-score", "by default 0.75"),
    ):
        (row,) = (row for row in rows("Assertions") if code(row[0]) == kind)
        assert row[1].endswith(words)
    assert f"{suite.MAX_PROMPTS:,} prompts" in PAGE
    assert f"a row\n{case_files.MAX_ROW:,} bytes" in PAGE


def test_the_suites_on_the_page_are_taken(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "sums.jsonl").write_text('{"question": "9 * 2?", "answer": "9 * 2 = 18 #### 18"}\n')
    first, second = (parse_suite(text, str(tmp_path / "page.yaml")) for text in blocks())
    assert [case.id for case in first.cases] == ["dog-on-board", "what-is-on-the-ticket"]
    assert [case.id for case in second.cases] == ["sums-1"]
    assert prompt_of(second.cases[0]) == "9 * 2?\nEnd with the number."
