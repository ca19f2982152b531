"""Numbers, times and names as pages show them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from gemini_tuning.core.formatting import duration, last_segment, percent, significant, utc


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (-3, "0 s"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (3_599.6, "1 h 0 min"),
        (7_800, "2 h 10 min"),
        (3 * 86_400 + 4 * 3_600 + 5, "3 d 4 h"),
        (1e18, "11574074074074 d 1 h"),
    ],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_utc_time_with_another_offset_is_converted():
    assert utc(datetime(2026, 11, 20, 9, tzinfo=timezone(timedelta(hours=1)))) == "2026-11-20 08:00 UTC"
    assert utc("2026-11-20T09:30:00+00:00") == "2026-11-20 09:30 UTC"
    assert utc(datetime.max.replace(tzinfo=UTC)) == "9999-12-31 23:59 UTC"
    assert utc(None) == "-"


@pytest.mark.parametrize("odd", ["yesterday", "", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
def test_utc_text_that_is_not_a_time_is_unchanged(odd):
    assert utc(odd) == odd


def test_numbers_and_names():
    assert (percent(None), percent(0.9166), percent(1)) == ("-", "91.7%", "100.0%")
    assert (significant(None), significant(0.123456), significant(2**62)) == ("-", "0.1235", "4.612e+18")
    assert last_segment("projects/1/locations/l/models/7@1") == "7@1"
    assert last_segment("gs://bucket/folder/") == "folder"
    assert last_segment(None) == last_segment("") == "-"
