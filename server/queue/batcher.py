"""The batcher: the one owner of a model's queue.

    submit ──► waiting calls ──► batch ──► lane: engine ──► every call its own rows
               (bounded in rows)  (formed when a lane is free)

Knows rows, deadlines and lanes. Does not know the wire, nor which engine runs. Everything here happens on
the event loop, so the queue needs no lock.
"""

import asyncio
import logging
import time

import numpy as np
from numpy.typing import NDArray

from tablefold.errors import (
    DeadlineExceeded,
    DeadlineUnreachable,
    EngineError,
    Overloaded,
    RequestError,
    Unavailable,
)
from tablefold.server.engines.onnx import Engine
from tablefold.server.queue.batch import Batch, Call, Part, Reply
from tablefold.server.queue.batch_sizing import Clock, Pace, Throughput
from tablefold.server.queue.engine_threads import Lanes
from tablefold.server.queue.waiting import Waiting
from tablefold.server.telemetry.metrics import ModelMetrics

log = logging.getLogger(__name__)

SMALL_ROWS = 32
"""With this many rows a batch costs little more a row than a full one."""
FADE = 0.8
"""By which the number of calls lately in flight together falls with every batch that has fewer."""
HEADROOM = 0.8
"""Of the time a caller gives: what waits ahead of a call and the call itself must fit, or it is refused.

The rest is for what the estimate cannot know: the way back, and more urgent calls that come later."""


class Batcher:
    """Joins concurrent calls for one model into batches. Every call is answered exactly once."""

    def __init__(
        self,
        engine: Engine,
        lanes: Lanes,
        metrics: ModelMetrics,
        pace: Pace,
        *,
        name: str = "model",
        max_queue_rows: int = 65_536,
        gather_seconds: float = 0.0,
        clock: Clock = time.monotonic,
    ) -> None:
        self.engine, self.metrics, self.name, self.clock = engine, metrics, name, clock
        self._lanes = lanes
        self._max_queue_rows, self._pace = max_queue_rows, pace
        self._gather_seconds = gather_seconds
        self._throughput = Throughput(pace)
        self._waiting = Waiting()
        self._running_rows = 0
        self._calls = 0
        self._lately = 0.0
        """Calls in flight together."""
        self._asked = False
        self._gathering: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def queue_rows(self) -> int:
        """Rows that wait now; at most `max_queue_rows`."""
        return self._waiting.rows

    @property
    def closed(self) -> bool:
        """Is what comes refused?"""
        return self._closed

    async def submit(
        self, dense: NDArray[np.float32], ids: NDArray[np.int64], deadline: float | None = None
    ) -> Reply:
        """The probabilities of rows dense float32 [B, N] and ids int64 [B, C], B >= 1.

        `deadline` is on the batcher's clock. Raises Overloaded, DeadlineUnreachable, DeadlineExceeded,
        Unavailable (closed) or EngineError. Cancelling the caller takes its rows out of the queue.
        """
        call = Call(dense, ids, deadline, self.clock(), asyncio.get_running_loop().create_future())
        self._check(call)
        self._waiting.add(call)
        self.metrics.queue_rows(self._waiting.rows)
        self._calls += 1
        self._ask()
        try:
            reply = await call.answer
        except asyncio.CancelledError:
            self._waiting.remove(call)
            self.metrics.queue_rows(self._waiting.rows)
            raise
        finally:
            self._calls -= 1
        self.metrics.answered(call.rows, reply.queue_seconds)
        return reply

    def close(self) -> None:
        """Refuse what comes from now on; what waits is still answered."""
        self._closed = True
        self._ask()

    def form(self) -> Batch | None:
        """The next batch, without the expired: a `Turn` of the lanes.

        The most urgent calls, whole where that makes the batch at least half and at most one and a half
        times as large as goes fastest, in parts otherwise.
        """
        self._asked = False
        self._lately = max(self._calls, self._lately * FADE)
        now = self.clock()
        room, stretch = self._pace.rows, self._pace.most_rows - self._pace.rows
        parts: list[Part] = []
        while room > 0 and (call := self._waiting.first()) is not None:
            if call.deadline is not None and call.deadline <= now:
                self._drop(
                    call, DeadlineExceeded("the deadline passed while the request waited in the queue")
                )
                continue
            rest = call.rows - call.taken
            whole = rest <= room + stretch
            if not whole and room <= self._pace.rows // 2:
                break
            rows = rest if whole else room
            parts.append(Part(call, call.taken, call.taken + rows))
            self._waiting.take(call, rows)
            room -= rows
        self.metrics.queue_rows(self._waiting.rows)
        self._ask()
        if not parts:
            return None
        batch = Batch(parts, self.engine, self.clock, self._settle)
        self._running_rows += batch.rows
        return batch

    def abandon(self) -> None:
        """No lane will ever be free: answer all that wait, and refuse what comes."""
        self._asked = self._closed = True  # ask no more
        while (call := self._waiting.first()) is not None:
            self._drop(call, Unavailable("the engine hangs and the server is leaving; try another one"))

    def _drop(self, call: Call, error: RequestError) -> None:
        """Answer a call with an error; rows of it that wait leave the queue."""
        self._waiting.remove(call)
        call.fail(error)

    def _check(self, call: Call) -> None:
        """Refuse at once what cannot be answered, or not in time.

        DEADLINE_EXCEEDED says the caller's time is over, RESOURCE_EXHAUSTED that others came first: their
        rows fill the queue, or take longer than the caller's time.
        """
        if self._closed:
            raise Unavailable("the server is shutting down; another one, or a later try, will answer")
        limit = self._max_queue_rows
        if call.rows > limit:
            raise Overloaded(
                f"{call.rows} rows in one request, but the queue holds {limit}: "
                "send fewer rows a request or serve with a larger --max-queue-rows"
            )
        if self._waiting.rows + call.rows > limit:
            raise Overloaded(
                f"the queue is full ({self._waiting.rows} of {limit} rows wait): send less or later"
            )
        if call.deadline is None:
            return
        remaining = call.deadline - call.accepted
        if remaining <= 0:
            raise DeadlineExceeded("the deadline had passed when the request arrived")
        rate = self._throughput.rows_per_second
        fit = HEADROOM * remaining * rate - call.rows
        # All that waits is the most that can be ahead; who is ahead is only counted where it matters.
        if self._running_rows + self._waiting.rows <= fit:
            return
        ahead = self._running_rows + self._waiting.rows_before(call)
        # On an idle engine every call gets its try: an estimate must not lock anybody out.
        if ahead and ahead > fit:
            raise DeadlineUnreachable(
                f"{ahead} rows come first, at {rate:.0f} rows a second, and the deadline is in "
                f"{remaining * 1000:.0f} ms: send less, later or with a later deadline"
            )

    def _ask(self) -> None:
        """Ask for a lane, at once or when a small batch has waited for the calls that should soon join it.

        To hand a batch over and back takes two changes of threads, which cost as much as the engine takes for
        several small calls. A call that is alone never waits.
        """
        if self._asked or not self._waiting.rows:
            return
        enough = self._waiting.rows >= SMALL_ROWS or self._calls >= self._lately
        if enough or self._closed or not self._gather_seconds:
            self._ask_now()
        elif self._gathering is None:
            loop = asyncio.get_running_loop()
            self._gathering = loop.call_later(self._gather_seconds, self._ask_now)

    def _ask_now(self) -> None:
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        if not self._asked and self._waiting.rows:
            self._asked = True
            self._lanes.ask(self)

    def _settle(self, batch: Batch) -> None:
        """Every call of a batch that ran gets its rows, or the one error of the engine."""
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
                    log.error("model %s: the engine gave a probability that is no number", self.name)
            else:
                part.call.score(part.start, probability, batch.started, batch.seconds)
        if batch.probability is not None:
            self.metrics.batch(batch.rows, batch.seconds)
