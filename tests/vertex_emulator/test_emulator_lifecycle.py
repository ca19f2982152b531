"""The life of a job as data."""

from itertools import pairwise

import pytest

from vertex_emulator.lifecycle import (
    ENDED,
    Fate,
    Outcome,
    Pace,
    Step,
    default_epochs,
    opening,
    plan_checkpoints,
    steps_per_epoch,
    tuning,
    tuning_seconds,
)

PACE = Pace()


def life(epochs=5, fate=None, pace=PACE, last_only=False):
    """Events of a whole job that is made at 0."""
    fate = fate or Fate()
    first = opening(0, pace, fate)
    plan = plan_checkpoints(epochs, 9, last_only=last_only)
    return first + tuning(first[-1].at, plan, tuning_seconds(epochs, pace), pace, fate)


@pytest.mark.parametrize("epochs", range(1, 10))
def test_below_ten_epochs_a_checkpoint_after_each(epochs):
    found = plan_checkpoints(epochs, 7, last_only=False)
    assert [(item.checkpoint_id, item.epoch, item.step) for item in found] == [
        (str(epoch), epoch, 7 * epoch) for epoch in range(1, epochs + 1)
    ]


@pytest.mark.parametrize("epochs", [10, 11, 15, 20, 37, 100])
@pytest.mark.parametrize("epoch_steps", [1, 7, 468])
def test_from_ten_epochs_on_ten_evenly_spaced(epochs, epoch_steps):
    found = plan_checkpoints(epochs, epoch_steps, last_only=False)
    total = epochs * epoch_steps
    gaps = [after.step - before.step for before, after in pairwise(found)]
    assert len(found) == 10
    assert max(gaps) - min(gaps) <= 1
    assert (found[-1].step, found[-1].epoch) == (total, epochs)
    assert all((item.epoch - 1) * epoch_steps < item.step <= item.epoch * epoch_steps for item in found)


@pytest.mark.parametrize("epochs", [1, 5, 30])
def test_last_checkpoint_only(epochs):
    (only,) = plan_checkpoints(epochs, 9, last_only=True)
    assert (only.epoch, only.step) == (epochs, epochs * 9)


def test_steps_and_default_epochs():
    assert [steps_per_epoch(examples) for examples in (1, 16, 17, 140)] == [1, 1, 2, 9]
    assert steps_per_epoch(140, 70) == 2
    assert [default_epochs(examples) for examples in (1, 200, 201, 5000, 1_000_000)] == [10, 10, 5, 3, 2]


def test_a_default_job_takes_about_twenty_seconds():
    events = life()
    assert [event.step for event in events][:3] == [Step.PENDING, Step.RUNNING, Step.DATASET]
    assert events[-1].value == "JOB_STATE_SUCCEEDED"
    assert events[-1].at == pytest.approx(1 + 1 + 2 + 5 * 3 + 0.7 + 1)


@pytest.mark.parametrize("outcome", Outcome)
@pytest.mark.parametrize("epochs", [1, 5, 12])
@pytest.mark.parametrize("last_only", [False, True])
def test_every_life_is_in_order_and_ends_once(outcome, epochs, last_only):
    if outcome is Outcome.PENDING:
        assert len(opening(0, PACE, Fate(outcome))) == 1
        return
    events = life(epochs, Fate(outcome), last_only=last_only)
    assert [event.at for event in events] == sorted(event.at for event in events)
    last = Step.STALL if outcome is Outcome.STALLED else Step.END
    assert [event.step for event in events].count(last) == 1
    assert events[-1].step is last
    assert events[-1].value in ENDED or outcome in (Outcome.PAUSED, Outcome.STALLED)


def test_a_checkpoint_is_deployed_after_it_is_saved_and_one_at_a_time():
    pace = Pace(epoch=0.1, deployment=0.7)
    events = life(pace=pace)
    at = {(event.step, event.value): event.at for event in events}
    deployed = [at[Step.DEPLOYED, str(number)] for number in range(1, 6)]
    assert all(at[Step.CHECKPOINT, str(number)] < deployed[number - 1] for number in range(1, 6))
    assert all(after - before == pytest.approx(0.7) for before, after in pairwise(deployed))
    assert events[-1].at == pytest.approx(deployed[-1] + pace.post_processing)


def test_failed_saves_nothing():
    assert not [event for event in life(fate=Fate(Outcome.FAILED)) if event.step is Step.CHECKPOINT]
    assert not [event for event in life(epochs=1, fate=Fate(Outcome.FAILED)) if event.step is Step.CHECKPOINT]
