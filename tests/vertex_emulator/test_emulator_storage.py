"""Cloud Storage over the wire, with google-cloud-storage and gcsfs."""

import io

import pytest
from google.api_core import exceptions


@pytest.fixture
def bucket(storage_client):
    return storage_client.create_bucket("new-bucket")


def test_buckets(storage_client, bucket):
    assert storage_client.get_bucket("new-bucket").location == "US"
    assert [item.name for item in storage_client.list_buckets()] == ["data", "new-bucket"]
    with pytest.raises(exceptions.Conflict):
        storage_client.create_bucket("new-bucket")
    bucket.delete()
    with pytest.raises(exceptions.NotFound, match="The specified bucket does not exist"):
        storage_client.get_bucket("new-bucket")


def test_a_missing_bucket_is_not_made(storage_client):
    with pytest.raises(exceptions.NotFound):
        storage_client.bucket("nowhere").blob("x").upload_from_string("x")


@pytest.mark.parametrize("content", [b"", b"hello\r\n", b"--\r\n\r\nx\n", bytes(range(256)) * 40])
def test_upload_and_download(bucket, content):
    blob = bucket.blob("folder/a name?with #signs.bin")
    blob.upload_from_string(content, content_type="application/x-test", checksum="md5")
    read = bucket.get_blob(blob.name)
    assert read.download_as_bytes(checksum="crc32c") == content
    assert (read.size, read.content_type) == (len(content), "application/x-test")
    assert (read.generation, read.metageneration, read.md5_hash) == (blob.generation, 1, blob.md5_hash)
    assert read.updated


def test_resumable_upload_in_chunks(bucket):
    content = b"0123456789" * 100_000
    blob = bucket.blob("big", chunk_size=256 * 1024)
    blob.metadata = {"who": "me"}
    blob.upload_from_file(io.BytesIO(content), size=None)
    read = bucket.get_blob("big")
    assert read.download_as_bytes() == content
    assert read.metadata == {"who": "me"}


def test_range(bucket):
    blob = bucket.blob("digits")
    blob.upload_from_string("0123456789")
    assert blob.download_as_bytes(start=2, end=4) == b"234"
    assert blob.download_as_bytes(start=7) == b"789"
    assert blob.download_as_bytes(start=-2) == b"89"
    with blob.open("rb", chunk_size=4) as stream:
        assert stream.read() == b"0123456789"


def test_write_with_open(bucket):
    with bucket.blob("written").open("w") as stream:
        stream.write("line\n" * 3)
    assert bucket.blob("written").download_as_text() == "line\n" * 3


def test_preconditions(bucket):
    blob = bucket.blob("guarded")
    blob.upload_from_string("one", if_generation_match=0)
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.blob("guarded").upload_from_string("two", if_generation_match=0)
    first = blob.generation
    blob.upload_from_string("three", if_generation_match=first)
    assert blob.generation > first
    with pytest.raises(exceptions.PreconditionFailed):
        blob.delete(if_generation_match=first)


def test_list_with_prefix_delimiter_and_pages(bucket):
    for name in ("a/1", "a/2", "a/b/3", "a/c/4", "b/5", "top"):
        bucket.blob(name).upload_from_string("")
    names = lambda **options: [blob.name for blob in bucket.list_blobs(**options)]  # noqa: E731
    assert names() == ["a/1", "a/2", "a/b/3", "a/c/4", "b/5", "top"]
    assert names(prefix="a/") == ["a/1", "a/2", "a/b/3", "a/c/4"]
    assert names(page_size=2) == names()
    listing = bucket.list_blobs(prefix="a/", delimiter="/", page_size=1)
    assert [blob.name for blob in listing] == ["a/1", "a/2"]
    assert listing.prefixes == {"a/b/", "a/c/"}


def test_metadata_and_delete(bucket):
    blob = bucket.blob("x")
    blob.upload_from_string("x")
    blob.metadata = {"k": "v"}
    blob.patch()
    assert bucket.get_blob("x").metadata == {"k": "v"}
    assert bucket.get_blob("x").metageneration == 2
    blob.delete()
    assert bucket.get_blob("x") is None
    with pytest.raises(exceptions.NotFound):
        blob.delete()


def test_errors_have_the_shape_of_storage(emulator):
    error = emulator.request("GET", "/storage/v1/b/data/o/nothing").json()["error"]
    assert error["code"] == 404
    assert error["errors"] == [{"message": "No such object: data/nothing", "domain": "global", "reason": "notFound"}]


def test_gcsfs(emulator):
    from gcsfs import core  # gcsfs.GCSFileSystem would try gRPC first, for a minute

    files = core.GCSFileSystem(
        project="demo-project", token=emulator.key(), endpoint_url=emulator.url, skip_instance_cache=True
    )
    files.pipe("data/fs/one.txt", b"one")
    with files.open("data/fs/two.txt", "wb") as stream:
        stream.write(b"two" * 1000)
    assert files.cat("data/fs/one.txt") == b"one"
    assert files.cat_file("data/fs/two.txt", start=1, end=3) == b"wo"
    assert files.info("data/fs/two.txt")["size"] == 3000
    assert sorted(files.ls("data/fs")) == ["data/fs/one.txt", "data/fs/two.txt"]
    files.rm("data/fs", recursive=True)
    assert not files.exists("data/fs/one.txt")
