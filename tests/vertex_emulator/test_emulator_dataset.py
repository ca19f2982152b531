"""Parsing, checks and statistics of dataset files."""

import json

import pytest

from tests.vertex_emulator.examples import line
from vertex_emulator import dataset
from vertex_emulator.dataset import DatasetError, Exchange, check_validation, distribution, job_statistics, parse


def turn(role, *texts):
    return {"role": role, "parts": [{"text": text} for text in texts]}


def example(*turns, **more):
    return json.dumps({"contents": list(turns), **more}).encode()


def test_every_model_turn_is_something_to_learn():
    content = example(turn("user", "a"), turn("model", "b"), turn("user", "c", "d"), turn("model", "e"))
    assert list(parse(content).exchanges) == [Exchange(("a",), "b"), Exchange(("a", "c\nd"), "e")]


def test_blank_lines_windows_line_ends_and_a_byte_order_mark():
    content = ("\ufeff" + line("q", "a") + "\r\n\r\n" + line("r", "b")).encode()
    assert len(parse(content).examples) == 2


def test_files_and_system_instruction_count_as_text():
    content = json.dumps(
        {
            "systemInstruction": {"role": "system", "parts": [{"text": "be brief"}]},
            "contents": [
                {
                    "role": "user",
                    "parts": [{"fileData": {"mimeType": "image/png", "fileUri": "gs://b/x"}}, {"text": "q"}],
                },
                turn("model", "a"),
            ],
        }
    ).encode()
    parsed = parse(content)
    assert list(parsed.exchanges) == [Exchange(("gs://b/x\nq",), "a")]
    assert parsed.examples[0].input_characters == len("be brief") + len("gs://b/x\nq")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "contains no examples"),
        (b" \n\n", "contains no examples"),
        (b"\xff\xfe", "not valid UTF-8 at byte 0"),
        (b"{", "Line 1 is not valid JSON"),
        (b"[]", "Line 1: an example must be a JSON object"),
        (b"{}", 'Line 1: "contents" must be a list'),
        (example("x"), r"Line 1: contents\[0\] must be an object"),
        (example(turn("assistant", "a")), 'has the role "assistant"'),
        (example(turn("model", "a")), "first turn must be the user's"),
        (example(turn("user", "a")), "last turn must be the model's"),
        (example({"role": "user", "parts": []}), "must have at least one part"),
        (example({"role": "user", "parts": ["x"]}), "neither text nor"),
        (example({"role": "user", "parts": [{"text": 1}]}), "not a string"),
        (example(turn("user", "a"), turn("model", "b"), systemInstruction="x"), "systemInstruction"),
    ],
)
def test_files_that_are_refused(content, message):
    with pytest.raises(DatasetError, match=message):
        parse(content)


def test_examples_too_long_are_dropped_and_counted(monkeypatch):
    monkeypatch.setattr(dataset, "MAX_TOKENS", 10)
    content = "\n".join([line("q", "a"), line("q" * 50, "a"), line("r", "b")]).encode()
    stats = dataset.statistics(parse(content))
    assert stats["tuningDatasetExampleCount"] == "2"
    assert stats["totalTruncatedExampleCount"] == "1"
    assert stats["truncatedExampleIndices"] == ["2"]
    assert len(stats["droppedExampleReasons"]) == 1


@pytest.mark.parametrize(("training", "validation"), [(10, 1000), (5000, 1500), (100_000, 5000)])
def test_validation_sets_that_are_fine(training, validation):
    check_validation(training, validation)


@pytest.mark.parametrize(("training", "validation"), [(1000, 1001), (4999, 1500), (100_000, 5001)])
def test_validation_sets_that_are_too_big(training, validation):
    with pytest.raises(DatasetError, match=str(validation)):
        check_validation(training, validation)


def test_distribution():
    found = distribution(list(range(1, 102)))
    assert (found["sum"], found["min"], found["max"], found["mean"], found["median"]) == ("5151", 1, 101, 51, 51)
    assert (found["p5"], found["p95"]) == (6, 96)
    assert sum(bucket["count"] for bucket in found["buckets"]) == 101
    assert found["buckets"][0]["left"] == 1
    assert found["buckets"][-1]["right"] == 101


def test_distribution_of_equal_values():
    found = distribution([7, 7])
    assert [found[key] for key in ("min", "max", "mean", "median", "p5", "p95")] == [7] * 6
    assert found["buckets"][0]["count"] == 2


def test_every_epoch_is_billed():
    stats = dataset.statistics(parse(line("12345678", "1234").encode()))
    assert job_statistics(stats, steps=3, epochs=3)["totalBillableTokenCount"] == str((2 + 1) * 3)
