"""Many subscriptions, in virtual time against a simulated service: which requests are sent, and which waits end."""

import asyncio
import statistics

import pytest
from simulation import PARENT, SimulatedJob, SimulatedService, delays, simulated, spread, subscribe, wait_for
from virtual_time import run

from gemini_tuning.core.exceptions import PermanentServiceError, TransientServiceError
from gemini_tuning.triggers.shared_poller import poller as pollers
from gemini_tuning.triggers.shared_poller.poller import now
from gemini_tuning.triggers.shared_poller.tuning_jobs import TuningJobPoller


def refused(code, **more):
    return PermanentServiceError("Not you.", resource="x", code=code, **more)


def unavailable(code=503, **more):
    return TransientServiceError("Later.", resource="x", code=code, **more)


def service_of(*jobs, **more):
    return SimulatedService({job.id: job for job in jobs}, **more)


def some_jobs(number):
    return [SimulatedJob(str(i), 0.0) for i in range(number)]


@pytest.mark.parametrize(("number", "fewer", "sooner"), [(100, 8, 10), (1_000, 16, 10)])
def test_many_subscriptions_need_fewer_requests_and_notice_ends_sooner(number, fewer, sooner):
    jobs = spread(number, 1800.0)
    late, service = run(delays(jobs))
    assert service.requests < sum(job.ends for job in jobs) / 60 / fewer
    assert statistics.median(late) < 30.0 / sooner
    assert max(late) < 30.0


def test_ten_thousand_subscriptions_stay_within_the_quota_and_each_is_served():
    jobs = spread(10_000, 3600.0)

    async def main():
        service, entered = service_of(*jobs), []
        poller = simulated(service)
        waits = [asyncio.create_task(wait_for(poller, job, entered=entered)) for job in jobs]
        await asyncio.sleep(120.0)
        active = [each for each in entered if each.poller.subscriptions.get(each.key) is each]
        requests, overdue = service.requests, max(now() - each.due for each in active)
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
        return requests, overdue

    requests, overdue = run(main())
    assert requests <= 2 * 480 + 10
    assert overdue < 60.0


def test_one_subscription_is_served_without_lists():
    _, service = run(delays([SimulatedJob("1", 0.0)]))
    assert service.pages == 0


def test_a_few_jobs_far_back_in_a_long_list_are_read_one_by_one():
    """Three jobs behind five thousand newer ones: a list is tried once, for no more pages than it could save."""
    jobs = some_jobs(3)

    async def main():
        newer = {str(i): SimulatedJob(str(i), 0.0) for i in range(10, 5_000)}
        service = SimulatedService({job.id: job for job in jobs} | newer)
        poller = simulated(service)
        await asyncio.gather(*(wait_for(poller, job) for job in jobs))
        return service

    service = run(main())
    assert service.pages <= 3
    assert service.gets > 30


def test_a_job_that_no_list_has_is_read_by_its_own_requests():
    async def main():
        jobs, entered = some_jobs(20), []
        service = service_of(*jobs)
        pages = service.tuning_job_pages
        service.tuning_job_pages = lambda *a, **k: ([x for x in page if x.id != "7"] for page in pages(*a, **k))
        poller = simulated(service)
        await asyncio.gather(*(wait_for(poller, job, entered=entered) for job in jobs))
        return [each.is_listed for each in entered]

    listed = run(main())
    assert not listed.pop(7)
    assert all(listed)


def test_two_subscriptions_to_one_job_both_notice_its_end():
    async def main():
        job = SimulatedJob("1", 0.0)
        service = service_of(job)
        poller = simulated(service)
        return await asyncio.gather(wait_for(poller, job), wait_for(poller, job)), service.gets

    late, gets = run(main())
    assert max(late) < 16.0
    assert gets < 40


def test_a_refused_job_ends_its_own_wait_only():
    class Refusing(TuningJobPoller):
        async def get(self, hook, name):
            if name.endswith("/1"):
                raise refused(404)
            return await super().get(hook, name)

    async def main():
        one, two = SimulatedJob("1", 0.0), SimulatedJob("2", 0.0)
        poller = simulated(service_of(one, two, list_errors=[unavailable()] * 99), Refusing)
        return await asyncio.gather(wait_for(poller, one), wait_for(poller, two), return_exceptions=True)

    error, late = run(main())
    assert (type(error), error.code) == (PermanentServiceError, 404)
    assert late < 60.0


def test_a_job_in_a_list_that_cannot_be_parsed_concerns_no_other():
    def unreadable(_name):
        raise refused(400)

    async def main():
        jobs = some_jobs(20)
        service = service_of(*jobs)
        listed = service._listed
        service._listed = lambda job: (
            type(listed(job))(listed(job).id, listed(job).has_ended, unreadable)
            if job.name.endswith("/7")
            else listed(job)
        )
        poller = simulated(service)
        return await asyncio.gather(*(wait_for(poller, job) for job in jobs), return_exceptions=True)

    found = run(main())
    assert found.pop(7).code == 400
    assert max(found) < 60.0


def test_a_request_that_hangs_delays_no_other():
    class Hanging(TuningJobPoller):
        async def get(self, hook, name):
            if name.endswith("/0"):
                await asyncio.sleep(1e6)
            return await super().get(hook, name)

    async def main():
        jobs = some_jobs(5)
        poller = simulated(service_of(*jobs, list_errors=[unavailable()] * 99), Hanging)
        hanging, *others = [asyncio.create_task(wait_for(poller, job)) for job in jobs]
        late = await asyncio.gather(*others)
        assert not hanging.done()
        hanging.cancel()
        return late

    assert max(run(main())) < 60.0


def test_a_list_that_hangs_delays_others_for_seconds_only(monkeypatch):
    async def main():
        jobs = some_jobs(5)
        service = service_of(*jobs)
        poller = simulated(service)
        asyncio.get_running_loop().run_in_executor = lambda *_: asyncio.ensure_future(asyncio.sleep(100_000.0))
        return await asyncio.gather(*(wait_for(poller, job) for job in jobs)), service.gets

    late, gets = run(main())
    assert gets > 5
    assert max(late) < 60.0


@pytest.mark.parametrize("error", [refused(403), refused(400), unavailable(), ZeroDivisionError()], ids=repr)
def test_jobs_are_read_one_by_one_for_a_minute_after_a_list_that_failed(error):
    async def main():
        jobs = some_jobs(20)
        service = service_of(*jobs, list_errors=[error] * 10_000)
        poller = simulated(service)
        return await asyncio.gather(*(wait_for(poller, job) for job in jobs)), service

    late, service = run(main())
    assert max(late) < 60.0
    assert 1 < service.pages <= SimulatedJob("1", 0.0).ends / 60 + 2


def test_retry_after_is_kept_by_all_subscriptions():
    async def main():
        one, two = SimulatedJob("1", 0.0), SimulatedJob("2", 0.0)
        service = service_of(one, two, errors=[unavailable(429, retry_after=333.0)])
        poller = simulated(service)
        waits = [asyncio.create_task(wait_for(poller, one))]
        await asyncio.sleep(20.0)
        waits.append(asyncio.create_task(wait_for(poller, two)))
        requests = [service.requests]
        for pause in (300.0, 100.0):
            await asyncio.sleep(pause)
            requests.append(service.requests)
        for wait in waits:
            wait.cancel()
        return requests

    before, during, after = run(main())
    assert (before, during) == (1, 1)
    assert after > 1


def test_a_subscriber_gets_each_transient_error_and_continues():
    async def main():
        errors, job = [], SimulatedJob("1", 0.0)
        poller = simulated(service_of(job, errors=[unavailable(), unavailable()]))
        return await wait_for(poller, job, errors=errors), errors

    late, errors = run(main())
    assert [error.code for error in errors] == [503, 503]
    assert late < 60.0


def test_no_request_is_sent_for_a_subscription_that_has_ended():
    async def main():
        jobs = some_jobs(300)
        service = service_of(*jobs)
        poller = simulated(service)
        waits = [asyncio.create_task(wait_for(poller, job)) for job in jobs]
        await asyncio.sleep(60.0)
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
        requests = service.requests
        await asyncio.sleep(600.0)
        return service.requests - requests, dict(pollers._pollers)

    more, left = run(main())
    assert more <= 3  # a page that was being read
    assert left == {}


class Reconnecting(TuningJobPoller):
    """Gets a new hook each time it connects, and counts them."""

    connections = 0

    async def get(self, hook, name):
        if hook in refusing:
            await asyncio.sleep(0.1)
            raise refused(401)
        return await service[0].aget_tuning_job(name)


service, refusing = [None], set()


@pytest.fixture
def connections(monkeypatch):
    """Replaces the hook's class: each connection is a new object."""
    made = []

    class Hook:
        @classmethod
        async def acreate(cls, *_):
            made.append(cls())
            return made[-1]

        async def aclose(self):
            pass

    async def import_module(*_):
        return type("module", (), {"GeminiTuningHook": Hook})

    monkeypatch.setattr(pollers.asyncio, "to_thread", import_module)
    refusing.clear()
    return made


def test_a_request_refused_with_an_old_connection_is_retried_with_its_current_value(connections):
    async def main():
        jobs = [SimulatedJob("1", 0.0), SimulatedJob("2", 0.0)]
        service[0] = service_of(*jobs)
        waits = [asyncio.create_task(wait_for(Reconnecting, job)) for job in jobs]
        await asyncio.sleep(600.0)
        refusing.update(connections)  # the key was replaced
        return await asyncio.gather(*waits)

    assert max(run(main())) < 60.0
    assert len(connections) == 2


def test_a_request_refused_with_a_new_connection_ends_its_wait(connections):
    async def main():
        jobs = [SimulatedJob(str(i), 0.0) for i in range(5)]
        service[0] = service_of(*jobs)
        waits = [asyncio.create_task(wait_for(Reconnecting, job)) for job in jobs]
        await asyncio.sleep(0)

        class Everything(set):
            def __contains__(self, _):
                return True

        monkey.setattr("test_poller.refusing", Everything())
        return await asyncio.gather(*waits, return_exceptions=True)

    with pytest.MonkeyPatch.context() as monkey:
        errors = run(main())
    assert [error.code for error in errors] == [401] * 5
    assert len(connections) == 1


def test_the_last_subscription_closes_the_poller_and_a_new_one_creates_it_again():
    async def main():
        poller, job = simulated(service_of(SimulatedJob("1", 0.0))), SimulatedJob("1", 0.0)
        async with subscribe(poller, job) as one, subscribe(poller, job) as other:
            assert one.poller is other.poller
        async with subscribe(poller, job) as later:
            assert later.poller is not one.poller
            return later.poller.rate_limit is one.poller.rate_limit

    assert run(main())


def test_the_projects_id_and_number_identify_the_same_job():
    one, other = (
        f"{PARENT.replace('projects/1', f'projects/{project}')}/tuningJobs/7" for project in ("1", "my-project")
    )
    assert TuningJobPoller.identify(one)[2] == TuningJobPoller.identify(other)[2] == "7"
