"""A big file on all cores: the same report as from one, whatever the machine."""

import json
import os
import signal
from dataclasses import asdict

import pytest

from gemini_tuning.datasets import dataset_check, parallel
from gemini_tuning.datasets.dataset_check import ALL_CORES_FROM, check_training_dataset, check_validation_dataset
from gemini_tuning.datasets.lines import MAX_LINE_BYTES
from gemini_tuning.datasets.parallel import check_on_all_cores


def example(question, answer="yes", **more):
    turns = [{"role": role, "parts": [{"text": text}]} for role, text in (("user", question), ("model", answer))]
    return json.dumps({"contents": turns, **more}).encode()


def of_file(name):
    part = {"fileData": {"mimeType": "image/png", "fileUri": f"gs://b/{name}"}}
    turns = [{"role": "user", "parts": [part]}, {"role": "model", "parts": [{"text": "a cat"}]}]
    return json.dumps({"contents": turns}).encode()


FILE = b"\n".join(
    [b"\xef\xbb\xbf" + example("first")]
    + [example(f"question {number}", "long " * (number % 90)) for number in range(1, 4_000)]
    + [
        example("question 7"),
        b"",
        b"{oops",
        of_file("1.png"),
        of_file("1.png"),
        example("é" * 600_000),
        example("last"),
    ]
    + [b"{oops too"] * 30
)


def blocks(size=100_000):
    return [FILE[at : at + size] for at in range(0, len(FILE), size)]


def told(report):
    """Return what a report tells; keys are numbers of one process."""
    return {**asdict(report), "keys": [key != 0 for key in report.keys], "on_all_cores": None}


@pytest.fixture
def two_cores(monkeypatch):
    monkeypatch.setattr(parallel, "cores", lambda: 2)
    monkeypatch.setattr(dataset_check, "cores", lambda: 2)


def test_a_big_file_is_reported_like_a_small_one(two_cores):
    small, big = check_training_dataset(blocks()), check_training_dataset(blocks(), size=ALL_CORES_FROM)
    assert (small.on_all_cores, big.on_all_cores) == (False, True)
    assert told(big) == told(small)
    assert big.counts["repeated"] == 1
    assert big.counts["truncated"] == 1
    assert big.counts["json"] == 31
    assert big.files == {"gs://b/1.png": 4004}


def test_the_validation_file_is_compared_with_a_big_training_file(two_cores):
    training = check_training_dataset(blocks(), size=ALL_CORES_FROM)
    report = check_validation_dataset([example("new") + b"\n" + example("last")], training)
    assert report.counts["leaked"] == 1
    assert "line 2 is line 4007 of the training file" in report.warnings[-1]


def test_on_one_core_nothing_is_started(monkeypatch):
    monkeypatch.setattr(dataset_check, "cores", lambda: 1)
    monkeypatch.setattr(dataset_check, "check_on_all_cores", None)
    assert check_training_dataset(blocks(), size=ALL_CORES_FROM).examples == 4036


def test_a_line_that_is_too_long_is_refused_unread(two_cores):
    whole = [example("a") + b"\n", b"x" * MAX_LINE_BYTES, b"x" * MAX_LINE_BYTES, b"\n" + example("b") + b"\n"]
    report = check_training_dataset(whole, size=ALL_CORES_FROM)
    assert report.problems == [f"line 2: longer than {MAX_LINE_BYTES} bytes"]
    assert report.examples == 3


def test_a_process_that_dies_is_an_error_and_none_is_left(two_cores, monkeypatch):
    started = []
    popen = parallel.subprocess.Popen

    def remember(*arguments, **options):
        started.append(popen(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(parallel.subprocess, "Popen", remember)

    def pieces():
        yield example("a")
        for worker in started:
            os.kill(worker.pid, signal.SIGKILL)
        yield from [example("b")] * 10

    with pytest.raises(ChildProcessError, match="a process that checked the dataset ended with -9"):
        list(check_on_all_cores(pieces()))
    assert [worker.returncode for worker in started] == [-signal.SIGKILL, -signal.SIGKILL]
