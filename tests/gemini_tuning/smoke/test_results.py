"""The results file: what is saved when, and what a later try takes over."""

import asyncio
import json
import threading

import pytest

from gemini_tuning.core.exceptions import TransientServiceError
from gemini_tuning.core.files import Files
from gemini_tuning.smoke import results as module
from gemini_tuning.smoke.results import ResultsFile


def line(case_id, **change):
    return {"case_id": case_id, "repeat": 1, "key": "k", "answer": "text", "weight": 1.0, "critical": False, **change}


def names(path):
    return [json.loads(text)["case_id"] for text in path.read_text().splitlines()]


@pytest.fixture
def often(monkeypatch):
    monkeypatch.setattr(module, "SAVE_INTERVAL", 0.0)


class Slow(Files):
    """Writes that wait until they may go on."""

    def __init__(self):
        super().__init__()
        self.began, self.may_go_on = threading.Event(), threading.Event()

    def write(self, uri, content, content_type):
        self.began.set()
        self.may_go_on.wait(10)
        super().write(uri, content, content_type)


def test_a_save_under_way_at_the_end_does_not_overwrite_the_whole_file(tmp_path, often):
    files = Slow()
    results = ResultsFile(files, str(tmp_path / "r.jsonl"))

    async def scenario():
        async with results.saving(order=[("a", 1), ("b", 1)]):
            results.add(line("b"))
            await asyncio.to_thread(files.began.wait, 10)  # a save of this one line is under way
            results.add(line("a"))
            asyncio.get_running_loop().call_later(0.05, files.may_go_on.set)

    asyncio.run(scenario())
    assert names(tmp_path / "r.jsonl") == ["a", "b"]
    assert [path.name for path in tmp_path.iterdir()] == ["r.jsonl"]


class Failing(Files):
    def __init__(self, times):
        super().__init__()
        self.left, self.wrote = times, threading.Event()

    def write(self, uri, content, content_type):
        if self.left:
            self.left -= 1
            raise TransientServiceError("503", resource=uri, code=503)
        super().write(uri, content, content_type)
        self.wrote.set()


def test_a_save_that_fails_is_tried_again_next_time(tmp_path, often, caplog):
    files = Failing(times=2)
    results = ResultsFile(files, str(tmp_path / "r.jsonl"))

    async def scenario():
        async with results.saving(order=[("a", 1)]):
            results.add(line("a"))
            assert await asyncio.to_thread(files.wrote.wait, 10)  # before the end of the block

    asyncio.run(scenario())
    assert names(tmp_path / "r.jsonl") == ["a"]
    assert caplog.text.count("could not be saved: 503") == 2


def test_what_was_answered_is_saved_when_the_run_breaks(tmp_path):
    results = ResultsFile(Files(), str(tmp_path / "r.jsonl"))

    async def scenario():
        async with results.saving(order=[("a", 1)]):
            results.add(line("a"))
            raise PermissionError("403")

    with pytest.raises(PermissionError):
        asyncio.run(scenario())
    assert names(tmp_path / "r.jsonl") == ["a"]


@pytest.mark.parametrize(
    "earlier", ["", "{", "[]", "7", json.dumps(line("a", key="other")), json.dumps(line("a", answer=None)),
                json.dumps(line("gone"))],
)  # fmt: skip
def test_what_is_of_no_use_is_not_taken_over(tmp_path, earlier):
    (tmp_path / "r.jsonl").write_text(earlier)
    results = ResultsFile(Files(), str(tmp_path / "r.jsonl"))
    assert results.reuse({("a", 1): "k"}, {}) == set()
    assert results.lines == []
