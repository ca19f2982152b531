"""Results files are read once, kept where nobody else can read them, and given up when there are too many."""

import os
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tuning_runs import lines, result

from gemini_tuning.ui import matrix, results_cache

FILES = [("1", "gs://bucket/1.jsonl"), ("2", "gs://bucket/2.jsonl")]


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(results_cache, "_FAILED", {})


@pytest.fixture
def read():
    """Reads any file, and remembers which."""

    def read_lines(uri):
        read_lines.asked.append(uri)
        return lines([result("a")])

    read_lines.asked = []
    return read_lines


def test_files_are_read_once(read):
    path = results_cache.kept(FILES, "1", read)
    assert results_cache.kept(FILES, "1", read) == path
    assert read.asked == [uri for _, uri in FILES]
    assert matrix.page(path, "all", 1).contenders == ["1", "2"]


def test_files_that_have_changed_are_read_again(read):
    assert results_cache.kept(FILES, "1", read) != results_cache.kept(FILES, "2", read)
    assert results_cache.kept(FILES[:1], "2", read) != results_cache.kept(FILES, "2", read)
    assert len(read.asked) == 5


def test_a_file_that_cannot_be_read_leaves_nothing_behind_and_is_tried_again_later(read, monkeypatch):
    def broken(uri):
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        results_cache.kept(FILES, "1", broken)
    assert list(results_cache._folder().iterdir()) == []
    with pytest.raises(OSError, match="gone"):  # a page that is refreshed must not ask all the time
        results_cache.kept(FILES, "1", read)
    assert read.asked == []
    monkeypatch.setattr(results_cache, "REMEMBERED", 0.0)
    assert matrix.page(results_cache.kept(FILES, "1", read), "all", 1).rows


def test_more_than_this_machine_keeps_is_refused(read, monkeypatch):
    monkeypatch.setattr(results_cache, "MAX_BYTES", 10)
    with pytest.raises(results_cache.TooMuchError):
        results_cache.kept(FILES, "1", read)


def test_what_a_process_that_is_gone_has_left_half_made_is_removed(read):
    part = results_cache._folder() / "half.part"
    part.touch()
    os.utime(part, (1_000, 1_000))
    results_cache.kept(FILES, "1", read)
    assert not part.exists()


def test_nobody_else_can_read_the_answers(read):
    path = results_cache.kept(FILES, "1", read)
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_others_can_read_is_refused(read):
    results_cache._folder().chmod(0o755)
    with pytest.raises(PermissionError, match="can be read by others"):
        results_cache.kept(FILES, "1", read)
    assert read.asked == []


def test_a_folder_that_is_only_a_link_is_refused(read, tmp_path):
    folder = results_cache._folder()
    folder.rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PermissionError):
        results_cache.kept(FILES, "1", read)


def test_a_user_without_a_name_has_a_folder(read, monkeypatch):
    """Containers run under any user id."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])
    assert results_cache.kept(FILES, "1", read).exists()


def test_what_was_not_used_for_longest_is_given_up(read, monkeypatch):
    monkeypatch.setattr(results_cache, "MAX_KEPT", 2)
    old, used = (results_cache.kept(FILES, version, read) for version in ("old", "used"))
    for age, path in enumerate((used, old), 1):
        os.utime(path, (1_000 - age, 1_000 - age))
    results_cache.kept(FILES, "used", read)  # now it is the newest
    new = results_cache.kept(FILES, "new", read)
    assert {path for path in old.parent.iterdir() if path.suffix == ".sqlite"} == {used, new}


def test_what_another_process_gives_up_is_read_again(read):
    """An empty file in its place would stay, and would have no table."""
    path = results_cache.kept(FILES, "1", read)
    path.unlink()
    assert matrix.page(results_cache.kept(FILES, "1", read), "all", 1).rows


def test_what_another_process_removes_while_we_tidy_up_is_no_error(read, monkeypatch):
    results_cache.kept(FILES, "1", read)
    gone = results_cache._folder() / "gone.sqlite"
    monkeypatch.setattr(Path, "glob", lambda *_: iter([gone]))
    results_cache.kept(FILES, "2", read)


def test_two_who_open_the_same_run_at_once_read_it_once(read):
    with ThreadPoolExecutor(4) as pool:
        paths = set(pool.map(lambda _: results_cache.kept(FILES, "1", read), range(8)))
    assert len(paths) == 1
    assert len(read.asked) == 2


def test_nobody_waits_for_another_runs_results(read):
    reading, go_on = threading.Event(), threading.Event()

    def slow(uri):
        reading.set()
        go_on.wait(30)
        return read(uri)

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(results_cache.kept, FILES, "slow", slow)
        reading.wait(30)
        results_cache.kept(FILES, "quick", read)
        assert not first.done()
        go_on.set()
        assert first.result(30).exists()
