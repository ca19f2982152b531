"""How many requests are sent, in virtual time."""

import asyncio

from virtual_time import run

from gemini_tuning.core.exceptions import TransientServiceError
from gemini_tuning.triggers.shared_poller.poller import RateLimit


def unavailable(code=503, **more):
    return TransientServiceError("Later.", code=code, **more)


async def sent(limit, seconds):
    """Send as many requests as possible in a time."""
    loop, count = asyncio.get_running_loop(), 0
    end = loop.time() + seconds
    while True:
        await limit.acquire()
        if loop.time() > end:
            return count
        count += 1


def requests_in(seconds, *, subscriptions=0, before=None):
    async def main():
        limit = RateLimit()
        limit.demand = subscriptions / 60.0
        if before:
            before(limit)
        return await sent(limit, seconds)

    return run(main())


def test_few_subscriptions_may_send_two_requests_a_second():
    assert 118 <= requests_in(60.0, subscriptions=3) <= 126


def test_many_subscriptions_send_a_twentieth_of_what_independent_pollers_would():
    assert 3_000 <= requests_in(600.0, subscriptions=6_000) <= 3_006


def test_rate_never_exceeds_the_projects_quota():
    assert requests_in(60.0, subscriptions=1_000_000) <= 500


def test_retry_after_holds_back_all_requests():
    assert requests_in(60.0, before=lambda limit: limit.slow_down(unavailable(retry_after=61.0))) == 0


def test_each_429_halves_the_rate_for_a_minute():
    async def main():
        limit = RateLimit()
        rates = [limit.rate()]
        for _ in range(9):
            limit.slow_down(unavailable(429))
            rates.append(limit.rate())
        await asyncio.sleep(61.0)
        rates.append(limit.rate())
        await asyncio.sleep(600.0)
        return [*rates, limit.rate()]

    assert run(main()) == [2.0, 1.0, 0.5, 0.25, *[0.125] * 6, 0.25, 2.0]


def test_a_request_that_is_no_longer_needed_is_not_counted():
    async def main():
        limit = RateLimit()
        limit.slow_down(unavailable(retry_after=10.0))
        needed = [True]
        waiting = asyncio.create_task(limit.acquire(lambda: needed[0]))
        await asyncio.sleep(5.0)
        needed[0] = False
        return await waiting, await sent(limit, 0.0)

    assert run(main()) == (False, 1)
