"""The plan is a function of its seed, and a hundred seeds in a row see everything."""

from tests.chaos.catalogue import CANCEL_KINDS, JOB_KINDS, PERSON_KINDS, Phase
from tests.chaos.inject import RunView, reached
from tests.chaos.plan import FIRST, make_plan


def test_one_number_repeats_a_round():
    assert make_plan(7) == make_plan(7)
    assert make_plan(7) != make_plan(8)


def test_a_hundred_rounds_see_every_kind_of_fault():
    for start in (1, 4711):
        seen = {fault.kind.name for seed in range(start, start + 100) for fault in make_plan(seed).faults}
        assert seen == {kind.name for kind in (*FIRST, *CANCEL_KINDS, *JOB_KINDS, *PERSON_KINDS)}


def test_each_round_has_a_run_that_passes_all_phases_and_others_beside_it():
    for seed in range(100):
        plan = make_plan(seed)
        assert len(plan.runs) in (2, 3)
        assert (plan.runs[0].fate, plan.runs[0].copy, plan.runs[0].ending) == ("", True, "success")
        assert len({run.label for run in plan.runs}) == len(plan.runs)


def test_whoever_gives_a_run_up_does_it_to_a_job_that_would_outlast_the_round():
    for plan in map(make_plan, range(200)):
        for fault in plan.faults:
            if fault.kind in PERSON_KINDS:
                assert plan.runs[fault.run].fate == fault.kind.name
        assert all(run.epochs > 50 for run in plan.runs if run.given_up)
        assert all(run.ending == "failed" for run in plan.runs if run.given_up)


def view(states):
    return RunView("run", "running", [{"task_id": task, "state": state} for task, state in states.items()])


def test_a_phase_is_reached_when_its_task_has_begun_and_the_wait_when_it_is_deferred():
    assert reached(Phase.START, view({}))
    assert not reached(Phase.CREATE, view({Phase.CREATE: "queued"}))
    assert reached(Phase.CREATE, view({Phase.CREATE: "running"}))
    assert reached(Phase.CREATE, view({Phase.CREATE: "success"}))
    assert not reached(Phase.WAIT, view({Phase.WAIT: "running"}))
    assert reached(Phase.WAIT, view({Phase.WAIT: "deferred"}))
