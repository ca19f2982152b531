"""How many requests leave, in virtual time."""

import asyncio

from virtual_time import run

from gemini_tuning.triggers.shared_poller.rate_limit import RequestBudget


async def taken(budget, seconds):
    """Take as many as there are in a time."""
    loop, count = asyncio.get_running_loop(), 0
    end = loop.time() + seconds
    while True:
        await budget.take()
        if loop.time() > end:
            return count
        count += 1


def requests_in(seconds, *, waits=0, before=None):
    async def main():
        budget = RequestBudget()
        for _ in range(waits):
            budget.join(60.0)
        if before:
            before(budget)
        return await taken(budget, seconds)

    return run(main())


def test_few_waits_may_send_two_requests_a_second():
    assert 118 <= requests_in(60.0, waits=3) <= 126


def test_many_waits_send_a_twentieth_of_what_each_for_itself_would():
    assert 3_000 <= requests_in(600.0, waits=6_000) <= 3_006


def test_a_project_is_never_asked_more_than_its_quota_allows():
    assert requests_in(60.0, waits=1_000_000) <= 500


def test_who_leaves_does_not_count_any_more():
    def all_leave(budget):
        for _ in range(6_000):
            budget.leave(60.0)

    assert requests_in(60.0, waits=6_000, before=all_leave) <= 126


def test_nothing_leaves_while_the_service_wants_to_be_left_alone():
    assert requests_in(60.0, before=lambda budget: budget.pause(61.0)) == 0


def test_each_refusal_for_quota_halves_the_rate_for_a_minute():
    async def main():
        budget = RequestBudget()
        rates = [budget.rate]
        for _ in range(9):
            budget.refused()
            rates.append(budget.rate)
        await asyncio.sleep(61.0)
        rates.append(budget.rate)
        await asyncio.sleep(600.0)
        return [*rates, budget.rate]

    assert run(main()) == [2.0, 1.0, 0.5, 0.25, *[0.125] * 6, 0.25, 2.0]
