"""What tests of the queue share: a fake engine, and a batcher whose callers wait on the event loop."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

import numpy as np

from tablefold.model_size import Parts
from tablefold.server.queue.batch_sizing import BatchSizing
from tablefold.server.queue.batcher import Batcher
from tablefold.server.queue.call import Call
from tablefold.server.queue.engine_threads import EngineThreads
from tablefold.server.telemetry.metrics import Metrics


class Reply(NamedTuple):
    probability: np.ndarray
    queue_seconds: float
    compute_seconds: float


class Waiter:
    """The caller of one call."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.answer: asyncio.Future[Reply] = self.loop.create_future()
        self.settled = 0

    def settle(self, call: Call) -> None:
        self.settled += 1
        assert self.settled == 1, "settled twice"
        assert call.finished
        self.loop.call_soon_threadsafe(self._set, call)

    def _set(self, call: Call) -> None:
        if self.answer.done():
            return
        if call.error is None:
            self.answer.set_result(Reply(call.probability, call.queue_seconds, call.compute_seconds))
        else:
            self.answer.set_exception(call.error)


class WaitingBatcher(Batcher):
    async def submit(
        self, dense: np.ndarray, ids: np.ndarray, deadline: float | None = None, client: str = ""
    ) -> Reply:
        waiter = Waiter()
        call = Call(dense, ids, deadline, waiter, client)
        self.offer(call)
        try:
            return await waiter.answer
        except asyncio.CancelledError:
            self.cancel(call)
            raise


class FakeEngine:
    """probability = id / 1e6. Stands still while `gate` is shut; remembers what it saw."""

    def __init__(self, answer: Callable[[np.ndarray], object] | None = None) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        self.batches: list[np.ndarray] = []
        self.answer = answer or expected

    def run(self, dense: np.ndarray, ids: np.ndarray) -> np.ndarray:
        assert len(dense) == len(ids)
        self.batches.append(ids)
        self.entered.release()
        assert self.gate.wait(30)
        return self.answer(ids)

    async def busy(self) -> None:
        """Until one more batch has entered."""
        assert await asyncio.to_thread(self.entered.acquire, timeout=30)

    @property
    def sizes(self) -> list[int]:
        return [len(batch) for batch in self.batches]


def expected(ids: np.ndarray) -> np.ndarray:
    return (ids[:, 0] / 1e6).astype(np.float32)


def rows_of(*ids: int) -> tuple[np.ndarray, np.ndarray]:
    column = np.array(ids, dtype=np.int64)[:, None]
    return column.astype(np.float32), column


@asynccontextmanager
async def batcher_of(
    engine: FakeEngine,
    *,
    engine_threads: int = 1,
    clock: Callable[[], float] = time.monotonic,
    rate: float = np.inf,
    engine_timeout_seconds: float = 60,
    max_batch_size: int = 1024,
    max_rows: int | None = None,
    max_queue_rows: int = 65_536,
    on_loss: Callable[[], None] = lambda: None,
) -> AsyncIterator[WaitingBatcher]:
    """`max_batch_size` (which may become `max_rows`) and `rate`, rows a second: as warm-up measured them."""
    threads = EngineThreads(engine_threads, timeout_seconds=engine_timeout_seconds, on_loss=on_loss)
    try:
        yield WaitingBatcher(
            engine,
            threads,
            Metrics().of_model("fake", Parts()),
            BatchSizing(rows=max_batch_size, rows_per_second=rate, max_rows=max_rows or max_batch_size),
            max_queue_rows=max_queue_rows,
            clock=clock,
        )
    finally:
        engine.gate.set()
        threads.close()


async def queued(
    batcher: WaitingBatcher, *ids: int, deadline: float | None = None, client: str = ""
) -> asyncio.Task:
    """A call that has been accepted by the time this returns."""
    task = asyncio.create_task(batcher.submit(*rows_of(*ids), deadline, client))
    await asyncio.sleep(0)
    return task


class Taken:
    """A place that no batch may take."""

    full = False


async def queued_together(batcher: WaitingBatcher, *calls: list[int]) -> list[asyncio.Task]:
    """Calls that all wait before a thread may take one, and so go in one batch."""
    threads = batcher._engine_threads
    with threads.lock:
        threads._running |= {Taken(): 0 for _ in range(threads.count)}
    tasks = [await queued(batcher, *ids) for ids in calls]
    with threads.lock:
        threads._running.clear()
        threads._wake.notify_all()
    return tasks


async def with_busy_thread(batcher: WaitingBatcher, engine: FakeEngine) -> asyncio.Task:
    """Shuts the gate behind one call, so that whatever comes next waits."""
    engine.gate.clear()
    first = await queued(batcher, 0)
    await engine.busy()
    return first
