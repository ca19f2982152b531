"""Many waits together, in virtual time against a simulated service: who is asked, how often, and who hears of it."""

import asyncio
import contextvars
import statistics

import pytest
from simulation import PARENT, SimulatedJob, SimulatedService, SimulatedWatcher, delays, spread
from virtual_time import run

from gemini_tuning.core.exceptions import PermanentServiceError, TransientServiceError
from gemini_tuning.triggers.shared_poller import tuning_jobs


def refused(code, **more):
    return PermanentServiceError("Not you.", resource="x", code=code, **more)


def away(code=503, **more):
    return TransientServiceError("Later.", resource="x", code=code, **more)


async def watching(jobs, errors=()):
    """Return a watcher of a service with these jobs, and their waits."""
    service = SimulatedService({job.id: job for job in jobs}, errors=list(errors))
    watcher = SimulatedWatcher(service)
    return watcher, [watcher.wait_for(job) for job in jobs]


@pytest.mark.parametrize(("number", "fewer", "sooner"), [(100, 4, 8), (1_000, 8, 8)])
def test_many_waits_ask_less_and_hear_earlier_than_each_for_itself(number, fewer, sooner):
    jobs = spread(number, 1800.0)
    late, service = run(delays(jobs))
    assert service.requests < sum(job.ends for job in jobs) / 60 / fewer
    assert statistics.median(late) < 30.0 / sooner
    assert max(late) < 60.0


def test_ten_thousand_waits_stay_within_the_quota():
    jobs = spread(10_000, 3600.0)

    async def main():
        watcher, waits = await watching(jobs)
        await asyncio.sleep(120.0)
        asked = watcher.service.requests
        await watcher.aclose()
        return asked, max(watcher.now() - wait.told_at for wait in waits if not wait.end.done())

    asked, longest = run(main())
    assert asked <= 2 * 480 + 10
    assert longest < 120.0  # nobody is forgotten


def test_one_wait_is_asked_for_singly():
    _, service = run(delays([SimulatedJob("1", 0.0)]))
    assert service.pages == 0


def test_a_few_waits_are_not_looked_for_in_a_long_list():
    """Three jobs behind five thousand newer ones: a list is tried once, and not for longer than it could be cheaper."""
    jobs = [SimulatedJob(str(i), 0.0) for i in range(3)]

    async def main():
        newer = {str(i): SimulatedJob(str(i), 0.0) for i in range(10, 5_000)}
        watcher = SimulatedWatcher(SimulatedService({job.id: job for job in jobs} | newer))
        await asyncio.gather(*(watcher.wait_for(job).end for job in jobs))
        await watcher.aclose()
        return watcher.service

    service = run(main())
    assert service.pages <= 3
    assert service.gets > 30


def test_a_job_that_is_in_no_list_is_asked_for_singly():
    async def main():
        jobs = [SimulatedJob(str(i), 0.0) for i in range(20)]
        watcher, waits = await watching(jobs)
        service = watcher.service
        listed = service.tuning_job_pages
        service.tuning_job_pages = lambda *a, **k: ([x for x in page if x.id != "7"] for page in listed(*a, **k))
        await asyncio.gather(*(wait.end for wait in waits))
        await watcher.aclose()
        return waits[7].is_listed, waits[8].is_listed

    assert run(main()) == (False, True)


def test_two_who_wait_for_the_same_job_share_its_looks():
    async def main():
        job, heard = SimulatedJob("1", 0.0), []
        watcher, [one] = await watching([job])
        other = watcher.wait_for(job, seen=lambda _, answer: heard.append(answer.state))
        await asyncio.gather(one.end, other.end)
        await watcher.aclose()
        return watcher.service.gets, heard

    gets, heard = run(main())
    assert gets == len(heard)
    assert heard[-1] == "SUCCEEDED"


def test_a_refused_job_ends_its_own_wait_only():
    async def main():
        watcher, [gone, there] = await watching([SimulatedJob("1", 0.0), SimulatedJob("2", 0.0)])
        ask = watcher.ask

        async def ask_or_refuse(hook, name):
            if name == gone.name:
                raise refused(404)
            return await ask(hook, name)

        watcher.ask = ask_or_refuse
        watcher.ask_many = lambda due: None  # noqa: ARG005
        with pytest.raises(PermanentServiceError, match="Not you"):
            await gone.end
        assert not there.end.done()
        await there.end
        await watcher.aclose()

    run(main())


def test_a_wait_that_gets_no_answer_blocks_no_other():
    async def main():
        jobs = [SimulatedJob(str(i), 0.0) for i in range(5)]
        watcher, waits = await watching(jobs)
        ask, stuck = watcher.ask, asyncio.Event()

        async def ask_or_hang(hook, name):
            if name == waits[0].name:
                await stuck.wait()
            return await ask(hook, name)

        watcher.ask = ask_or_hang
        watcher.ask_many = lambda due: None  # noqa: ARG005
        await asyncio.gather(*(wait.end for wait in waits[1:]))
        assert not waits[0].end.done()
        await watcher.aclose()

    run(main())


def test_a_list_that_hangs_delays_others_for_seconds_only():
    async def main():
        watcher, waits = await watching([SimulatedJob(str(i), 0.0) for i in range(5)])
        watcher.in_thread = lambda *_: asyncio.sleep(100_000.0)
        await asyncio.gather(*(wait.end for wait in waits), return_exceptions=True)
        late = watcher.now() - SimulatedJob("1", 0.0).ends
        return watcher.service.gets, late

    gets, late = run(main())
    assert gets > 5
    assert late < 60.0


@pytest.mark.parametrize(("error", "lists_again"), [(refused(403), False), (refused(400), False), (away(), True)])
def test_where_lists_are_refused_jobs_are_asked_for_singly(error, lists_again):
    async def main():
        jobs = [SimulatedJob(str(i), 0.0) for i in range(20)]
        watcher, waits = await watching(jobs)
        watcher.service.list_errors.append(error)
        await asyncio.gather(*(wait.end for wait in waits))
        await watcher.aclose()
        return watcher.service

    service = run(main())
    assert (service.pages > 1) is lists_again


def test_the_service_is_left_alone_for_as_long_as_it_asks():
    async def main():
        watcher, [wait] = await watching([SimulatedJob("1", 0.0)], [away(429, retry_after=333.0)])
        await asyncio.sleep(20.0)
        other = watcher.wait_for(watcher.service.jobs["1"])
        asked = [watcher.service.gets]
        for pause in (300.0, 100.0):
            await asyncio.sleep(pause)
            asked.append(watcher.service.requests)
        await watcher.aclose()
        return asked, wait.end.done() or other.end.done()

    (before, meanwhile, after), ended = run(main())
    assert (before, meanwhile) == (1, 1)
    assert after > 1
    assert not ended


def test_who_waits_hears_that_the_service_does_not_answer():
    async def main():
        heard, job = [], SimulatedJob("1", 0.0)
        watcher = SimulatedWatcher(SimulatedService({"1": job}, errors=[away(), away()]))
        wait = watcher.wait_for(job, unanswered=heard.append)
        await wait.end
        await watcher.aclose()
        return heard

    assert [error.code for error in run(main())] == [503, 503]


def test_what_is_heard_is_heard_in_the_context_of_who_waits():
    """Airflow sends what a trigger logs to the log of its task by the context that it is logged in."""
    task = contextvars.ContextVar("task")

    async def main():
        heard = []

        async def one(name):
            task.set(name)
            wait = watcher.wait_for(job, seen=lambda *_: heard.append(task.get()))
            await wait.end

        job = SimulatedJob("1", 0.0)
        watcher = SimulatedWatcher(SimulatedService({"1": job}))
        await asyncio.gather(one("first"), one("second"))
        await watcher.aclose()
        return set(heard)

    assert run(main()) == {"first", "second"}


def test_a_mistake_of_who_hears_ends_that_wait_only():
    def wrong(*_):
        raise ZeroDivisionError

    async def main():
        job = SimulatedJob("1", 0.0)
        watcher = SimulatedWatcher(SimulatedService({"1": job}))
        bad, good = watcher.wait_for(job, seen=wrong), watcher.wait_for(job)
        with pytest.raises(ZeroDivisionError):
            await bad.end
        await good.end
        await watcher.aclose()

    run(main())


def test_nobody_waits_for_a_look_out_that_has_stopped():
    async def main():
        watcher, [wait] = await watching([SimulatedJob("1", 0.0)])
        watcher.may_ask = lambda wait: 1 / 0  # noqa: ARG005
        with pytest.raises(ZeroDivisionError):
            await wait.end

    run(main())


def test_who_leaves_is_not_asked_for_any_more():
    async def main():
        jobs = [SimulatedJob(str(i), 0.0) for i in range(300)]
        watcher, waits = await watching(jobs)
        await asyncio.sleep(60.0)
        for wait in waits:
            watcher.remove(wait)
        asked = watcher.service.requests
        await asyncio.sleep(600.0)
        await watcher.aclose()
        return watcher.service.requests - asked, watcher.waits

    more, left = run(main())
    assert more <= 3  # a list that was being read
    assert left == {}


def test_a_refusal_of_old_credentials_is_asked_again_with_what_the_connection_says_now():
    class Renewing(SimulatedWatcher):
        renewed = 0
        is_worth_another = tuning_jobs.TuningJobWatcher.is_worth_another

        async def _renew(self):
            self.renewed += 1
            self._made_at = self.now()

    async def main(made_ago):
        job = SimulatedJob("1", 0.0)
        watcher = Renewing(SimulatedService({"1": job}, errors=[refused(401)]))
        watcher._made_at = watcher.now() - made_ago
        wait = watcher.wait_for(job)
        await asyncio.wait([wait.end])
        await watcher.aclose()
        return watcher.renewed, wait.end.exception()

    renewed, error = run(main(3_600.0))
    assert (renewed, error) == (1, None)
    renewed, error = run(main(5.0))
    assert (renewed, error.code) == (0, 401)


def test_a_name_with_the_projects_id_is_found_in_a_list_with_its_number():
    one, other = (
        f"{PARENT.replace('projects/1', f'projects/{project}')}/tuningJobs/7" for project in ("1", "my-project")
    )
    assert SimulatedWatcher.key(one) == SimulatedWatcher.key(other) == "7"
