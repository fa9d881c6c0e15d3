"""The batcher: the one owner of a model's queue.

    submit ──► waiting calls ──► batch ──► lane: engine ──► every call its own rows
               (bounded in rows)  (formed when a lane is free)

Knows rows, deadlines and lanes. Does not know the wire, nor which engine runs. Everything here happens on
the event loop, so the queue needs no lock.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tablefold.errors import DeadlineExceeded, EngineFault, Overloaded, RequestError, Unavailable
from tablefold.server.batch import Batch, Call, Clock, Part, Reply
from tablefold.server.engine import Engine
from tablefold.server.lanes import Lanes
from tablefold.server.metrics import ModelMetrics

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class BatchLimits:
    """How many rows may wait, and how many run together.

    A batch is capped where rows per second stop growing: larger ones only lengthen the slowest calls.
    """

    max_queue_rows: int = 65_536
    max_batch_rows: int = 1024


class Batcher:
    """Joins concurrent calls for one model into batches. Every call is answered exactly once."""

    def __init__(
        self,
        engine: Engine,
        lanes: Lanes,
        metrics: ModelMetrics,
        *,
        name: str = "model",
        limits: BatchLimits | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self.engine, self.metrics, self.name, self.clock = engine, metrics, name, clock
        self._lanes = lanes
        self._limits = limits or BatchLimits()
        self._waiting: OrderedDict[Call, None] = OrderedDict()  # in order of arrival; any one can leave
        self._rows = 0
        self._asked = False
        self._closed = False

    @property
    def queue_rows(self) -> int:
        """Rows that wait now; at most `max_queue_rows`."""
        return self._rows

    @property
    def closed(self) -> bool:
        """Is what comes refused?"""
        return self._closed

    async def submit(
        self, dense: NDArray[np.float32], ids: NDArray[np.int64], deadline: float | None = None
    ) -> Reply:
        """The probabilities of rows dense float32 [B, N] and ids int64 [B, C], B >= 1.

        `deadline` is on the batcher's clock. Raises Overloaded, DeadlineExceeded, Unavailable (closed) or
        EngineFault. Cancelling the caller takes its rows out of the queue.
        """
        call = Call(dense, ids, deadline, self.clock(), asyncio.get_running_loop().create_future())
        self._accept(call)
        self.metrics.queue_rows(self._rows)
        self._ask()
        try:
            reply = await call.answer
        except asyncio.CancelledError:
            self._forget(call)
            raise
        self.metrics.answered(call.rows, reply.queue_seconds)
        return reply

    def close(self) -> None:
        """Refuse what comes from now on; what waits is still answered."""
        self._closed = True

    def _drop(self, call: Call, error: RequestError) -> None:
        """Answer a call with an error; rows of it that wait leave the queue."""
        self._forget(call)
        call.fail(error)

    def _accept(self, call: Call) -> None:
        if self._closed:
            raise Unavailable("the server is shutting down; another one, or a later try, will answer")
        if call.deadline is not None and call.deadline <= call.accepted:
            raise DeadlineExceeded("the deadline had passed when the request arrived")
        limit = self._limits.max_queue_rows
        if call.rows > limit:
            raise Overloaded(
                f"{call.rows} rows in one request, but the queue holds {limit}: "
                "send fewer rows a request or serve with a larger --max-queue-rows"
            )
        if self._rows + call.rows > limit:
            raise Overloaded(f"the queue is full ({self._rows} of {limit} rows wait): send less or later")
        self._waiting[call] = None
        self._rows += call.rows

    def _forget(self, call: Call) -> None:
        if call in self._waiting:
            del self._waiting[call]
            self._rows -= call.rows - call.taken
            self.metrics.queue_rows(self._rows)

    def _ask(self) -> None:
        if self._waiting and not self._asked:
            self._asked = True
            self._lanes.ask(self._form)

    def _form(self) -> Batch | None:
        """The next batch: calls in order of arrival, whole where they fit, without the expired."""
        self._asked = False
        now = self.clock()
        room = self._limits.max_batch_rows
        parts: list[Part] = []
        while room and self._waiting:
            call = next(iter(self._waiting))
            if call.deadline is not None and call.deadline <= now:
                self._drop(
                    call, DeadlineExceeded("the deadline passed while the request waited in the queue")
                )
                continue
            rest = call.rows - call.taken
            if rest > room and parts:
                break
            stop = call.taken + min(rest, room)
            parts.append(Part(call, call.taken, stop))
            room -= stop - call.taken
            self._rows -= stop - call.taken
            call.taken = stop
            if stop == call.rows:
                del self._waiting[call]
        self.metrics.queue_rows(self._rows)
        self._ask()
        return Batch(parts, self.engine, self.clock, self._settle) if parts else None

    def _settle(self, batch: Batch) -> None:
        """Every call of a batch that ran gets its rows, or the one error of the engine."""
        if batch.probability is None:
            log.error("model %s: the engine failed on %d rows", self.name, batch.rows, exc_info=batch.error)
        for part, probability in batch.split():
            if probability is None or not np.isfinite(probability).all():
                self._drop(
                    part.call, EngineFault("the engine failed on this request; the server's log says why")
                )
                if probability is not None:
                    log.error("model %s: the engine gave a probability that is no number", self.name)
            else:
                part.call.score(part.start, probability, batch.started, batch.seconds)
        if batch.probability is not None:
            self.metrics.batch(batch.rows, batch.seconds)
