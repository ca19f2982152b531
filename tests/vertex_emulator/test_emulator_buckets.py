"""Multipart uploads and preconditions."""

import pytest

from vertex_emulator.buckets import Buckets, Conditions, Wanted
from vertex_emulator.errors import GoogleError
from vertex_emulator.ids import Ids
from vertex_emulator.multipart import read_upload

RELATED = 'multipart/related; boundary="==b=="'


def body(end, content):
    lines = [
        b"--==b==",
        b"content-type: application/json",
        b"",
        b'{"name": "x"}',
        b"--==b==",
        b"content-type: text/csv",
        b"",
    ]
    return end.join([*lines, content, b"--==b==--"])


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("content", [b"", b"a\r\n\r\nb", b"\n", b"\r\n", b"x\r", b"--==c==--"])
def test_contents_come_out_byte_for_byte(end, content):
    assert read_upload(RELATED, body(end, content)) == ({"name": "x", "contentType": "text/csv"}, content)


@pytest.mark.parametrize(
    ("content_type", "content"),
    [
        (RELATED, b""),
        (RELATED, body(b"\n", b"").removesuffix(b"--")),
        (RELATED, body(b"\n", b"").replace(b'{"name": "x"}', b"[1]")),
        (RELATED, body(b"\n", b"").replace(b'{"name": "x"}', b"{")),
        ("multipart/related", body(b"\n", b"")),
        ("", b"x"),
    ],
)
def test_broken_uploads(content_type, content):
    with pytest.raises(GoogleError) as refused:
        read_upload(content_type, content)
    assert refused.value.code == 400


@pytest.fixture
def buckets():
    made = Buckets(Ids("1"))
    made.create("data", "p", 0)
    return made


def write(buckets, name="x", content=b"1", **conditions):
    return buckets.write("data", name, content, metadata={}, conditions=Conditions(**conditions), now=1)


def test_generations_grow_even_while_time_stands_still(buckets):
    first, second = write(buckets), write(buckets)
    assert second.generation > first.generation
    assert buckets.read("data", "x", second.generation) is second
    with pytest.raises(GoogleError, match="No such object"):
        buckets.read("data", "x", first.generation)


def test_preconditions(buckets):
    stored = write(buckets, generation_match=0)
    for wrong in (
        {"generation_match": 0},
        {"generation_match": stored.generation + 1},
        {"generation_not_match": stored.generation},
        {"metageneration_match": 2},
        {"metageneration_not_match": 1},
    ):
        with pytest.raises(GoogleError) as refused:
            write(buckets, **wrong)
        assert refused.value.code == 412
    write(buckets, generation_match=stored.generation, metageneration_match=1, generation_not_match=0)


def test_wrong_checksums_are_refused(buckets):
    for key in ("md5Hash", "crc32c"):
        with pytest.raises(GoogleError, match=key):
            buckets.write("data", "x", b"1", metadata={key: "AAAA"}, conditions=Conditions(), now=1)
    with pytest.raises(GoogleError, match="No such object"):
        buckets.read("data", "x")


def test_pages_do_not_split_a_folder(buckets):
    for name in ("a/1", "a/2", "b", "c/1", "c/2", "d"):
        write(buckets, name)
    entries, after = [], ""
    while after is not None:
        listing = buckets.list_objects("data", Wanted("", "/", 1, after, ""))
        entries += [*listing.prefixes, *(item.name for item in listing.objects)]
        after = listing.next_token
    assert entries == ["a/", "b", "c/", "d"]


@pytest.mark.parametrize("name", ["ab", "Upper", "-x-", "a" * 300])
def test_bucket_names(buckets, name):
    with pytest.raises(GoogleError, match="Invalid bucket name"):
        buckets.create(name, "p", 0)


def test_only_empty_buckets_can_be_deleted(buckets):
    write(buckets)
    with pytest.raises(GoogleError, match="not empty"):
        buckets.delete_bucket("data")
    buckets.delete("data", "x", Conditions())
    buckets.delete_bucket("data")
    assert list(buckets) == []
