"""Whole files: lines, limits, sums, duplicates; and the corpus of broken files."""

import hashlib
import json
from pathlib import Path
from statistics import median

import pytest

from gemini_tuning.datasets import dataset_check
from gemini_tuning.datasets.dataset_check import (
    MAX_FILES,
    MAX_PROBLEMS,
    DatasetReport,
    check_training_dataset,
    check_validation_dataset,
)
from gemini_tuning.datasets.examples import ExampleError, read_example

GSM8K = Path(__file__).resolve().parents[4] / "shared" / "data" / "gsm8k"


def turn(role="user", text="Hello"):
    return {"role": role, "parts": [{"text": text}]}


def line(*contents, **more) -> bytes:
    return json.dumps({"contents": list(contents), **more}).encode() + b"\n"


def pair(question="Hello", answer="Hi") -> bytes:
    return line(turn(text=question), turn("model", answer))


def of_file(mime="image/png", uri="gs://b/i.png") -> bytes:
    return line({"role": "user", "parts": [{"fileData": {"mimeType": mime, "fileUri": uri}}]}, turn("model"))


GOOD = pair()


def test_a_report_counts_and_numbers_the_lines():
    report = check_training_dataset([GOOD, b"\n", b"oops\n", GOOD])
    assert (report.examples, report.problem_count) == (3, 1)
    assert report.problems[0].startswith("line 3: ")
    assert report.counts == {"json": 1, "few": 1, "repeated": 1}


@pytest.mark.parametrize("size", [1, 2, 7, 64, 1_000])
def test_blocks_may_end_anywhere(size):
    whole = b"".join([pair("a", "b"), b"\r\n", b"oops\n", "Grüße\n".encode(), pair("c", "d").strip()])
    report = check_training_dataset(whole[at : at + size] for at in range(0, len(whole), size))
    assert [problem[:7] for problem in report.problems] == ["line 3:", "line 4:"]
    assert (report.examples, report.size_bytes) == (4, len(whole))
    assert report.sha256 == hashlib.sha256(whole).hexdigest()


def test_only_the_first_problems_are_kept_but_all_are_counted():
    report = check_training_dataset([b"oops\n"] * 500)
    assert report.problem_count == report.counts["json"] == 500
    assert len(report.problems) == MAX_PROBLEMS


def test_check_training_dataset_empty_file_is_a_problem():
    report = check_training_dataset([])
    assert (report.problem_count, report.counts) == (1, {"no_examples": 1})


def test_check_training_dataset_too_many_examples_or_bytes_are_problems(monkeypatch):
    monkeypatch.setattr(dataset_check, "MAX_EXAMPLES", 3)
    monkeypatch.setattr(dataset_check, "MAX_TRAINING_BYTES", 4 * len(GOOD) - 1)
    assert check_training_dataset([GOOD] * 3).problem_count == 0
    report = check_training_dataset([GOOD] * 4)
    assert (report.counts["too_many"], report.counts["too_large"]) == (1, 1)


def test_the_wording_of_warnings_and_limits(snapshot, monkeypatch):
    monkeypatch.setattr(dataset_check, "MAX_EXAMPLES", 3)
    monkeypatch.setattr(dataset_check, "MAX_TRAINING_BYTES", 7)
    training = check_training_dataset([b"\xef\xbb\xbf", GOOD, GOOD, pair("x" * 4 * 131_072), pair("a", "b")])
    validation = check_validation_dataset([GOOD] * 5001, training)
    empty = check_validation_dataset([], training)
    assert [*training.problems, *training.warnings, *validation.problems, *validation.warnings] == snapshot
    assert empty.problems == snapshot


@pytest.mark.parametrize(("training", "validation", "problems"), [
    (100, 5000, 0), (100, 5001, 1), (4000, 1200, 0), (4000, 1201, 1), (100_000, 5000, 0), (100_000, 5001, 1),
])  # fmt: skip
def test_the_limit_of_validation_examples(training, validation, problems):
    assert check_validation_dataset([GOOD] * validation, DatasetReport(examples=training)).problem_count == problems


def test_tokens_are_a_quarter_of_the_bytes():
    report = check_training_dataset([pair("x" * 40, "y" * 7), pair("é" * 40, "z" * 8)])
    assert (report.input_tokens, report.output_tokens) == (10 + 20, 2 + 2)
    assert report.tokens() == {"input": 30, "output": 4, "min": 12, "median": 12, "p95": 22, "max": 22}


def test_an_instruction_is_input():
    told = line(turn(text="abcd"), turn("model", "abcd"), systemInstruction={"parts": [{"text": "abcdefgh"}]})
    assert check_training_dataset([told]).tokens()["input"] == 3


def test_repeated_examples_are_reported_with_their_lines():
    report = check_training_dataset(
        [pair("a"), pair("b"), b"\n", pair("a"), pair("c"), pair("a"), b"oops\n", b"oops\n"]
    )
    assert report.counts["repeated"] == 2
    assert report.warnings[0].endswith(": line 4 repeats line 1, line 6 repeats line 1")


def test_repeated_examples_are_found_among_many(monkeypatch):
    lines = [pair(f"question {number}") for number in range(3_000)]
    report = check_training_dataset([*lines, *lines[1_000:1_010], GOOD, *lines[:2]])
    assert report.counts["repeated"] == 12
    assert "line 3001 repeats line 1001, line 3002 repeats line 1002, line 3003 repeats" in report.warnings[-1]


def test_spelling_and_order_of_the_json_do_not_hide_a_repetition():
    turns = rb'[{"parts":[{"text":"Hell\u006f"}],"role":"user"},{"role":"model","parts":[{"text":"Hi"}]}]'
    other = b'{"x": 1, "contents": %b}' % turns
    assert check_training_dataset([GOOD, other]).counts["repeated"] == 1


def test_examples_of_the_training_file_are_reported_with_both_lines():
    training = check_training_dataset([pair("a"), pair("b"), pair("c")])
    report = check_validation_dataset([pair("x"), b"\n", pair("c"), pair("a")], training)
    assert report.counts["leaked"] == 2
    assert "line 3 is line 3 of the training file, line 4 is line 1 of the training file" in report.warnings[-1]
    assert check_validation_dataset([pair("x")], training).counts["leaked"] == 0


def test_examples_that_are_too_long_are_reported_with_their_lines():
    report = check_training_dataset([GOOD, b"oops\n", pair("x" * 4 * 131_072), pair("x" * 4 * 131_071, "abcd")])
    assert report.counts["truncated"] == 1
    assert report.warnings[0].endswith(": line 3")


def test_files_are_collected_with_their_first_line():
    report = check_training_dataset([of_file(), GOOD, of_file(uri="gs://b/2.png"), of_file()])
    assert report.files == {"gs://b/i.png": 1, "gs://b/2.png": 3}
    assert len(check_training_dataset(of_file(uri=f"gs://b/{n}") for n in range(MAX_FILES + 10)).files) == MAX_FILES


@pytest.mark.skipif(not GSM8K.exists(), reason="the data of ../shared is not there")
def test_real_questions_are_counted_right():
    """The independent count: with the standard library, in one go."""
    texts, reports = {}, {}
    for part in ("train", "test"):
        rows = [json.loads(row) for row in (GSM8K / f"{part}.jsonl").read_text(encoding="utf-8").splitlines()]
        texts[part] = [(row["question"], row["answer"]) for row in rows]
    reports["train"] = check_training_dataset(pair(*each) for each in texts["train"])
    reports["test"] = check_validation_dataset((pair(*each) for each in texts["test"]), reports["train"])
    for part, report in reports.items():
        each = [[-(-len(text.encode()) // 4) for text in both] for both in texts[part]]
        sums = sorted(sum(both) for both in each)
        tokens = report.tokens()
        assert report.problem_count == 0
        assert report.examples == {"train": 7_473, "test": 1_319}[part]
        assert tokens["input"] == sum(question for question, _ in each)
        assert tokens["output"] == sum(answer for _, answer in each)
        assert (tokens["min"], tokens["median"], tokens["max"]) == (sums[0], median(sums), sums[-1])
        assert report.counts["repeated"] == len(texts[part]) - len(set(texts[part]))
    assert reports["test"].counts["leaked"] == sum(each in set(texts["train"]) for each in texts["test"])


USER, MODEL = turn(), turn("model")
BROKEN = {
    "cut off": (b'{"contents": [{"role": "user"', "json"),
    "a word": (b"oops", "json"),
    "two on a line": (GOOD.strip() + GOOD, "json"),
    "a comma too many": (b'{"contents": [],}', "json"),
    "single quotes": (b"{'contents': []}", "json"),
    "NaN": (b'{"contents": NaN}', "json"),
    "a line of CSV": (b"question,answer", "json"),
    "not UTF-8": (GOOD.replace(b"Hello", b"\xff\xfe"), "json"),
    "half an emoji": (GOOD.replace(b"Hello", b"\\ud83d"), "json"),
    "a byte order mark within": (b"\xef\xbb\xbf" + GOOD, "json"),
    "a tab in a text": (GOOD.replace(b"Hello", b"a\tb"), "json"),
    "endless brackets": (b'{"a": ' + b"[" * 20_000, "json"),
    "HTML": (b"<html><body>404</body></html>", "json"),
    "a list": (b"[]", "structure"),
    "a text": (b'"Hello"', "structure"),
    "null": (b"null", "structure"),
    "a number": (b"7", "structure"),
    "nothing": (b"{}", "structure"),
    "OpenAI's format": (b'{"messages": [{"role": "user", "content": "Hello"}]}', "structure"),
    "PaLM's format": (b'{"input_text": "Hello", "output_text": "Hi"}', "structure"),
    "no contents": (line(), "structure"),
    "contents is a text": (b'{"contents": "Hello"}', "structure"),
    "contents is an object": (b'{"contents": {"role": "user"}}', "structure"),
    "a turn is a text": (line("Hello", MODEL), "structure"),
    "parts is a text": (line({"role": "user", "parts": "Hello"}, MODEL), "structure"),
    "parts is an object": (line({"role": "user", "parts": {"text": "Hello"}}, MODEL), "structure"),
    "a part is a text": (line({"role": "user", "parts": ["Hello"]}, MODEL), "structure"),
    "a text is a number": (line(turn(text=7), MODEL), "structure"),
    "a text is null": (line(turn(text=None), MODEL), "structure"),
    "a role is a number": (line({"role": 1, "parts": [{"text": "x"}]}, MODEL), "structure"),
    "an instruction is a text": (line(USER, MODEL, systemInstruction="Be kind."), "structure"),
    "the model begins": (line(MODEL, USER), "roles"),
    "two users": (line(USER, USER), "roles"),
    "assistant": (line(USER, turn("assistant")), "roles"),
    "system as a turn": (line(turn("system"), USER, MODEL), "roles"),
    "no role": (line({"parts": [{"text": "x"}]}, MODEL), "roles"),
    "a capital letter": (line(turn("User"), MODEL), "roles"),
    "no answer": (line(USER), "roles"),
    "the user has the last word": (line(USER, MODEL, USER), "roles"),
    "no parts": (line({"role": "user", "parts": []}, MODEL), "empty"),
    "no parts at all": (line({"role": "user"}, MODEL), "empty"),
    "an empty part": (line({"role": "user", "parts": [{}]}, MODEL), "empty"),
    "an empty question": (pair(""), "empty"),
    "an empty answer": (pair("x", ""), "empty"),
    "an answer of blanks": (pair("x", " \n\t"), "empty"),
    "one empty part of two": (line({"role": "user", "parts": [{"text": "x"}, {"text": " "}]}, MODEL), "empty"),
    "a misspelt part": (line({"role": "user", "parts": [{"txt": "x"}]}, MODEL), "empty"),
    "an empty instruction": (line(USER, MODEL, systemInstruction={"parts": [{"text": ""}]}), "empty"),
    "no MIME type": (of_file(None), "mime_type"),
    "an unknown MIME type": (of_file("image/x-photoshop"), "mime_type"),
    "an ending for a MIME type": (of_file("png"), "mime_type"),
    "no address": (of_file(uri=None), "file_uri"),
    "an address on the web": (of_file(uri="https://example.com/i.png"), "file_uri"),
    "a bucket alone": (of_file(uri="gs://bucket"), "file_uri"),
    "a path": (of_file(uri="/data/i.png"), "file_uri"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_every_planted_fault_is_found_on_its_line(name):
    fault, kind = BROKEN[name]
    good = [pair(f"question {number}", f"answer {number}") for number in range(150)]
    at = len(name) * 3  # anywhere
    report = check_training_dataset([*good[:at], fault.rstrip(b"\n") + b"\n", *good[at:]])
    assert [problem.partition(":")[0] for problem in report.problems] == [f"line {at + 1}"]
    assert dict(report.counts) == {kind: 1}
    assert report.examples == 151


def test_every_planted_fault_has_its_wording(snapshot):
    assert {name: str(fault_of(fault.rstrip(b"\n"))) for name, (fault, _) in BROKEN.items()} == snapshot


@pytest.mark.parametrize(("name", "field"), [
    ("a text is a number", "contents[0].parts[0].text"), ("the model begins", "contents[0].role"),
    ("no contents", "contents"), ("no parts", "contents[0].parts"), ("a misspelt part", "contents[0].parts[0]"),
    ("one empty part of two", "contents[0].parts[1].text"), ("an empty instruction", "systemInstruction.parts[0].text"),
    ("an unknown MIME type", "contents[0].parts[0].fileData.mimeType"), ("a word", ""),
    ("a path", "contents[0].parts[0].fileData.fileUri"), ("no answer", "contents"),
])  # fmt: skip
def test_read_example_error_has_field_and_code(name, field):
    fault, kind = BROKEN[name]
    error = fault_of(fault)
    assert (error.field, error.code) == (field, kind)


def fault_of(line):
    with pytest.raises(ExampleError) as caught:
        read_example(line)
    return caught.value


def test_all_planted_faults_at_once():
    report = check_training_dataset(fault.rstrip(b"\n") + b"\n" for fault, _ in BROKEN.values())
    assert report.problem_count == len(BROKEN) >= 40
    for kind in {kind for _, kind in BROKEN.values()}:
        assert report.counts[kind] == sum(each == kind for _, each in BROKEN.values())
