"""Rows of JSONL and CSV files, good and bad."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemini_tuning.smoke import case_files
from gemini_tuning.smoke.case_files import RowError, rows
from tests.gemini_tuning.strategies import wire_values


def read(name: str, content: str | bytes) -> list[tuple[int, dict[str, str]]]:
    raw = content if isinstance(content, bytes) else content.encode()
    return [(row.line, dict(row.fields)) for row in rows(name, raw.splitlines(keepends=True))]


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
    ("name", "content", "line", "said"),
    [
        ("x.jsonl", '{"a": 1}\n{"a": ', 2, "not JSON: "),
        ("x.jsonl", "[1]", 1, "expected a JSON object, not [1]"),
        ("x.jsonl", '{"a": NaN}', 1, "a word of Python's"),
        ("x.jsonl", '\n{"a": "\\ud800"}', 2, "surrogates not allowed"),
        ("x.jsonl", b'{"a": "\xff"}', 1, "not UTF-8"),
        ("x.jsonl", "[" * 100_000, 1, "not JSON: "),
        ("x.jsonl", '{"a": ' + "1" * 5_000 + "}", 1, "not JSON: "),
        ("x.jsonl", '{"a": "' + "x" * case_files.MAX_ROW + '"}', 1, "more than 1000000 bytes"),
        ("x.csv", "", 1, "expected a first row with a name for each column"),
        ("x.csv", "a,a\n1,2", 1, "each once"),
        ("x.csv", "a,\n1,2", 1, "a name for each column"),
        ("x.csv", "a,b\n1,2\n3", 3, "expected 2 columns as in the first row, not 1"),
        ("x.csv", 'a,b\n"1\n2",3\n1,2,3\n', 4, "expected 2 columns as in the first row, not 3"),
        ("x.csv", 'a\n"x', 2, "not CSV: "),
        ("x.csv", 'a\n"x"y', 2, "not CSV: "),
        ("x.csv", "a\n" + "x" * 200_000, 2, "not CSV: field larger than"),
    ],
)
def test_a_row_that_cannot_be_read(name, content, line, said):
    with pytest.raises(RowError) as caught:
        read(name, content)
    assert caught.value.line == line
    assert said in caught.value.what
    assert len(caught.value.what) < 1_000


def test_a_file_may_not_be_endless(monkeypatch):
    monkeypatch.setattr(case_files, "MAX_BYTES", 100)
    endless = iter(lambda: b'{"a": 1}\n', b"")
    with pytest.raises(RowError, match="100 in the file"):
        list(rows("x.jsonl", endless))


def test_fields_for_variables():
    (row,) = rows("x.jsonl", [b'{"question": "a", "answer": "b", "x": null}'])
    assert row.picked(None) == {"question": "a", "answer": "b"}
    assert row.picked({"q": "question"}) == {"q": "a"}
    with pytest.raises(RowError, match="there is no field x; there are: question, answer"):
        row.picked({"q": "x"})


@given(st.sampled_from(["x.csv", "x.jsonl"]), st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes(name, content):
    try:
        read(name, content)
    except RowError as error:
        assert error.line >= 1


@given(st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=9), wire_values, max_size=4))
def test_any_json_object_gives_texts(value):
    try:
        ((_, fields),) = read("x.jsonl", json.dumps(value))
    except RowError as error:
        assert "not JSON" in error.what  # NaN
    else:
        assert set(fields) == {key for key, child in value.items() if child is not None}
        assert all(isinstance(text, str) for text in fields.values())
