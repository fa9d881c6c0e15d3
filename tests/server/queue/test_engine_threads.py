"""The threads that run engines: models share them, a thread that hangs is lost."""

import asyncio
import os
import sys
import threading

import numpy as np
import pytest

from tablefold.errors import DeviceLost, EngineError, Unavailable
from tablefold.machine.priority import NICENESS
from tablefold.model_size import Parts
from tablefold.server.queue.batch_sizing import BatchSizing
from tablefold.server.telemetry.metrics import Metrics
from tests.server.queue.waiting import (
    FakeEngine,
    WaitingBatcher,
    batcher_of,
    expected,
    queued,
    rows_of,
    with_busy_thread,
)


async def test_models_take_turns_on_the_engine_threads():
    busy, before = FakeEngine(), []
    quiet = FakeEngine(lambda ids: before.append(len(busy.sizes)) or expected(ids))
    async with batcher_of(busy, max_batch_size=1) as batcher:
        other = WaitingBatcher(
            quiet,
            batcher._engine_threads,
            Metrics().of_model("quiet", Parts()),
            BatchSizing(rows=8, rows_per_second=np.inf, max_rows=8),
        )
        first = await with_busy_thread(batcher, busy)
        many = await queued(batcher, *range(1, 50))
        one = asyncio.create_task(other.submit(*rows_of(7)))
        await asyncio.sleep(0)
        busy.gate.set()
        await one
        assert before[0] <= 4  # far from all fifty
        await asyncio.gather(first, many)


async def test_an_engine_that_hangs_costs_its_own_callers_an_error_and_the_thread():
    engine = FakeEngine()
    async with batcher_of(engine, engine_threads=2, engine_timeout_seconds=0.2) as batcher:
        engine.gate.clear()
        hangs = await queued(batcher, 1)
        await engine.busy()
        with pytest.raises(EngineError):
            await hangs
        assert batcher._engine_threads.hanging == 1
        engine.gate, stuck = threading.Event(), engine.gate
        engine.gate.set()
        np.testing.assert_array_equal(  # the other thread lives
            (await batcher.submit(*rows_of(4))).probability, expected(np.array([[4]]))
        )
        stuck.set()  # and if the thread comes back after all, nobody is answered twice


async def test_when_every_thread_hangs_all_that_wait_and_all_that_come_are_answered():
    engine = FakeEngine()
    async with batcher_of(engine, engine_timeout_seconds=0.2) as batcher:
        first = await with_busy_thread(batcher, engine)
        waiting = [await queued(batcher, number) for number in range(5)]
        with pytest.raises(EngineError):
            await first
        for outcome in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(outcome, Unavailable)
        with pytest.raises(Unavailable):
            await batcher.submit(*rows_of(1))
        assert batcher.queue_rows == 0


async def test_a_device_that_is_lost_costs_the_process_and_every_call_has_its_answer():
    def lose(ids: np.ndarray) -> np.ndarray:
        raise DeviceLost("an illegal address")

    engine, left = FakeEngine(lose), asyncio.Event()
    async with batcher_of(engine, engine_threads=2, max_batch_size=1, on_loss=left.set) as batcher:
        engine.gate.clear()
        calls = [await queued(batcher, number) for number in range(6)]
        await engine.busy()
        engine.gate.set()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} <= {EngineError, Unavailable}
        assert EngineError in {type(outcome) for outcome in outcomes}
        await asyncio.wait_for(left.wait(), 30)
        with pytest.raises(Unavailable):
            await batcher.submit(*rows_of(1))


async def test_a_call_beside_a_slow_one_is_taken_by_the_thread_that_is_idle():
    engine = FakeEngine()
    async with batcher_of(engine, engine_threads=2) as batcher:
        slow = await with_busy_thread(batcher, engine)
        beside = await queued(batcher, 5)  # far from a full batch
        await engine.busy()  # it has entered too, although the first one has not come back
        assert [batch[:, 0].tolist() for batch in engine.batches] == [[0], [5]]
        engine.gate.set()
        await asyncio.gather(slow, beside)


async def test_models_share_the_engines_by_time_not_by_turns():
    """One model's rows take a hundred times as long, so it gets a hundredth of the batches."""
    order: list[str] = []
    slow = FakeEngine(lambda ids: order.append("slow") or expected(ids))
    quick = FakeEngine(lambda ids: order.append("quick") or expected(ids))
    async with batcher_of(slow, max_batch_size=1, rate=10) as batcher:
        other = WaitingBatcher(
            quick,
            batcher._engine_threads,
            Metrics().of_model("quick", Parts()),
            BatchSizing(rows=1, rows_per_second=1000, max_rows=1),
        )
        first = await with_busy_thread(batcher, slow)
        many = [await queued(batcher, *range(30))]
        many.append(asyncio.create_task(other.submit(*rows_of(*range(30)))))
        await asyncio.sleep(0)
        slow.gate.set()
        await asyncio.gather(first, *many)
    assert order[1:].index("quick") <= 1
    assert (
        order.index("slow", order.index("quick")) - order.index("quick") == 30
    )  # all of them before its next


class Source:
    """Calls that wait to be received."""

    waits = False

    def __init__(self) -> None:
        self.calls = 0
        self.received = threading.Semaphore(0)

    def ready(self) -> bool:
        return self.calls > 0

    def receive(self, *, wait: bool) -> None:
        if self.calls:
            self.calls -= 1
            self.received.release()

    def flush(self) -> None:
        pass


async def test_the_front_is_looked_after_while_every_engine_runs_whoever_runs_them(monkeypatch):
    engine, source = FakeEngine(), Source()
    async with batcher_of(engine) as batcher:
        threads = batcher._engine_threads
        threads.take_from(source)
        first = await with_busy_thread(batcher, engine)
        source.calls = 1
        assert await asyncio.to_thread(source.received.acquire, timeout=10)
        engine.gate.set()
        await first
        # Nobody wakes the engine thread, so the attendant takes the next batch itself.
        monkeypatch.setattr(threads, "_wake_one", lambda **arguments: None)
        await asyncio.sleep(0.02)
        second = await with_busy_thread(batcher, engine)
        source.calls = 1
        assert await asyncio.to_thread(source.received.acquire, timeout=10)
        engine.gate.set()
        await second


async def test_the_attendant_leaves_threads_alone_until_a_batch_takes_long(monkeypatch):
    engine = FakeEngine()
    async with batcher_of(engine) as batcher:
        threads = batcher._engine_threads
        assert threads._needs_attendant()  # there was no batch for long
        first = await with_busy_thread(batcher, engine)
        assert threads._needs_attendant()  # all of them run
        engine.gate.set()
        await first
        monkeypatch.setattr("tablefold.server.queue.engine_threads.ATTENDANCE_SECONDS", 100.0)
        assert not threads._needs_attendant()


async def test_a_front_that_fails_loses_all_threads_and_what_waits_is_told():
    class Failing:
        waits = False
        failing = False

        def ready(self) -> bool:
            return False

        def receive(self, *, wait: bool) -> None:
            if self.failing:
                raise OSError("gone")

        def flush(self) -> None:
            pass

    engine, front, lost = FakeEngine(), Failing(), asyncio.Event()
    async with batcher_of(engine, on_loss=lost.set) as batcher:
        threads = batcher._engine_threads
        threads.take_from(front)
        running = await with_busy_thread(batcher, engine)
        waiting = await queued(batcher, 1)
        front.failing = True
        engine.gate.set()
        await asyncio.wait_for(lost.wait(), 5)
        await running
        with pytest.raises(Unavailable):
            await waiting
        with pytest.raises(Unavailable):
            await batcher.submit(*rows_of(2))
        assert threads.lost


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere threads have no priority of their own")
async def test_engines_give_way_to_whoever_receives_and_refuses_calls():
    def niceness(name: str) -> int:
        (thread,) = (
            thread for thread in threading.enumerate() if thread.name == name and thread not in before
        )
        assert thread.native_id is not None
        return os.getpriority(os.PRIO_PROCESS, thread.native_id)

    before, ours = set(threading.enumerate()), os.getpriority(os.PRIO_PROCESS, 0)
    async with batcher_of(FakeEngine()):
        for _ in range(200):  # a thread sets it by itself
            if niceness("engine-0") != ours or ours == 19:
                break
            await asyncio.sleep(0.01)
        assert niceness("engine-0") == min(19, ours + NICENESS)
        assert niceness("attendant") == os.getpriority(os.PRIO_PROCESS, 0) == ours
