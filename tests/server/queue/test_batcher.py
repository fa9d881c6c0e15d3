"""The batcher: whoever submits rows gets the answer to those rows, once, whatever happens around it.

The engine and the clock are fakes, the two seams below and beside the batcher; threads and metrics are real.
"""

import asyncio
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tablefold.errors import (
    DeadlineExceeded,
    DeadlineUnreachable,
    EngineError,
    Overloaded,
    RequestError,
    Unavailable,
)
from tablefold.server.queue import Call, Claim
from tests.server.queue.waiting import (
    FakeEngine,
    Waiter,
    batcher_of,
    expected,
    queued,
    queued_together,
    rows_of,
    with_busy_thread,
)


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=30),
    engine_threads=st.integers(1, 3),
    cap=st.integers(1, 20),
)
def test_each_call_gets_its_own_rows_whatever_shares_its_batch(sizes, engine_threads, cap):
    async def run() -> None:
        engine = FakeEngine()
        async with batcher_of(engine, engine_threads=engine_threads, max_batch_size=cap) as batcher:
            starts = np.cumsum([0, *sizes])
            calls = [rows_of(*range(start, start + size)) for start, size in zip(starts, sizes, strict=False)]
            replies = await asyncio.gather(*(batcher.submit(*call) for call in calls))
        for (_, ids), reply in zip(calls, replies, strict=True):
            assert reply.probability.dtype == np.float32
            np.testing.assert_array_equal(reply.probability, expected(ids))
        assert max(engine.sizes) <= cap
        assert sum(engine.sizes) == sum(sizes)

    asyncio.run(run())


async def test_what_waits_when_a_lane_gets_free_goes_together_in_order_of_arrival():
    engine = FakeEngine()
    async with batcher_of(engine, max_batch_size=4) as batcher:
        first = await with_busy_thread(batcher, engine)
        calls = [await queued(batcher, *ids) for ids in ([1], [2, 3], [4, 5], [6])]
        engine.gate.set()
        await asyncio.gather(first, *calls)
    # 4 and 5 would not fit whole behind 1, 2, 3, and nobody overtakes them
    assert [batch[:, 0].tolist() for batch in engine.batches] == [[0], [1, 2, 3], [4, 5, 6]]


async def test_a_call_is_not_cut_for_a_few_rows_too_many():
    engine = FakeEngine()
    async with batcher_of(engine, max_batch_size=4, max_rows=6) as batcher:
        first = await with_busy_thread(batcher, engine)
        sizes = [6, 3, 3, 5, 1, 1, 7]
        calls = [await queued(batcher, *range(size)) for size in sizes]
        engine.gate.set()
        await asyncio.gather(first, *calls)
    assert engine.sizes == [
        1,
        6,
        6,
        5,
        2,
        4,
        3,
    ]  # of the last call, which is too large however it is cut, parts


async def test_a_call_that_is_a_batch_of_its_own_is_not_copied():
    engine = FakeEngine()
    dense, ids = rows_of(1, 2, 3)
    async with batcher_of(engine, max_batch_size=3) as batcher:
        await batcher.submit(dense, ids)
    assert np.shares_memory(engine.batches[0], ids)


async def test_a_call_larger_than_a_batch_runs_on_all_engine_threads_and_comes_back_whole():
    engine = FakeEngine()
    async with batcher_of(engine, engine_threads=2, max_batch_size=4) as batcher:
        engine.gate.clear()
        call = await queued(batcher, *range(10))
        await engine.busy()
        await engine.busy()  # two batches at once
        engine.gate.set()
        np.testing.assert_array_equal((await call).probability, expected(np.arange(10)[:, None]))
    assert sorted(engine.sizes) == [2, 4, 4]


async def test_the_reply_tells_waiting_from_computing():
    now = 100.0

    def answer(ids: np.ndarray) -> np.ndarray:
        nonlocal now
        now += 0.5
        return expected(ids)

    engine = FakeEngine(answer)
    async with batcher_of(engine, clock=lambda: now) as batcher:
        first = await with_busy_thread(batcher, engine)
        second = await queued(batcher, 1)
        now += 2
        engine.gate.set()
        assert ((await first).queue_seconds, (await first).compute_seconds) == (0, 2.5)
        assert ((await second).queue_seconds, (await second).compute_seconds) == (2.5, 0.5)


async def test_a_full_queue_refuses_at_once_and_recovers():
    engine = FakeEngine()
    async with batcher_of(engine, max_queue_rows=5) as batcher:
        first = await with_busy_thread(batcher, engine)
        waiting = await queued(batcher, 1, 2, 3, 4)
        with pytest.raises(Overloaded, match="4 of 5 rows wait"):
            await batcher.submit(*rows_of(5, 6))
        fits = await queued(batcher, 7)
        with pytest.raises(Overloaded, match="the queue holds 5"):
            await batcher.submit(*rows_of(*range(6)))
        engine.gate.set()
        await asyncio.gather(first, waiting, fits)
        assert (await batcher.submit(*rows_of(5, 6))).probability.shape == (2,)


def refusal_of(ask: Callable[[], None]) -> type[RequestError] | None:
    try:
        ask()
    except RequestError as error:
        return type(error)
    return None


async def test_a_claim_is_refused_as_its_call_would_be_and_takes_no_place():
    engine = FakeEngine()
    async with batcher_of(engine, clock=lambda: 0.0, rate=10, max_queue_rows=50) as batcher:
        batcher.check(Claim(40, 0.1))  # nobody waits: the engine may be quicker than it seems
        first = await with_busy_thread(batcher, engine)
        waiting = [await queued(batcher, *range(10), deadline=9.0) for _ in range(3)]
        seen = set()
        for rows in (1, 15, 20, 21, 51):
            for deadline in (None, 0.0, 0.5, 2.0, 5.0, 8.99, 60.0):
                claimed = refusal_of(partial(batcher.check, Claim(rows, deadline)))
                assert batcher.queue_rows == 30
                call = Call(*rows_of(*range(rows)), deadline, Waiter())
                assert refusal_of(partial(batcher.offer, call)) == claimed, (rows, deadline)
                batcher.cancel(call)
                seen.add(claimed)
        assert seen == {None, Overloaded, DeadlineExceeded, DeadlineUnreachable}
        engine.gate.set()
        await asyncio.gather(first, *waiting)


async def test_a_deadline_that_has_passed_is_refused_before_any_work():
    engine = FakeEngine()
    async with batcher_of(engine, clock=lambda: 50.0) as batcher:
        with pytest.raises(DeadlineExceeded, match="when the request arrived"):
            await batcher.submit(*rows_of(1), deadline=50.0)
    assert engine.batches == []


async def test_work_that_expires_in_the_queue_never_reaches_the_engine():
    now = 0.0
    engine = FakeEngine()
    async with batcher_of(engine, clock=lambda: now) as batcher:
        first = await with_busy_thread(batcher, engine)
        expires, lives = await queued(batcher, 1, deadline=1), await queued(batcher, 2, deadline=9)
        now = 5.0
        engine.gate.set()
        await asyncio.gather(first, lives)
        with pytest.raises(DeadlineExceeded, match="waited in the queue"):
            await expires
    assert [batch[:, 0].tolist() for batch in engine.batches] == [[0], [2]]


async def test_work_whose_answer_would_be_late_is_not_run_where_others_wait_behind_it():
    now = 0.0
    engine = FakeEngine()
    async with batcher_of(engine, clock=lambda: now, rate=10, max_batch_size=10) as batcher:
        first = await with_busy_thread(batcher, engine)
        doomed, lives = (
            await queued(batcher, *range(10), deadline=4.0),
            await queued(batcher, 1, deadline=9.0),
        )
        now = 3.5  # ten rows take a second
        engine.gate.set()
        await asyncio.gather(first, lives)
        with pytest.raises(DeadlineUnreachable, match="500 ms before the deadline, and they take 1000"):
            await doomed
    assert [len(batch) for batch in engine.batches] == [1, 1]


async def test_work_that_nobody_waits_behind_gets_its_try_however_late_it_may_be():
    now = 0.0
    engine = FakeEngine()
    async with batcher_of(engine, clock=lambda: now, rate=10, max_batch_size=10) as batcher:
        first = await with_busy_thread(batcher, engine)
        alone = await queued(batcher, *range(10), deadline=4.0)
        now = 3.5  # the estimate may be wrong
        engine.gate.set()
        assert len((await alone).probability) == 10
        await first


async def test_a_caller_that_leaves_frees_its_place_and_its_rows_are_not_computed():
    engine = FakeEngine()
    async with batcher_of(engine, max_queue_rows=3) as batcher:
        first = await with_busy_thread(batcher, engine)
        leaves = await queued(batcher, 1, 2, 3)
        leaves.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaves
        stays = await queued(batcher, 4, 5, 6)  # the queue has room again, at once
        engine.gate.set()
        await asyncio.gather(first, stays)
    assert [batch[:, 0].tolist() for batch in engine.batches] == [[0], [4, 5, 6]]


async def test_a_caller_that_leaves_a_running_batch_does_not_disturb_the_others():
    engine = FakeEngine()
    async with batcher_of(engine) as batcher:
        engine.gate.clear()
        leaves, stays = await queued_together(batcher, [1], [2])
        await engine.busy()
        leaves.cancel()
        await asyncio.sleep(0)
        engine.gate.set()
        np.testing.assert_array_equal((await stays).probability, expected(np.array([[2]])))
    assert engine.sizes == [2]


def fails(ids: np.ndarray) -> np.ndarray:
    raise RuntimeError("the device is gone: secret detail")


FAULTS = {
    "raises": fails,
    "wrong shape": lambda ids: expected(ids)[:-1],
    "two dimensions": lambda ids: expected(ids)[:, None],
    "wrong dtype": lambda ids: expected(ids).astype(np.float64),
    "no array": lambda ids: None,
    "not a number": lambda ids: np.full(len(ids), np.nan, dtype=np.float32),
    "infinite": lambda ids: np.full(len(ids), np.inf, dtype=np.float32),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_an_engine_that_fails_answers_its_batch_with_a_fixed_text_and_the_next_one_is_fine(
    fault, caplog
):
    engine = FakeEngine(fault)
    async with batcher_of(engine) as batcher:
        calls = await queued_together(batcher, [1], [2, 3])
        for outcome in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(outcome, EngineError)
            assert "secret" not in str(outcome)
        assert "engine" in caplog.text
        engine.answer = expected
        np.testing.assert_array_equal(
            (await batcher.submit(*rows_of(4))).probability, expected(np.array([[4]]))
        )


async def test_a_row_without_a_number_fails_only_the_call_it_belongs_to():
    def answer(ids: np.ndarray) -> np.ndarray:
        return np.where(ids[:, 0] == 2, np.float32(np.nan), expected(ids))

    engine = FakeEngine(answer)
    async with batcher_of(engine) as batcher:
        good, bad = await queued_together(batcher, [1], [2, 3])
        np.testing.assert_array_equal((await good).probability, expected(np.array([[1]])))
        with pytest.raises(EngineError):
            await bad
    assert engine.sizes == [3]


async def test_when_one_part_of_a_call_fails_the_rest_of_it_leaves_the_queue():
    engine = FakeEngine(fails)
    async with batcher_of(engine, max_batch_size=2, max_queue_rows=10) as batcher:
        with pytest.raises(EngineError):
            await batcher.submit(*rows_of(*range(10)))
        engine.answer = expected
        assert (await batcher.submit(*rows_of(*range(10)))).probability.shape == (10,)
    # Of the first call one batch ran, and the one that was formed while the first one's answer went out.
    assert len(engine.sizes) <= 2 + 5


async def test_closing_refuses_newcomers_and_still_answers_what_waits():
    engine = FakeEngine()
    async with batcher_of(engine) as batcher:
        first = await with_busy_thread(batcher, engine)
        waiting = await queued(batcher, 1)
        batcher.close()
        with pytest.raises(Unavailable):
            await batcher.submit(*rows_of(2))
        engine.gate.set()
        await asyncio.gather(first, waiting)


async def test_a_batch_is_filled_with_part_of_a_call_only_where_it_would_be_less_than_half_full():
    engine = FakeEngine()
    async with batcher_of(engine, max_batch_size=10) as batcher:
        first = await with_busy_thread(batcher, engine)
        calls = [await queued(batcher, *range(size)) for size in (12, 9, 6, 7)]
        engine.gate.set()
        await asyncio.gather(first, *calls)
    assert engine.sizes == [1, 10, 10, 7, 7]  # 12 = 10 + 2, 9 = 8 + 1, then 1 + 6, then 7


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_whatever_happens_every_call_is_answered_once_and_the_queue_ends_empty(data):
    """Random sizes, deadlines, cancellations and failing batches."""
    sizes = data.draw(st.lists(st.integers(1, 30), min_size=1, max_size=40))
    deadlines = data.draw(st.lists(st.sampled_from([None, 0.0, 0.01, 0.5, 60.0]), min_size=len(sizes)))
    leave = data.draw(st.sets(st.integers(0, len(sizes) - 1)))
    bad = data.draw(st.sets(st.integers(0, sum(sizes)), max_size=3))
    cap = data.draw(st.integers(1, 16))

    async def run() -> None:
        def answer(ids: np.ndarray) -> np.ndarray:
            if bad & set(ids[:, 0].tolist()):
                raise RuntimeError("bad row")
            return expected(ids)

        engine = FakeEngine(answer)
        async with batcher_of(
            engine, engine_threads=2, rate=1e4, max_batch_size=cap, max_queue_rows=300
        ) as batcher:
            starts = np.cumsum([0, *sizes])
            calls = [list(range(start, start + size)) for start, size in zip(starts, sizes, strict=False)]
            tasks = []
            for index, (ids, deadline) in enumerate(zip(calls, deadlines, strict=False)):
                until = None if deadline is None else batcher.clock() + deadline
                tasks.append(await queued(batcher, *ids, deadline=until))
                if index in leave:
                    tasks[-1].cancel()
            async with asyncio.timeout(30):
                outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            for index, (ids, outcome) in enumerate(zip(calls, outcomes, strict=True)):
                if isinstance(outcome, BaseException):
                    allowed = (
                        EngineError,
                        DeadlineExceeded,
                        DeadlineUnreachable,
                        Overloaded,
                        asyncio.CancelledError,
                    )
                    assert isinstance(outcome, allowed)
                    assert index in leave or not isinstance(outcome, asyncio.CancelledError)
                else:
                    np.testing.assert_array_equal(outcome.probability, expected(np.array(ids)[:, None]))
                    assert not bad & set(ids)
            assert batcher.queue_rows == 0
            async with asyncio.timeout(30):  # callers may have left their batch
                while batcher._running_rows:  # noqa: ASYNC110 (nobody else asks when it is over)
                    await asyncio.sleep(0.001)

    asyncio.run(run())
