"""Results files are read once, kept where no other user can read them, and removed when there are too many."""

import os
import shutil
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tuning_runs import lines, result

from gemini_tuning.ui import matrix, results_cache
from gemini_tuning.ui.results_cache import ResultsCacheError

FILES = [("1", "gs://bucket/checkpoint-1.jsonl"), ("2", "gs://bucket/checkpoint-2.jsonl")]


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def read():
    """Reads any object, and records its URI."""

    def read_lines(uri):
        read_lines.uris.append(uri)
        return lines([result("a")])

    read_lines.uris = []
    return read_lines


@pytest.fixture
def local(tmp_path):
    """A results file on this machine."""
    path = tmp_path / "checkpoint-1.jsonl"
    path.write_bytes(b"".join(lines([result("a")])))
    return str(path)


def test_files_are_read_once(read):
    path = results_cache.index_of(FILES, "1", read)
    assert results_cache.index_of(FILES, "1", read) == path
    assert read.uris == [uri for _, uri in FILES]
    assert matrix.page(path, "all", 1).checkpoints == ["1", "2"]


def test_files_that_have_changed_are_read_again(read):
    assert results_cache.index_of(FILES, "1", read) != results_cache.index_of(FILES, "2", read)
    assert results_cache.index_of(FILES[:1], "2", read) != results_cache.index_of(FILES, "2", read)
    assert len(read.uris) == 5


def test_a_file_that_cannot_be_read_leaves_nothing_behind(read):
    def broken(uri):
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        results_cache.index_of(FILES, "1", broken)
    assert list(results_cache._cache_folder().iterdir()) == []
    assert matrix.page(results_cache.index_of(FILES, "1", read), "all", 1).rows


def test_more_than_this_machine_keeps_is_refused(read, monkeypatch, snapshot):
    monkeypatch.setattr(results_cache, "MAX_BYTES", 10)
    with pytest.raises(ResultsCacheError) as error:
        results_cache.index_of(FILES, "1", read)
    assert error.value.code == "too_large"
    assert str(error.value) == snapshot


def test_index_of_local_files_larger_than_the_limit_is_refused(read, monkeypatch, local):
    monkeypatch.setattr(results_cache, "MAX_BYTES", 10)
    with pytest.raises(ResultsCacheError) as error:
        results_cache.index_of([("1", local)], "1", read)
    assert error.value.code == "too_large"


def test_index_of_local_files_copies_nothing(read, local):
    path = results_cache.index_of([("1", local), ("2", f"file://{local}")], "1", read)
    assert matrix.page(path, "all", 1).checkpoints == ["1", "2"]
    assert list(matrix.responses(path, "a")) == ["1", "2"]
    assert [found.name for found in path.parent.iterdir()] == [results_cache.INDEX]
    assert read.uris == []


@pytest.mark.parametrize("uri", ["/etc/passwd", "/dev/zero", "gs://bucket/x", "gs://bucket/checkpoint-1.jsonl/x"])
def test_index_of_what_is_not_a_results_file_is_refused(read, uri):
    with pytest.raises(ResultsCacheError) as error:
        results_cache.index_of([("1", uri)], "1", read)
    assert (error.value.code, error.value.resource) == ("not_a_results_file", uri)
    assert read.uris == []


def test_index_of_a_missing_file_or_a_device_is_refused(read, tmp_path):
    (tmp_path / "checkpoint-1.jsonl").symlink_to("/dev/zero")
    for number in "12":
        uri = f"{tmp_path}/checkpoint-{number}.jsonl"
        with pytest.raises(ResultsCacheError) as error:
            results_cache.index_of([("1", uri)], "1", read)
        assert (error.value.code, error.value.resource) == ("file_not_found", uri)


def test_what_a_process_that_is_gone_has_left_half_made_is_removed(read, monkeypatch):
    monkeypatch.setattr(results_cache, "MAX_RUNS", 1)
    part = results_cache._cache_folder() / "half.part"
    part.mkdir()
    (part / "results.jsonl").touch()
    os.utime(part, (1_000, 1_000))
    results_cache.index_of(FILES, "1", read)
    assert not part.exists()


def test_nobody_else_can_read_the_answers(read):
    path = results_cache.index_of(FILES, "1", read)
    assert path.parent.parent.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_others_can_read_is_refused(read):
    folder = results_cache._cache_folder()
    folder.chmod(0o755)
    with pytest.raises(ResultsCacheError) as error:
        results_cache.index_of(FILES, "1", read)
    assert (error.value.code, error.value.resource) == ("folder_not_private", str(folder))
    assert read.uris == []


def test_a_folder_that_is_only_a_link_is_refused(read, tmp_path):
    folder = results_cache._cache_folder()
    folder.rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ResultsCacheError, check=lambda error: error.code == "folder_not_private"):
        results_cache.index_of(FILES, "1", read)


def test_a_user_without_a_name_has_a_folder(read, monkeypatch):
    """Containers run under any user id."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])
    assert results_cache.index_of(FILES, "1", read).exists()


def test_what_was_not_used_for_longest_is_given_up(read, monkeypatch):
    monkeypatch.setattr(results_cache, "MAX_RUNS", 2)
    old, used = (results_cache.index_of(FILES, version, read) for version in ("old", "used"))
    for age, path in enumerate((used, old), 1):
        os.utime(path.parent, (1_000 - age, 1_000 - age))
    results_cache.index_of(FILES, "used", read)  # now it is the newest
    new = results_cache.index_of(FILES, "new", read)
    assert set(old.parent.parent.iterdir()) == {used.parent, new.parent}


def test_what_another_process_gives_up_is_read_again(read):
    """An empty file in its place would stay, and would have no table."""
    path = results_cache.index_of(FILES, "1", read)
    shutil.rmtree(path.parent)
    assert matrix.page(results_cache.index_of(FILES, "1", read), "all", 1).rows


def test_index_of_a_run_that_another_process_indexes_at_the_same_time(read, tmp_path):
    path = results_cache.index_of(FILES, "1", read)
    path.parent.rename(tmp_path / "other")

    def racing(uri):
        shutil.copytree(tmp_path / "other", path.parent, dirs_exist_ok=True)
        return read(uri)

    assert results_cache.index_of(FILES, "1", racing) == path
    assert matrix.responses(path, "a").keys() == {"1", "2"}
    assert [found.name for found in path.parent.parent.iterdir()] == [path.parent.name]


def test_what_another_process_removes_while_we_tidy_up_is_no_error(read, monkeypatch):
    results_cache.index_of(FILES, "1", read)
    deleted = results_cache._cache_folder() / "deleted"
    monkeypatch.setattr(Path, "iterdir", lambda *_: iter([deleted]))
    results_cache.index_of(FILES, "2", read)


def test_two_who_open_the_same_run_at_once_read_it_once(read):
    with ThreadPoolExecutor(4) as pool:
        paths = set(pool.map(lambda _: results_cache.index_of(FILES, "1", read), range(8)))
    assert len(paths) == 1
    assert len(read.uris) == 2


def test_nobody_waits_for_another_runs_results(read):
    reading, proceed = threading.Event(), threading.Event()

    def slow(uri):
        reading.set()
        proceed.wait(30)
        return read(uri)

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(results_cache.index_of, FILES, "slow", slow)
        reading.wait(30)
        results_cache.index_of(FILES, "quick", read)
        assert not first.done()
        proceed.set()
        assert first.result(30).exists()
