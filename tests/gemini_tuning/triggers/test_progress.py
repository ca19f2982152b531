"""The XCom progress: epoch and step of a job, its losses, why it failed."""

import asyncio
import json
import threading
import time
from types import SimpleNamespace

import pytest
from support import LOCATION, LONG, SPEC, context

from gemini_tuning.core.exceptions import TuningJobError
from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook
from gemini_tuning.sensors.tuning_job import GeminiTuningJobSensor
from gemini_tuning.triggers import progress
from gemini_tuning.triggers.progress import ProgressKeeper
from gemini_tuning.triggers.tuning_job import TuningJobTrigger

TASK = SimpleNamespace(dag_id="dag", run_id="run", task_id="wait", map_index=-1)


@pytest.fixture
def kept(monkeypatch):
    """What is pushed, in place of Airflow."""
    found = []
    monkeypatch.setattr(progress, "_push", lambda task, what: found.append((task, what)))
    return found


def new_job():
    return GeminiTuningHook().create_tuning_job(SPEC, project_id=None, location=LOCATION).name


async def keep(vertex, name, *seconds, task=TASK):
    """Poll a job each time a number of seconds has passed, and wait for its losses."""
    hook = await GeminiTuningHook.acreate("google_cloud_default")
    keeper = ProgressKeeper(task)
    try:
        for more in seconds:
            await asyncio.to_thread(vertex.advance, more)
            keeper.keep(hook, await hook.aget_tuning_job(name))
            await asyncio.gather(*filter(None, (keeper._pushing, keeper._reading)))
    finally:
        await keeper.aclose()
        await hook.aclose()


def test_a_job_under_way_shows_epoch_step_and_losses(vertex, kept):
    asyncio.run(keep(vertex, new_job(), 9, 0))
    task, shown = kept[-1]
    assert task is TASK
    assert shown["state"] == "RUNNING"
    assert shown["base_model"] == SPEC.base_model
    assert shown["epoch_count"] == 3
    assert 0 < shown["completed_steps"] < 27
    steps = [step for step, _ in shown["train_loss"]]
    assert steps == sorted(set(steps))
    assert steps[-1] <= shown["completed_steps"]
    assert shown["eval_loss"]
    assert shown["error"] is None
    json.dumps(shown)


def test_what_has_not_changed_is_not_kept_again(vertex, kept):
    asyncio.run(keep(vertex, new_job(), 9, 0, 0, 0))
    assert len(kept) == 2  # the second has the losses, which came after the first


def test_the_losses_are_read_once_for_each_epoch(vertex, kept):
    asyncio.run(keep(vertex, new_job(), 9, 0, 0, 0))
    assert len([r for r in vertex.requests() if "batchRead" in r["path"]]) == 1


def test_losses_that_cannot_be_read_are_logged_once(vertex, kept, caplog):
    name = new_job()
    vertex.faults([{"path": "/metadataStores/", "status": 403, "message": "no metadata for you"}])
    asyncio.run(keep(vertex, name, 9, 3, 3, LONG))
    assert [what["state"] for _, what in kept][-1] == "SUCCEEDED"
    assert caplog.text.count("Could not read the losses") == 1
    assert "no metadata for you" in caplog.text


def test_a_push_that_fails_is_logged_once(vertex, monkeypatch, caplog):
    def refuse(task, what):
        raise RuntimeError("the API server is unavailable")

    monkeypatch.setattr(progress, "_push", refuse)
    asyncio.run(keep(vertex, new_job(), 9, 3, LONG))
    assert caplog.text.count("the API server is unavailable") == 1


def test_without_a_task_nothing_is_read_or_kept(vertex, kept):
    asyncio.run(keep(vertex, new_job(), 9, task=None))
    assert not kept
    assert not [r for r in vertex.requests() if "tensorboards" in r["path"]]


def waiting(name):
    found = TuningJobTrigger(
        name, gcp_conn_id="google_cloud_default", impersonation_chain=None, poll_interval=0.01,
        deadline=time.time() + 60,
    )  # fmt: skip
    found.task_instance = TASK
    return found


async def event_of(trigger):
    try:
        async for event in trigger.run():
            return event.payload
    finally:
        await trigger.cleanup()


def test_a_trigger_keeps_the_progress_of_its_task(vertex, kept):
    async def wait(name):
        task = asyncio.create_task(event_of(waiting(name)))
        while not kept:  # noqa: ASYNC110 - another thread adds to it
            await asyncio.sleep(0.01)
        await asyncio.to_thread(vertex.advance, LONG)
        return await task

    assert asyncio.run(wait(new_job()))["status"] == "ended"
    assert kept[0][0] is TASK


def test_an_airflow_that_hangs_holds_up_neither_the_wait_nor_a_cancellation(vertex, monkeypatch):
    """The cancellation's message says whether a user has ended the task."""
    pushing, over = threading.Event(), threading.Event()

    def hang(task, what):
        pushing.set()
        over.wait()

    async def wait(name, *, cancelled):
        task = asyncio.create_task(event_of(waiting(name)))
        await asyncio.to_thread(pushing.wait)
        if cancelled:
            task.cancel("user-action")
        else:
            await asyncio.to_thread(vertex.advance, LONG)
        try:
            return await task
        except asyncio.CancelledError as error:
            return error.args
        finally:
            over.set()

    monkeypatch.setattr(progress, "_push", hang)
    assert asyncio.run(wait(new_job(), cancelled=True)) == ("user-action",)
    pushing.clear(), over.clear()
    assert asyncio.run(wait(new_job(), cancelled=False))["status"] == "ended"


def test_losses_that_take_long_leave_the_loops_threads_to_others(vertex, kept, monkeypatch):
    calls, over = [], threading.Event()

    def hang(self, *_):
        calls.append(1)
        over.wait()
        return {}

    async def many(name):
        hook = await GeminiTuningHook.acreate("google_cloud_default")
        job, keepers = await hook.aget_tuning_job(name), [ProgressKeeper(TASK) for _ in range(40)]
        for keeper in keepers:
            keeper.keep(hook, job)
        try:
            return await asyncio.wait_for(asyncio.to_thread(lambda: "free"), 30), len(calls)
        finally:
            over.set()
            for keeper in keepers:
                await keeper.aclose()
            await hook.aclose()

    name = new_job()
    vertex.advance(9)
    monkeypatch.setattr(GeminiTuningHook, "read_curves", hang)
    free, reading = asyncio.run(many(name))
    assert free == "free"
    assert reading <= progress.MAX_READERS


def test_the_sensor_ignores_a_progress_that_cannot_be_pushed(vertex, caplog):
    name = new_job()
    vertex.advance(LONG)
    running = context()
    running["ti"].xcoms = None  # nothing can be pushed
    event = {"status": "ended", "resource": name}
    assert GeminiTuningJobSensor(task_id="wait", tuning_job=name).execute_complete(running, event)["model"]


def test_the_sensor_keeps_the_end_with_the_losses_that_were_there(vertex):
    name = new_job()
    vertex.advance(LONG)
    running = context()
    running["ti"].xcoms[progress.XCOM_KEY] = {"train_loss": [[1, 2.0]], "eval_loss": [], "state": "RUNNING"}
    GeminiTuningJobSensor(task_id="wait", tuning_job=name).execute_complete(
        running, {"status": "ended", "resource": name}
    )
    shown = running["ti"].xcoms[progress.XCOM_KEY]
    assert shown["state"] == "SUCCEEDED"
    assert shown["train_loss"] == [[1, 2.0]]
    assert shown["model"]


def test_the_sensor_keeps_why_a_job_failed(vertex):
    name = new_job()
    GeminiTuningHook().cancel_tuning_job(name)
    vertex.advance(LONG)
    running = context()
    with pytest.raises(TuningJobError):
        GeminiTuningJobSensor(task_id="wait", tuning_job=name, deferrable=True).execute(running)
    shown = running["ti"].xcoms[progress.XCOM_KEY]
    assert shown["state"] == "CANCELLED"
    assert name in shown["error"]


@pytest.mark.parametrize("kept", [None, "text", [], {"train_loss": [[1, 2.0]]}])
def test_losses_of_an_earlier_xcom_are_kept(kept):
    assert progress.losses_of(kept) == (kept if isinstance(kept, dict) else {})
