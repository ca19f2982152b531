"""When to look again: simulated waits, and the rules one by one."""

import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulation import SimulatedJob

from gemini_tuning.core.resources import Share
from gemini_tuning.triggers.shared_poller import cadence
from gemini_tuning.triggers.shared_poller.cadence import Cadence


@pytest.fixture(autouse=True)
def _no_jitter(monkeypatch):
    monkeypatch.setattr(cadence, "JITTER", 0.0)


def looks(job, poll_interval=60.0):
    """Wait for a job; return how often it was looked at, and how late its end was noticed."""
    pauses = Cadence(poll_interval)
    now, count = pauses.begin(0.0), 1
    while now < job.ends:
        now += pauses.answered(job.at(now).share, now)
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
def test_fewer_looks_notice_the_end_earlier_than_a_fixed_interval(minutes, steps):
    random.seed(1)
    found = [looks(job) for job in some_jobs(minutes * 60.0, steps)]
    assert statistics.mean(count for count, _ in found) < minutes
    assert statistics.median(late for _, late in found) < 16.0  # seconds; with a look every minute it is 30


def test_a_long_job_takes_half_as_many_looks():
    random.seed(1)
    found = [looks(job) for job in some_jobs(10_800.0, 50)]
    assert statistics.mean(count for count, _ in found) < 90


def test_a_job_that_tells_nothing_is_looked_at_in_fixed_intervals():
    pauses = Cadence(60.0)
    assert [pauses.answered(None, now) for now in (0.0, 60.0, 7200.0)] == [60.0] * 3


def test_what_is_short_is_looked_at_quickly_and_then_less_and_less():
    pauses, now, found = Cadence(60.0, is_short=True), 0.0, []
    for _ in range(30):
        found.append(pauses.answered(None, now))
        now += found[-1]
    assert found[0] == 15.0
    assert found == sorted(found)
    assert found[-1] == 60.0


def test_a_job_that_has_not_begun_is_left_alone_longer_and_longer():
    pauses = Cadence(60.0)
    found = [pauses.answered(Share(0.0, False), now) for now in (0.0, 100.0, 250.0, 100_000.0)]
    assert found == [90.0, 100.0, 250.0, 300.0]


def test_the_pause_aims_a_little_before_the_expected_end():
    pauses = Cadence(60.0)
    pauses.answered(Share(0.2, True), 100.0)
    assert pauses.answered(Share(0.9, True), 450.0) == pytest.approx(0.9 * 50.0)
    assert pauses.expected_end() == pytest.approx(500.0)


def test_near_the_end_and_after_it_pauses_are_short_and_grow_only_slowly():
    pauses = Cadence(60.0)
    pauses.answered(Share(0.2, True), 100.0)
    assert pauses.answered(Share(0.99, True), 495.0) == 15.0
    assert pauses.answered(Share(1.0, True), 500.0) == 15.0
    assert pauses.answered(Share(1.0, True), 900.0) == 20.0  # a twentieth of the time since
    assert pauses.answered(Share(1.0, True), 9_000.0) == 60.0


def test_together_waits_look_more_closely():
    pauses = Cadence(60.0)
    assert pauses.answered(Share(1.0, True), 1.0, nearest=cadence.NEAREST_TOGETHER) == 5.0


def test_a_wait_that_begins_late_goes_by_the_age_of_the_job():
    assert Cadence(60.0).answered(Share(0.95, True), 0.0, age=3_000.0) == pytest.approx(0.3 * 3_000 / 19)
    assert Cadence(60.0).answered(Share(0.95, True), 0.0, age=-5.0) == 90.0  # a clock of its own


def test_epochs_alone_are_placed_between_two_looks():
    pauses = Cadence(60.0)
    for now, epochs in ((0.0, 0), (100.0, 1), (200.0, 2)):
        pauses.answered(Share(epochs / 4, False), now)
    assert pauses.expected_end() == pytest.approx(350.0)  # 50 and 150 are where the epochs ended, as far as is known


def test_the_first_look_is_soon_unless_somebody_has_just_looked():
    assert 0.0 <= Cadence(60.0).begin() <= 15.0
    assert 80.0 <= Cadence(60.0).begin(10.0) <= 95.0
    assert 0.0 <= Cadence(60.0).begin(3_600.0) <= 15.0  # a triggerer that was away for an hour
    assert Cadence(60.0, is_short=True).begin(0.0) <= 15.0


def test_waiting_for_a_service_that_is_away_grows_up_to_a_limit_with_jitter():
    pauses = Cadence(10.0)
    found = [pauses.failed() for _ in range(40)]
    assert 10 <= found[0] <= 20
    assert all(30 <= pause <= 60 for pause in found[10:])
    assert len(set(found[10:])) > 20
    assert Cadence(600.0).failed() >= 300
    assert Cadence(10.0).failed(333.0) == 333.0


def test_an_answer_ends_the_growth():
    pauses = Cadence(10.0)
    for _ in range(5):
        pauses.failed()
    pauses.answered(None, 0.0)
    assert pauses.failed() <= 20


@given(
    st.lists(
        st.tuples(
            st.floats(0, 1e6), st.one_of(st.none(), st.builds(Share, st.floats(0, 1), st.booleans())),
            st.one_of(st.none(), st.floats(-1e9, 1e9)),
        ),
        max_size=20,
    )
)  # fmt: skip
def test_whatever_is_told_a_pause_stays_within_its_bounds(answers):
    pauses, now = Cadence(60.0), 0.0
    for step, share, age in answers:
        now += step
        assert 15.0 <= pauses.answered(share, now, age) <= 300.0
