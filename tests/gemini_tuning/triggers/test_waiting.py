"""The sensor and the triggers: waiting for a job in every state, also while the service is unavailable."""

import asyncio
import json
import re
import time
from datetime import datetime

import pytest
from airflow.sdk.exceptions import AirflowSkipException, TaskDeferred
from support import LOCATION, LONG, SPEC, context, fill, finished_job, use_connection

from gemini_tuning.core.copy_spec import ModelCopySpec
from gemini_tuning.core.exceptions import PermanentServiceError, TuningJobError
from gemini_tuning.hooks import base
from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook
from gemini_tuning.sensors.tuning_job import GeminiTuningJobSensor
from gemini_tuning.triggers import waiting as triggers
from gemini_tuning.triggers.model_copy import CopyModelTrigger
from gemini_tuning.triggers.tuning_job import TuningJobTrigger
from vertex_emulator.process import Emulator


def new_job():
    return GeminiTuningHook().create_tuning_job(SPEC, project_id=None, location=LOCATION)


def sensor(name, **change):
    return GeminiTuningJobSensor(task_id="wait", tuning_job=name, **{"deferrable": True, **change})


def without_ids(error):
    """Return the message without the ids of resources, which change."""
    return re.sub(r"\b\d{6,}\b", "ID", str(error))


def trigger(name, *, kind=TuningJobTrigger, deadline=60.0):
    return kind(
        name, gcp_conn_id="google_cloud_default", impersonation_chain=None, poll_interval=0.01,
        deadline=time.time() + deadline,
    )  # fmt: skip


async def event_of(waiting):
    async for event in waiting.run():
        return event.payload
    return None


async def event_after(waiting, vertex, path, change):
    """Start a trigger, change the service once it has polled, and return its event."""
    seen = len([r for r in vertex.requests() if path in r["path"]])
    task = asyncio.create_task(event_of(waiting))
    while len([r for r in await asyncio.to_thread(vertex.requests) if path in r["path"]]) == seen:  # noqa: ASYNC110 - another process
        await asyncio.sleep(0.01)
    assert not task.done()
    await asyncio.to_thread(change)
    return await task


# -------------------------------------------------------------------------------------------- sensor


def test_a_finished_job_is_not_waited_for(vertex):
    job = finished_job(vertex)
    pushed = sensor(job.name).execute(context())
    assert pushed["state"] == "SUCCEEDED"
    assert pushed["model"] == job.model
    json.dumps(pushed)


@pytest.mark.parametrize("status", ["ended", "deadline", "error"])
def test_the_end_of_another_wait_is_not_taken_for_this_ones(vertex, status):
    """Airflow can deliver the event of an earlier trigger that had the same number; seen on SQLite."""
    other, name = finished_job(vertex).name, new_job().name
    with pytest.raises(TaskDeferred) as caught:
        sensor(name).execute_complete(
            context(), {"status": status, "resource": other, "message": "Not found.", "code": 404}
        )
    assert caught.value.trigger.serialize()[1]["resource"] == name
    assert not [request for request in vertex.requests() if request["path"].endswith(":cancel")]


def test_a_job_under_way_is_deferred_to_a_small_trigger_without_secrets(vertex):
    job = new_job()
    name, created = job.name, datetime.fromisoformat(job.create_time).timestamp()
    with pytest.raises(TaskDeferred) as caught:
        sensor(name, poll_interval="30", deadline="3600").execute(context())
    path, arguments = caught.value.trigger.serialize()
    assert path == "gemini_tuning.triggers.tuning_job.TuningJobTrigger"
    assert arguments["poll_interval"] == 30
    assert arguments["deadline"] == created + 3600  # and so the same for every try
    assert caught.value.timeout.total_seconds() > 3600
    assert len(json.dumps(arguments)) < 500
    assert "PRIVATE" not in json.dumps(arguments)


def test_the_sensor_resumes_with_the_triggers_event(vertex):
    job = finished_job(vertex)
    assert sensor(job.name).execute_complete(context(), {"status": "ended", "resource": job.name})["model"] == job.model


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        ("failed", "job_failed"),
        ("expired", "job_expired"),
        ("cancelled", "job_cancelled"),
        ("failed_after_model", "job_failed"),
    ],
)
def test_a_job_that_ends_badly_fails_the_task_with_the_services_error(vertex, snapshot, outcome, code):
    vertex.faults([{"job": {}, "outcome": outcome}])
    job = finished_job(vertex)
    with pytest.raises(TuningJobError) as caught:
        sensor(job.name).execute(context())
    assert (caught.value.resource, caught.value.code) == (job.name, code)
    assert job.name in str(caught.value)
    assert (job.error is None) or str(job.error) in str(caught.value)
    assert without_ids(caught.value) == snapshot


def test_a_model_left_by_a_failed_job_is_named(vertex):
    vertex.faults([{"job": {}, "outcome": "failed_after_model"}])
    job = finished_job(vertex)
    with pytest.raises(TuningJobError, match=job.model):
        sensor(job.name).execute(context())


def test_a_dataset_that_the_service_refuses(vertex):
    vertex.put_object("gs://bucket/train.jsonl", "{oops\n")
    job = finished_job(vertex)
    with pytest.raises(TuningJobError, match="Line 1 is not valid JSON") as caught:
        sensor(job.name).execute(context())
    assert caught.value.code == "job_failed"


def test_at_the_deadline_the_job_is_cancelled_and_the_task_fails(vertex, snapshot):
    name = new_job().name
    vertex.advance(3)
    with pytest.raises(TuningJobError) as caught:
        sensor(name).execute_complete(context(), {"status": "deadline", "resource": name})
    assert (caught.value.resource, caught.value.code) == (name, "deadline_exceeded")
    assert without_ids(caught.value) == snapshot
    vertex.advance(LONG)
    assert GeminiTuningHook().get_tuning_job(name).state == "CANCELLED"


def test_the_sensor_defers_while_the_service_is_unavailable(vertex, monkeypatch):
    monkeypatch.setattr(base, "READ_ATTEMPTS", 1)
    name = new_job().name
    vertex.faults([{"path": "tuningJobs/", "status": 503}])
    waiting = sensor(name, deadline=60)
    for step in (
        lambda: waiting.execute(context()),
        lambda: waiting.execute_complete(context(), {"status": "ended", "resource": name}),
    ):
        with pytest.raises(TaskDeferred) as caught:
            step()
        assert caught.value.trigger.resource == name
        assert 0 < caught.value.trigger.deadline - time.time() <= 60


def test_an_unknown_job_fails_immediately(vertex):
    with pytest.raises(PermanentServiceError) as caught:
        sensor(f"projects/demo-project/locations/{LOCATION}/tuningJobs/404").execute(context())
    assert caught.value.code == 404


def test_without_deferring_the_sensor_pokes(vertex, monkeypatch):
    name = new_job().name
    get = GeminiTuningHook.get_tuning_job
    monkeypatch.setattr(GeminiTuningHook, "get_tuning_job", lambda *a: (vertex.advance(10), get(*a))[1])
    pushed = sensor(name, deferrable=False, poll_interval=0.001).execute(context())
    assert pushed["state"] == "SUCCEEDED"


@pytest.fixture
def fresh(monkeypatch):
    """A service whose clock was not advanced: a job's creation is now."""
    with Emulator(speed=0) as emulator:
        fill(emulator)
        use_connection(monkeypatch, emulator.connection())
        yield emulator


@pytest.mark.parametrize("soft_fail", [False, True])
def test_without_deferring_the_deadline_cancels_too(fresh, soft_fail):
    name = new_job().name
    waiting = sensor(name, deferrable=False, soft_fail=soft_fail, poll_interval=0.001, deadline=0.01)
    with pytest.raises(AirflowSkipException if soft_fail else TuningJobError, match="deadline"):
        waiting.execute(context())
    fresh.advance(LONG)
    assert GeminiTuningHook().get_tuning_job(name).state == "CANCELLED"


@pytest.mark.parametrize(
    "bad", [{"poll_interval": -5}, {"poll_interval": "nan"}, {"deadline": 0}, {"deadline": "soon"}]
)
def test_invalid_intervals_are_refused(vertex, bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        sensor(new_job().name, **bad).execute(context())


def test_a_partial_success_counts(vertex):
    vertex.faults([{"job": {}, "outcome": "partially_succeeded"}])
    assert sensor(finished_job(vertex).name).execute(context())["state"] == "PARTIALLY_SUCCEEDED"


def test_a_rescheduling_sensor_frees_its_slot_between_polls(vertex):
    waiting = sensor(new_job().name, deferrable=False, mode="reschedule")
    assert not waiting.poke(context()).is_done
    vertex.advance(LONG)
    assert waiting.poke(context()).xcom_value["state"] == "SUCCEEDED"


@pytest.mark.parametrize("deferrable", [True, False])
def test_a_soft_failing_sensor_skips_when_the_job_failed(vertex, deferrable):
    vertex.faults([{"job": {}, "outcome": "failed"}])
    name = finished_job(vertex).name
    with pytest.raises(AirflowSkipException, match="is FAILED"):
        sensor(name, deferrable=deferrable, soft_fail=True).execute(context())


@pytest.mark.parametrize("mode", [{}, {"soft_fail": True}])
def test_a_job_that_ended_just_before_the_deadline_counts_as_ended(vertex, mode):
    job = finished_job(vertex)
    pushed = sensor(job.name, **mode).execute_complete(context(), {"status": "deadline", "resource": job.name})
    assert pushed["model"] == job.model


def test_a_job_that_cannot_be_cancelled_is_reported(vertex, snapshot):
    name = new_job().name
    vertex.faults([{"path": ":cancel$", "status": 403, "message": "Not you."}])
    with pytest.raises(TuningJobError) as caught:
        sensor(name).execute_complete(context(), {"status": "deadline", "resource": name})
    assert (caught.value.resource, caught.value.code) == (name, "cancel_failed")
    assert "PENDING" in str(caught.value)
    assert "Not you." in str(caught.value)
    assert "cancel it" in caught.value.hint
    assert without_ids(caught.value) == snapshot


# ------------------------------------------------------------------------------------------- triggers


@pytest.mark.parametrize("outcome", ["succeeded", "failed", "expired", "cancelled"])
def test_the_trigger_fires_when_the_job_has_finished_in_any_state(vertex, outcome):
    vertex.faults([{"job": {}, "outcome": outcome}])
    name = new_job().name
    event = asyncio.run(event_after(trigger(name), vertex, name, lambda: vertex.advance(LONG)))
    assert event == {"status": "ended", "resource": name}


@pytest.mark.parametrize("outcome", ["paused", "pending"])
def test_the_trigger_waits_in_states_that_are_not_final_until_the_deadline(vertex, outcome):
    vertex.faults([{"job": {}, "outcome": outcome}])
    name = new_job().name
    vertex.advance(LONG)
    assert asyncio.run(event_of(trigger(name, deadline=0.05))) == {"status": "deadline", "resource": name}


def test_the_trigger_retries_while_the_service_is_unavailable(vertex, monkeypatch):
    monkeypatch.setattr(base, "READ_ATTEMPTS", 1)
    name = finished_job(vertex).name
    vertex.faults([{"path": "tuningJobs/", "status": 503, "times": 3}])
    assert asyncio.run(event_of(trigger(name))) == {"status": "ended", "resource": name}


@pytest.mark.parametrize("message", ["Not yours. ", "あなたのものではありません。"])
def test_a_refusal_ends_the_wait_with_the_services_message(vertex, message):
    name = new_job().name
    vertex.faults([{"path": "tuningJobs/", "status": 403, "message": message * 200}])
    event = asyncio.run(event_of(trigger(name)))
    assert event["status"] == "error"
    assert event["code"] == 403
    assert message[:9] in event["message"]
    assert len(json.dumps(event)) < 1024
    with pytest.raises(PermanentServiceError) as caught:
        sensor(name).execute_complete(context(), event)
    assert (caught.value.resource, caught.value.code) == (name, 403)
    assert event["message"] in str(caught.value)
    assert name in caught.value.hint


def test_no_event_comes_before_the_scheduler_knows_of_the_deferral(vertex, monkeypatch):
    naps = []
    monkeypatch.setattr(triggers, "MIN_SECONDS_TO_EVENT", 60.0)
    sleep = asyncio.sleep

    async def nap(seconds, *rest):
        naps.append(seconds)
        await sleep(min(seconds, 0), *rest)

    monkeypatch.setattr(triggers.asyncio, "sleep", nap)
    name = finished_job(vertex).name
    assert asyncio.run(event_of(trigger(name)))["status"] == "ended"
    assert max(naps) > 50


def test_the_copy_trigger(vertex):
    job = finished_job(vertex)
    name = GeminiTuningHook().copy_model(job.model, ModelCopySpec(), location="europe-west4")
    operation_id = name.rpartition("/")[2]
    waiting = trigger(name, kind=CopyModelTrigger)
    event = asyncio.run(event_after(waiting, vertex, operation_id, lambda: vertex.advance(LONG)))
    assert event == {"status": "ended", "resource": name}


@pytest.mark.parametrize("kind", [TuningJobTrigger, CopyModelTrigger])
def test_triggers_can_be_created_from_their_serialized_form(kind):
    path, arguments = trigger("projects/1/locations/l/x/2", kind=kind).serialize()
    assert path == f"{kind.__module__}.{kind.__qualname__}"
    assert kind(**arguments).serialize() == (path, arguments)


def test_the_log_shows_progress_once_when_it_changes(vertex, capsys):
    name = new_job().name
    vertex.advance(9)

    asyncio.run(event_after(trigger(name), vertex, name, lambda: vertex.advance(LONG)))
    output = capsys.readouterr().out
    assert f"Waiting for {name}" in output
    lines = [line.partition("]")[2] for line in output.splitlines() if "epoch" in line]
    assert any("RUNNING" in line and "epoch" in line and "of 3" in line and "step" in line for line in lines)
    assert "SUCCEEDED, epoch 3 of 3" in lines[-1]
    assert len(lines) == len(set(lines))


FAULTS = [
    {"status": 429},
    {"status": 500},
    {"status": 503},
    {"drop": "before"},
    {"body": "html"},
    {"body": "malformed"},
]


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_no_fault_ends_a_wait_that_has_time_left(vertex, capsys, fault):
    name = finished_job(vertex).name
    vertex.faults([{"path": "tuningJobs/", "times": 4, **fault}])
    assert asyncio.run(event_of(trigger(name)))["status"] == "ended"
    assert "No usable response, retrying" in capsys.readouterr().out


def test_a_token_that_expired_early_does_not_end_a_wait(vertex):
    name = finished_job(vertex).name
    vertex.faults([{"path": "tuningJobs/", "times": 1, "token": "expired"}])
    assert asyncio.run(event_of(trigger(name)))["status"] == "ended"


def test_a_job_that_a_list_reports_finished_too_early_is_deferred_again(vertex):
    name = new_job().name
    with pytest.raises(TaskDeferred) as caught:
        sensor(name, deadline=3600).execute_complete(context(), {"status": "ended", "resource": name})
    assert caught.value.trigger.resource == name


def test_the_trigger_knows_that_the_task_has_just_polled(vertex):
    before = time.time()
    with pytest.raises(TaskDeferred) as caught:
        sensor(new_job().name, poll_interval=3600).execute(context())
    assert before <= caught.value.trigger.serialize()[1]["last_polled_at"] <= time.time()
