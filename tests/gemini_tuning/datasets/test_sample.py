"""Which examples are counted, and how they are sent."""

import json
from itertools import pairwise

import pytest

from gemini_tuning.datasets.dataset_check import check_training_dataset
from gemini_tuning.datasets.token_sample import (
    MAX_SAMPLED_BYTES,
    TokenSample,
    case_prompt,
    example_prompt,
)


def example(number):
    return json.dumps(
        {
            "contents": [
                {"role": "user", "parts": [{"text": f"question {number}"}]},
                {"role": "model", "parts": [{"text": f"answer {number}"}]},
            ]
        }
    ).encode()


def taken(lines, most=50, block=None):
    sample = TokenSample(most)
    whole = b"\n".join(lines)
    size = block or len(whole)
    check_training_dataset((whole[at : at + size] for at in range(0, len(whole), size)), sample)
    assert all(lines[number - 1] == line for number, line in sample.lines.items())
    return list(sample.lines)


@pytest.mark.parametrize("count", [1, 2, 49, 50, 51, 99, 100, 101, 1_000, 12_345])
def test_at_least_half_as_many_as_wanted_evenly_spaced(count):
    numbers = taken([example(number) for number in range(count)])
    assert min(count, 25) <= len(numbers) <= 50
    assert numbers[0] == 1
    assert len({after - before for before, after in pairwise(numbers)}) <= 1
    if len(numbers) > 1:
        assert count - numbers[-1] < numbers[1] - numbers[0]


@pytest.mark.parametrize("block", [7, 64, 1_000])
def test_however_the_file_comes_they_are_the_same(block):
    lines = [example(number) for number in range(300)]
    assert taken(lines, block=block) == taken(lines)


def test_blank_lines_and_huge_ones_are_passed_over():
    lines = [line for number in range(200) for line in (b"", example(number))]
    assert len(taken(lines)) >= 25
    assert taken([b"", b"  ", example("x" * MAX_SAMPLED_BYTES), example(1)]) == [4]


def test_an_example_is_sent_without_what_the_service_does_not_know():
    line = {
        "id": 7,
        "system_instruction": {"parts": [{"text": "Be kind."}], "x": 1},
        "contents": [
            {"role": "user", "parts": [{"file_data": {"mime_type": "image/png", "file_uri": "gs://b/i.png", "x": 1}}]},
            {"role": "model", "parts": [{"text": "A ship.", "x": 1}, {"functionCall": {"name": "f", "args": {}}}]},
        ],
    }
    assert example_prompt(json.dumps(line).encode()) == (
        [
            {"role": "user", "parts": [{"fileData": {"fileUri": "gs://b/i.png", "mimeType": "image/png"}}]},
            {"role": "model", "parts": [{"text": "A ship."}, {"functionCall": {"name": "f", "args": {}}}]},
        ],
        {"parts": [{"text": "Be kind."}]},
    )


def test_a_prompt_of_a_suite_is_sent_alike():
    turns = [{"role": "user", "parts": [{"text": "What?"}, {"file_uri": "gs://b/i.png", "mime_type": "image/png"}]}]
    file = {"fileData": {"fileUri": "gs://b/i.png", "mimeType": "image/png"}}
    assert case_prompt(turns) == ([{"role": "user", "parts": [{"text": "What?"}, file]}], None)
    assert case_prompt(turns, "Be kind.")[1] == {"parts": [{"text": "Be kind."}]}
