import json

import pytest

from gemini_tuning.preflight import PROBLEMS_SHOWN, check_example, check_training_dataset, check_validation_dataset


def turn(role="user", text="Hello"):
    return {"role": role, "parts": [{"text": text}]}


def line(*contents, **more) -> bytes:
    return json.dumps({"contents": list(contents), **more}).encode() + b"\n"


GOOD = line(turn(), turn("model", "Hi"))


@pytest.mark.parametrize(
    "example",
    [
        GOOD,
        line(turn(), turn("model"), turn(), turn("model")),
        line(turn(), turn("model"), systemInstruction={"role": "system", "parts": [{"text": "Be kind."}]}),
        line(
            {"role": "user", "parts": [{"fileData": {"mimeType": "image/png", "fileUri": "gs://b/i.png"}}]},
            turn("model"),
        ),
    ],
)
def test_good_examples(example):
    assert check_example(example) is None


@pytest.mark.parametrize(
    ("example", "said"),
    [
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "no contents"),
        (line(), "no contents"),
        (line("hi"), "turn 1: not a JSON object"),
        (line(turn("model")), "turn 1: role is 'model', expected 'user'"),
        (line(turn(), turn()), "turn 2: role is 'user', expected 'model'"),
        (line(turn()), "last turn is not the model's"),
        (line({"role": "user", "parts": []}, turn("model")), "turn 1: no parts"),
        (line({"role": "user", "parts": [{}]}, turn("model")), "turn 1: an empty part"),
        (line(turn(), turn("model", "  ")), "turn 2: an empty text"),
        (line(turn(), turn("model"), systemInstruction="Be kind."), "systemInstruction: no parts"),
    ],
)
def test_bad_examples_say_what_is_wrong(example, said):
    assert said in (check_example(example) or "")


def test_a_report_counts_and_numbers_the_lines():
    report = check_training_dataset([GOOD, b"\n", b"oops\n", GOOD])
    assert (report.examples, report.problem_count) == (3, 1)
    assert report.problems[0].startswith("line 3: not JSON")
    assert report.warnings == ["3 training examples; Google advises 100 or more"]


def test_only_the_first_problems_are_kept_but_all_are_counted():
    report = check_training_dataset([b"oops\n"] * 500)
    assert report.problem_count == 500
    assert len(report.problems) == PROBLEMS_SHOWN


def test_an_empty_file_is_a_problem():
    assert check_training_dataset([]).problems == ["the file has no examples"]


@pytest.mark.parametrize(("training", "validation", "problems"), [
    (100, 5000, 0), (100, 5001, 1), (4000, 1200, 0), (4000, 1201, 1), (100_000, 5000, 0), (100_000, 5001, 1),
])  # fmt: skip
def test_the_limit_of_validation_examples(training, validation, problems):
    assert check_validation_dataset([GOOD] * validation, training).problem_count == problems
