"""A batcher whose callers wait on the event loop, as tests do."""

import asyncio
from typing import NamedTuple

import numpy as np

from tablefold.server.queue.batcher import Batcher
from tablefold.server.queue.call import Call


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
    async def submit(self, dense: np.ndarray, ids: np.ndarray, deadline: float | None = None) -> Reply:
        waiter = Waiter()
        call = Call(dense, ids, deadline, waiter)
        self.offer(call)
        try:
            return await waiter.answer
        except asyncio.CancelledError:
            self.cancel(call)
            raise
