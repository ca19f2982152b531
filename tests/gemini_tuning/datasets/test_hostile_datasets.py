"""Dataset files of any content: a report with line numbers, never an exception, and constant memory."""

import json
import multiprocessing
import re
import tracemalloc
from concurrent.futures import ProcessPoolExecutor

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gemini_tuning.datasets.dataset_check import (
    MAX_PROBLEMS,
    DatasetReport,
    check_training_dataset,
    check_validation_dataset,
)
from gemini_tuning.datasets.examples import MAX_LINE_BYTES, ExampleError, read_example
from tests.gemini_tuning.strategies import HTML, json_values, spoiled

TURNS = [{"role": "user", "parts": [{"text": "a"}]}, {"role": "model", "parts": [{"text": "b"}]}]
GOOD = json.dumps({"contents": TURNS}).encode()
DEEP = b'{"contents": ' + b"[" * 20_000

junk = st.one_of(
    st.binary(max_size=40),
    json_values.map(lambda value: json.dumps(value).encode()),
    st.sampled_from(
        [b"", b" \t", b"\r", DEEP, b"\xef\xbb\xbf", b"\xff\xfe{", b"NaN", b"1" * 5_000, HTML.encode(), b"{}", b"\x00"]
    ),
    spoiled({"contents": TURNS, "systemInstruction": {"parts": [{"text": "x"}]}}).map(lambda v: json.dumps(v).encode()),
    json_values.map(lambda value: json.dumps({"contents": [value, TURNS[1]]}).encode()),
    json_values.map(lambda value: json.dumps({"contents": [{"role": "user", "parts": [value]}, TURNS[1]]}).encode()),
    json_values.map(lambda value: json.dumps({"contents": [{"role": value, "parts": [{}]}, TURNS[1]]}).encode()),
)


@given(st.lists(st.one_of(st.just(GOOD), junk), max_size=4), st.sampled_from([b"\n", b"\r\n"]))
def test_any_lines(lines, end):
    for report in (
        check_training_dataset(line + end for line in lines),
        check_validation_dataset((line + end for line in lines), DatasetReport(examples=10)),
    ):
        assert report.problem_count >= len(report.problems)
        assert len(report.problems) <= MAX_PROBLEMS
        assert report.examples <= len(lines)
        for problem in report.problems:
            assert len(problem) < 500
            number = re.match(r"line (\d+): ", problem)
            assert number or report.counts["no_examples"] == 1
            assert number is None or lines[int(number[1]) - 1] != GOOD
        json.dumps(report.as_dict())


@given(junk)
@example(json.dumps({"contents": TURNS, "x": 1}).encode().replace(b"1}", b"%d}" % 10**4_200))
def test_any_example(line):
    try:
        read_example(line)
    except ExampleError as error:
        assert error.code
        assert 0 < len(str(error)) < 500


@pytest.mark.parametrize(
    ("line", "code", "field"),
    [
        (DEEP, "structure", "contents[0]"),
        (b'{"a": ' + b"[" * 20_000, "json", ""),
        (b'{"contents": NaN}', "json", ""),
        (b'{"contents": "\xff"}', "structure", "contents"),
        (GOOD.replace(b'"a"', b'"\xff"'), "json", ""),
        (GOOD.decode().encode("utf-16"), "json", ""),
        (b"\xef\xbb\xbf" + GOOD, "json", ""),
        (HTML.encode(), "json", ""),
        (GOOD.replace(b'"user"', b'"' + b"x" * 100_000 + b'"'), "roles", "contents[0].role"),
        (GOOD.replace(b'"user"', b"1" * 5_000), "structure", "contents[0].role"),
        (GOOD + b" " * MAX_LINE_BYTES, "too_long", ""),
    ],
    ids=["deep", "deeper", "nan", "type", "utf8", "utf16", "mark", "html", "long role", "long number", "long line"],
)
def test_read_example_hostile_line_raises(line, code, field, snapshot):
    with pytest.raises(ExampleError) as caught:
        read_example(line)
    assert (caught.value.code, caught.value.field) == (code, field)
    assert str(caught.value) == snapshot
    assert len(str(caught.value)) < 500


def test_line_ends_of_windows_and_blank_lines_are_no_problem():
    report = check_training_dataset([GOOD + b"\r\n", b"\r\n", b" \n", GOOD])
    assert (report.examples, report.problem_count) == (2, 0)


def test_a_byte_order_mark_is_a_warning_on_the_first_line_only():
    report = check_training_dataset([b"\xef\xbb\xbf" + GOOD + b"\n", b"\xef\xbb\xbf" + GOOD + b"\n"])
    assert report.warnings[0].startswith("line 1: ")
    assert report.counts == {"byte_order_mark": 1, "few": 1, "json": 1}
    assert [problem[:7] for problem in report.problems] == ["line 2:"]


def test_lines_after_one_that_is_too_long_keep_their_numbers():
    piece = b"x" * MAX_LINE_BYTES
    report = check_training_dataset([GOOD + b"\n", piece, piece, b"x\n", GOOD + b"\n", b"{oops\n"])
    assert [problem[:7] for problem in report.problems] == ["line 2:", "line 4:"]
    assert (report.counts["too_long"], report.counts["json"]) == (1, 1)
    assert report.examples == 4


def peak(lines: int) -> int:
    """Return the peak memory of Python while it checks a file of this many lines."""
    tracemalloc.start()
    try:
        check_training_dataset(GOOD + b"\n" if n % 2 else b"{oops\n" for n in range(lines))
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_long_file_takes_no_more_memory_than_a_short_one():
    # In a process of its own: threads that other tests have left (google-auth's) are counted too.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        _, short, long = process.map(peak, (10, 2_000, 8_000))
    assert long < short + 200_000  # twelve bytes a line, and one set of keys of many
