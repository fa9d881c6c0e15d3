"""Who goes first, and who is refused because the others take too long."""

import asyncio

import pytest

from tablefold.errors import DeadlineUnreachable
from tests.server.queue.waiting import (
    FakeEngine,
    WaitingBatcher,
    batcher_of,
    queued,
    rows_of,
    with_busy_thread,
)


async def ran_in_order(
    batcher: WaitingBatcher, engine: FakeEngine, *calls: tuple[int, float | None]
) -> list[int]:
    """The first ids of the batches, where each call (id, deadline) is a batch of its own."""
    first = await with_busy_thread(batcher, engine)
    tasks = [await queued(batcher, number, deadline=deadline) for number, deadline in calls]
    engine.gate.set()
    await asyncio.gather(first, *tasks)
    return [int(batch[0, 0]) for batch in engine.batches[1:]]


async def test_the_earliest_deadline_goes_first_and_no_deadline_means_a_second_from_now():
    engine = FakeEngine()
    async with batcher_of(engine, clock=lambda: 100.0, max_batch_size=1) as batcher:
        calls = [(1, None), (2, 100.5), (3, 100.1), (4, None), (5, 130.0), (6, 100.9)]
        assert await ran_in_order(batcher, engine, *calls) == [3, 2, 6, 1, 4, 5]


@pytest.mark.parametrize(("calls", "rows"), [(1, 300), (60, 5)])
async def test_who_has_many_rows_waiting_holds_up_nobody_else(calls, rows):
    now = 100.0
    engine = FakeEngine()
    async with batcher_of(engine, clock=lambda: now, rate=100, max_batch_size=5) as batcher:
        first = await with_busy_thread(batcher, engine)
        flood = [await queued(batcher, *[1] * rows, client="flood") for _ in range(calls)]
        now += 2.0
        gentle = await queued(batcher, 2, client="gentle")
        engine.gate.set()
        await asyncio.gather(first, gentle, *flood)
    order = [int(row[0]) for batch in engine.batches[1:] for row in batch]
    assert order.index(2) <= 2.0 * 100 * 0.1  # what the flood had a right to by then


async def test_newcomers_in_a_hurry_do_not_starve_a_call_without_a_deadline():
    now = 100.0
    engine = FakeEngine()
    async with batcher_of(engine, clock=lambda: now, max_batch_size=1) as batcher:
        first = await with_busy_thread(batcher, engine)
        patient = await queued(batcher, 1)
        hurried = []
        for number in range(2, 40):
            now += 0.1
            hurried.append(await queued(batcher, number, deadline=now + 0.05 + 3))
        now = 103.0
        engine.gate.set()
        await asyncio.gather(first, patient, *hurried, return_exceptions=True)
    assert engine.batches[1][0, 0] == 1


async def test_a_call_that_cannot_make_its_deadline_behind_what_waits_is_refused_at_once():
    engine = FakeEngine()
    async with batcher_of(engine, clock=lambda: 0.0, rate=200) as batcher:
        first = await with_busy_thread(batcher, engine)  # 1 row
        waiting = await queued(batcher, *range(49), deadline=0.4)
        with pytest.raises(DeadlineUnreachable, match="50 rows come first, at 200 rows a second"):
            await batcher.submit(*rows_of(*range(30)), deadline=0.45)
        fits = await queued(batcher, *range(10), deadline=0.45)  # 60 rows take 0.3 s, within 0.8 of the time
        engine.gate.set()
        await asyncio.gather(first, waiting, fits)


async def test_only_what_is_more_urgent_counts_against_a_deadline():
    engine = FakeEngine()
    async with batcher_of(engine, clock=lambda: 0.0, rate=100, max_batch_size=50) as batcher:
        first = await with_busy_thread(batcher, engine)
        patient = await queued(batcher, *range(500))
        urgent = await queued(batcher, *range(40), deadline=0.6)
        hurried = await queued(batcher, 7, deadline=0.5)
        with pytest.raises(DeadlineUnreachable, match="42 rows come first"):
            await batcher.submit(*rows_of(*range(30)), deadline=0.8)
        engine.gate.set()
        await asyncio.gather(first, patient, urgent, hurried)
    assert engine.batches[1][0, 0] == 7


async def test_an_idle_engine_tries_every_call_whatever_the_estimate_says():
    engine = FakeEngine()
    async with batcher_of(engine, clock=lambda: 0.0, rate=1) as batcher:
        assert (await batcher.submit(*rows_of(*range(100)), deadline=0.001)).probability.shape == (100,)
