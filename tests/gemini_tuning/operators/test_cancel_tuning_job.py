"""Cancelling what nobody waits for: the trigger, the sensor on a worker, the teardown; Airflow's states given by hand.

That Airflow calls them when it should is tested in tests/e2e.
"""

import asyncio
from types import SimpleNamespace

import pytest
from airflow.sdk.exceptions import AirflowFailException
from support import LOCATION, LONG, SPEC, TaskStateStore, context, masked

from gemini_tuning.core.exceptions import PermanentServiceError, TuningJobError
from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook
from gemini_tuning.operators import cancel_tuning_job as cancel
from gemini_tuning.operators.cancel_tuning_job import GeminiCancelTuningJobOperator
from gemini_tuning.operators.create_tuning_job import GeminiCreateTuningJobOperator
from gemini_tuning.sensors import tuning_job as sensors
from gemini_tuning.sensors.tuning_job import GeminiTuningJobSensor
from gemini_tuning.triggers import tuning_job as triggers
from gemini_tuning.triggers.task_states import MISSING, keeps_job, task_state
from gemini_tuning.triggers.tuning_job import TuningJobTrigger

GIVEN_UP = ["failed", "skipped", "upstream_failed", "removed", MISSING]
KEEP_JOB_STATES = [None, "scheduled", "queued", "running", "restarting", "deferred", "up_for_retry", "success"]
TASK = SimpleNamespace(dag_id="dag", run_id="run", task_id="wait", map_index=-1)


@pytest.fixture
def job(vertex):
    job = GeminiTuningHook().create_tuning_job(SPEC, project_id=None, location=LOCATION)
    vertex.advance(9)
    return job


def cancels(vertex):
    return [r["path"] for r in vertex.requests() if r["path"].endswith(":cancel")]


def set_state(monkeypatch, module, state):
    answer = {} if state == MISSING else {"run": {"wait": state}}
    monkeypatch.setattr(module, "get_task_states", lambda *_: answer)


def test_a_mapped_task_is_found_by_its_index():
    task = SimpleNamespace(dag_id="dag", run_id="run", task_id="wait", map_index=2)
    assert task_state({"run": {"wait_1": "failed", "wait_2": "deferred"}}, task) == "deferred"
    assert task_state({"run": {"wait": None}}, TASK) is None
    assert task_state({}, TASK) == MISSING


def test_every_state_of_airflow_is_decided_on():
    from airflow.utils.state import TaskInstanceState

    assert {str(s.value) for s in TaskInstanceState if not keeps_job(s.value)} == set(GIVEN_UP) - {MISSING}


# --------------------------------------------------------------------------------------------- trigger


def killed_trigger(name, **change):
    trigger = TuningJobTrigger(
        name, gcp_conn_id="google_cloud_default", impersonation_chain=None, poll_interval=1, deadline=0, **change
    )
    trigger._task_instance = TASK
    asyncio.run(trigger.on_kill())


@pytest.mark.parametrize("state", GIVEN_UP)
def test_the_trigger_cancels_the_job_that_its_run_has_given_up(vertex, job, monkeypatch, capsys, state):
    set_state(monkeypatch, triggers, state)
    killed_trigger(job.name)
    killed_trigger(job.name)  # a second triggerer that had stalled
    assert len(cancels(vertex)) == 1
    assert f"Cancelled tuning job {job.name}: the task's state is {state}" in capsys.readouterr().out


@pytest.mark.parametrize("state", KEEP_JOB_STATES)
def test_the_trigger_leaves_a_job_alone_that_is_wanted(vertex, job, monkeypatch, capsys, state):
    set_state(monkeypatch, triggers, state)
    killed_trigger(job.name)
    assert cancels(vertex) == []
    assert f"{job.name} is not cancelled" in capsys.readouterr().out


def test_airflow_cannot_interrupt_the_cancelling(vertex, job, monkeypatch):
    """Airflow 3.3.2 cancels a trigger again and again until it is gone, also while on_kill runs."""
    trigger = TuningJobTrigger(
        job.name, gcp_conn_id="google_cloud_default", impersonation_chain=None, poll_interval=1, deadline=0
    )
    trigger._task_instance = TASK

    async def interrupted():
        going_on = asyncio.Event()

        async def slow_state():
            await going_on.wait()
            return "failed"

        monkeypatch.setattr(trigger, "_get_task_state", slow_state)
        kill = asyncio.create_task(trigger.on_kill())
        for _ in range(5):
            await asyncio.sleep(0)
            kill.cancel("user-action")
        going_on.set()
        await asyncio.wait([kill])

    asyncio.run(interrupted())
    assert len(cancels(vertex)) == 1


def test_cancelling_can_be_turned_off(vertex, job, monkeypatch):
    set_state(monkeypatch, triggers, "failed")
    killed_trigger(job.name, cancel_on_kill=False)
    assert cancels(vertex) == []


def test_a_job_that_could_not_be_cancelled_is_named_in_the_log(vertex, job, monkeypatch, capsys):
    set_state(monkeypatch, triggers, "failed")
    vertex.faults([{"path": ":cancel", "status": 403, "message": "Not yours."}])
    killed_trigger(job.name)
    output = capsys.readouterr().out
    assert f"Could not cancel {job.name}" in output
    assert "Not yours." in output


def test_when_airflow_does_not_tell_the_state_nothing_is_cancelled(vertex, job, monkeypatch, capsys):
    def away(*_):
        raise ConnectionError("the API server is away")

    monkeypatch.setattr(triggers, "get_task_states", away)
    killed_trigger(job.name)
    assert cancels(vertex) == []
    assert f"Could not cancel {job.name}" in capsys.readouterr().out


def test_the_trigger_keeps_its_switch_when_it_is_made_again(job):
    trigger = TuningJobTrigger(
        job.name, gcp_conn_id="c", impersonation_chain=None, poll_interval=1, deadline=0, cancel_on_kill=False
    )
    path, arguments = trigger.serialize()
    assert TuningJobTrigger(**arguments).serialize() == (path, arguments)
    assert arguments["cancel_on_kill"] is False


# ---------------------------------------------------------------------------------- the sensor on a worker


@pytest.mark.parametrize(("state", "count"), [("failed", 1), ("running", 0), (None, 0)])
def test_a_sensor_killed_on_its_worker_decides_alike(vertex, job, monkeypatch, state, count):
    set_state(monkeypatch, sensors, state)
    operator = GeminiTuningJobSensor(task_id="wait", tuning_job=job.name, deferrable=False)
    operator._task = TASK
    operator.on_kill()
    operator.on_kill()
    assert len(cancels(vertex)) == count


# --------------------------------------------------------------------------------------------- teardown


@pytest.fixture
def ended(monkeypatch):
    """Return a function that runs the teardown of a run whose tasks have ended in the given states."""
    monkeypatch.setattr(cancel, "POLL_INTERVAL", 0.01)

    def run(xcoms, *, create="success", wait="failed", after="upstream_failed", down=None, soft_fail=False, **change):
        states = {"create_tuning_job": create, "wait_for_tuning_job": wait, "list_checkpoints": after}
        states["smoke_test"] = down
        tasks = {"wait_for_tuning_job": {"list_checkpoints", "down"}, "list_checkpoints": {"smoke_test"}}
        monkeypatch.setattr(cancel, "get_task_states", lambda *_: {"run": states})
        ctx = context()
        ctx["ti"].xcom_pull = lambda key="return_value", **_: xcoms.get(key)
        ctx["dag"] = SimpleNamespace(
            task_dict=states,
            get_task=lambda name: SimpleNamespace(downstream_task_ids=tasks.get(name, set()), soft_fail=soft_fail),
        )
        return GeminiCancelTuningJobOperator(
            task_id="down",
            create_task=SimpleNamespace(task_id="create_tuning_job"),
            wait_task=SimpleNamespace(task_id="wait_for_tuning_job"),
            grace=0.05,
            **change,
        ).execute(ctx)

    return run


def test_a_run_that_has_waited_needs_no_cleaning_up(vertex, job, ended):
    before = len(vertex.requests())
    assert ended({"return_value": job.name}, wait="success") == {"tuning_job": None, "state": None, "cancelled": False}
    assert len(vertex.requests()) == before


def test_the_job_of_a_wait_that_failed_is_cancelled(vertex, job, ended):
    assert ended({"return_value": job.name}) == {"tuning_job": job.name, "state": "RUNNING", "cancelled": True}
    assert len(cancels(vertex)) == 1


@pytest.mark.parametrize("outcome", ["failed", "succeeded", "cancelled"])
def test_a_job_that_is_over_is_left_alone(vertex, job, ended, outcome):
    if outcome == "cancelled":
        GeminiTuningHook().cancel_tuning_job(job.name)
    vertex.advance(LONG)
    before = len(cancels(vertex))
    assert ended({"return_value": job.name})["cancelled"] is False
    assert len(cancels(vertex)) == before


def test_the_job_of_a_create_that_was_killed_is_found_by_its_labels(vertex, ended):
    ctx = context(store=TaskStateStore())
    create = GeminiCreateTuningJobOperator(
        task_id="task",
        tuning_request={"training_dataset_uri": "gs://bucket/train.jsonl", "base_model": "gemini-2.5-flash"},
    )
    name = create.execute(ctx)
    announced = ctx["ti"].xcoms["submission"]
    assert ended({"submission": announced}, create="failed", wait="upstream_failed")["tuning_job"] == name
    assert len(cancels(vertex)) == 1
    other = {"labels": {**announced["labels"], "airflow_request": "0" * 16}, "sent_at": None}
    assert ended({"submission": other}, create="failed", wait="upstream_failed")["tuning_job"] is None


def test_a_run_that_never_asked_for_a_job_has_none(vertex, ended):
    assert ended({}, create="upstream_failed", wait="upstream_failed")["tuning_job"] is None
    assert ended({}, create="failed", wait="upstream_failed")["tuning_job"] is None


@pytest.mark.parametrize(
    "states",
    [
        {"wait": "failed", "after": "skipped"},
        {"create": "failed", "wait": "skipped", "after": "skipped"},
        {"create": "skipped", "wait": "skipped", "after": "skipped"},
    ],
)
def test_a_run_that_was_marked_failed_stays_failed(vertex, job, ended, snapshot, states):
    """Airflow would take it for a success: it leaves the run to the teardown, and skips the tasks after it."""
    with pytest.raises(AirflowFailException) as error:
        ended({"return_value": job.name}, **states)
    assert job.name in str(error.value)
    assert masked(error.value) == snapshot
    assert len(cancels(vertex)) == 1


def test_a_wait_that_is_cleared_meanwhile_keeps_its_job(vertex, job, ended, monkeypatch):
    looks = []

    def cleared_later(operator, ctx):
        looks.append(1)
        return {"create_tuning_job": "success", "wait_for_tuning_job": "failed" if len(looks) == 1 else None}

    monkeypatch.setattr(GeminiCancelTuningJobOperator, "_states", cleared_later)
    assert ended({"return_value": job.name})["cancelled"] is False
    assert cancels(vertex) == []


def test_jobs_that_may_be_another_airflows_are_named_and_not_cancelled(vertex, ended, snapshot):
    labels = {"airflow_dag": "dag", "airflow_run": "run", "airflow_task": "create_tuning_job"}
    spec = SPEC.model_copy(update={"labels": labels})
    name = GeminiTuningHook().create_tuning_job(spec, project_id=None, location=LOCATION).name
    with pytest.raises(TuningJobError) as error:
        ended({}, create="failed", wait="upstream_failed")
    assert (error.value.code, error.value.resource) == ("unknown_jobs_running", name)
    assert masked(error.value) == snapshot
    assert cancels(vertex) == []


def test_a_run_marked_failed_right_after_the_wait_stays_failed(vertex, job, ended, snapshot):
    with pytest.raises(AirflowFailException) as error:
        ended({"return_value": job.name}, wait="success", after="failed", down="skipped")
    assert str(error.value) == snapshot
    assert ended({"return_value": job.name}, wait="success", after="failed", down="upstream_failed")


def test_a_run_marked_success_while_its_job_was_created_stays_a_success(vertex, ended):
    assert ended({}, create="success", wait="skipped", after="skipped")["tuning_job"] is None


def test_a_sensor_that_skips_itself_is_not_taken_for_somebodys_hand(vertex, job, ended):
    assert ended({"return_value": job.name}, wait="skipped", after="skipped", soft_fail=True)["cancelled"] is True


def test_a_job_that_cannot_be_cancelled_fails_the_teardown(vertex, job, ended):
    vertex.faults([{"path": ":cancel", "status": 403, "message": "Not yours."}])
    with pytest.raises(PermanentServiceError) as error:
        ended({"return_value": job.name})
    assert (error.value.code, error.value.resource, error.value.service_message) == (403, job.name, "Not yours.")
