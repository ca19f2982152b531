"""Many triggers in one event loop against the emulator: the requests that they send together, over HTTP."""

import asyncio
import re
import time

import pytest
from support import LOCATION, LONG, SPEC, finished_job

from gemini_tuning.core.copy_spec import ModelCopySpec
from gemini_tuning.hooks.gemini_tuning import GeminiTuningHook
from gemini_tuning.triggers.model_copy import CopyModelTrigger
from gemini_tuning.triggers.shared_poller import poller, tuning_jobs
from gemini_tuning.triggers.tuning_job import TuningJobTrigger

JOBS = 12
ONE_JOB = re.compile(r"/tuningJobs/\d+$")


def new_jobs(number=JOBS):
    hook = GeminiTuningHook()
    return [hook.create_tuning_job(SPEC, project_id=None, location=LOCATION).name for _ in range(number)]


def trigger(name, *, kind=TuningJobTrigger, poll_interval=0.5):
    return kind(
        name, gcp_conn_id="google_cloud_default", impersonation_chain=None, poll_interval=poll_interval,
        deadline=time.time() + 60,
    )  # fmt: skip


async def event_of(waiting):
    async for event in waiting.run():
        return event.payload
    return None


def requests_for(vertex, *, since=0):
    """Return the number of requests for single jobs, for lists and for tokens."""
    paths = [request["path"] for request in vertex.requests()[since:]]
    return (
        sum(1 for path in paths if ONE_JOB.search(path)),
        sum(1 for path in paths if path.endswith("/tuningJobs")),
        sum(1 for path in paths if "token" in path),
    )


async def until(condition):
    """Poll another process."""
    while not await asyncio.to_thread(condition):  # noqa: ASYNC110
        await asyncio.sleep(0.02)


def test_a_list_serves_all_triggers(vertex):
    names = new_jobs()
    before = len(vertex.requests())

    async def main():
        waits = [asyncio.create_task(event_of(trigger(name))) for name in names]
        await until(lambda: requests_for(vertex, since=before)[1] >= 2)
        await asyncio.to_thread(vertex.advance, LONG)
        return await asyncio.gather(*waits)

    assert asyncio.run(main()) == [{"status": "ended", "resource": name} for name in names]
    singles, lists, tokens = requests_for(vertex, since=before)
    assert lists >= 2
    assert singles < JOBS
    assert tokens <= 2  # the client's and the session's


def test_a_job_is_the_same_in_a_list(vertex):
    names = [*new_jobs(2), finished_job(vertex).name]
    hook = GeminiTuningHook()
    project = names[0].split("/")[1]
    [page] = hook.tuning_job_pages(project, LOCATION)
    listed = {job.id: job for job in page}
    for name in names:
        job, one = listed[name.rpartition("/")[2]], hook.get_tuning_job(name)
        assert job.read(name) == one
        assert job.has_ended == one.has_ended


def test_pages_are_read_until_all_are_seen(vertex, monkeypatch):
    monkeypatch.setattr(tuning_jobs, "PAGE_SIZE", 3)
    names = new_jobs()
    vertex.advance(LONG)

    async def main():
        return await asyncio.gather(*(event_of(trigger(name)) for name in names))

    assert {event["status"] for event in asyncio.run(main())} == {"ended"}


@pytest.mark.parametrize("fault", [{"status": 403}, {"status": 503}, {"body": "html"}, {"drop": "before"}], ids=str)
def test_lists_that_fail_end_no_wait(vertex, fault):
    names = new_jobs()
    vertex.faults([{"path": "/tuningJobs$", "times": 50, **fault}])
    vertex.advance(LONG)

    async def main():
        return await asyncio.gather(*(event_of(trigger(name)) for name in names))

    assert {event["status"] for event in asyncio.run(main())} == {"ended"}


def test_the_last_trigger_closes_the_clients(vertex, monkeypatch):
    closed = []
    close = GeminiTuningHook.aclose

    async def closing(hook):
        closed.append(hook)
        await close(hook)

    monkeypatch.setattr(GeminiTuningHook, "aclose", closing)
    names = new_jobs(3)

    async def main():
        waits = [asyncio.create_task(event_of(trigger(name))) for name in names]
        await until(lambda: sum(requests_for(vertex)) > len(names) + 1)
        waits[0].cancel()
        await asyncio.wait([waits[0]])
        assert not closed
        for wait in waits[1:]:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
        return dict(poller._pollers)

    assert asyncio.run(main()) == {}
    assert len(closed) == 1


def test_copies_share_a_client_too(vertex):
    model = finished_job(vertex).model
    hook = GeminiTuningHook()
    names = [hook.copy_model(model, ModelCopySpec(), location="europe-west4") for _ in range(8)]
    before = len(vertex.requests())

    async def main():
        waits = [asyncio.create_task(event_of(trigger(name, kind=CopyModelTrigger))) for name in names]
        await until(lambda: len(vertex.requests()) >= before + 5)
        await asyncio.to_thread(vertex.advance, LONG)
        return await asyncio.gather(*waits)

    assert asyncio.run(main()) == [{"status": "ended", "resource": name} for name in names]
    assert requests_for(vertex, since=before)[2] <= 4  # threads that may get a token at once
