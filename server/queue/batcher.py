"""The batcher: the one owner of a model's queue.

    submit ──► waiting calls ──► batch ──► engine thread ──► every call its own rows
               (bounded in rows)  (formed when a thread is free)

Everything here happens on the event loop, so the queue needs no lock.
"""

import asyncio
import logging
import time

import numpy as np
from numpy.typing import NDArray

from tablefold.errors import DeadlineExceeded, EngineError, RequestError, Unavailable
from tablefold.server.engines import Engine
from tablefold.server.queue.admission import check_deadline, check_space
from tablefold.server.queue.batch import Batch, Call, Part, Reply
from tablefold.server.queue.batch_sizing import BatchSizing, Clock, Throughput
from tablefold.server.queue.engine_threads import EngineThreads
from tablefold.server.queue.priority_queue import PriorityQueue
from tablefold.server.telemetry.metrics import ModelMetrics

log = logging.getLogger(__name__)

SMALL_BATCH_ROWS = 32
"""With this many rows a batch costs little more a row than a full one."""
IN_FLIGHT_DECAY = 0.8
"""The recent number of calls in flight falls by this factor with every batch that has fewer."""


class Batcher:
    """Joins concurrent calls for one model into batches. Every call is answered exactly once."""

    def __init__(
        self,
        engine: Engine,
        engine_threads: EngineThreads,
        metrics: ModelMetrics,
        sizing: BatchSizing,
        *,
        name: str = "model",
        max_queue_rows: int = 65_536,
        max_queue_delay_seconds: float = 0.0,
        clock: Clock = time.monotonic,
    ) -> None:
        self.engine, self.metrics, self.name, self.clock = engine, metrics, name, clock
        self._engine_threads = engine_threads
        self._max_queue_rows, self._sizing = max_queue_rows, sizing
        self._max_queue_delay_seconds = max_queue_delay_seconds
        self._throughput = Throughput(sizing)
        self._waiting = PriorityQueue()
        self._running_rows = 0
        self._in_flight = 0
        """Calls."""
        self._recently_in_flight = 0.0
        self._thread_requested = False
        self._delay: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def queue_rows(self) -> int:
        """Rows that wait now; at most `max_queue_rows`."""
        return self._waiting.rows

    @property
    def closed(self) -> bool:
        """Whether new calls are refused."""
        return self._closed

    async def submit(
        self, dense: NDArray[np.float32], ids: NDArray[np.int64], deadline: float | None = None
    ) -> Reply:
        """Return the probabilities of rows dense float32 [B, N] and ids int64 [B, C], B >= 1.

        `deadline` is on the batcher's clock. Raises Overloaded, DeadlineUnreachable, DeadlineExceeded,
        Unavailable (closed) or EngineError. Cancelling the caller takes its rows out of the queue.
        """
        call = Call(dense, ids, deadline, self.clock(), asyncio.get_running_loop().create_future())
        if self._closed:
            raise Unavailable("the server is shutting down; another one, or a later try, will answer")
        check_space(call, self._waiting, self._max_queue_rows)
        check_deadline(call, self._waiting, self._running_rows, self._throughput.rows_per_second)
        self._waiting.add(call)
        self.metrics.queue_rows(self._waiting.rows)
        self._in_flight += 1
        self._request_thread()
        try:
            reply = await call.answer
        except asyncio.CancelledError:
            self._waiting.remove(call)
            self.metrics.queue_rows(self._waiting.rows)
            raise
        finally:
            self._in_flight -= 1
        self.metrics.answered(call.rows, reply.queue_seconds)
        return reply

    def close(self) -> None:
        """Refuse new calls; those that wait are still answered."""
        self._closed = True
        self._request_thread()

    def next_batch(self) -> Batch | None:
        """Form the next batch, without the expired calls: the `BatchSource` of the engine threads.

        It takes the most urgent calls. A call stays whole where the batch then has between half and one and
        a half times the best size; otherwise it is cut.
        """
        self._thread_requested = False
        self._recently_in_flight = max(self._in_flight, self._recently_in_flight * IN_FLIGHT_DECAY)
        now = self.clock()
        room, extra = self._sizing.rows, self._sizing.max_rows - self._sizing.rows
        parts: list[Part] = []
        while room > 0 and (call := self._waiting.first()) is not None:
            if call.deadline is not None and call.deadline <= now:
                self._drop(
                    call, DeadlineExceeded("the deadline passed while the request waited in the queue")
                )
                continue
            rest = call.rows - call.taken
            whole = rest <= room + extra
            if not whole and room <= self._sizing.rows // 2:
                break
            rows = rest if whole else room
            parts.append(Part(call, call.taken, call.taken + rows))
            self._waiting.take(call, rows)
            room -= rows
        self.metrics.queue_rows(self._waiting.rows)
        self._request_thread()
        if not parts:
            return None
        batch = Batch(parts, self.engine, self.clock, self._settle)
        self._running_rows += batch.rows
        return batch

    def abandon(self) -> None:
        """Answer all waiting calls with Unavailable and refuse new ones: no thread will ever be free."""
        self._thread_requested = self._closed = True  # so that no thread is requested any more
        while (call := self._waiting.first()) is not None:
            self._drop(call, Unavailable("the engine hangs and the server is leaving; try another one"))

    def _drop(self, call: Call, error: RequestError) -> None:
        """Answer a call with an error; rows of it that wait leave the queue."""
        self._waiting.remove(call)
        call.fail(error)

    def _request_thread(self) -> None:
        """Request a thread, at once or when a small batch has waited for calls that should soon join it.

        Handing a batch over and back takes two changes of threads. They cost as much as the engine takes for
        several small calls. A single call in flight never waits.
        """
        if self._thread_requested or not self._waiting.rows:
            return
        enough = self._waiting.rows >= SMALL_BATCH_ROWS or self._in_flight >= self._recently_in_flight
        if enough or self._closed or not self._max_queue_delay_seconds:
            self._request_thread_now()
        elif self._delay is None:
            loop = asyncio.get_running_loop()
            self._delay = loop.call_later(self._max_queue_delay_seconds, self._request_thread_now)

    def _request_thread_now(self) -> None:
        if self._delay is not None:
            self._delay.cancel()
            self._delay = None
        if not self._thread_requested and self._waiting.rows:
            self._thread_requested = True
            self._engine_threads.request(self)

    def _settle(self, batch: Batch) -> None:
        """Answer every call of a batch with its rows, or with the error of the engine."""
        self._running_rows -= batch.rows
        self._throughput.ended(batch.rows, self.clock(), waiting=self._waiting.rows > 0)
        if batch.probability is None:
            log.error("model %s: the engine failed on %d rows", self.name, batch.rows, exc_info=batch.error)
        sound = batch.probability is not None and bool(np.isfinite(batch.probability).all())
        for part, probability in batch.split():
            if probability is None or not (sound or np.isfinite(probability).all()):
                self._drop(
                    part.call, EngineError("the engine failed on this request; the server's log says why")
                )
                if probability is not None:
                    log.error("model %s: the engine gave a probability that is not a number", self.name)
            else:
                part.call.complete(part.start, probability, batch.started, batch.seconds)
        if batch.probability is not None:
            self.metrics.batch(batch.rows, batch.seconds)
