"""Pages of the Google Cloud console."""

import pytest
from hypothesis import given

from gemini_tuning.core.console import CONSOLE, console_link
from tests.gemini_tuning.strategies import BAD_NAMES, texts

HERE = "projects/123/locations/us-central1"


@pytest.mark.parametrize(
    ("address", "page"),
    [
        ("gs://bucket/runs/a b/report.md", "/storage/browser/_details/bucket/runs/a%20b/report.md"),
        ("gs://bucket/a(1)](x)#?", "/storage/browser/_details/bucket/a%281%29%5D%28x%29%23%3F"),
        (
            f"{HERE}/tuningJobs/5",
            "/vertex-ai/generative/language/locations/us-central1/tuning/tuningJob/5?project=123",
        ),
        (f"{HERE}/models/7@2", "/vertex-ai/models/locations/us-central1/models/7/versions/2/properties?project=123"),
        (
            f"{HERE}/models/7",
            "/vertex-ai/models/locations/us-central1/models/7/versions/default/properties?project=123",
        ),
        (f"{HERE}/endpoints/9", "/vertex-ai/locations/us-central1/endpoints/9?project=123"),
    ],
)
def test_pages(address, page):
    assert console_link(address) == CONSOLE + page


@pytest.mark.parametrize("address", ["gs://", "gs://bucket", "gs://bucket/", "/tmp/report.md", "file:///x", 7, None])
def test_what_has_no_page(address):
    assert console_link(address) is None


@given(texts)
def test_a_page_is_the_consoles_and_ends_no_link(address):
    for page in (console_link(address), console_link(f"gs://bucket/{address}")):
        assert page is None or page.startswith(f"{CONSOLE}/")
        assert not set(page or "") & set("()[]<>|` \n\"'\\")


@pytest.mark.parametrize("name", [name for name in BAD_NAMES if not name.startswith("gs://")])
def test_a_bad_name_has_no_page(name):
    assert console_link(name) is None
