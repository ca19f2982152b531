"""Figures as people read them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from gemini_tuning.ui.formatting import NOTHING, duration, figure, moment, percent, short_name


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, NOTHING),
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
def test_durations(seconds, words):
    assert duration(seconds) == words


def test_moments_are_in_utc():
    assert moment(datetime(2026, 11, 20, 9, tzinfo=timezone(timedelta(hours=1)))) == "2026-11-20 08:00 UTC"
    assert moment("2026-11-20T09:30:00+00:00") == "2026-11-20 09:30 UTC"
    assert moment(datetime.max.replace(tzinfo=UTC)) == "9999-12-31 23:59 UTC"
    assert moment(None) == NOTHING


@pytest.mark.parametrize("odd", ["yesterday", "", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
def test_a_moment_that_is_none_is_shown_as_it_is(odd):
    assert moment(odd) == odd


def test_figures():
    assert (percent(None), percent(0.9166), percent(1)) == (NOTHING, "91.7 %", "100.0 %")
    assert (figure(None), figure(0.123456), figure(2**62)) == (NOTHING, "0.1235", "4.612e+18")
    assert short_name("projects/1/locations/l/models/7@1") == "7@1"
    assert short_name("gs://bucket/folder/") == "folder"
    assert short_name(None) == short_name("") == NOTHING
