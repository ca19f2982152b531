"""How many prompts are under way at once, and what is done about 429 and lost answers."""

import asyncio
import time

import pytest

from gemini_tuning.core.exceptions import PermanentServiceError, TransientServiceError
from gemini_tuning.core.model_response import ModelResponse
from gemini_tuning.core.retry import MAX_BACKOFF
from gemini_tuning.smoke import adaptive_limit as module
from gemini_tuning.smoke.adaptive_limit import AdaptiveLimit, request_with_retries

ANSWER = ModelResponse("yes", 0.1)


def over_quota(retry_after=None):
    return TransientServiceError("too many", resource="x", code=429, retry_after=retry_after)


@pytest.fixture
def naps(monkeypatch):
    """The pauses between attempts, which take no time here."""
    asked = []

    async def no_sleep(seconds):
        asked.append(seconds)

    monkeypatch.setattr(request_with_retries.retry, "sleep", no_sleep)
    return asked


def test_a_round_of_answers_lets_one_more_out():
    limit = AdaptiveLimit(8)
    for _ in range(3):
        limit.over_quota(limit._round)
    assert limit.allowed == 1
    for allowed in (2, 3, 4):
        for _ in range(limit.allowed + 1):
            limit.succeeded()
        assert limit.allowed == allowed


def test_it_never_grows_beyond_its_most_nor_shrinks_below_one():
    limit = AdaptiveLimit(2)
    for _ in range(100):
        limit.succeeded()
    assert limit.allowed == 2
    for _ in range(100):
        limit.over_quota(limit._round)
    assert limit.allowed == 1


def test_many_refusals_of_one_round_count_once():
    async def scenario():
        limit = AdaptiveLimit(16)
        async with limit.slot() as first, limit.slot() as second:
            limit.over_quota(first)
            limit.over_quota(second)
        return limit.allowed

    assert asyncio.run(scenario()) == 8


def test_no_more_are_under_way_than_allowed_and_all_get_their_turn():
    async def scenario():
        limit, under_way, most, served = AdaptiveLimit(3), 0, 0, 0

        async def one():
            nonlocal under_way, most, served
            async with limit.slot():
                under_way += 1
                most = max(most, under_way)
                await asyncio.sleep(0)
                under_way -= 1
                served += 1

        await asyncio.gather(*(one() for _ in range(50)))
        return most, served

    assert asyncio.run(scenario()) == (3, 50)


def test_a_slot_is_free_again_when_its_holder_is_cancelled():
    async def scenario():
        limit, held = AdaptiveLimit(1), asyncio.Event()

        async def holds():
            async with limit.slot():
                held.set()
                await asyncio.Event().wait()

        holder = asyncio.create_task(holds())
        await held.wait()
        waiting = asyncio.create_task(request_with_retries(answering(), limit))
        holder.cancel()
        return await waiting

    assert asyncio.run(scenario()) == ANSWER


def answering(*errors):
    left = list(errors)

    async def ask():
        if left:
            raise left.pop(0)
        return ANSWER

    return ask


def ask(ask_once, most=8):
    limit = AdaptiveLimit(most)
    return asyncio.run(request_with_retries(ask_once, limit)), limit


def test_a_lost_answer_is_asked_for_again_at_full_width(naps):
    answer, limit = ask(answering(TransientServiceError("gone", resource="x", code=503)))
    assert (answer, limit.allowed, len(naps)) == (ANSWER, 8, 1)


def test_over_quota_narrows_the_width_and_waits_as_long_as_asked(naps):
    answer, limit = ask(answering(over_quota(retry_after=45.0), over_quota()))
    assert (answer, limit.allowed) == (ANSWER, 2)
    assert naps[0] == 45.0
    assert naps[1] <= MAX_BACKOFF


def test_patience_ends_with_the_last_error(naps, monkeypatch):
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.0)
    errors = [TransientServiceError(f"number {n}", resource="x", code=503) for n in range(1, 9)]
    with pytest.raises(TransientServiceError, match=f"number {module.MIN_ATTEMPTS}"):
        ask(answering(*errors))
    assert len(naps) == module.MIN_ATTEMPTS - 1


def test_it_knows_whether_the_service_has_answered_lately():
    limit, before = AdaptiveLimit(1), time.monotonic()
    assert not limit.has_response_since(before - 1)
    limit.succeeded()
    assert limit.has_response_since(before - 1)
    assert not limit.has_response_since(time.monotonic() + 1)


def test_a_clear_refusal_is_not_repeated(naps):
    with pytest.raises(PermanentServiceError):
        ask(answering(PermanentServiceError("no", resource="x", code=400)))
    assert naps == []
