"""Files in Cloud Storage and on a disk, addressed alike."""

import pytest

from gemini_tuning.core.exceptions import InvalidInputError, PermanentServiceError
from gemini_tuning.core.files import JSONL, Files, folder_problem, joined
from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook


@pytest.fixture(params=["gs", "path", "file"])
def folder(request, vertex, tmp_path):
    return {"gs": "gs://bucket/some/where", "path": f"{tmp_path}/some/where", "file": f"file://{tmp_path}/some/where"}[
        request.param
    ]


def test_what_was_written_is_read_and_can_be_replaced(folder):
    files = Files(GeminiTuningHook())
    for content in (b"one\ntwo\n", b"three\n" * 1000):
        files.write(joined(folder, "a.jsonl"), content, JSONL)
        assert b"".join(files.read_lines(joined(folder, "a.jsonl"))) == content


def test_read_lines_of_a_missing_file_raises(folder):
    with pytest.raises((FileNotFoundError, PermanentServiceError), match=r"b\.jsonl"):
        list(Files(GeminiTuningHook()).read_lines(joined(folder, "b.jsonl")))


def test_cloud_storage_needs_a_connection():
    with pytest.raises(InvalidInputError) as caught:
        Files().write("gs://bucket/a", b"", JSONL)
    assert (caught.value.resource, caught.value.code) == ("gs://bucket/a", "connection_required")


@pytest.mark.parametrize("uri", ["gs://bucket/x", "gs://bucket", "gs://bucket/", "/var/results", "file:///var/results"])
def test_folders(uri):
    assert folder_problem("results_uri", uri) is None


@pytest.mark.parametrize("uri", ["", None, 3, "results", "./results", "s3://bucket/x", "gs://", "file://x", "/a\0b"])
def test_no_folders(uri):
    assert "results_uri" in folder_problem("results_uri", uri)
