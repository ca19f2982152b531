"""Rows of JSONL and CSV files, good and bad."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemini_tuning.smoke import case_files
from gemini_tuning.smoke.case_files import CaseError, rows
from tests.gemini_tuning.strategies import wire_values


def read(name: str, content: str | bytes) -> list[tuple[int, dict[str, str]]]:
    raw = content if isinstance(content, bytes) else content.encode()
    return [(line, dict(row)) for line, row in rows(name, raw.splitlines(keepends=True))]


def test_jsonl():
    content = '{"q": "a", "n": 1.50, "no": null, "deep": {"k": [true, "ü"]}}\n\n{"q": "b\\n"}'
    assert read("x.jsonl", content) == [
        (1, {"q": "a", "n": "1.5", "deep": '{"k": [true, "ü"]}'}),
        (3, {"q": "b\n"}),
    ]


def test_csv():
    content = '\ufeffq,answer\r\n"a, b","two\r\nlines"\r\n\r\nc,\r\n'
    assert read("x.csv", content) == [(2, {"q": "a, b", "answer": "two\r\nlines"}), (5, {"q": "c", "answer": ""})]


@pytest.mark.parametrize(
    ("name", "content", "line", "code"),
    [
        ("x.jsonl", '{"a": 1}\n{"a": ', 2, "not_json"),
        ("x.jsonl", "[1]", 1, "object_expected"),
        ("x.jsonl", '{"a": NaN}', 1, "not_json"),
        ("x.jsonl", '\n{"a": "\\ud800"}', 2, "not_json"),
        ("x.jsonl", b'{"a": "\xff"}', 1, "not_utf8"),
        ("x.jsonl", "[" * 100_000, 1, "not_json"),
        ("x.jsonl", '{"a": ' + "1" * 5_000 + "}", 1, "not_json"),
        ("x.jsonl", '{"a": "' + "x" * case_files.MAX_ROW + '"}', 1, "too_large"),
        ("x.csv", "", 1, "invalid_header"),
        ("x.csv", "a,a\n1,2", 1, "invalid_header"),
        ("x.csv", "a,\n1,2", 1, "invalid_header"),
        ("x.csv", "a,b\n1,2\n3", 3, "wrong_columns"),
        ("x.csv", 'a,b\n"1\n2",3\n1,2,3\n', 4, "wrong_columns"),
        ("x.csv", 'a\n"x', 2, "not_csv"),
        ("x.csv", 'a\n"x"y', 2, "not_csv"),
        ("x.csv", "a\n" + "x" * 200_000, 2, "not_csv"),
    ],
    ids=range(16),
)
def test_rows_unreadable_row_names_its_line(name, content, line, code, snapshot):
    with pytest.raises(CaseError) as caught:
        read(name, content)
    assert (caught.value.line, caught.value.code) == (line, code)
    assert len(caught.value.what) < 1_000
    assert re.sub("(not (?:JSON|CSV)): .*", r"\1", caught.value.what) == snapshot  # Python's message follows


def test_a_file_may_not_be_endless(monkeypatch):
    monkeypatch.setattr(case_files, "MAX_BYTES", 100)
    endless = iter(lambda: b'{"a": 1}\n', b"")
    with pytest.raises(CaseError) as caught:
        list(rows("x.jsonl", endless))
    assert caught.value.code == "too_large"


@given(st.sampled_from(["x.csv", "x.jsonl"]), st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes(name, content):
    try:
        read(name, content)
    except CaseError as error:
        assert error.line >= 1


@given(st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=9), wire_values, max_size=4))
def test_any_json_object_gives_texts(value):
    try:
        ((_, fields),) = read("x.jsonl", json.dumps(value))
    except CaseError as error:
        assert error.code == "not_json"  # NaN
    else:
        assert set(fields) == {key for key, child in value.items() if child is not None}
        assert all(isinstance(text, str) for text in fields.values())
