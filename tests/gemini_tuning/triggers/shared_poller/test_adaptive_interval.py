"""When to poll next: simulated jobs, and the rules one by one."""

import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulation import SimulatedJob

from gemini_tuning.core.exceptions import TransientServiceError
from gemini_tuning.triggers.shared_poller import adaptive_interval
from gemini_tuning.triggers.shared_poller.adaptive_interval import AdaptiveInterval


@pytest.fixture(autouse=True)
def _no_jitter(monkeypatch):
    monkeypatch.setattr(adaptive_interval, "JITTER", 0.0)


def unavailable(retry_after=None):
    return TransientServiceError("Later.", code=503, retry_after=retry_after)


def polls(job, poll_interval=60.0):
    """Wait for a job; return the number of polls, and how late its end was noticed."""
    interval = AdaptiveInterval(poll_interval)
    now, count = interval.first(0.0), 1
    while now < job.ends:
        now += interval.next_pause(job.at(now).share, now, age=now)
        count += 1
    return count, now - job.ends


def some_jobs(seconds, steps):
    dice = random.Random(5)
    for _ in range(100):
        epochs = dice.randint(3, 12)
        rest = seconds * dice.uniform(0.07, 0.4)
        yield SimulatedJob("1", 0.0, (seconds - rest) / epochs, epochs, rest * 0.75, rest * 0.25, steps=steps)


@pytest.mark.parametrize("steps", [50, None], ids=["steps", "epochs only"])
@pytest.mark.parametrize("minutes", [10, 30, 60, 180])
def test_simulated_jobs_need_fewer_polls_than_a_fixed_interval_and_end_sooner(minutes, steps):
    random.seed(1)
    found = [polls(job) for job in some_jobs(minutes * 60.0, steps)]
    assert statistics.mean(count for count, _ in found) < minutes
    assert statistics.median(late for _, late in found) < 16.0  # seconds; with a poll every minute it is 30


def test_a_long_job_needs_half_as_many_polls():
    random.seed(1)
    found = [polls(job) for job in some_jobs(10_800.0, 50)]
    assert statistics.mean(count for count, _ in found) < 90


def test_pause_without_progress_grows_from_a_quarter_to_the_poll_interval():
    interval, now, found = AdaptiveInterval(60.0), 0.0, []
    for _ in range(30):
        found.append(interval.next_pause(None, now))
        now += found[-1]
    assert found[0] == 15.0
    assert found == sorted(found)
    assert found[-1] == 60.0


def test_pause_before_the_first_epoch_grows_with_the_wait():
    interval = AdaptiveInterval(60.0)
    found = [interval.next_pause(0.0, now) for now in (0.0, 100.0, 250.0, 100_000.0)]
    assert found == [90.0, 100.0, 250.0, 300.0]


def test_pause_aims_shortly_before_the_predicted_end():
    interval = AdaptiveInterval(60.0)
    interval.next_pause(0.2, 100.0)
    assert interval.next_pause(0.9, 450.0) == pytest.approx(0.9 * 50.0)
    assert interval.predicted_end() == pytest.approx(500.0)


def test_pauses_near_the_end_and_after_it_are_short_and_grow_slowly():
    interval = AdaptiveInterval(60.0)
    interval.next_pause(0.2, 100.0)
    assert interval.next_pause(0.99, 495.0) == 15.0
    assert interval.next_pause(1.0, 500.0) == 15.0
    assert interval.next_pause(1.0, 900.0) == 20.0  # a twentieth of the time since
    assert interval.next_pause(1.0, 9_000.0) == 60.0


def test_pause_with_many_subscriptions_may_be_shorter():
    interval = AdaptiveInterval(60.0)
    interval.min_factor = adaptive_interval.MIN_LISTED_INTERVAL_FACTOR
    assert interval.next_pause(1.0, 1.0) == 5.0


def test_pause_of_a_subscription_that_begins_late_follows_the_age_of_the_job():
    assert AdaptiveInterval(60.0).next_pause(0.95, 0.0, age=3_000.0) == pytest.approx(0.3 * 3_000 / 19)
    assert AdaptiveInterval(60.0).next_pause(0.95, 0.0, age=-5.0) == 90.0  # the clocks differ


def test_predicted_end_counts_each_share_from_the_first_poll_that_reports_it():
    interval = AdaptiveInterval(60.0)
    for now, epochs in ((0.0, 0), (100.0, 1), (150.0, 1), (200.0, 2)):
        interval.next_pause(epochs / 4, now)
    assert interval.predicted_end() == pytest.approx(400.0)


def test_first_poll_is_soon_unless_the_task_has_just_polled():
    assert 0.0 <= AdaptiveInterval(60.0).first() <= 15.0
    assert 80.0 <= AdaptiveInterval(60.0).first(10.0) <= 95.0
    assert 0.0 <= AdaptiveInterval(60.0).first(3_600.0) <= 15.0  # no triggerer ran for an hour


def test_backoff_grows_up_to_a_limit_with_jitter():
    interval = AdaptiveInterval(10.0)
    found = [interval.backoff(unavailable()) for _ in range(40)]
    assert 10 <= found[0] <= 20
    assert all(30 <= pause <= 60 for pause in found[10:])
    assert len(set(found[10:])) > 20
    assert AdaptiveInterval(600.0).backoff(unavailable()) >= 300
    assert AdaptiveInterval(10.0).backoff(unavailable(333.0)) == 333.0


def test_backoff_starts_again_after_a_response():
    interval = AdaptiveInterval(10.0)
    for _ in range(5):
        interval.backoff(unavailable())
    interval.next_pause(None, 0.0)
    assert interval.backoff(unavailable()) <= 20


@given(
    st.lists(
        st.tuples(
            st.floats(0, 1e6), st.one_of(st.none(), st.floats(0, 1)), st.one_of(st.none(), st.floats(-1e9, 1e9))
        ),
        max_size=20,
    )
)  # fmt: skip
def test_pause_stays_within_its_bounds_for_any_responses(responses):
    interval, now = AdaptiveInterval(60.0), 0.0
    for step, share, age in responses:
        now += step
        assert 15.0 <= interval.next_pause(share, now, age) <= 300.0
